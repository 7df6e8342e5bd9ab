"""Documents: CodeWorm's own list of what it documented, and the cycles that were heard, as one."""

from __future__ import annotations

import os
from datetime import datetime, tzinfo

from codeworm_monitor.analysis.answer import Answer, answer
from codeworm_monitor.analysis.document_rows import document_rows
from codeworm_monitor.analysis.repos import repos
from codeworm_monitor.analysis.traffic import Traffic

__all__ = ["documents", "repos"]


def documents(
    traffic: Traffic,
    path: str | os.PathLike[str],
    *,
    zone: str | tzinfo | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Answer:
    """Return one row per document: CodeWorm's own record of it, with the cycle that made it, as far as that was heard.

    The database is read as it is now, beside the daemon, which is not disturbed. A document is matched with its cycle
    one to one, by commit, target and time (`matching.matched`). A commit that was heard and that the database lacks has
    a row as well.

    Args:
        traffic: Messages and gaps of a stretch of time. The documents are not only those of the stretch: those that
            were made when nobody listened have rows, too.
        path: CodeWorm's database.
        zone: Zone of the daemon's host, which the database writes its times in; None: this machine's. Where messages
            tell the host's UTC offset, that counts: the zone is needed for other seasons, and without any match.
        since: Only documents of this time or later, an aware time; None: all.
        until: Only documents of before; None: all.

    Returns:
        Rows by time, those without one last. Columns: id (str; missing: it is not in the database) · documented_at
        (datetime64[us, UTC]; when it was recorded, else when the commit was told of) · repo (category) · file (str; its
        path, or a module's folder, on the daemon's host) · target (str; as messages name it) · language (category; by
        the end of the file's name, "other" of any other; of a document that the database lacks what the messages say) ·
        doc_type (category; "function_doc" throughout in databases of old versions) · snippet_path (str; of the document
        in its repository) · commit (str; 8 characters) · code_hash (str; SHA-256) · of the cycle, all missing where it
        was not heard: cycle_num, run (float64), started_at (datetime64[us, UTC]), generate_s (float64, seconds),
        tokens, tokens_per_s (float64), pushed (boolean), commit_message (str) · is_recorded (bool; its cycle is in the
        traffic) · is_in_database (bool).

    Raises:
        CodeWormFileError: The database is missing, locked, damaged or another program's; says what to do.
        ValueError: There is no time zone of that name.

    Example:
        >>> found = documents(traffic, "data/codeworm.db")
        >>> found[~found.is_recorded]  # made when nobody listened
    """
    frame = document_rows(traffic, path, zone)
    if since is not None:
        frame = frame[frame["documented_at"] >= since]
    if until is not None:
        frame = frame[frame["documented_at"] < until]
    return answer(frame.reset_index(drop=True), traffic.coverage, "documents")
