from __future__ import annotations

import pytest

from codeworm_monitor.admission import Admission


def admission(**bounds: int) -> Admission:
    return Admission(**{"max_readers": 4, "max_per_address": 2, "max_handshakes": 3} | bounds)


def test_handshakes_are_counted_to_their_end() -> None:
    gate = admission()
    assert [gate.begin() for _ in range(4)] == [True, True, True, False]
    assert gate.refused == {"handshakes": 1}
    for _ in range(4):
        gate.end()
    assert gate.begin()


def test_readers_are_bounded_in_all() -> None:
    gate = admission(max_per_address=9)
    for number in range(4):
        assert gate.check(f"10.0.0.{number}") is None
        gate.enter(f"10.0.0.{number}")
    refusal = gate.check("10.0.0.9")
    assert refusal is not None
    assert refusal.status == 503
    gate.leave("10.0.0.1")
    assert gate.check("10.0.0.9") is None
    assert (gate.readers, gate.refused) == (3, {"readers": 1})


def test_one_address_cannot_take_all_places() -> None:
    gate = admission()
    for _ in range(2):
        assert gate.check("10.0.0.1") is None
        gate.enter("10.0.0.1")
    refusal = gate.check("10.0.0.1")
    assert refusal is not None
    assert refusal.status == 429
    assert gate.check("10.0.0.2") is None
    assert gate.refused == {"address": 1}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", ""])
def test_this_machine_itself_is_not_counted_by_address(address: str) -> None:
    gate = admission()
    for _ in range(4):
        assert gate.check(address) is None
        gate.enter(address)
