"""Checks of the archive: whether it is sound, may be written, and has room."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from codeworm_monitor.archive.database import DATABASE, default_directory, open_for_reading
from codeworm_monitor.archive.verification import quick_check
from codeworm_monitor.doctor.bounding import bounded
from codeworm_monitor.doctor.case import Case, Finding, Outcome
from codeworm_monitor.doctor.looking import disk_of
from codeworm_monitor.errors import ArchiveDamagedError, ArchiveError, ArchiveTooNewError
from codeworm_monitor.health import LEAST_FREE, LEAST_SHARE

__all__ = ["check_archive"]

NO_ROOM = 32 * 2**20
"""Bytes below which a disk is as good as full."""
_QUICK = 6.0
"""Seconds for the look through the database."""


def check_archive(case: Case) -> Iterator[Finding]:
    """Look at the archive on this machine; nothing is written."""
    info = case.info_or_nothing()
    directory, of_relay = case.archive, False
    if case.place.is_announced and (told := info.text("archive", "directory")) is not None:
        of_relay = directory is None or directory.absolute() == Path(told)
        directory = directory or Path(told)
    if directory is None and case.place.is_announced and info.object("statistics") and info.at("archive") is None:
        yield Finding("archive.sound", Outcome.SKIPPED, "the relay keeps nothing (--no-archive)")
        return
    directory = directory or default_directory()
    if of_relay:
        yield from _writing(case)
    if not (directory / DATABASE).exists():
        if case.archive is not None:
            mend = f"name the directory that holds {DATABASE}: --archive DIRECTORY"
            yield Finding("archive.sound", Outcome.FAILED, f"{directory} holds no archive", mend)
        else:
            yield Finding("archive.sound", Outcome.SKIPPED, f"{directory} holds no archive yet")
            yield from _room(directory)
        return
    yield from _sound(directory)
    yield from _access(directory)
    yield from _room(directory)


def _writing(case: Case) -> Iterator[Finding]:
    archive = case.info_or_nothing().object("statistics", "archive")
    if archive is None:
        return
    if archive.flag("is_writing") is False:
        yield Finding(
            "archive.writing",
            Outcome.FAILED,
            f"the relay cannot write it: {archive.text('reason') or 'it says not why'}",
            "make room, or let its user write there: writing goes on by itself",
        )
        return
    lost = archive.count("lost") or 0
    yield Finding("archive.writing", Outcome.OK, f"the relay writes it{f'; {lost:,} were lost before' if lost else ''}")


def _sound(directory: Path) -> Iterator[Finding]:
    repair = f"stop the relay, then: python -m codeworm_monitor archive repair --archive {quote(str(directory))}"
    try:
        open_for_reading(directory).close()
        complaints = bounded(lambda: quick_check(directory), within=_QUICK, name="doctor:quick-check")
    except TimeoutError:
        yield Finding(
            "archive.sound",
            Outcome.WARNING,
            f"it opens, but is too large to look through in {_QUICK:g} s",
            f"python -m codeworm_monitor archive verify --archive {quote(str(directory))}",
        )
    except ArchiveTooNewError as error:
        yield Finding("archive.sound", Outcome.FAILED, str(error), "pip install -U codeworm-monitor")
    except ArchiveDamagedError as error:
        yield Finding("archive.sound", Outcome.FAILED, str(error), repair)
    except ArchiveError as error:
        yield Finding(
            "archive.sound", Outcome.FAILED, str(error), f"see who may read it: ls -la {quote(str(directory))}"
        )
    else:
        if complaints:
            yield Finding("archive.sound", Outcome.FAILED, f"{directory / DATABASE}: {complaints[0]}", repair)
        else:
            yield Finding("archive.sound", Outcome.OK, f"{directory}: the database is sound, at a quick look")


def _access(directory: Path) -> Iterator[Finding]:
    places = [directory, directory / DATABASE]
    try:
        modes = {place: place.stat() for place in places}
        is_read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError as error:
        mend = f"have it opened to this user: ls -la {quote(str(directory))}"
        yield Finding("archive.access", Outcome.FAILED, f"{directory}: {error.strerror or error}", mend)
        return
    if is_read_only:
        mend = f"mount -o remount,rw {quote(str(_mount(directory)))}"
        yield Finding("archive.access", Outcome.FAILED, f"the disk of {directory} is mounted read-only", mend)
        return
    if shut := [place for place in places if not os.access(place, os.R_OK | os.W_OK)]:
        mend = f"chown -R {os.getuid()} {quote(str(directory))}; chmod -R u+rwX {quote(str(directory))}"
        yield Finding("archive.access", Outcome.FAILED, f"{shut[0]} cannot be written by this user", mend)
        return
    if modes[directory].st_mode & 0o077 and modes[directory / DATABASE].st_mode & 0o077:
        mode = stat.S_IMODE(modes[directory].st_mode)
        said = f"other users of this machine may read it (mode {mode:o})"
        yield Finding("archive.access", Outcome.WARNING, said, f"chmod -R go= {quote(str(directory))}")
        return
    yield Finding("archive.access", Outcome.OK, "it may be written, by its owner alone")


def _room(directory: Path) -> Iterator[Finding]:
    disk = disk_of(str(directory))
    if disk is None or disk.total <= 0:
        yield Finding("archive.room", Outcome.SKIPPED, "how much room its disk has is not known")
        return
    said = f"its disk has {disk.free / 2**20:,.0f} MiB left ({disk.free / disk.total:.1%})"
    mend = f"make room (df -h {quote(str(directory))}), or have the relay keep less: --archive-bytes, --archive-days"
    if disk.free < NO_ROOM:
        yield Finding("archive.room", Outcome.FAILED, said, mend)
    elif disk.free < LEAST_FREE or disk.free < LEAST_SHARE * disk.total:
        yield Finding("archive.room", Outcome.WARNING, said, mend)
    else:
        yield Finding("archive.room", Outcome.OK, said)


def _mount(directory: Path) -> Path:
    place = directory.absolute()
    while place != place.parent and not place.is_mount():
        place = place.parent
    return place
