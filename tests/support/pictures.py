"""Every picture with something to draw: nothing, one cycle, a day, months, and text that means harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from codeworm_monitor import plots
from codeworm_monitor.analysis.documents import documents, repos
from codeworm_monitor.analysis.failures import error_times, errors
from codeworm_monitor.analysis.rates import durations, success_rate, throughput, tokens
from codeworm_monitor.analysis.schedule import schedule
from codeworm_monitor.analysis.slowdown import slowdown
from codeworm_monitor.analysis.traffic import Traffic
from support.drawn_cycles import drawn_cycles, drawn_outages

DATA = Path(__file__).parents[1] / "data"
SIZES = {"none": 0, "one": 1, "few": 18, "day": 132, "months": 8000}
HARM = [
    r"$\frac{1}{0}$",
    "$x$ and $",
    "line\nbreak\r\n\tand \x00\x1b[31m\x07",
    "\u202eevil\u202c \u2066x\u2069 \u200f\u05e9\u05dc\u05d5\u05dd",
    "漢字かな 한국어 \U0001f600\U0001f1e9\U0001f1ea \ufffe",
    "a" + "\u0301" * 500,
    "W" * 5000,
    "   ",
    "<script>alert(1)</script> %s {0} \\",
]
NAMES = [
    *("throughput-0", "throughput-1", "success-0", "success-1", "durations-0", "durations-1", "durations-2"),
    *(
        "tokens-0",
        "tokens-1",
        "schedule-0",
        "slowdown-0",
        "errors-0",
        "errors-1",
        "documents-0",
        "repos-0",
        "outages-0",
    ),
    *("cycles-0", "duration_distribution-0", "tokens_per_s_distribution-0", "activity_calendar-0", "timeline"),
]
HARMFUL = [
    *("timeline", "distribution-doc_type", "distribution-target", "throughput-None", "throughput-30min"),
    *("success-None", "success-30min", "durations-None", "durations-30min", "tokens-None", "tokens-30min"),
    *("errors", "documents", "repos", "slowdown"),
]
Draw = Callable[..., Axes]


@lru_cache
def traffic(size: str) -> Traffic:
    """Return traffic that has the cycles of a size, made by hand; its logs tell of errors."""
    cycles = drawn_cycles(
        SIZES[size], every_s=650.0 if size != "months" else 1300.0, covered=0.8 if size == "day" else 1.0
    )
    if not len(cycles):
        return Traffic.of()
    since, until = (pd.Timestamp(cycles.attrs[name]).to_pydatetime() for name in ("since", "until"))
    failed = cycles[cycles["outcome"].isin(["failed", "llm_error"])]
    logs = pd.DataFrame(
        {
            "received_at": failed["started_at"],
            "event": np.where(failed["outcome"] == "failed", "documentation_failed", "llm_error"),
            "level": "error",
            "error": "no route to host",
        }
    )
    made = Traffic.of(logs=logs, since=since, until=until)
    made.found["cycles"] = cycles
    return made


@lru_cache
def pictures(size: str) -> dict[str, Draw]:
    """Return the drawing of each picture, by `NAMES`, as of traffic of a size; a drawing takes zone and ax."""
    return dict(_pictures(size))


@lru_cache
def harmful_pictures() -> dict[str, Draw]:
    """Return drawings, by `HARMFUL`, of answers in which every text that others write means harm."""
    return dict(_harmful_pictures())


def _pictures(size: str) -> Iterator[tuple[str, Draw]]:
    held = traffic(size)
    cycles = drawn_cycles(0) if size == "none" else held.found["cycles"]
    outages = drawn_outages(cycles, 0 if size == "none" else 3 if size == "few" else 12)
    made = documents(held, DATA / "codeworm.db", zone="UTC")
    every = {"none": "1h", "one": "1h", "few": "30min", "day": "1h", "months": "1d"}[size]
    frames = {
        "throughput": [throughput(held, every=every, by="repo"), throughput(held, every=None)],
        "success": [success_rate(held, every=every, by="repo"), success_rate(held, by="doc_type")],
        "durations": [
            durations(held, every=every),
            durations(held, every=every, by="repo"),
            durations(held, by="doc_type"),
        ],
        "tokens": [tokens(held, every=every, by="repo"), tokens(held, by="doc_type")],
        "schedule": [schedule(held, zone="Europe/Berlin")],
        "slowdown": [slowdown(held)],
        "errors": [errors(held), error_times(held)],
        "documents": [made if size != "none" else made.iloc[:0]],
        "repos": [
            repos(held, config=DATA / "config", database=DATA / "codeworm.db") if size != "none" else repos(held)
        ],
        "outages": [outages],
        "cycles": [cycles],
        "duration_distribution": [cycles],
        "tokens_per_s_distribution": [cycles],
        "activity_calendar": [cycles],
    }
    for name, answers in frames.items():
        for number, frame in enumerate(answers):
            yield f"{name}-{number}", _drawing(name, frame)
    yield "timeline", lambda **options: plots.timeline(cycles, outages, **options)


def _harmful_pictures() -> Iterator[tuple[str, Draw]]:
    names = [HARM[i % len(HARM)] for i in range(20)]
    cycles = drawn_cycles(20)
    cycles["target"] = cycles["error"] = cycles["commit_message"] = pd.Series(names, dtype="object")
    for column in ("repo", "doc_type", "language", "model"):
        cycles[column] = pd.Categorical(names)
    outages = drawn_outages(cycles, 7)
    outages["cause"] = outages["evidence"] = pd.Series(names[:7], dtype="object")
    yield "timeline", lambda **options: plots.timeline(cycles, outages, **options)
    for by in ("doc_type", "target"):
        yield f"distribution-{by}", _drawing("duration_distribution", cycles, by=by)
    held = Traffic.of(
        since=cycles["started_at"].min().to_pydatetime(), until=cycles["started_at"].max().to_pydatetime()
    )
    held.found["cycles"] = cycles
    for name, question in (
        ("throughput", throughput),
        ("success", success_rate),
        ("durations", durations),
        ("tokens", tokens),
    ):
        for every in (None, "30min"):
            yield f"{name}-{every}", _drawing(name, question(held, every=every, by=["repo", "target"]))
    told = pd.DataFrame({"event": names, "template": names[::-1], "level": ["error"] * 20, "count": [3] * 20})
    strips = told.assign(strip=["▁ █░" * 15] * 20)
    strips.attrs = dict(cycles.attrs)
    yield "errors", _drawing("errors", strips)
    made = documents(held, DATA / "codeworm.db", zone="UTC").head(20)
    yield "documents", _drawing("documents", made.assign(repo=pd.Categorical(names[: len(made)])))
    found = repos(held)
    yield "repos", _drawing("repos", found.assign(name=(names * 3)[: len(found)]))
    frame = slowdown(held)
    frame["doc_type"] = (names * 3)[: len(frame)]
    frame["verdict"] = "slower"
    frame["ratio"] = 2.0
    yield "slowdown", _drawing("slowdown", frame)


def _drawing(name: str, frame: pd.DataFrame, **fixed: object) -> Draw:
    return lambda **options: getattr(plots, name)(frame, **fixed, **options)
