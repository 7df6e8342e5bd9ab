"""Document rows: the documents of CodeWorm's database and the cycles that were heard, as one frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from codeworm_monitor.analysis.coverage import Micros
from codeworm_monitor.analysis.cycles import cycles
from codeworm_monitor.analysis.matching import NOWHERE, Places, commit_moments, matched
from codeworm_monitor.analysis.traffic import Traffic
from codeworm_monitor.analysis.zones import resolved
from codeworm_monitor.dtypes import text_column
from codeworm_monitor.snippets import Snippet, SnippetFile

__all__ = ["document_rows", "joined", "label_column", "time_column"]

_OF_THE_CYCLE = ("cycle_num", "run", "started_at", "generate_s", "tokens", "tokens_per_s", "pushed", "commit_message")

Texts = npt.NDArray[np.object_]


def document_rows(traffic: Traffic, path: str | os.PathLike[str], zone: str | tzinfo | None) -> pd.DataFrame:
    """Return the rows of `documents.documents`, all of them; kept with the traffic until the database is written to.

    Raises:
        CodeWormFileError: The database is missing, locked, damaged or another program's.
        ValueError: There is no time zone of that name.
    """
    done = cycles(traffic)  # before the database, which is then the newer one: what is told of is in it
    file = SnippetFile(path)
    key = (str(file.path), file.stamp, zone)
    known = traffic.found.get("documents")
    if not isinstance(known, tuple) or known[0] != key:
        known = traffic.found["documents"] = (key, joined(file.snippets(), done, resolved(zone)))
    return cast("pd.DataFrame", known[1])


def joined(snippets: Sequence[Snippet], done: pd.DataFrame, zone: tzinfo) -> pd.DataFrame:
    """Return documents with their cycles, and the commits of cycles that no document is of.

    Args:
        snippets: Documents in the order in which they were recorded.
        done: Cycles, as `cycles.cycles` returns them.
        zone: Likely zone of the daemon's host.

    Returns:
        Columns as of `documents`.
    """
    its_cycle, times = matched(snippets, done, zone)
    has_row = np.zeros(len(done), np.bool_)
    has_row[its_cycle[its_cycle != NOWHERE]] = True
    rest = np.flatnonzero(done["commit"].notna().to_numpy() & ~has_row)
    place = np.concatenate([its_cycle, rest])
    is_in_database = np.arange(len(place)) < len(snippets)
    own = _texts_of(snippets, len(rest))
    heard = done.iloc[rest]
    for column, name in (("repo", "repo"), ("target", "target"), ("language", "language"), ("doc_type", "doc_type")):
        own[column][len(snippets) :] = heard[name].astype("object").to_numpy()
    own["commit"][len(snippets) :] = heard["commit"].astype("object").to_numpy()
    when = np.concatenate([times, commit_moments(done)[rest]])
    frame = pd.DataFrame(
        {
            "id": text_column(own["id"]),
            "documented_at": time_column(when),
            "repo": label_column(own["repo"]),
            "file": text_column(own["file"]),
            "target": text_column(own["target"]),
            "language": label_column(own["language"]),
            "doc_type": label_column(own["doc_type"]),
            "snippet_path": text_column(own["snippet_path"]),
            "commit": text_column(own["commit"]),
            "code_hash": text_column(own["code_hash"]),
            **_of_cycles(done, place),
            "is_recorded": place != NOWHERE,
            "is_in_database": is_in_database,
        }
    )
    return frame.sort_values("documented_at", kind="stable", na_position="last", ignore_index=True)


def _texts_of(snippets: Sequence[Snippet], more: int) -> dict[str, Texts]:
    """Return columns of the documents, with room for more rows; an empty text is missing."""
    told: dict[str, list[str] | list[str | None]] = {
        "id": [one.id for one in snippets],
        "repo": [one.source_repo for one in snippets],
        "file": [one.source_file for one in snippets],
        "target": [one.target for one in snippets],
        "language": [one.language for one in snippets],
        "doc_type": [one.doc_type for one in snippets],
        "snippet_path": [one.snippet_path for one in snippets],
        "commit": [one.git_commit for one in snippets],
        "code_hash": [one.code_hash for one in snippets],
    }
    made = {}
    for name, values in told.items():
        made[name] = np.full(len(snippets) + more, None, object)
        made[name][: len(snippets)] = [value or None for value in values]
    return made


def _of_cycles(done: pd.DataFrame, place: Places) -> dict[str, pd.Series[Any]]:
    """Return columns of cycles in other places; where there is none, they are missing."""
    taken = done[list(_OF_THE_CYCLE)].reset_index(drop=True).reindex(place).reset_index(drop=True)
    return {name: taken[name].astype("float64") if name == "run" else taken[name] for name in _OF_THE_CYCLE}


def label_column(values: Texts) -> pd.Categorical:
    """Return labels as a column; None is a missing one."""
    return pd.Categorical(pd.Series(values, dtype="object"))


def time_column(values: Micros) -> pd.Series[pd.Timestamp]:
    """Return microseconds as times in UTC; `host_time.MISSING` is a missing one."""
    return pd.Series(pd.DatetimeIndex(values.view("datetime64[us]"), tz="UTC"))
