from __future__ import annotations

from contextlib import aclosing

import pytest
from support.waiting import eventually
from support.watching import watching

from codeworm_monitor.sources import Connected, Disconnected, Message
from codeworm_monitor.sources.memory import MemorySource


async def test_it_yields_what_was_published_in_order_whatever_it_was():
    source = MemorySource(name="the program itself")
    source.publish("a", b"\xff\x00", received_at=1.5)
    source.publish("b", "text \ud800")
    async with watching(source) as witness:
        source.publish("a", {"event": "hello", "n": 1})
        await eventually(lambda: len(witness.messages) == 3)
        assert witness.messages[0] == Message("a", b"\xff\x00", 1.5)
        assert witness.payloads[1:] == [b"text \xed\xa0\x80", b'{"event":"hello","n":1}']
        assert witness.shape == "C"
    assert source.name == "the program itself"


async def test_an_interruption_keeps_its_place_among_the_messages():
    source = MemorySource()
    async with watching(source) as witness:
        await eventually(lambda: witness.is_connected)
        source.publish("a", b"before")
        source.interrupt("gone for lunch")
        source.restore()
        source.publish("a", b"after")
        await eventually(lambda: len(witness.messages) == 2)
        (_, none), (lost, one), (back, same) = witness.changes
        assert (none, one, same) == (0, 1, 1)
        assert isinstance(lost, Disconnected)
        assert isinstance(back, Connected)
        assert lost.reason == "gone for lunch"


async def test_what_was_not_taken_waits_for_the_next_reader():
    source = MemorySource()
    async with aclosing(source.__aiter__()) as happenings:
        await anext(happenings)
        source.publish("a", b"one")
        source.interrupt()
        source.restore()
        source.publish("a", b"two")
        assert isinstance(await anext(happenings), list)
    async with watching(source) as witness:
        await eventually(lambda: witness.payloads == [b"two"])
        assert witness.shape == "CDC"


async def test_it_refuses_more_messages_than_its_bound():
    source = MemorySource(max_messages=2)
    source.publish("a", b"1")
    source.publish("a", b"2")
    with pytest.raises(BufferError, match="is the relay started"):
        source.publish("a", b"3")
    async with watching(source) as witness:
        await eventually(lambda: len(witness.messages) == 2)
        source.publish("a", b"3")
        await eventually(lambda: len(witness.messages) == 3)
