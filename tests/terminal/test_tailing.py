from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from support.scripted_relay import ScriptedRelay
from websockets.asyncio.server import ServerConnection

from codeworm_monitor import frames
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.filters import Filter
from codeworm_monitor.terminal.output import Output
from codeworm_monitor.terminal.places import Place
from codeworm_monitor.terminal.tailing import LOOKED_THROUGH, Tailing, Wish

ERRORS = Filter(level="error")


async def tailed(relay: ScriptedRelay, **wish: Any) -> list[str]:
    """Return what is printed of what is there."""
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="utf-8"), {})
    wanted = Wish(**{"filter": Filter(), "last": 10, "follow": False, **wish})
    await Tailing(Place(relay.url), wanted, output, lambda line, is_urgent: None).run()
    return raw.getvalue().decode().splitlines()


def test_what_is_asked_of_the_relay_is_what_it_can_judge() -> None:
    assert Wish(filter=Filter(), last=5).subscribe == frames.Subscribe(tail=5)
    assert Wish(filter=Filter(), last=0).subscribe == frames.Subscribe(tail=0)
    assert Wish(filter=ERRORS, last=5).subscribe == frames.Subscribe(tail=LOOKED_THROUGH, filter=ERRORS)
    assert Wish(filter=ERRORS, last=500_000).subscribe.tail == 500_000
    assert Wish(filter=ERRORS, last=5, since=9.0).subscribe == frames.Subscribe(time=9.0, filter=ERRORS)


@pytest.mark.parametrize(
    ("wanted", "channel", "payload", "is_shown"),
    [
        (Filter(), "codeworm:events", {}, True),
        (ERRORS, "codeworm:events", {"type": "x"}, False),
        (ERRORS, "codeworm:logs", {"level": "error"}, True),
        (Filter(components=frozenset({"daemon"})), "codeworm:stats", {}, False),
        (Filter(repos=frozenset({"click"})), "codeworm:logs", {"level": "error"}, True),
        (Filter(), "codeworm:relay", {"level": "info"}, False),
        (Filter(), "codeworm:relay", {"level": "warning"}, True),
        (Filter(), "codeworm:relay", [], False),
        (Filter(channels=frozenset({"codeworm:relay"})), "codeworm:relay", {"level": "info"}, True),
    ],
)
def test_who_names_a_level_or_a_component_means_messages_that_have_one(
    wanted: Filter, channel: str, payload: Any, *, is_shown: bool
) -> None:
    assert Wish(filter=wanted).accepts(channel, payload) is is_shown


async def test_the_last_so_many_of_a_choice_are_shown_with_the_gaps_between_and_after_them() -> None:
    relay = ScriptedRelay()
    relay.publish(*[{"event": f"n{number}", "level": "error"} for number in range(6)])

    async def tell(connection: ServerConnection) -> None:
        await relay.greet(connection)
        for first in range(1, 6):
            await connection.send(relay.batch(first, first), text=True)
            gap = Gap(cause=GapCause.SLOW_READER, started_at=1.0, ended_at=float(first), detail=f"g{first}")
            await connection.send(frames.encode_v2(gap), text=True)
        await connection.send(relay.batch(6, 6), text=True)
        await connection.wait_closed()

    relay.behaviours = [tell]
    async with relay.running():
        lines = await tailed(relay, filter=ERRORS, last=3)
    assert [line.split()[-1] for line in lines] == ["n3", "g4", "n4", "g5", "n5"]


async def test_a_message_nested_deeper_than_json_is_written_is_marked() -> None:
    relay = ScriptedRelay()
    relay.publish({"event": "one"})
    deep = b"[" * 900 + b"]" * 900
    entry = b'{"offset":1,"received_at":1.0,"channel":"codeworm:logs","data":%b}' % deep

    async def tell(connection: ServerConnection) -> None:
        await relay.greet(connection)
        await connection.send(b'{"type":"batch","envelopes":[%b]}' % entry, text=True)
        await connection.wait_closed()

    relay.behaviours = [tell, tell]
    async with relay.running():
        (line,) = await tailed(relay, as_json=True)
        said = orjson.loads(line)
        assert (said["data"], said["mark"]) == (None, "nested too deeply")
        assert (await tailed(relay))[-1].endswith("value=…")


async def test_what_the_relay_objects_to_is_an_error() -> None:
    relay = ScriptedRelay()
    relay.publish({"event": "one"})

    async def object_to_it(connection: ServerConnection) -> None:
        await relay.greet(connection)
        await connection.send(frames.encode_v2(frames.ErrorFrame("no\nsuch filter")), text=True)
        await connection.wait_closed()

    async def end(connection: ServerConnection) -> None:
        await connection.close(4500, "go away")

    relay.behaviours = [object_to_it, end]
    async with relay.running():
        with pytest.raises(ConnectError, match="does not take this: no such filter"):
            await tailed(relay)
        with pytest.raises(ConnectError, match="not to come back: go away"):
            await tailed(relay)


async def test_a_connection_lost_before_all_was_told_is_an_error_where_nothing_is_followed() -> None:
    relay = ScriptedRelay()
    relay.publish({"event": "one"})

    async def cut(connection: ServerConnection) -> None:
        await relay.greet(connection)
        connection.transport.abort()

    relay.behaviours = [cut]
    async with relay.running():
        with pytest.raises(ConnectError, match="was lost"):
            await tailed(relay)
