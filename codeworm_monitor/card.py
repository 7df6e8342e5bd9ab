"""The status card: what a monitor shows of itself in a notebook, as static HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

import pandas as pd

from codeworm_monitor.activity import Snapshot
from codeworm_monitor.analysis.steps import extra_value
from codeworm_monitor.status import State, Status

__all__ = ["ollama_line", "status_card", "status_line"]

LONGEST = 300
"""Characters shown of one text, which may be anybody's."""

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SIGNS = {State.CONNECTED: "●", State.RECORDING: "■", State.CLOSED: "○"}

# JupyterLab's colours, else VS Code's, else the system's; background and text are painted both, whatever surrounds it.
_STYLE = (
    "color-scheme:light dark;display:inline-block;max-width:60em;padding:.6em 1em;border-radius:6px;"
    "border:1px solid var(--jp-border-color1,var(--vscode-panel-border,GrayText));"
    "background:var(--jp-layout-color1,var(--vscode-editor-background,Canvas));"
    "color:var(--jp-ui-font-color1,var(--vscode-editor-foreground,CanvasText));"
    "font:13px/1.5 system-ui,sans-serif;overflow-wrap:anywhere"
)
_CELL = "text-align:left;vertical-align:top;padding:0 1.2em 0 0;background:none;color:inherit;border:0"


def status_line(status: Status, rows: Iterable[tuple[str, int]]) -> str:
    """Return one line for `repr`: state, place and sizes."""
    sizes = ", ".join(f"{count:,} {name}" for name, count in rows)
    return f"<Monitor {_shown(status.name)!r} {status.state} {_shown(status.url or 'nowhere yet')}: {sizes}>"


def ollama_line(records: pd.DataFrame) -> str | None:
    """Return in one line what the relay saw of Ollama last; None: it did not look, or what it told is not here any more.

    Args:
        records: What the relay told of it, with the columns of `Traffic.journal`.
    """
    if records.empty:
        return None
    newest = records.iloc[-1]
    if newest["event"] in ("ollama_unreachable", "ollama_still_unreachable"):
        since = extra_value(newest["extra"], "since") or f"{newest['received_at']:%Y-%m-%d %H:%M:%S} UTC"
        reason = newest["error"] if isinstance(newest["error"], str) else "nobody knows why"
        return f"not reachable since {since}: {reason}"
    version, models = (extra_value(newest["extra"], name) for name in ("version", "models"))
    parts = ["reachable", *([f"version {version}"] if version else [])]
    if isinstance(models, list):
        names = [str(one.get("name", "?")) for one in models if isinstance(one, dict)]
        parts.append(", ".join(names) or "no model loaded")
    if isinstance(vram := extra_value(newest["extra"], "size_vram"), int) and vram > 0:
        parts.append(f"{vram / 1e9:.1f} GB of VRAM")
    return " · ".join(parts)


def status_card(
    status: Status, snapshot: Snapshot, rows: Iterable[tuple[str, int]], *, ollama: str | None = None
) -> str:
    """Return the card as HTML: no script, no link, all text escaped; `ollama` is a line of `ollama_line`."""
    facts: list[tuple[str, str]] = [("Relay", status.url or "none yet")]
    if status.last_error and status.state is not State.CONNECTED:
        facts.append(("Trouble", status.last_error))
    doing = [str(snapshot.stage).replace("_", " ")]
    doing += [text for text in (snapshot.repo, snapshot.target, snapshot.doc_type, snapshot.language) if text]
    facts.append(("Activity", " · ".join(doing) + (f" · since {_time(snapshot.since)}" if snapshot.since else "")))
    if snapshot.next_cycle_at:
        facts.append(("Next cycle", _time(snapshot.next_cycle_at)))
    if commit := snapshot.last_commit:
        facts.append(("Last commit", _joined(commit, "at", "repo", "target", "commit", "commit_message")))
    if error := snapshot.last_error:
        facts.append(("Last error", _joined(error, "at", "event", "target", "error")))
    if ollama:
        facts.append(("Ollama", ollama))
    counters = snapshot.counters
    if counters.total_documented is not None:
        facts.append(("Documents", f"{counters.total_documented:,} · {counters.last_7_days or 0:,} in 7 days"))
    facts.append(("Rows", " · ".join(f"{count:,} {name}" for name, count in rows)))
    flow = [f"{status.received:,} received", f"{status.rate:.1f}/s", f"{status.gaps:,} gaps"]
    flow += [
        f"{count:,} {name}" for name, count in (("reconnects", status.reconnects), ("dropped", status.dropped)) if count
    ]
    facts.append(("Messages", " · ".join(flow)))
    body = "".join(
        f'<tr style="background:none"><th scope="row" style="{_CELL};font-weight:600;white-space:nowrap">{_html(name)}</th>'
        f'<td style="{_CELL}">{_html(value)}</td></tr>'
        for name, value in facts
    )
    sign = _SIGNS.get(status.state, "◌")
    title = f"{sign} {status.name} · {status.state} since {status.since:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f'<div style="{_STYLE}"><strong>{_html(title)}</strong>'
        f'<table style="border:0;margin:.4em 0 0;font:inherit;color:inherit">{body}</table></div>'
    )


def _joined(fields: dict[str, object], *names: str) -> str:
    texts = [_time(value) if name == "at" else str(value) for name in names if (value := fields.get(name)) is not None]
    return " · ".join(texts)


def _time(seconds: object) -> str:
    try:
        return f"{datetime.fromtimestamp(float(str(seconds)), UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "?"


def _shown(text: str) -> str:
    plain = _CONTROLS.sub(" ", text)
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def _html(text: str) -> str:
    return escape(_shown(text))
