from __future__ import annotations

import pytest

from codeworm_monitor.terminal.keys import ESCAPE, Keys


def pressed(*pieces: bytes) -> list[str]:
    keys = Keys()
    found = [key for piece in pieces for key in keys.take(piece)]
    return [*found, *keys.settle()]


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([b"q"], ["q"]),
        ([b"p?"], ["p", "?"]),
        ([b"\x1b"], [ESCAPE]),
        ([b"\x1b[A"], []),
        ([b"\x1b", b"[A", b"q"], ["q"]),
        ([b"\x1b[1;5", b"Cq"], ["q"]),
        ([b"\x1bOPq"], ["q"]),
        ([b"\x1bxq"], ["q"]),
        ([b"\x1b\x1b"], [ESCAPE, ESCAPE]),
        ([b"\x1b\x1b[Aq"], [ESCAPE, "q"]),
        (["é€q".encode()], ["q"]),
        ([b"\x03"], ["\x03"]),
        ([b"\x1b[" + b"1" * 5000, b"A"], []),
        ([], []),
    ],
)
def test_arrows_and_the_like_are_no_keys_and_esc_alone_is_one(pieces: list[bytes], found: list[str]) -> None:
    assert pressed(*pieces) == found


def test_what_an_endless_sequence_holds_is_bounded() -> None:
    keys = Keys()
    for _ in range(100):
        keys.take(b"\x1b[" + b"1" * 100)
    assert len(keys._held) <= 32
