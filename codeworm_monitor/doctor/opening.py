"""The opening of a WebSocket to a relay, as a notebook makes it: whether it comes about, and what the relay's clock says."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from codeworm_monitor.client import Address, Lost, RelayClient
from codeworm_monitor.doctor.asking import Whereabouts
from codeworm_monitor.doctor.case import Clock
from codeworm_monitor.errors import ConnectError, TokenRefusedError
from codeworm_monitor.frames import Hello, Subscribe

__all__ = ["open_once"]


def open_once(place: Whereabouts, *, within: float) -> Clock:
    """Open one WebSocket, read the relay's opening, and close it. Blocks this thread.

    Raises:
        TokenRefusedError: It wants another token.
        ConnectError: It did not come about, or not in time.
    """
    try:
        return asyncio.run(_open(place, within))
    except TimeoutError:
        raise ConnectError("the WebSocket was not opened in time") from None


async def _open(place: Whereabouts, within: float) -> Clock:
    client = RelayClient(lambda: [Address(place.url, place.token)], Subscribe())
    asked_at = time.time()
    async with asyncio.timeout(within), aclosing(client.stream()) as happenings:
        async for happening in happenings:
            match happening:
                case Hello():
                    now = time.time()
                    # It was said after we began to ask, and before we heard it.
                    unsure = max(0.0, now - asked_at) / 2
                    return Clock(happening.version, happening.time - (now - unsure), unsure)
                case Lost(wants_token=True, reason=reason):
                    raise TokenRefusedError(reason)
                case Lost(reason=reason):
                    raise ConnectError(reason)
                case _:
                    break
    raise ConnectError("it did not open with hello")
