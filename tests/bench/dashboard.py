#!/usr/bin/env python3
"""Measure the notebook's dashboard: a real kernel in a real JupyterLab, looked at by a headless Chromium.

    python tests/bench/dashboard.py [--seconds 60] [--quick] [--only steady,blocked,…]

A Redis, a publisher of 5,000 log lines a second, a relay, the kernel and the browser are processes of their own, on
127.0.0.1. Only the flood of 100,000 rows a second is made in the kernel, by a thread that hands them to the panels as
the one of the network does; the tables are left out, because one core has no time for both. Prints a Markdown table; ends with status 1 if a bar is missed. `--quick` takes two minutes.

The publisher writes the time into each line. How far behind the view is, is read from the newest row that is shown,
sixty times a second: the age of what a person sees, not of what has arrived somewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.chromium import chromium
from support.lab import KERNEL, Lab, Notebook, jupyterlab
from support.live_relay import LOGS, LiveRelay, live_relay

RATE, FLOOD = 5_000, 100_000
TICK = 0.01
PHASES = ("flood", "steady", "memory", "blocked", "reload")

CONNECT = "import time\nfrom codeworm_monitor import connect\nmon = connect({address})"
SHOW = "mon.dashboard()"
BLOCK = "time.sleep({seconds})"
FLOODED = """
import threading
from codeworm_monitor.envelope import Envelope

def flood(rate, seconds):
    begun, sent = time.time(), 0
    while (now := time.time()) < begun + seconds:
        due = min(int((now - begun) * rate), sent + rate // 10)
        messages = [
            (
                Envelope(2**40 + n, now, "codeworm:logs", b""),
                {{"event": f"{word}_{{now:.3f}}_{{n}}", "level": "info", "component": "daemon", "target": "some.module"}},
            )
            for n in range(sent, due)
        ]
        with mon.panel_feed.taking:
            mon.panel_feed.take("flood", messages)
        sent = due
        time.sleep(max(0.0, now + {tick} - time.time()))
    made.append((sent, time.time() - begun))

made = []
flooding = threading.Thread(target=flood, args=({rate}, {seconds}))
flooding.start()
"""

WORD = "load"
ROWS = ".cwm-log-row"
WATCH = """
([rows, word]) => {
  const found = new RegExp(word + "_(\\\\d+\\\\.\\\\d+)");
  const seen = { begun: performance.now(), last: performance.now(), frames: 0, gaps: [], behind: [], long: [], pauses: [], moved: null, newest: 0 };
  window.seen = seen;
  const observer = new PerformanceObserver((list) => { for (const one of list.getEntries()) seen.long.push(one.duration); });
  observer.observe({ type: "longtask" });
  const look = () => {
    const now = performance.now();
    seen.frames += 1;
    seen.gaps.push(now - seen.last);
    seen.last = now;
    let last = null; // the list's elements are used again, in any order
    for (const one of document.querySelectorAll(rows)) {
      if (last === null || Number(one.dataset.number) > Number(last.dataset.number)) last = one;
    }
    const match = found.exec(last === null ? "" : last.textContent);
    if (match) {
      const newest = Number(match[1]);
      if (newest !== seen.newest) {
        if (seen.moved !== null) seen.pauses.push(now - seen.moved);
        seen.moved = now;
        seen.newest = newest;
      }
      seen.behind.push(Date.now() - newest * 1000);
    }
    seen.handle = requestAnimationFrame(look);
  };
  seen.stop = () => {
    cancelAnimationFrame(seen.handle);
    observer.disconnect();
    const { begun, frames, gaps, behind, long, pauses } = seen;
    return { seconds: (performance.now() - begun) / 1000, frames, gaps: gaps.slice(1), behind, long, pauses };
  };
  seen.handle = requestAnimationFrame(look);
}
"""

LOOK_FOR_ROWS = """
(() => {
  const look = () => {
    if (document.querySelector(".jp-Notebook .jp-Cell")) window.bookAt ??= performance.now();
    if (KERNEL?.connectionStatus === "connected") window.kernelAt ??= performance.now();
    if (document.querySelector("ROWS")) window.rowsAt ??= performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        what: Is measured.
        value: As text.
        bar: What it must be, as text; "" if nothing is asked.
        is_met: Whether it is; None: nothing is asked.
    """

    what: str
    value: str
    bar: str = ""
    is_met: bool | None = None


def publish(port: int, rate: int, is_over: Event) -> None:
    """Publish log lines at a rate to a Redis until told to stop; each names the time, every tenth is a warning."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(5)
        head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(LOGS), LOGS.encode())
        begun, sent = time.monotonic(), 0
        while not is_over.is_set():
            due = int((time.monotonic() - begun) * rate)
            now = time.time()
            texts = []
            for number in range(sent, due):
                level = "warning" if number % 10 == 0 else "info"
                said = {"event": f"{WORD}_{now:.3f}_{number}", "level": level, "component": "daemon"}
                text = orjson.dumps({**said, "target": "some.module.function", "repo": "click", "n": number})
                texts.append(head + b"$%d\r\n%b\r\n" % (len(text), text))
            connection.sendall(b"".join(texts))
            awaited = due - sent
            while awaited > 0:  # one line each
                awaited -= connection.recv(65536).count(b"\n")
            sent = due
            time.sleep(TICK)


@contextlib.contextmanager
def published(relay: LiveRelay, rate: int) -> Iterator[None]:
    """Publish at a rate while the block runs."""
    context = multiprocessing.get_context("spawn")
    is_over = context.Event()
    process = context.Process(target=publish, args=(relay.redis_port, rate, is_over), daemon=True)
    process.start()
    try:
        yield
    finally:
        is_over.set()
        process.join(10)


def spread(values: list[float]) -> str:
    """Return median, 95th percentile and most of some milliseconds as text."""
    if not values:
        return "no rows were seen"
    ordered = sorted(values)
    return f"{statistics.median(ordered):.0f} / {ordered[int(0.95 * len(ordered))]:.0f} / {ordered[-1]:.0f} ms"


def watched(notebook: Notebook, seconds: float) -> dict[str, Any]:
    """Look at the log for so long, and return what was seen."""
    notebook.page.evaluate(WATCH, [ROWS, WORD])
    notebook.page.wait_for_timeout(seconds * 1000)
    found: dict[str, Any] = notebook.page.evaluate("window.seen.stop()")
    return found


def cpu(notebook: Notebook, seconds: float) -> tuple[float, int]:
    """Return CPU seconds of the kernel, and rows that it took, over a time."""
    before = notebook.ask("[time.process_time(), mon.status.received]")
    notebook.page.wait_for_timeout(seconds * 1000)
    after = notebook.ask("[time.process_time(), mon.status.received]")
    return after[0] - before[0], after[1] - before[1]


def first_rows(notebook: Notebook, cell: int) -> float:
    """Run a cell and return after how many seconds rows of the log were painted."""
    taken: float = notebook.page.evaluate(
        """async ([i, rows]) => {
          const app = window.jupyterapp;
          app.shell.currentWidget.content.activeCellIndex = i;
          const begun = performance.now();
          void app.commands.execute("notebook:run-cell");
          const frame = () => new Promise(requestAnimationFrame);
          while (!document.querySelector(rows)) await frame();
          await frame();
          return (performance.now() - begun) / 1000;
        }""",
        [cell, ROWS],
    )
    return taken


def steady(notebook: Notebook, seconds: float) -> Iterator[Figure]:
    """5,000 rows/s for a minute."""
    spent, rows = cpu(notebook, min(20, seconds / 3))
    alone = spent / rows * 1e6
    painted = first_rows(notebook, 1)
    yield Figure("first paint: cell run → rows visible", f"{painted:.2f} s", "≤ 1 s", painted <= 1)
    notebook.page.wait_for_timeout(2000)
    before = notebook.ask("[time.process_time(), mon.status.received]")
    seen = watched(notebook, seconds)
    after = notebook.ask("[time.process_time(), mon.status.received]")
    with_it = (after[0] - before[0]) / (after[1] - before[1]) * 1e6
    rate = (after[1] - before[1]) / seen["seconds"]
    behind, fps = seen["behind"], seen["frames"] / seen["seconds"]
    most = max(behind, default=math.inf)
    what = f"{rate:,.0f} rows/s for {seen['seconds']:.0f} s"
    yield Figure(f"{what}: behind, p50 / p95 / max", spread(behind), "≤ 500 ms", most <= 500)
    yield Figure(f"{what}: frames/s", f"{fps:.1f}", "≥ 50", fps >= 50)
    long = seen["long"]
    worst = f"{len(long)}, longest {max(long, default=0):.0f} ms"
    yield Figure(f"{what}: tasks over 50 ms in the browser", worst)
    added = with_it - alone
    text = f"{added:.2f} ms ({with_it:.2f} with, {alone:.2f} without)"
    yield Figure(f"{what}: kernel CPU for the dashboard, per 1,000 rows", text, "≤ 5 ms", added <= 5)


def blocked(notebook: Notebook, seconds: float) -> Iterator[Figure]:
    """The view, the filter and the pause while a cell blocks."""
    page = notebook.page
    notebook.start(2)
    page.wait_for_function(f"{KERNEL}?.status === 'busy'")
    page.evaluate(WATCH, [ROWS, WORD])
    page.wait_for_timeout(seconds * 500)
    pauses = page.evaluate("window.seen.stop()")["pauses"]
    yield Figure(
        f"cell blocks {seconds:.0f} s: longest stand of the view",
        f"{max(pauses, default=math.inf):.0f} ms",
        "moving",
        max(pauses, default=math.inf) < 2000,
    )
    respond = """([name, rows]) => new Promise((answer) => {
      const all = (n, fits) => { const found = [...document.querySelectorAll(rows)]; return found.length >= n && found.every(fits); };
      const done = {
        filter: () => all(3, (row) => /warn/i.test(row.textContent)),
        pause: () => document.querySelector(".cwm-log-buttons button[aria-pressed=true]") !== null,
      }[name];
      window.answered = new Promise((finish) => {
        document.addEventListener(name === "filter" ? "input" : "click", () => {
          const begun = performance.now();
          const look = () => { if (done()) finish(performance.now() - begun); else requestAnimationFrame(look); };
          look();
        }, { capture: true, once: true });
      });
      answer();
    })"""
    page.evaluate(respond, ["filter", ROWS])
    page.get_by_label("Filter", exact=True).fill("level:warning")
    filtered = page.evaluate("window.answered")
    page.evaluate(respond, ["pause", ROWS])
    page.locator(".cwm-log-buttons").get_by_role("button", name="Pause").click()
    paused = page.evaluate("window.answered")
    is_blocked = page.evaluate(f"{KERNEL}.status") == "busy"  # still
    yield Figure("… filter answers within", f"{filtered:.0f} ms", "answering", is_blocked and filtered < 1000)
    yield Figure("… pause answers within", f"{paused:.0f} ms", "answering", is_blocked and paused < 1000)
    notebook.interrupt()


def reloaded(notebook: Notebook, meanwhile: str) -> Iterator[Figure]:
    """A reload of the page."""
    notebook.save()
    kernel_at_last = KERNEL.replace("?", "").replace(".", "?.")
    notebook.page.add_init_script(LOOK_FOR_ROWS.replace("ROWS", ROWS).replace("KERNEL", kernel_at_last))
    all_three = []
    for _ in range(5):
        notebook.page.reload()
        notebook.page.wait_for_function("window.rowsAt")
        all_three.append(
            notebook.page.evaluate("[window.rowsAt, window.bookAt, window.kernelAt].map((ms) => ms / 1000)")
        )
        notebook.wait_ready()
    rows, book, kernel = sorted(all_three)[2]
    text = (
        f"{rows:.2f} s (the application shows the notebook after {book:.2f} s and has its kernel after {kernel:.2f} s)"
    )
    yield Figure(f"reload → rows visible (median of 5), {meanwhile}", text, "≤ 2 s", rows <= 2)


def flooded(lab: Lab, relay: LiveRelay, seconds: float) -> Iterator[Figure]:
    """100,000 rows/s, made in the kernel."""
    cells = [
        CONNECT.format(address=relay.address),
        SHOW,
        FLOODED.format(rate=FLOOD, seconds=seconds, word=WORD, tick=TICK),
    ]
    with lab.notebook(*cells) as notebook:
        notebook.run(0)
        first_rows(notebook, 1)
        notebook.run(2)
        notebook.page.wait_for_timeout(1000)
        seen = watched(notebook, seconds - 2)
        made, took = notebook.do("flooding.join()", "made[0]")
    worst, fps = max(seen["gaps"]), seen["frames"] / seen["seconds"]
    what = f"{made / took:,.0f} rows/s for {took:.0f} s"
    yield Figure(
        f"{what}: longest time without a frame", f"{worst:.0f} ms ({fps:.1f} frames/s)", "no freeze", worst < 500
    )
    yield Figure(f"{what}: behind, p50 / p95 / max", spread(seen["behind"]))


def remembered(notebook: Notebook, minutes: int) -> Iterator[Figure]:
    """The browser's memory at 5,000 rows/s."""
    session = notebook.page.context.new_cdp_session(notebook.page)
    session.send("Performance.enable")
    heaps = []
    for _ in range(minutes + 1):
        session.send("HeapProfiler.collectGarbage")
        figures = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        heaps.append(figures["JSHeapUsedSize"] / 2**20)
        if len(heaps) <= minutes:
            notebook.page.wait_for_timeout(60_000)
    growth = heaps[-1] - heaps[0]
    text = " ".join(f"{heap:.0f}" for heap in heaps)
    yield Figure(
        f"browser's heap over {minutes} min at 5,000 rows/s, MiB", f"{text} ({growth:+.1f})", "flat", growth < 10
    )


def measured(phases: list[str], *, seconds: float, minutes: int) -> Iterator[Figure]:
    """Run the phases."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        relay, browser = stack.enter_context(live_relay("--no-archive")), stack.enter_context(chromium())
        lab = stack.enter_context(jupyterlab(folder / "lab", browser))
        if "flood" in phases:
            relay.publish([(LOGS, orjson.dumps({"event": "a_first_line", "level": "info"}))])
            yield from flooded(lab, relay, min(20, seconds))
        if not set(phases) - {"flood"}:
            return
        pause = min(30, seconds)
        cells = [CONNECT.format(address=relay.address), SHOW, BLOCK.format(seconds=pause)]
        with published(relay, RATE), lab.notebook(*cells) as notebook:
            notebook.page.wait_for_timeout(5000)  # for some past, and a publisher at its rate
            notebook.run(0)
            if "steady" in phases:
                yield from steady(notebook, seconds)
            else:
                first_rows(notebook, 1)
            if "memory" in phases:
                notebook.page.wait_for_timeout(15_000)  # until the store is full
                yield from remembered(notebook, minutes)
            if "blocked" in phases:
                yield from blocked(notebook, pause)
            if "reload" in phases:
                notebook.wait_ready()
                yield from reloaded(notebook, "5,000 rows/s")
        if "reload" in phases:
            with published(relay, 1), lab.notebook(*cells) as notebook:
                notebook.run(0)
                first_rows(notebook, 1)
                notebook.wait_ready()
                yield from reloaded(notebook, "a row a second")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="length of the steady phase (60)")
    parser.add_argument("--minutes", type=int, default=10, help="length of the memory phase (10)")
    parser.add_argument("--only", default=",".join(PHASES), help=f"of {', '.join(PHASES)}")
    parser.add_argument("--quick", action="store_true", help="15 seconds and 1 minute")
    given = parser.parse_args()
    phases = given.only.split(",")
    if unknown := set(phases) - set(PHASES):
        parser.error(f"no phase: {', '.join(sorted(unknown))}")
    seconds, minutes = (15.0, 1) if given.quick else (given.seconds, given.minutes)
    load = os.getloadavg()[0]
    print("| what | measured | must be | met |\n|---|---|---|---|", flush=True)
    missed = 0
    for figure in measured(phases, seconds=seconds, minutes=minutes):
        is_met = {True: "yes", False: "**no**", None: ""}[figure.is_met]
        missed += figure.is_met is False
        print(f"| {figure.what} | {figure.value} | {figure.bar} | {is_met} |", flush=True)
    print(f"\n{os.cpu_count()} cores, load {load:.1f} before the start and {os.getloadavg()[0]:.1f} at the end.")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
