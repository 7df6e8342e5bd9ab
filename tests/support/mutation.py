"""Inputs spoilt on purpose: the same from the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

WORDS = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"-0", b"1e999", b"NaN"),
    *(
        b"18446744073709551616",
        b"9007199254740992",
        b"-1",
        b"0",
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
    ),
    ("é" * 60).encode(),
    ("\U0001f41b" * 50).encode(),
    *(rb"\ud800", rb"\u0000", b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\t", b"__proto__", b"[" * 300, b"x" * 200),
)
"""Pieces that have broken parsers before."""


def mutated(random: Random, text: bytes, others: Sequence[bytes], words: Sequence[bytes] = WORDS) -> bytes:
    """Return `text` with one to six things done to it.

    Args:
        random: Decides what, and where.
        text: What to spoil.
        others: Texts of the same kind, parts of which may be spliced in.
        words: Pieces to insert.
    """
    spoilt = bytearray(text)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        start = random.randint(0, len(spoilt))
        end = min(len(spoilt), start + random.choice((1, 1, 2, 4, 16, 64)))
        match random.randrange(8):
            case 0 if start < len(spoilt):
                spoilt[start] ^= 1 << random.randrange(8)
            case 1 if start < len(spoilt):
                spoilt[start] = random.randrange(256)
            case 2:
                del spoilt[start:end]
            case 3:
                spoilt[start:start] = spoilt[start:end] * random.choice((1, 1, 2, 40))
            case 4:
                spoilt[start:start] = random.choice(words)
            case 5:
                spoilt[start:end] = random.choice(words)
            case 6 if others:
                other = random.choice(others)
                cut = random.randint(0, len(other))
                spoilt[start:end] = other[cut : cut + random.choice((1, 4, 16, 64, 1000))]
            case _:
                del spoilt[start:]
                spoilt += random.choice(others) if others and random.random() < 0.5 else b""
    return bytes(spoilt)


def pieces(random: Random, text: bytes) -> list[bytes]:
    """Return `text` as it might come from the network: in one piece, in a few, or byte by byte at its start."""
    match random.randrange(4):
        case 0:
            return [text[index : index + 1] for index in range(min(len(text), 40))] + [text[40:]]
        case 1:
            cuts = sorted(random.randint(0, len(text)) for _ in range(random.randint(1, 5)))
            return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        case _:
            return [text]
