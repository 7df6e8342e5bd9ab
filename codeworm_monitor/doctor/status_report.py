"""The report of `status`: the verdict and what it rests on, as rows for a person and as JSON with keys that stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from codeworm_monitor.doctor.screen import Row
from codeworm_monitor.health import Health, Verdict
from codeworm_monitor.moments import in_two_units
from codeworm_monitor.told import Told

__all__ = ["status_as_dict", "status_rows"]

MOST_MODELS = 16
"""That are named; a relay tells no more."""
_STYLES = {Verdict.HEALTHY: "good", Verdict.DEGRADED: "bad", Verdict.DOWN: "worst"}


def status_as_dict(health: Health) -> dict[str, Any]:
    """Return the report, ready for JSON; every key is always there. Its keys are named in `status --help`."""
    look, told = health.look, Told(health.look.info)
    archive, snapshot = told.object("statistics", "archive"), told.object("snapshot") or Told(None)
    since = snapshot.time("since")
    return {
        "verdict": str(health.verdict),
        "exit_status": health.verdict.rank,
        "checked_at": _iso(look.at),
        "reasons": [
            {"verdict": str(one.verdict), "about": one.about, "what": one.what, "mend": one.mend}
            for one in health.reasons
        ],
        "relay": {
            "url": look.url,
            "is_reachable": look.problem is None,
            "version": told.text("statistics", "version"),
            "started_at": _iso(told.time("statistics", "started_at")),
            "is_replay": look.is_replay,
        },
        "upstream": {
            "name": told.text("statistics", "upstream"),
            "is_heard": look.is_ready if look.info is None else told.flag("statistics", "is_connected"),
            "since": _iso(told.time("statistics", "upstream_since")),
            "reason": told.text("statistics", "upstream_reason"),
            "outages": told.count("statistics", "outages"),
            "probe": told.text("statistics", "probe_state"),
        },
        "activity": {
            **{name: snapshot.text(name) for name in ("stage", "repo", "target", "doc_type", "language")},
            "since": _iso(since),
            "seconds": None if since is None else round(max(0.0, look.at - since), 1),
            "next_cycle_at": _iso(snapshot.time("next_cycle_at")),
        },
        "messages": {
            "last_at": _iso(told.time("statistics", "last_message_at")),
            "silence_seconds": None if health.silence is None else round(health.silence, 1),
            "per_second": told.number("statistics", "messages_per_second"),
            "received": told.counts("statistics", "received"),
        },
        "last_commit": _happened(snapshot, "last_commit", "repo", "target", "commit", "commit_message"),
        "last_error": _happened(snapshot, "last_error", "event", "target", "error"),
        "failures_in_a_row": look.failures,
        "archive": None
        if archive is None
        else {
            "directory": archive.text("directory"),
            "is_writing": archive.flag("is_writing"),
            "reason": archive.text("reason"),
            "waiting": archive.count("waiting"),
            "lost": archive.count("lost"),
        },
        "readers": {
            "connected": told.count("statistics", "readers"),
            "behind": told.count("statistics", "readers_behind"),
            "evicted": told.count("statistics", "readers_evicted"),
        },
        "gaps": told.counts("statistics", "gaps"),
        "disk": None if look.disk is None else {"free_bytes": look.disk.free, "total_bytes": look.disk.total},
        "ollama": None if (ollama := told.object("ollama")) is None else _ollama_as_dict(ollama),
    }


def status_rows(health: Health) -> list[Row]:
    """Return the report as rows, the verdict first, the reasons with their mends next."""
    rows = [Row(str(health.verdict).upper(), _headline(health), _STYLES[health.verdict])]
    for reason in health.reasons:
        rows += [Row(reason.about, reason.what, _STYLES[reason.verdict]), Row("", f"→ {reason.mend}")]
    if health.look.info is not None:
        rows += _facts(health)
    return rows


def _headline(health: Health) -> str:
    match health.verdict:
        case Verdict.HEALTHY:
            return "CodeWorm is heard, and nothing speaks against its health"
        case Verdict.DEGRADED:
            return "something needs a look"
        case Verdict.DOWN:
            return "CodeWorm does not work, or is not heard"


def _facts(health: Health) -> Iterator[Row]:
    look, told = health.look, Told(health.look.info)
    statistics = told.object("statistics") or Told(None)
    snapshot = told.object("snapshot") or Told(None)
    now = look.at
    relay = [look.url, f"version {statistics.text('version') or 'not told'}"]
    if started := statistics.time("started_at"):
        relay.append(f"up for {_length(now - started)} (since {_local(started)})")
    if look.is_replay:
        relay.append("serves the past")
    yield Row("relay", " · ".join(relay))
    heard = "heard" if statistics.flag("is_connected") else "NOT heard"
    upstream = [statistics.text("upstream") or "not told", heard]
    if since := statistics.time("upstream_since"):
        upstream[-1] += f" since {_local(since)}"
    if outages := statistics.count("outages"):
        upstream.append(f"{outages} outages")
    yield Row("upstream", " · ".join(upstream))
    doing = [(snapshot.text("stage") or "unknown").replace("_", " ")]
    doing += [text for name in ("repo", "target", "doc_type") if (text := snapshot.text(name))]
    if since := snapshot.time("since"):
        doing.append(f"for {_length(now - since)}")
    if (next_at := snapshot.time("next_cycle_at")) and next_at > now:
        doing.append(f"next cycle in {_length(next_at - now)}")
    yield Row("activity", " · ".join(doing))
    yield Row("last message", _messages(statistics, health.silence, now))
    if commit := snapshot.object("last_commit"):
        yield Row("last commit", _told_of(commit, now, "repo", "target", "commit", "commit_message"))
    if error := snapshot.object("last_error"):
        yield Row("last error", _told_of(error, now, "event", "target", "error"))
    yield Row("failures", "not known" if look.failures is None else f"{look.failures} in a row")
    if ollama := told.object("ollama"):
        yield Row("ollama", _ollama(ollama))
    yield Row("archive", _archive(statistics, look.info))
    behind, evicted = statistics.count("readers_behind"), statistics.count("readers_evicted")
    yield Row(
        "readers", f"{statistics.count('readers') or 0} connected · {behind or 0} behind · {evicted or 0} cut so far"
    )
    gaps = statistics.counts("gaps")
    yield Row("gaps", " · ".join(f"{number} {cause.replace('_', ' ')}" for cause, number in gaps.items()) or "none")
    if look.disk is not None and look.disk.total:
        share = look.disk.free / look.disk.total
        yield Row("disk", f"{look.disk.free / 2**30:,.1f} GiB free ({share:.0%})")


def _messages(statistics: Told, silence: float | None, now: float) -> str:
    last = statistics.time("last_message_at")
    said = "none since the relay began" if last is None else f"{_length(now - last)} ago"
    if silence is not None and last is not None and silence < now - last - 1:
        said += f" (heard again for {_length(silence)})"
    received = statistics.counts("received")
    return f"{said} · {sum(received.values()):,} received" if received else said


def _archive(statistics: Told, info: Any) -> str:
    archive = statistics.object("archive")
    if archive is None:
        return "nothing is kept (--no-archive)" if isinstance(info, dict) and "archive" in info else "not told"
    said = [archive.text("directory") or "", "written" if archive.flag("is_writing") else "NOT written"]
    said += [f"{number:,} {name}" for name in ("waiting", "lost") if (number := archive.count(name))]
    return " · ".join(part for part in said if part)


def _ollama_as_dict(ollama: Told) -> dict[str, Any]:
    return {
        "url": ollama.text("url"),
        "is_reachable": ollama.flag("is_reachable"),
        "since": _iso(ollama.time("since")),
        "reason": ollama.text("reason"),
        "version": ollama.text("version"),
        "models": _models(ollama),
        "models_loaded": ollama.count("models_loaded"),
        "size_bytes": ollama.count("size"),
        "vram_bytes": ollama.count("size_vram"),
        "outages": ollama.count("outages"),
    }


def _models(ollama: Told) -> list[str] | None:
    """Return the names of the models that are loaded; None: not known, as in an outage."""
    models = ollama.at("models")
    if not ollama.flag("is_reachable") or not isinstance(models, list):
        return None
    return [name for one in models[:MOST_MODELS] if (name := Told(one).text("name"))]


def _ollama(ollama: Told) -> str:
    said = [ollama.text("url") or "not told"]
    is_reachable = ollama.flag("is_reachable")
    if is_reachable is None:
        return " · ".join([*said, "not known yet"])
    since = ollama.time("since")
    said.append(("reached" if is_reachable else "NOT reached") + (f" since {_local(since)}" if since else ""))
    if is_reachable:
        said.append(f"version {ollama.text('version') or 'not told'}")
        said.append(_loaded(ollama))
    if outages := ollama.count("outages"):
        said.append(f"{outages} outages")
    return " · ".join(said)


def _loaded(ollama: Told) -> str:
    names = _models(ollama)
    if names is None:
        return "too old to tell what is loaded"
    number = ollama.count("models_loaded")
    number = len(names) if number is None else number
    if not number:
        return "no model loaded"
    said = f"{number} model{'' if number == 1 else 's'} loaded"
    size, vram = ollama.count("size"), ollama.count("size_vram")
    if size:
        said += f" ({size / 1e9:.1f} GB" + ("" if vram is None else f", {vram / 1e9:.1f} GB of it VRAM") + ")"
    return f"{said}: {', '.join(names)}" if names else said


def _told_of(told: Told, now: float, *names: str) -> str:
    at = told.time("at")
    said = [] if at is None else [f"{_length(now - at)} ago"]
    return " · ".join(said + [text for name in names if (text := told.text(name))])


def _happened(snapshot: Told, name: str, *fields: str) -> dict[str, Any] | None:
    told = snapshot.object(name)
    return None if told is None else {"at": _iso(told.time("at"))} | {field: told.text(field) for field in fields}


def _length(seconds: float) -> str:
    return in_two_units(max(0.0, seconds)) or "0 s"


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _iso(seconds: float | None) -> str | None:
    return (
        None
        if seconds is None
        else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
