#!/usr/bin/env python3
"""Print medians per relay and workload, and ratios within rounds, as Markdown; write results.json.

python summarize.py rows.jsonl...
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

Rows = dict[str, dict[str, list[dict[str, Any]]]]
Medians = dict[str, dict[str, dict[str, Any]]]

AVERAGED = (
    *("cpu_us_per_delivery", "cpu_us_per_msg", "deliveries_per_s", "p50_us", "p99_us", "max_stall_ms", "cpu_busy"),
    *("rss_conn_kb", "rss_idle_kb", "rss_start_kb", "rss_peak_kb", "rss_end_kb", "connect_s", "frames_per_read"),
    *("lost", "out_of_order", "closed", "msgs", "redis_cpu_s", "client_cpu_s"),
)
RANGED = ("cpu_us_per_delivery", "p99_us", "deliveries_per_s", "lost", "out_of_order", "closed")
PEERS = ("nchan", "C_batch")
COMPARED = ("W1", "W7", "W2", "W3")


def read(paths: list[str]) -> Rows:
    """Return the rows of some files by relay and workload, in their order."""
    rows: Rows = {}
    for path in paths:
        for line in Path(path).read_text().splitlines():
            row = json.loads(line)
            rows.setdefault(row["server"], {}).setdefault(row["workload"], []).append(row)
    return rows


def medians(rows: Rows) -> Medians:
    """Return the medians over rounds, with smallest and largest where it matters."""
    return {server: {load: _median(rounds) for load, rounds in loads.items()} for server, loads in rows.items()}


def _median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    whole = [row for row in rounds if "error" not in row]
    result: dict[str, Any] = {
        "runs": len(whole),
        "errors": [row["error"] for row in rounds if "error" in row],
        "ends": sorted({row["end"] for row in whole if "end" in row}),
    }
    for name in AVERAGED:
        values = [row[name] for row in whole if row.get(name) is not None]
        if values:
            result[name] = round(statistics.median(values), 4)
            if name in RANGED:
                result |= {f"{name}_min": min(values), f"{name}_max": max(values)}
    return result


def ratio(rows: Rows, server: str, workload: str, peer: str) -> str:
    """Return the ratio of CPU per delivery to a peer's, paired by round: median (smallest-largest)."""
    ours, theirs = (
        {row["rep"]: row["cpu_us_per_delivery"] for row in rows.get(name, {}).get(workload, []) if _has_cpu(row)}
        for name in (server, peer)
    )
    ratios = [ours[rep] / theirs[rep] for rep in ours if rep in theirs]
    return f"{statistics.median(ratios):.3g} ({min(ratios):.2g}-{max(ratios):.2g})" if ratios else "-"


def _has_cpu(row: dict[str, Any]) -> bool:
    return bool(row.get("cpu_us_per_delivery"))


def _table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines])


def main(paths: list[str]) -> None:
    """Print the tables of these files."""
    rows = read(paths)
    results = medians(rows)
    Path("results.json").write_text(json.dumps(results, indent=1))

    def cell(server: str, workload: str, name: str, form: str = ".2f", unit: float = 1) -> str:
        value = results[server].get(workload, {}).get(name)
        return "-" if value is None else format(value / unit, form)

    def latency(server: str, workload: str) -> str:
        return f"{cell(server, workload, 'p50_us', unit=1e3)} / {cell(server, workload, 'p99_us', '.1f', 1e3)}"

    def lost(server: str) -> str:
        found = {name: load["lost_max"] for name, load in results[server].items() if load.get("lost_max")}
        return json.dumps(found) if found else "0"

    head = ["relay", "W1 µs/delivery", "W1 p50 / p99 ms", "W7 µs/delivery", "W7 p50 / p99 ms", "W2 µs/delivery"]
    head += ["W2 M deliveries/s", "W3 µs/delivery", "W4 µs/message", "W5 KB/reader", "lost (most in a round)"]
    lines = [
        [
            server,
            cell(server, "W1", "cpu_us_per_delivery"),
            latency(server, "W1"),
            cell(server, "W7", "cpu_us_per_delivery"),
            latency(server, "W7"),
            cell(server, "W2", "cpu_us_per_delivery", ".3f"),
            cell(server, "W2", "deliveries_per_s", unit=1e6),
            cell(server, "W3", "cpu_us_per_delivery", ".3f"),
            cell(server, "W4", "cpu_us_per_msg"),
            cell(server, "W5", "rss_conn_kb", ".1f"),
            lost(server),
        ]
        for server in results
    ]
    print(_table(head, lines))

    if slow := [server for server in results if "W6" in results[server]]:
        head = ["relay, one of 50 stopped reading", "end", "lost of the other 49", "p99 ms", "longest stall ms"]
        head += ["readers closed", "MB at start", "MB at most"]
        lines = [
            [
                server,
                ", ".join(results[server]["W6"]["ends"] or results[server]["W6"]["errors"]),
                cell(server, "W6", "lost", ".0f"),
                cell(server, "W6", "p99_us", ".1f", 1e3),
                cell(server, "W6", "max_stall_ms", ".0f"),
                cell(server, "W6", "closed", ".0f"),
                cell(server, "W6", "rss_start_kb", ".1f", 1024),
                cell(server, "W6", "rss_peak_kb", ".1f", 1024),
            ]
            for server in slow
        ]
        print(f"\n{_table(head, lines)}")

    print("\nRatios of CPU per delivery, paired by round: median (smallest-largest)\n")
    head = ["relay", *(f"{workload} to {peer}" for workload in COMPARED for peer in PEERS)]
    lines = [[server, *(ratio(rows, server, load, peer) for load in COMPARED for peer in PEERS)] for server in rows]
    print(_table(head, lines))


if __name__ == "__main__":
    main(sys.argv[1:])
