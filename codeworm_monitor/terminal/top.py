"""Top: a board kept by a relay's messages, drawn four times a second on the whole terminal."""

from __future__ import annotations

import asyncio
import copy
import time
from contextlib import aclosing

from rich.console import Group

from codeworm_monitor.client import Ended, Lost, RelayClient
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.frames import Subscribe
from codeworm_monitor.terminal.board import Board
from codeworm_monitor.terminal.info import relay_info
from codeworm_monitor.terminal.keys import ESCAPE
from codeworm_monitor.terminal.places import Place, failure
from codeworm_monitor.terminal.screen import Screen
from codeworm_monitor.terminal.top_view import help_view, top_view

__all__ = ["LOOKED_BACK", "Top"]

LOOKED_BACK = 10_000
"""Newest messages that fill the lists at the start: of CodeWorm some days."""
REFRESH = 0.25
"""Seconds between two pictures."""
ASKED_EVERY = 5.0
"""Seconds between two looks at the relay's `/info`."""


class Top:
    """Shows a relay until a key, a signal, or for good if the relay is lost: it is connected to again by itself.

    The terminal is taken once there was a first connection, so that a relay which is not there is a plain error.

    Args:
        place: Where the relay is.
        wait: Show the screen at once, and wait for a relay that is not there yet.
    """

    def __init__(self, place: Place, *, wait: bool = False) -> None:
        self._place = place
        self._wait = wait
        self._client = RelayClient(place.locate(lambda: self._client.url), Subscribe(tail=LOOKED_BACK))
        self._board = Board(time.time())
        self._frozen: tuple[Board, float] | None = None
        self._is_helping = False
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Show it until it is to end; cancelling gives the terminal back.

        Raises:
            ConnectError: There is no relay, or it refuses.
        """
        reader = asyncio.create_task(self._read(), name="top:reader")
        asker = asyncio.create_task(self._ask(), name="top:info")
        try:
            if not self._wait:
                await _first(reader, self._settled)
            with Screen(on_key=self._press, on_stop=self._stop.set, on_resize=self._changed.set) as screen:
                while not self._stop.is_set():
                    self._changed.clear()
                    self._draw(screen)
                    await self._pause()
                    for task in (reader, asker):
                        if task.done():
                            task.result()
        finally:
            for task in (reader, asker):
                task.cancel()
            await asyncio.wait((reader, asker))

    async def _read(self) -> None:
        async with aclosing(self._client.stream()) as happenings:
            async for happening in happenings:
                self._board.take(happening, time.time())
                self._board.url = self._client.url or self._board.url
                if isinstance(happening, Lost) and not self._settled.is_set() and not self._wait:
                    raise failure(happening)
                if isinstance(happening, Ended) and not self._settled.is_set():
                    raise ConnectError(f"the relay said not to come back: {happening.reason}")
                self._settled.set()
        await self._stop.wait()  # it ended for good, and what it told stays on the screen

    async def _ask(self) -> None:
        while True:
            await self._settled.wait()
            addresses = await asyncio.to_thread(self._place.addresses, self._client.url)
            here = [one for one in addresses if one.url == self._client.url]
            try:
                for address in here[:1]:
                    self._board.take_info(await relay_info(address))
            except ConnectError as error:
                self._board.take_info(None, str(error))
            await asyncio.sleep(ASKED_EVERY)

    async def _pause(self) -> None:
        """Wait for the next picture, a key, another size, or the end."""
        try:
            async with asyncio.timeout(REFRESH):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _draw(self, screen: Screen) -> None:
        width, height = screen.size
        if self._is_helping:
            lines = help_view(width=width, height=height)
        else:
            board, now = self._frozen or (self._board, time.time())
            lines = top_view(board, now, width=width, height=height, is_paused=self._frozen is not None)
        screen.show(Group(*lines))

    def _press(self, key: str) -> None:
        self._changed.set()
        if key in ("q", "Q", ESCAPE, "\x03") and not (self._is_helping and key == ESCAPE):
            self._stop.set()
        elif self._is_helping:
            self._is_helping = False
        elif key in ("?", "h", "H"):
            self._is_helping = True
        elif key in ("p", "P", " "):
            self._frozen = (copy.deepcopy(self._board), time.time()) if self._frozen is None else None


async def _first(task: asyncio.Task[None], event: asyncio.Event) -> None:
    """Wait until an event is set, or a task fails.

    Raises:
        ConnectError: What the task raised.
    """
    waiting = asyncio.create_task(event.wait(), name="top:first")
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if task.done():
        task.result()
