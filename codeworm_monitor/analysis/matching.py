"""Matching: which document of CodeWorm's database is of which cycle, one to one, by its commit."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import UTC, datetime, tzinfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.coverage import MISSING, Micros, micros
from codeworm_monitor.analysis.host_time import in_utc, utc_offsets
from codeworm_monitor.snippets import Snippet

__all__ = ["NOWHERE", "Places", "commit_moments", "matched"]

NOWHERE = -1
"""Place of the cycle that a document has not."""
_NEAR = 60_000_000
"""Microseconds between the moments that document and cycle tell, at most; they are of one clock."""

Places = npt.NDArray[np.int64]


def matched(snippets: Sequence[Snippet], cycles: pd.DataFrame, zone: tzinfo) -> tuple[Places, Micros]:
    """Return of each document its cycle, and its time.

    A commit's hash is cut to 8 characters, so that of 50,000 some are likely to be alike: a document and a cycle of one
    hash are one only if they do not contradict each other in repository, target and kind of document, and tell one time,
    but for a UTC offset. Of several of one hash, those are one that tell the same and are nearest in time.

    Args:
        snippets: Documents in the order in which they were recorded.
        cycles: As `cycles.cycles` returns them.
        zone: Zone of the daemon's host, as far as messages do not tell its UTC offset.

    Returns:
        Place of its cycle in the frame, or `NOWHERE`; when it was recorded, microseconds, UTC, `MISSING` where what is
        written is no time.
    """
    local, aware = _read_times([snippet.documented_at for snippet in snippets])
    moments = commit_moments(cycles)
    commits = cycles["commit"].astype("object").where(cycles["commit"].notna(), None).tolist()
    chosen = np.full(len(snippets), NOWHERE, np.int64)
    its_moment = np.full(len(snippets), MISSING)
    by_commit = _single([snippet.git_commit for snippet in snippets])
    its_cycle = _single(commits)
    pairs = [(place, its_cycle[commit]) for commit, place in by_commit.items() if commit in its_cycle]
    if pairs:
        rows, others = np.array(pairs, np.int64).T
        can_be = np.array(
            [_agree(snippets[row], cycle) for row, cycle in zip(rows, _told(cycles, others), strict=True)]
        )
        is_timed = (local[rows] != MISSING) & (moments[others] != MISSING)
        can_be &= ~is_timed | (utc_offsets(local[rows], moments[others]) != MISSING)
        chosen[rows[can_be]] = others[can_be]
        its_moment[rows[can_be]] = moments[others[can_be]]
    times = np.where(aware == MISSING, in_utc(local, its_moment, zone), aware)
    left = _nearest(snippets, times, chosen, cycles, commits, moments)
    chosen[left[0]] = left[1]
    return chosen, times


def commit_moments(cycles: pd.DataFrame) -> Micros:
    """Return when each cycle made its commit, microseconds, UTC, `MISSING` where it is unknown or there is none."""
    ended = micros(cycles["ended_at"])
    pushing = np.nan_to_num(cycles["push_s"].to_numpy(np.float64, na_value=np.nan), nan=0.0)
    has_one = cycles["commit"].notna().to_numpy() & (ended != MISSING)
    return np.where(has_one, ended - np.round(pushing * 1e6).astype(np.int64), MISSING)


def _read_times(texts: Sequence[str]) -> tuple[Micros, Micros]:
    """Return local times as if they were UTC, and those that tell their zone in UTC; each `MISSING` where it is none."""
    local: list[datetime | None] = [None] * len(texts)
    aware: list[datetime | None] = [None] * len(texts)
    for place, text in enumerate(texts):
        try:
            time = datetime.fromisoformat(text)
            if time.tzinfo is None:
                local[place] = time
            else:
                aware[place] = time.astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            continue
    read = [np.array(times, "datetime64[us]").view(np.int64) for times in (local, aware)]
    return read[0], read[1]


def _single(keys: Sequence[str | None]) -> dict[str, int]:
    """Return the places of those keys that are there once."""
    places: dict[str, int] = {}
    several = set()
    for place, key in enumerate(keys):
        if key:
            if key in places:
                several.add(key)
            places[key] = place
    return {key: place for key, place in places.items() if key not in several}


def _told(cycles: pd.DataFrame, places: Places) -> list[tuple[str, ...]]:
    """Return repository, target and kind of document of some cycles; an empty text stands for what is unknown."""
    some = cycles[["repo", "target", "doc_type"]].iloc[places]
    columns = [values.astype("object").where(values.notna(), "") for _, values in some.items()]
    return list(zip(*columns, strict=True))


def _agree(snippet: Snippet, told: tuple[str, ...]) -> bool:
    said = (snippet.source_repo, snippet.target, snippet.doc_type)
    return all(not one or not other or one == other for one, other in zip(said, told, strict=True))


def _nearest(
    snippets: Sequence[Snippet],
    times: Micros,
    chosen: Places,
    cycles: pd.DataFrame,
    commits: Sequence[str | None],
    moments: Micros,
) -> tuple[Places, Places]:
    """Return documents and cycles of hashes that several have: those that tell the same at the same time."""
    taken = set(chosen.tolist())
    sought = [place for place in range(len(snippets)) if chosen[place] == NOWHERE and times[place] != MISSING]
    hashes = {snippets[place].git_commit for place in sought}
    others = [
        place
        for place, commit in enumerate(commits)
        if commit and commit in hashes and place not in taken and moments[place] != MISSING
    ]
    hashes = {commits[place] for place in others}
    rows = [place for place in sought if snippets[place].git_commit in hashes]
    numbers: dict[Hashable, int] = {}
    left = _side(
        [
            (commits[place], target, doc_type)
            for place, (_, target, doc_type) in zip(others, _told(cycles, np.array(others, np.int64)), strict=True)
        ],
        moments,
        others,
        numbers,
    )
    right = _side(
        [(one.git_commit, one.target, one.doc_type) for one in (snippets[place] for place in rows)],
        times,
        rows,
        numbers,
    )
    found = pd.merge_asof(
        left, right, on="time", by="key", direction="nearest", tolerance=_NEAR, suffixes=("_cycle", "_row")
    ).dropna(subset="place_row")
    found = found.assign(error=(found["time"] - times[found["place_row"].astype(np.int64)]).abs())
    found = found.sort_values("error", kind="stable").drop_duplicates("place_row")
    return found["place_row"].to_numpy(np.int64), found["place_cycle"].to_numpy(np.int64)


def _side(keys: Sequence[Hashable], times: Micros, places: Sequence[int], numbers: dict[Hashable, int]) -> pd.DataFrame:
    at = np.array(places, np.int64)
    known = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    return pd.DataFrame({"time": times[at], "key": known, "place": at}).sort_values("time", kind="stable")
