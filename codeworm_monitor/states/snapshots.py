"""Snapshots as a relay tells them: what has a wrong type is left out, so that whoever shows them need not look."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

from codeworm_monitor.activity import Counters, Snapshot

__all__ = ["sound", "sound_snapshot"]

_LARGEST = 1e15


def sound_snapshot(values: dict[str, Any]) -> Snapshot:
    """Return the snapshot that `hello` told; never raises."""
    try:
        told = Snapshot.from_dict(values)
    except (TypeError, ValueError, AttributeError):
        return Snapshot()
    return sound(told)


def sound(told: Snapshot) -> Snapshot:
    """Return a snapshot without what has a wrong type; never raises."""
    known: dict[str, Any] = {}
    for name in ("since", "next_cycle_at", "last_message_at"):
        known[name] = _number(getattr(told, name))
    for name in ("target", "repo", "doc_type", "language"):
        known[name] = value if isinstance(value := getattr(told, name), str) else None
    for name in ("last_commit", "last_error"):
        known[name] = value if isinstance(value := getattr(told, name), dict) else {}
    known["cycle_num"] = _whole(told.cycle_num)
    counters: dict[str, Any] = {one.name: _whole(getattr(told.counters, one.name)) for one in fields(Counters)}
    counters["success_rate"] = _number(told.counters.success_rate)
    by_repo = told.counters.by_repo if isinstance(told.counters.by_repo, dict) else {}
    counters["by_repo"] = {name: count for name, count in by_repo.items() if _whole(count) is not None}
    return replace(told, counters=Counters(**counters), **known)


def _whole(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < _LARGEST else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        return None
    return float(value) if math.isfinite(value) else None
