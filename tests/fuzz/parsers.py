"""Coverage-guided fuzzing of the parsers: `python tests/fuzz/parsers.py --seconds 600 [--parser NAME] [--seed N]`.

Inputs that reach lines in an order not seen before are kept and spoilt further. It needs nothing but Python, whose
tracing tells the lines; a fuzzer built on libFuzzer has no releases for some machines that the package supports.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import orjson

import codeworm_monitor
from codeworm_monitor.envelope import MAX_OFFSET, Cursor, Envelope, Gap, GapCause, Mark
from codeworm_monitor.errors import FrameError
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import (
    Batch,
    ErrorFrame,
    Hello,
    Ping,
    Pong,
    Position,
    Subscribe,
    Subscribed,
    encode_from_client,
    encode_v1,
    encode_v2,
    parse_from_client,
    parse_from_server,
)
from codeworm_monitor.payloads import MAX_DEPTH, normalise

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does for the tests

from support.mutation import WORDS, mutated

__all__ = ["PARSERS", "BrokenPromiseError", "Fuzzer", "Parser"]

PACKAGE = str(Path(codeworm_monitor.__file__).parent)


class BrokenPromiseError(AssertionError):
    """An input with which a parser does not do what it promises.

    Attributes:
        parser: Name of the parser.
        text: The input.
    """

    def __init__(self, parser: str, text: bytes, error: BaseException) -> None:
        self.parser = parser
        self.text = text
        super().__init__(f"{parser}({text!r}): {type(error).__name__}: {error}")


# What each promises


def check_from_client(text: bytes) -> None:
    """A frame that can be written and read again, or a `FrameError`; as text the same."""
    with suppress(FrameError):
        frame = parse_from_client(text)
        assert parse_from_client(encode_from_client(frame)) == frame
        assert parse_from_client(text.decode()) == frame


def check_from_server(text: bytes) -> None:
    """A frame, or None, or a `FrameError`; all but a batch can be written and read again."""
    with suppress(FrameError):
        frame = parse_from_server(text)
        if isinstance(frame, Batch):
            assert all(type(envelope.offset) is int for envelope, _ in frame.envelopes)
        elif frame is not None:
            assert parse_from_server(encode_v2(frame)) == frame


def check_payload(text: bytes) -> None:
    """JSON that every reader takes, the payload itself unless marked, bounded in size and depth."""
    for limit in (600, 512 * 2**10):
        data, value, mark = normalise(text, limit)
        assert mark is not None or data == text
        assert orjson.loads(data) == value
        json.loads(data.decode())
        if mark is Mark.TRUNCATED:
            assert value["bytes"] == len(text)
            assert len(data) <= 6 * 4096 + 100
        else:
            assert len(data) <= limit + 1024
        depth, level = 0, [value]
        while level := [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]:
            depth += 1
        assert depth <= MAX_DEPTH
        envelope = Envelope(1, 1.0, "c", data, mark)
        batch = parse_from_server(encode_v2([envelope]))
        assert isinstance(batch, Batch)
        assert batch.envelopes == [(envelope._replace(data=b""), value)]
        assert orjson.loads(encode_v1(envelope)) == {"channel": "c", "data": value}


def check_cursor(text: bytes) -> None:
    """A cursor within bounds that is the same when written and read again, or a `FrameError`."""
    with suppress(FrameError):
        cursor = Cursor.parse(text.decode(errors="surrogateescape"))
        assert 0 <= cursor.offset <= MAX_OFFSET
        assert 0 < len(cursor.epoch) <= 64
        assert Cursor.parse(str(cursor)) == cursor


@dataclass(frozen=True)
class Parser:
    """What is fuzzed.

    Attributes:
        name: How it is called.
        check: Raises if an input shows a broken promise.
        corpus: Inputs to begin with.
        words: Pieces to insert, beside those of `mutation`.
        traced: Folder or file, as a path, whose lines guide the search.
    """

    name: str
    check: Callable[[bytes], None]
    corpus: list[bytes]
    words: Iterable[bytes] = ()
    traced: str = PACKAGE


_GAP = Gap(cause=GapCause.TRIMMED, started_at=1.5, ended_at=2.5, first_offset=1, last_offset=9, detail="d")
_HELLO = Hello(
    version="1", epoch="e", oldest=1, head=2, channels=["c"], snapshot={"a": {}}, limits={"b": 1.5}, time=3.5
)
_FILTER = Filter(channels=frozenset({"c"}), level="info", components=frozenset({"x"}), repos=frozenset("r"), text="t")
_FIELDS = [
    b'"%b"' % name.encode()
    for shape in (Hello, Subscribed, Gap, Envelope)
    for name in (shape._fields if shape is Envelope else shape.__slots__)
]
PARSERS = {
    parser.name: parser
    for parser in (
        Parser(
            "parse_from_client",
            check_from_client,
            [
                encode_from_client(frame)
                for frame in (
                    Ping(),
                    Subscribe(),
                    Subscribe(cursor=Cursor("e", 5), filter=_FILTER),
                    Subscribe(tail=5),
                    Subscribe(time=5.5),
                )
            ],
            [b'"since"', b'"filter"', b'"channels"', b'"tail"', b'"time"', b'"cursor"', b'"now"', b'"subscribe"'],
        ),
        Parser(
            "parse_from_server",
            check_from_server,
            [
                *(
                    encode_v2(frame)
                    for frame in (
                        _HELLO,
                        Subscribed(cursor=Cursor("e", 5), recovered=False, reason="epoch"),
                        _GAP,
                        Position(5),
                        Pong(1.5),
                        ErrorFrame("no"),
                    )
                ),
                encode_v2([Envelope(1, 1.5, "c", b"{}"), Envelope(2, 2.5, "d", b'{"raw":"x"}', Mark.RAW)]),
            ],
            [*_FIELDS, b'"batch"', b'"gap"', b'"hello"', b'"position"', b'"raw"', b'"truncated"'],
        ),
        Parser(
            "normalise",
            check_payload,
            [
                b'{"event":"analyzing","level":"info","nested":{"a":[1,2.5,null,true]}}',
                b"oops \xff\xfe \x00",
                b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
                b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
                b'"' + b"\x01" * 300 + b'"',
                rb'"\u0001\ud83d\ude00"',
            ],
            [b"[" * MAX_DEPTH, b"]" * MAX_DEPTH, b'{"":' * MAX_DEPTH, b"}" * MAX_DEPTH, b"\x01" * 600],
        ),
        Parser(
            "Cursor.parse", check_cursor, [b"e:0", b"a:b:9007199254740991", b"e" * 64 + b":5"], ["٣".encode(), b":"]
        ),
    )
}


class Fuzzer:
    """Fuzzes one parser; the same seed does the same.

    Attributes:
        corpus: Inputs that reached something new.
        executions: Inputs tried.
    """

    def __init__(self, parser: Parser, *, seed: int = 0) -> None:
        self.parser = parser
        self.corpus: list[bytes] = []
        self.executions = 0
        self._random = Random(seed)
        self._words = (*WORDS, *parser.words)
        self._seen: set[tuple[Any, int, int]] = set()
        for text in parser.corpus:
            self.try_one(text)
        self.corpus = list(parser.corpus)

    @property
    def edges(self) -> int:
        """Steps from line to line of the package seen so far."""
        return len(self._seen)

    def run(self, executions: int) -> None:
        """Try so many inputs.

        Raises:
            BrokenPromiseError: One shows a broken promise.
        """
        random = self._random
        for _ in range(executions):
            # The newest are the most promising.
            newest = random.choice(self.corpus[-16:]) if random.random() < 0.5 else random.choice(self.corpus)
            self.try_one(mutated(random, newest, self.corpus, self._words)[:4096])

    def try_one(self, text: bytes) -> None:
        """Try one input, and keep it if it reached something new.

        Raises:
            BrokenPromiseError: It shows a broken promise.
        """
        self.executions += 1
        before = len(self._seen)
        try:
            with _traced(self.parser.traced, self._seen):
                self.parser.check(text)
        except Exception as error:
            raise BrokenPromiseError(self.parser.name, text, error) from error
        if len(self._seen) > before:
            self.corpus.append(text)


@contextmanager
def _traced(where: str, seen: set[tuple[Any, int, int]]) -> Iterator[None]:
    """Note each step from line to line there."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(where):
            return None
        previous = 0

        def step(frame: FrameType, _: str, __: object) -> Any:
            nonlocal previous
            line = frame.f_lineno
            seen.add((code, previous, line))
            previous = line
            return step

        return step

    before = sys.gettrace()  # of a debugger, or a measurement of coverage
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def main() -> None:
    """Fuzz until the time is over or something is found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="for each parser")
    options.add_argument("--parser", choices=sorted(PARSERS), action="append", help="all unless given")
    options.add_argument("--seed", type=int, default=None, help="a new one unless given")
    given = options.parse_args()
    seed = time.time_ns() % 2**32 if given.seed is None else given.seed
    for name in given.parser or sorted(PARSERS):
        fuzzer, until = Fuzzer(PARSERS[name], seed=seed), time.monotonic() + given.seconds
        try:
            while time.monotonic() < until:
                fuzzer.run(1000)
        except BrokenPromiseError as finding:
            sys.exit(f"{finding}\n(seed {seed}, input {fuzzer.executions})")
        print(f"{name}: {fuzzer.executions} inputs, {len(fuzzer.corpus)} kept, {fuzzer.edges} steps, seed {seed}")


if __name__ == "__main__":
    main()
