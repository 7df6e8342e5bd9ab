"""Repositories: which share of the work each had, how it went, and what is left to document."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import tzinfo

import numpy as np
import pandas as pd

from codeworm_monitor.analysis.answer import Answer, answer
from codeworm_monitor.analysis.backlog_estimate import FUNCTION_TYPES, backlog_estimate, new_share
from codeworm_monitor.analysis.coverage import MISSING, Micros, micros
from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.document_rows import document_rows, label_column, time_column
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.dtypes import text_column
from codeworm_monitor.repositories import Repository, read_repositories

__all__ = ["repos"]

_FAILED = ("failed", "llm_error")


def repos(
    traffic: Traffic,
    *,
    config: str | os.PathLike[str] | None = None,
    database: str | os.PathLike[str] | None = None,
    zone: str | tzinfo | None = None,
) -> Answer:
    """Return one row per repository: those that are configured, in the order of `repos.yaml`, then those only seen.

    Args:
        traffic: Messages and gaps of a stretch of time.
        config: CodeWorm's configuration directory, or its `repos.yaml`; None: it is not known.
        database: CodeWorm's database; None: it is not known.
        zone: Zone of the daemon's host, as for `documents`.

    Returns:
        Columns: name, path (str) · weight (float64; as configured, 5 where nothing is written) · enabled, is_configured
        (boolean; missing without `config`, and `enabled` of what is not in it) · documents (int64) · documents_from
        (category: database, the documents in it; stats, those that the daemon counted last; cycles, the commits that
        were heard, where neither is there) · last_activity (datetime64[us, UTC]; newest document, or sign of a cycle) ·
        share (float64; of all documents, 0 to 1) · expected_share (float64; by weight, among those enabled) · cycles (int64;
        that were heard) · success_rate (float64; committed cycles among those that committed or failed, 0 to 1) ·
        exhausted_at (datetime64[us, UTC]; since when CodeWorm finds nothing in it to document: the first cycle that it
        skipped for want of a candidate, in a run that the repository takes part in, after the newest sign of it) ·
        new_share (float64; share of the newest fifty documents that are about what none was about before; missing
        without `database`) · backlog_estimate (float64; documents of functions that can likely still be made,
        `backlog_estimate.backlog_estimate`; 0 if it is exhausted; missing without `database`, and where too few
        documents tell).

        A share of nothing is missing. CodeWorm 1.1.7 goes through the repositories in the order of the file and takes the
        first that has a candidate: what it does agrees with the weights in the long run at best.

    Raises:
        CodeWormFileError: One of the files is missing, cannot be read, or is another program's; says what to do.
        ValueError: There is no time zone of that name.
    """
    done = cycles(traffic)
    configured = [] if config is None else _first_of_each(read_repositories(config))
    made = None if database is None else document_rows(traffic, database, zone)
    by_repo = _told_counts(traffic.stats)
    counts, origin = _counts(made, by_repo, done)
    known = [one.name for one in configured]
    seen = {*counts, *_by_name(done["repo"])} - set(known)
    names = known + sorted(seen, key=lambda name: (-counts.get(name, 0), name))
    frame = pd.DataFrame({"name": text_column(np.array(names, object))})
    _configure(frame, configured, is_known=config is not None)
    documents = np.array([counts.get(name, 0) for name in names], np.int64)
    frame["documents"] = documents
    frame["documents_from"] = label_column(np.full(len(names), origin, object))
    newest = _newest(names, done, made)
    frame["last_activity"] = time_column(newest)
    with np.errstate(invalid="ignore"):
        frame["share"] = documents / np.float64(documents.sum())
        weights = np.where(frame["enabled"].fillna(value=False), frame["weight"], 0.0)
        weights = np.where(frame["is_configured"].fillna(value=False), weights, np.nan)
        frame["expected_share"] = weights / np.nansum(weights)
    _add_cycles(frame, done)
    exhausted = _exhausted(
        traffic.logs,
        done,
        dict(zip(names, newest.tolist(), strict=True)),
        [one.name for one in configured if one.enabled],
    )
    frame["exhausted_at"] = time_column(exhausted)
    _add_backlog(frame, made)
    return answer(frame, traffic.coverage, "repos")


def _first_of_each(listed: Sequence[Repository]) -> list[Repository]:
    found: dict[str, Repository] = {}
    for one in listed:
        found.setdefault(one.name, one)
    return list(found.values())


def _told_counts(stats: pd.DataFrame) -> tuple[dict[str, int], str, float] | None:
    """Return documents by repository as the daemon counted them last, and where in the log it said so."""
    told = stats[stats["by_repo"].notna()]
    for row in reversed(range(len(told))):
        try:
            counts = json.loads(told["by_repo"].iloc[row])
        except (ValueError, RecursionError):
            continue
        if isinstance(counts, dict):
            epoch, offset = told["epoch"].iloc[row], told["offset"].iloc[row]
            whole = {name: count for name, count in counts.items() if type(count) is int and 0 <= count < 2**53}
            return whole, str(epoch), float(offset)
    return None


def _counts(
    made: pd.DataFrame | None, told: tuple[dict[str, int], str, float] | None, done: pd.DataFrame
) -> tuple[dict[str, int], str]:
    """Return documents by repository, and where they are counted."""
    if made is not None:
        return _by_name(made.loc[made["is_in_database"], "repo"]), "database"
    has_commit = (done["outcome"] == "committed").to_numpy()
    if told is None:
        return _by_name(done.loc[has_commit, "repo"]), "cycles"
    counts, epoch, offset = told
    is_later = (done["epoch"] == epoch) & (done["first_offset"] > offset)
    for name, count in _by_name(done.loc[has_commit & is_later.to_numpy(), "repo"]).items():
        counts[name] = counts.get(name, 0) + count
    return counts, "stats"


def _by_name(repo: pd.Series[str]) -> dict[str, int]:
    counted = repo.astype("object").value_counts()
    return {str(name): int(count) for name, count in counted.items()}


def _texts(column: pd.Series[str]) -> list[str | None]:
    return [None if pd.isna(text) else text for text in column.astype("object")]


def _configure(frame: pd.DataFrame, configured: Sequence[Repository], *, is_known: bool) -> None:
    rest = len(frame) - len(configured)
    frame["path"] = text_column(np.array([one.path or None for one in configured] + [None] * rest, object))
    weights = [np.nan if one.weight is None else float(one.weight) for one in configured]
    frame["weight"] = np.array(weights + [np.nan] * rest, np.float64)
    frame["enabled"] = pd.array([one.enabled for one in configured] + [pd.NA] * rest, "boolean")
    frame["is_configured"] = pd.array([True] * len(configured) + [False if is_known else pd.NA] * rest, "boolean")


def _newest(names: Sequence[str], done: pd.DataFrame, made: pd.DataFrame | None) -> Micros:
    newest: dict[str, int] = {}
    sources = [(done["repo"], done[time]) for time in ("started_at", "ended_at")]
    if made is not None:
        sources.append((made["repo"], made["documented_at"]))
    for repo, times in sources:
        latest = pd.Series(micros(times)).groupby(repo.astype("object").to_numpy(), sort=False).max()
        for name, time in latest.items():
            newest[str(name)] = max(newest.get(str(name), MISSING), int(time))
    return np.array([newest.get(name, MISSING) for name in names], np.int64)


def _add_cycles(frame: pd.DataFrame, done: pd.DataFrame) -> None:
    by_name = _by_name(done["repo"])
    frame["cycles"] = np.array([by_name.get(name, 0) for name in frame["name"]], np.int64)
    good = _by_name(done.loc[done["outcome"] == "committed", "repo"])
    bad = _by_name(done.loc[done["outcome"].isin(_FAILED), "repo"])
    tried = np.array([good.get(name, 0) + bad.get(name, 0) for name in frame["name"]], np.float64)
    with np.errstate(invalid="ignore"):
        frame["success_rate"] = np.array([good.get(name, 0) for name in frame["name"]], np.float64) / tried


def _exhausted(logs: pd.DataFrame, done: pd.DataFrame, newest: Mapping[str, int], enabled: Sequence[str]) -> Micros:
    """Return when CodeWorm first found nothing to document in a repository, after the newest that was done in it.

    Args:
        logs: Of the traffic.
        done: Cycles.
        newest: Microseconds of the newest sign of each repository.
        enabled: Repositories that are configured and enabled.
    """
    at = np.maximum(micros(done["started_at"]), micros(done["ended_at"]))
    is_skipped = (done["outcome"] == "skipped").to_numpy() & (at != MISSING)
    run, repo = done["run"].to_numpy(), np.array(_texts(done["repo"]), object)
    starts, counts = _runs(logs)
    found = dict.fromkeys(newest, MISSING)
    for number in np.unique(run[is_skipped]).tolist():
        times = np.sort(at[is_skipped & (run == number)])
        taking_part = set(repo[run == number]) - {None}
        begun = np.searchsorted(starts, times[0], "right") - 1
        if begun >= 0 and counts[begun] == len(enabled) and taking_part <= set(enabled):
            taking_part = set(enabled)
        for name in taking_part & newest.keys():
            later = times[times >= newest[name]]
            if len(later) and (found[name] == MISSING or later[0] < found[name]):
                found[name] = int(later[0])
    return np.array(list(found.values()), np.int64)


def _runs(logs: pd.DataFrame) -> tuple[Micros, list[object]]:
    """Return when the daemon started, and of how many repositories it spoke."""
    starting = logs[(logs["event"] == "daemon_starting") & logs["timestamp"].notna()].sort_values("timestamp")
    counts: list[object] = []
    for text in _texts(starting["extra"]):
        try:
            told = json.loads(text or "{}")
        except (ValueError, RecursionError):
            told = {}
        counts.append(told.get("repos") if isinstance(told, dict) else None)
    return micros(starting["timestamp"]), counts


def _add_backlog(frame: pd.DataFrame, made: pd.DataFrame | None) -> None:
    shares = np.full(len(frame), np.nan)
    left = np.full(len(frame), np.nan)
    if made is not None:
        here = made[made["is_in_database"]]
        kinds = here.loc[here["doc_type"].isin(FUNCTION_TYPES), "doc_type"].astype("object").nunique()
        parts = dict(list(here.groupby(here["repo"].astype("object"))))
        for row, name in enumerate(frame["name"]):
            if name in parts:
                shares[row], left[row] = new_share(parts[name]), backlog_estimate(parts[name], kinds)
    frame["new_share"] = shares
    frame["backlog_estimate"] = np.where(frame["exhausted_at"].notna(), 0.0, left)
