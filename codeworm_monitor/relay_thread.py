"""A relay in a thread of its own, which goes on while the program, or a notebook's cell, blocks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from types import TracebackType
from typing import Any, Self

from codeworm_monitor.relay import Relay
from codeworm_monitor.settings import RelaySettings
from codeworm_monitor.sources import Source

__all__ = ["RelayThread", "start_relay_in_thread"]


class RelayThread:
    """A relay in a thread and an event loop of its own, made by `start_relay_in_thread`.

    It goes on while the program, or a notebook's cell, blocks. Use `with`, or call `close`.
    """

    def __init__(self, relay: Relay, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        self.relay = relay
        """The relay; of its methods, only `statistics` may be called from other threads."""
        self._loop = loop
        self._thread = thread

    @property
    def url(self) -> str:
        """WebSocket URL for readers on this machine; without the token."""
        return self.relay.url

    @property
    def token(self) -> str | None:
        """What readers must present; None: nothing."""
        return self.relay.token

    def close(self) -> None:
        """Stop the relay and its thread; may be called again. Takes as long as `Relay.aclose`."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self.relay.aclose(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RelayThread {self.relay!r}>"


def start_relay_in_thread(
    settings: RelaySettings | None = None, *, source: Source | None = None, **options: Any
) -> RelayThread:
    """Start a relay in a thread of its own and return when readers can connect.

    Args:
        settings: As for `Relay`, as are the next two.
        source: Where messages come from. It is iterated in the relay's thread.
        options: Single settings.

    Raises:
        SettingError: A setting has an unusable value.
        RelayError: The relay could not start; see `Relay.start`.

    Example:
        >>> with start_relay_in_thread(port=0) as relay:
        ...     print(relay.url)
    """
    started: concurrent.futures.Future[RelayThread] = concurrent.futures.Future()

    def run() -> None:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            try:
                relay = runner.run(_start(settings, source, options))
            except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
                started.set_exception(error)
                return
            started.set_result(RelayThread(relay, loop, threading.current_thread()))
            loop.run_forever()

    thread = threading.Thread(target=run, name="codeworm_monitor:relay", daemon=True)
    thread.start()
    try:
        return started.result()
    except BaseException:
        thread.join(timeout=10)  # it is ending
        raise


async def _start(settings: RelaySettings | None, source: Source | None, options: dict[str, Any]) -> Relay:
    return await Relay(settings, source=source, **options).start()
