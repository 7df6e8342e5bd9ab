"""What panels are told that comes in no message: the relay's `/info`, and counts from CodeWorm's own files."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from codeworm_monitor.client import Address
from codeworm_monitor.dashboard_api import DashboardAPI
from codeworm_monitor.errors import MonitorError
from codeworm_monitor.inquiry import ask
from codeworm_monitor.states.panel_states import PanelStates
from codeworm_monitor.worm_files import WormFiles

__all__ = ["Asking"]

INFO_EVERY = 5.0
FILES_EVERY = 60.0
PATIENCE = 3.0
"""Seconds that the relay may take."""


class Asking:
    """Asks in a thread of its own, so that whoever shows never waits.

    Args:
        name: Of the monitor.
        relay: Where the relay is, while it is connected; None: it is not, or there is none.
        files: Where CodeWorm's own files are.
        now: Unix seconds by the relay's clock.
        is_live: Whether there is a relay at all.
    """

    def __init__(
        self,
        name: str,
        relay: Callable[[], Address | None],
        files: Callable[[], WormFiles],
        now: Callable[[], float],
        *,
        is_live: bool,
    ) -> None:
        self.problem = ""
        self._name = name
        self._relay = relay
        self._files = files
        self._now = now
        self._is_live = is_live
        self._lock = threading.Lock()
        self._known: dict[str, Callable[[PanelStates], None]] = {}  # the newest answer to each question
        self._news: set[str] = set()
        self._told: PanelStates | None = None
        self._has_read = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._apis: tuple[tuple[Path | None, Path | None], DashboardAPI] | None = None

    def start(self) -> None:
        """Begin to ask; may be called again, also after `close`."""
        with self._lock:
            if self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._ended,), name=f"codeworm_monitor:{self._name}:asking", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Ask no more; what is being asked is left. May be called again."""
        with self._lock:
            self._ended.set()
            self._thread = None

    def tell(self, states: PanelStates) -> None:
        """Tell the states what was answered since; of what never changes, read it first."""
        if not self._is_live and not self._has_read:
            self._has_read = True
            # In a thread: the caller's may have an event loop that runs, as a notebook's has.
            reader = threading.Thread(
                target=self._read_files, args=(None,), name=f"codeworm_monitor:{self._name}:files"
            )
            reader.start()
            reader.join()
        with self._lock:
            # Other states than those told before know nothing.
            names = self._news if states is self._told else set(self._known)
            news = [self._known[name] for name in sorted(names)]
            self._told, self._news = states, set()
        for one in news:
            one(states)

    def _run(self, ended: threading.Event) -> None:
        files_due = 0.0
        while True:
            address = self._relay()
            info = None if address is None else self._ask_info(address)
            if time.monotonic() >= files_due and (address is not None or not self._has_read):
                self._has_read = True
                files_due = time.monotonic() + FILES_EVERY
                self._read_files(address, info)
            if ended.wait(INFO_EVERY):
                return

    def _ask_info(self, address: Address) -> dict[str, Any] | None:
        try:
            answer = ask(address, "/info", timeout=PATIENCE)
        except MonitorError as error:
            problem = str(error)
            self._add("problem", lambda states: states.take_info(None, problem))
            return None
        info: dict[str, Any] = answer if isinstance(answer, dict) else {}
        with self._lock:  # it is over, told or not
            self._known.pop("problem", None)
            self._news.discard("problem")
        self._add("info", lambda states: states.take_info(info))
        return info

    def _read_files(self, address: Address | None, info: dict[str, Any] | None = None) -> None:
        """Read CodeWorm's files, or, if they are on the relay's machine, ask it."""
        problems = []
        places: list[Path | None] = []
        try:
            files = self._files()
            places = [files.database(or_none=True), files.configuration(or_none=True)]
        except (MonitorError, OSError, RuntimeError, ValueError) as error:
            problems.append(str(error))
            places = [None, None]
        told = (info or {}).get("codeworm")
        at = self._now() if self._is_live else time.time()
        for index, (path, name) in enumerate((("/stats", "codeworm_db"), ("/repos", "codeworm_config"))):
            try:
                if places[index] is not None:
                    answer = self._read(places, path)
                elif address is not None and isinstance(told, dict) and told.get(name):
                    answer = ask(address, path, timeout=PATIENCE)
                else:
                    continue
            except (MonitorError, OSError, RuntimeError, ValueError) as error:
                problems.append(str(error))
                continue
            if index == 0:
                self._add(path, partial(_take_statistics, answer, at))
            else:
                self._add(path, partial(_take_repositories, answer))
        self.problem = "; ".join(problems)[:500]

    def _read(self, places: list[Path | None], path: str) -> Any:
        key = (places[0], places[1])
        if self._apis is None or self._apis[0] != key:
            database, configuration = (None if one is None else str(one) for one in places)
            self._apis = (key, DashboardAPI(database, configuration))
        answer = asyncio.run(self._apis[1].answer(path, ""))
        decoded = orjson.loads(answer.body)
        if answer.status != HTTPStatus.OK:
            raise ValueError(str(decoded.get("detail", decoded)).replace("; the relay's log says which file it is", ""))
        return decoded

    def _add(self, name: str, news: Callable[[PanelStates], None]) -> None:
        with self._lock:
            self._known[name] = news
            self._news.add(name)


def _take_statistics(told: Any, at: float, states: PanelStates) -> None:
    states.take_statistics(told, at=at)


def _take_repositories(told: Any, states: PanelStates) -> None:
    states.take_repositories(told)
