"""Checks of CodeWorm's own files: its database and its list of repositories."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from codeworm_monitor.doctor.case import Case, Finding, Outcome
from codeworm_monitor.errors import CodeWormFileError
from codeworm_monitor.repositories import read_repositories
from codeworm_monitor.snippets import SnippetFile
from codeworm_monitor.worm_files import WormFiles

__all__ = ["check_worm_files"]


def check_worm_files(case: Case) -> Iterator[Finding]:
    """Look at the files by which documents and repositories are told."""
    files = WormFiles(case.codeworm_db, case.codeworm_config, relay=lambda: case.info_or_nothing().at())
    path = files.database(or_none=True)
    if path is None:
        mend = "start the relay with --codeworm-db data/codeworm.db, or set CODEWORM_DB_PATH"
        yield Finding("codeworm.database", Outcome.SKIPPED, "nothing says where it is", mend)
    else:
        try:
            count = len(SnippetFile(path, patience=case.step).snippets())
        except CodeWormFileError as error:
            yield Finding(
                "codeworm.database", Outcome.FAILED, str(error), f"see who may read it: ls -la {quote(str(path))}"
            )
        else:
            yield Finding("codeworm.database", Outcome.OK, f"{path}: {count:,} documents")
    folder = files.configuration(or_none=True)
    if folder is None:
        mend = "start the relay with --codeworm-config config, or set CODEWORM_CONFIG_DIR"
        yield Finding("codeworm.repositories", Outcome.SKIPPED, "nothing says where repos.yaml is", mend)
        return
    try:
        listed = read_repositories(folder)
    except CodeWormFileError as error:
        mend = f"see who may read it, and what it holds: ls -la {quote(str(folder))}"
        yield Finding("codeworm.repositories", Outcome.FAILED, str(error), mend)
        return
    gone = [one.name for one in listed if not one.enabled]
    more = f", {len(gone)} of them disabled" if gone else ""
    yield Finding("codeworm.repositories", Outcome.OK, f"{folder}: {len(listed)} repositories{more}")
