"""A still picture of the panels and the newest rows: static HTML for where nothing runs, and a few plain lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from codeworm_monitor.states.plain_text import clock, date_time, html_text, length, one_line
from codeworm_monitor.states.wire_rows import GAP, SKIPPED, WireRow

__all__ = ["MOST_ROWS", "still_html", "still_text"]

MOST_ROWS = 200
MOST_COMMITS = 20
MOST_NAMES = 12
MOST_DETAILS = 8
ERROR = 600
"""Characters of an error."""
_PANELS = ("activity", "stats", "commits", "repositories", "health")
_BARS = "▁▂▃▄▅▆▇█"
_FIRST = ("event", "type", "level", "component", "timestamp", "exception", "data")
_ABOUT = ("repo", "target", "doc_type", "language")

# JupyterLab's colours, else VS Code's, else the system's; background and text are painted both, whatever surrounds it.
# Nothing is told by a colour of the text, whose contrast would be another in each theme.
_BORDER = "var(--jp-border-color1,var(--vscode-panel-border,GrayText))"
_PAGE = (
    "color-scheme:light dark;box-sizing:border-box;max-width:100%;padding:.6em 1em;border-radius:6px;"
    f"border:1px solid {_BORDER};background:var(--jp-layout-color1,var(--vscode-editor-background,Canvas));"
    "color:var(--jp-ui-font-color1,var(--vscode-editor-foreground,CanvasText));"
    "font:13px/1.5 system-ui,sans-serif;text-align:left;white-space:normal;overflow-wrap:anywhere"
)
_HEAD = "display:block;margin:.8em 0 .2em;font-weight:600"
_LINE = "margin:0;padding:.05em 0 .05em .6em;border-left:3px solid"
_ROWS = "font:12px/1.5 ui-monospace,Menlo,Consolas,monospace"
_BOX = "display:flex;flex-direction:column-reverse;max-height:30em;overflow:auto"
"""By its direction it opens at its end, where the newest row is."""
_TILE = "flex:1 1 7em;min-width:0"
_LEVEL_COLOURS = {"warning": "#b7791f", "error": "#d13438", "critical": "#d13438"}
_GAP_COLOUR = "#b7791f"


def still_html(states: Mapping[str, Any], rows: Sequence[WireRow], *, title: str, now: float) -> str:
    """Return the picture as HTML: no script, no link, nothing from elsewhere, all text inert.

    Args:
        states: As `PanelStates.as_dict` returns them; a panel that is not there is left out.
        rows: Newest rows of the log, the oldest first; of more than 200 the newest. None, beside some of the panels: the
            log is left out.
        title: What it is a picture of, such as "CodeWorm".
        now: When, Unix seconds.
    """
    heading = f"<strong>{html_text(title)}</strong> as of {date_time(now)}: a still picture, run the cell again for a live view"
    sections = [
        _section("Activity", _activity(_panel(states, "activity"), now)) if "activity" in states else "",
        _section("Documents", _stats(_panel(states, "stats"), now)) if "stats" in states else "",
        _section("Newest commits", _commits(_panel(states, "commits"), now)) if "commits" in states else "",
        _section("Repositories", _repositories(_panel(states, "repositories"), now))
        if "repositories" in states
        else "",
        _section("Health", _health(_panel(states, "health"), now)) if "health" in states else "",
        _section("Log", _log(rows, now)) if rows or not states or len(states) == len(_PANELS) else "",
    ]
    # The classes keep MathJax, of JupyterLab and of nbconvert, from what is no formula.
    return f'<div class="mathjax_ignore tex2jax_ignore" style="{_PAGE}"><div>{heading}</div>{"".join(sections)}</div>'


def still_text(states: Mapping[str, Any]) -> str:
    """Return the states in a few plain lines."""
    activity, stats, health = (_panel(states, name) for name in ("activity", "stats", "health"))
    now = 0.0  # dates are always told
    lines = ["CodeWorm: " + " · ".join([_doing(activity), *_about(activity)])]
    if activity.get("since") is not None:
        lines[0] += f", since {date_time(activity['since'])}"
    if figures := [f"{_number(stats.get(key))} {name}" for key, name in _FIGURES if stats.get(key) is not None]:
        lines.append(f"documents: {', '.join(figures)}")
    if told := _told_commit(activity.get("last_commit"), now):
        lines.append(f"last commit: {told}")
    if told := _told_error(activity.get("last_error"), now):
        lines.append(f"last error: {told}")
    if connection := _object(health.get("connection")):
        parts = [one_line(connection.get("state")), one_line(connection.get("url")), one_line(connection.get("reason"))]
        lines.append(f"relay: {' · '.join(filter(None, parts))}")
    return "\n".join(lines)


_FIGURES = (
    *(("total", "in all"), ("today", "today"), ("last_7_days", "in 7 days"), ("last_30_days", "in 30 days")),
    *(("success_rate", "% of cycles well"), ("consecutive_failures", "failures in a row")),
)


def _activity(state: Mapping[str, Any], now: float) -> str:
    since = state.get("since")
    doing = " · ".join([_doing(state), *_about(state)])
    facts = [("Now", doing + ("" if since is None else f", since {clock(since, now)} ({length(now - since)})"))]
    if state.get("cycle_num") is not None:
        facts.append(("Cycle", _number(state["cycle_num"])))
    if state.get("next_cycle_at") is not None:
        facts.append(("Next cycle", clock(state["next_cycle_at"], now)))
    if state.get("last_message_at") is not None:
        quiet = now - state["last_message_at"]
        limit = state.get("silence_limit")
        warning = " (longer than usual)" if limit is not None and quiet > limit else ""
        facts.append(("Newest message", f"{clock(state['last_message_at'], now)}, {length(quiet)} before{warning}"))
    facts.append(("Last commit", _told_commit(state.get("last_commit"), now) or "none so far"))
    facts.append(("Last error", _told_error(state.get("last_error"), now) or "none so far"))
    return _facts(facts)


def _stats(state: Mapping[str, Any], now: float) -> str:
    tiles = [
        (name, "unknown" if state.get(key) is None else f"{_number(state[key])}{unit}")
        for name, key, unit in (
            *(("in all", "total", ""), ("today", "today", ""), ("7 days", "last_7_days", "")),
            *(("30 days", "last_30_days", ""), ("cycles well", "success_rate", " %")),
            ("failures in a row", "consecutive_failures", ""),
        )
    ]
    shown = "".join(
        f'<div style="{_TILE}"><div style="font-size:1.5em">{html_text(value)}</div><div>{html_text(name)}</div></div>'
        for name, value in tiles
    )
    facts = [
        (name, ", ".join(f"{one_line(one[0], 80)} {_number(one[1])}" for one in _list(state.get(key))[:MOST_NAMES]))
        for name, key in (("By repository", "by_repo"), ("By language", "by_language"), ("By type", "by_doc_type"))
    ]
    counts = _list(_object(state.get("per_hour")).get("counts"))
    if any(counts):
        facts.append((f"Per hour, the last {len(counts)}", f"{_bars(counts)} at most {max(c or 0 for c in counts):,}"))
    if state.get("source") == "messages" and state.get("known_since") is not None:
        facts.append(("Counted", f"from messages since {date_time(state['known_since'])}"))
    tiled = f'<div style="display:flex;flex-wrap:wrap;gap:.4em 1em;padding-left:.8em">{shown}</div>'
    return tiled + _facts([(name, value) for name, value in facts if value])


def _commits(state: Mapping[str, Any], now: float) -> str:
    commits = _list(state.get("commits"))
    lines = [_line(_told_commit(one, now)) for one in commits[:MOST_COMMITS]]
    if len(commits) > MOST_COMMITS:
        lines.append(_line(f"and {len(commits) - MOST_COMMITS} before"))
    return "".join(lines) or _line("none so far")


def _repositories(state: Mapping[str, Any], now: float) -> str:
    lines = []
    for one in map(_object, _list(state.get("repositories"))):
        parts = [one_line(one.get("name"))]
        if one.get("documents") is not None:
            parts.append(f"{_number(one['documents'])} documents")
        if one.get("last_activity") is not None:
            parts.append(f"last {clock(one['last_activity'], now)}")
        if one.get("weight") is not None:
            parts.append(f"weight {_number(one['weight'])}")
        if one.get("is_enabled") is False:
            parts.append("off")
        if one.get("is_active"):
            parts.append("in work")
        lines.append(_line(" · ".join(parts), is_bold=bool(one.get("is_active"))))
    return "".join(lines) or _line("none is known")


def _health(state: Mapping[str, Any], now: float) -> str:
    connection, relay = _object(state.get("connection")), _object(state.get("relay"))
    told = [one_line(connection.get(name)) for name in ("state", "url", "reason")]
    facts = [("Connection", " · ".join(filter(None, told)))]
    flow = [f"{_number(state.get('received', 0))} received", f"{_number(state.get('rate', 0))} a second"]
    flow += [f"{_number(state[name])} {name}" for name in ("dropped", "evicted") if state.get(name)]
    if state.get("lag") is not None:
        flow.append(f"{state['lag'] * 1000:,.0f} ms behind")
    facts.append(("Messages", " · ".join(flow)))
    gaps = list(map(_object, _list(state.get("gaps"))))
    shown = [_told_gap(one, now) for one in gaps[:5]]
    facts.append((f"Gaps: {_number(state.get('gap_count', 0))}", "; ".join(shown) or "none"))
    if relay:
        readers = [f"{_number(relay[name])} {text}" for name, text in _READERS if relay.get(name) is not None]
        facts.append(
            (
                "Relay",
                " · ".join(filter(None, [one_line(relay.get("version")), *readers, one_line(relay.get("problem"))])),
            )
        )
    for name, key, flag, words in (
        ("Upstream", "upstream", "is_connected", ("heard", "NOT heard")),
        ("Archive", "archive", "is_writing", ("written", "NOT written")),
        ("Ollama", "ollama", "is_reachable", ("reached", "NOT reached")),
    ):
        if part := _object(state.get(key)):
            models = [one_line(one, 80) for one in _list(part.get("models"))]
            facts.append(
                (name, " · ".join(filter(None, [words[not part.get(flag)], one_line(part.get("reason")), *models])))
            )
    return _facts(facts)


_READERS = (("readers", "readers"), ("readers_behind", "behind"))


def _log(rows: Sequence[WireRow], now: float) -> str:
    shown = rows[-MOST_ROWS:]
    lines = [_row(row, now) for row in shown]
    if len(rows) > len(shown):
        lines.insert(0, _line(f"{len(rows) - len(shown):,} rows before these are not shown"))
    if not lines:
        return _line("no rows so far")
    return f'<div style="{_BOX}"><div style="{_ROWS}">{"".join(lines)}</div></div>'


def _row(row: WireRow, now: float) -> str:
    _, at, channel, data = row
    time = clock(at, now)
    if channel == GAP:
        return _line(f"{time} gap: {_told_gap(_object(data), now)}", colour=_GAP_COLOUR, is_bold=True)
    if channel == SKIPPED:
        return _line(f"{time} {_number(_object(data).get('count', 0))} rows not shown", colour=_GAP_COLOUR)
    fields = _object(data)
    level = one_line(fields.get("level"), 12).lower()
    place = one_line(channel, 60).rpartition(":")[2]
    name = one_line(fields.get("event") or fields.get("type") or place, 80)
    parts = [time, level.upper() or place, one_line(fields.get("component"), 40)]
    told = _details({**fields, **_object(fields.get("data"))}) if fields else [one_line(_json(data))]
    if isinstance(traceback := fields.get("exception"), str):
        told.append(one_line(traceback.rstrip().rpartition("\n")[2], ERROR))
    return (
        f'<div style="{_LINE} {_LEVEL_COLOURS.get(level, "transparent")}">{html_text(" ".join(filter(None, parts)))} '
        f"<strong>{html_text(name)}</strong> {html_text(' '.join(filter(None, told)), 3 * ERROR)}</div>"
    )


def _details(fields: Mapping[str, Any]) -> list[str]:
    told = [(key, value) for key, value in fields.items() if key not in _FIRST and value is not None]
    shown = [
        f"{one_line(key, 40)}={one_line(_json(value), ERROR if key == 'error' else 120)}"
        for key, value in told[:MOST_DETAILS]
    ]
    return shown + (["…"] if len(told) > MOST_DETAILS else [])


def _json(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except (TypeError, RecursionError):  # deeper than it writes, or no JSON
        return "…"


def _doing(state: Mapping[str, Any]) -> str:
    return one_line(state.get("stage") or "unknown").replace("_", " ")


def _about(state: Mapping[str, Any]) -> list[str]:
    return [text for name in _ABOUT if (text := one_line(state.get(name)))]


def _told_commit(told: Any, now: float) -> str:
    commit = _object(told)
    if not commit:
        return ""
    parts = [clock(commit.get("at"), now), *_about(commit), one_line(commit.get("commit"), 40)]
    if commit.get("tokens") is not None:
        parts.append(f"{_number(commit['tokens'])} tokens")
    seconds = commit.get("seconds")
    if seconds is None and commit.get("time_ms") is not None:
        seconds = commit["time_ms"] / 1000
    if seconds is not None:
        parts.append(length(seconds))
    if commit.get("tokens_per_second") is not None:
        parts.append(f"{_number(commit['tokens_per_second'])} tokens/s")
    parts.append(one_line(commit.get("commit_message")))
    return " · ".join(filter(None, parts))


def _told_error(told: Any, now: float) -> str:
    error = _object(told)
    if not error:
        return ""
    parts = [clock(error.get("at"), now), *(one_line(error.get(name), ERROR) for name in ("event", "target", "error"))]
    return " · ".join(filter(None, parts))


def _told_gap(gap: Mapping[str, Any], now: float) -> str:
    missed = "" if gap.get("missed") is None else f", {_number(gap['missed'])} missed"
    detail = f" ({one_line(gap['detail'])})" if gap.get("detail") else ""
    cause = one_line(gap.get("cause") or "unknown").replace("_", " ")
    return f"{cause} {clock(gap.get('started_at'), now)} to {clock(gap.get('ended_at'), now)}{missed}{detail}"


def _bars(counts: Iterable[Any]) -> str:
    known = [None if one is None else int(one) for one in counts]
    most = max((one for one in known if one), default=1)
    return "".join("·" if one is None else "_" if not one else _BARS[-(-one * len(_BARS) // most) - 1] for one in known)


def _section(name: str, body: str) -> str:
    return f'<div><span role="heading" aria-level="4" style="{_HEAD}">{html_text(name)}</span>{body}</div>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<div style="{_LINE} transparent"><strong>{html_text(name)}:</strong> {html_text(value, 3 * ERROR)}</div>'
        for name, value in facts
    )


def _line(text: str, *, colour: str = "transparent", is_bold: bool = False) -> str:
    shown = html_text(text, 3 * ERROR)
    return f'<div style="{_LINE} {colour}">{f"<strong>{shown}</strong>" if is_bold else shown}</div>'


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return one_line(value, 40)
    if not abs(value) < 1e15:
        return "?"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}".removesuffix(".0")


def _panel(states: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _object(states.get(name))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
