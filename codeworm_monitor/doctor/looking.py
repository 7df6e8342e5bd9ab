"""A look at a relay: what `status` needs, asked in parallel and within a time."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from codeworm_monitor.doctor.asking import Whereabouts, fetch, fetch_json
from codeworm_monitor.doctor.bounding import begun
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.health import Disk, Look, failures_in_a_row
from codeworm_monitor.told import Told

__all__ = ["disk_of", "look_at"]

RECENT = 1_000
"""Newest log lines in which failures in a row are counted: some hundred cycles."""

T = TypeVar("T")


def look_at(place: Whereabouts, *, within: float) -> Look:
    """Return what a relay shows of itself; never takes longer than `within` seconds, and a moment.

    Args:
        place: The relay.
        within: Seconds for all questions, which are asked at one time.
    """
    deadline = time.monotonic() + within

    def taken(future: Future[T]) -> T:
        try:
            return future.result(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise ConnectError("it did not answer in time") from None

    ready = begun(lambda: fetch(place, "/readyz", within=within), name="status:ask")
    info = begun(lambda: fetch_json(place, "/info", within=within), name="status:ask")
    recent = begun(
        lambda: fetch_json(place, "/history", within=within, channel="logs", reverse="true", limit=RECENT, since="2d"),
        name="status:ask",
    )
    seen: dict[str, Any] = {"url": place.url, "is_replay": place.is_replay}
    try:
        answer = taken(ready)
    except ConnectError as error:
        return Look(at=time.time(), problem=str(error), **seen)
    lines = answer.body.decode(errors="replace").splitlines()
    seen["ready_text"] = " ".join(lines[0].split())[:300] if lines else ""
    seen["is_ready"] = {200: True, 503: False}.get(answer.status)
    try:
        seen["info"] = taken(info)
    except ConnectError as error:
        return Look(at=time.time(), refusal=str(error), **seen)
    with suppress(ConnectError):  # an older relay has no history: how many failed is not known then
        entries = Told(taken(recent)).at("entries")
        seen["failures"] = failures_in_a_row(entries) if isinstance(entries, list) else None
    if place.is_announced:  # else its directory may be another machine's, seen through a tunnel
        seen["disk"] = disk_of(Told(seen["info"]).text("archive", "directory"))
    return Look(at=time.time(), **seen)


def disk_of(directory: str | None) -> Disk | None:
    """Return the room on the disk of a directory; None: it is not here."""
    if directory is None:
        return None
    path = Path(directory)
    while not path.exists() and path != path.parent:
        path = path.parent  # it is made when it is first written
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return Disk(free=found.f_bavail * found.f_frsize, total=found.f_blocks * found.f_frsize)
