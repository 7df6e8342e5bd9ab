"""Tailing: what a relay sends, line by line, as long as it is wanted."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson

from codeworm_monitor.client import Ended, Lost, RelayClient
from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.filters import Filter
from codeworm_monitor.frames import Batch, ErrorFrame, Hello, Position, Subscribe, Subscribed
from codeworm_monitor.records import RELAY_CHANNEL, PublisherClock, level_rank, parse_record
from codeworm_monitor.terminal.lines import (
    clock_text,
    day_line,
    gap_line,
    inert,
    length_text,
    record_line,
    traceback_lines,
)
from codeworm_monitor.terminal.output import Output
from codeworm_monitor.terminal.places import Place, failure

__all__ = ["LOOKED_THROUGH", "Tailing", "Wish"]

LOOKED_THROUGH = 100_000
"""Newest messages that are looked through for the last so many of a choice."""

_Entry = Gap | tuple[Envelope, Any]
"""A gap, or a message and its decoded data."""
Tell = Callable[[str, bool], None]
_OBEYED = re.compile("[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of the log.

    Attributes:
        filter: Which messages; the relay evaluates it.
        last: The newest so many of what is there already; None: all since `since`.
        since: The earliest of what is there already, in Unix seconds; None: as far as `last` reaches.
        follow: Whether to go on with what comes.
        as_json: A JSON object a line, instead of text.
        traceback: Whether tracebacks are shown whole.
        wait: Whether to wait for a relay that is not there.
    """

    filter: Filter
    last: int | None = None
    since: float | None = None
    follow: bool = True
    as_json: bool = False
    traceback: bool = False
    wait: bool = False

    @property
    def subscribe(self) -> Subscribe:
        """The frame that asks for it."""
        if self.since is not None:
            return Subscribe(time=self.since, filter=self.filter)
        if not self.last:
            return Subscribe(tail=0, filter=self.filter)
        # The relay counts what it has on these channels, before it looks into it.
        return Subscribe(tail=max(LOOKED_THROUGH, self.last) if self.is_searched else self.last, filter=self.filter)

    @property
    def is_searched(self) -> bool:
        """Whether the last so many are to be found among more that come."""
        return self.filter.reads_payload or self.since is not None

    def accepts(self, channel: str, payload: Any) -> bool:
        """Tell whether a message that passed the filter is shown.

        The filter lets pass what has no level or component; who names one means messages that have it. Of the relay's
        own records, which tell of each reader that comes, only warnings are shown, unless the channel is named.
        """
        level = payload.get("level") if isinstance(payload, dict) else None
        component = payload.get("component") if isinstance(payload, dict) else None
        if self.filter.level is not None and not isinstance(level, str):
            return False
        if self.filter.components and not isinstance(component, str):
            return False
        if channel != RELAY_CHANNEL or channel in self.filter.channels:
            return True
        rank = level_rank(level) if isinstance(level, str) else None
        return rank is not None and rank >= 2


class Tailing:
    """Prints what a relay has, and what comes.

    Promises: lines are in the order of the log, none twice, also over reconnections and restarts of the relay; what is
    missing is a line of its own in its place. The connection is made anew by itself; a relay that is not there at the
    first attempt is an error unless the wish is to wait.

    Args:
        place: Where the relay is.
        wish: What is wanted.
        output: Where lines go.
        tell: Called with one line for a person, about the connection, and whether it is one that must not be missed.
    """

    def __init__(self, place: Place, wish: Wish, output: Output, tell: Tell) -> None:
        self._wish = wish
        self._output = output
        self._tell = tell
        self._client = RelayClient(place.locate(lambda: self._client.url), wish.subscribe)
        self._clock = PublisherClock()
        self._epoch = ""
        self._day = clock_text(time.time(), "%Y-%m-%d")
        self._head: int | None = None  # up to which all was there already; None: that is past
        # Of what was there already only the last so many are shown, which are known when all was seen.
        self._held: _Newest | None = None if wish.last is None or not wish.is_searched else _Newest(wish.last)
        self._lost: tuple[float, Lost] | None = None
        self._was_connected = False

    async def run(self) -> None:
        """Print until nothing more is wanted.

        Raises:
            ConnectError: There is no relay, it refuses, or it said not to come back.
            BrokenPipeError: Nobody reads any more.
        """
        async with aclosing(self._client.stream()) as happenings:
            async for happening in happenings:
                match happening:
                    case Hello():
                        self._epoch = happening.epoch
                        if self._head is not None or not self._was_connected:
                            self._head = happening.head
                        self._was_connected = True
                    case Subscribed():
                        self._greet(happening)
                    case Batch(envelopes):
                        self._take(list(envelopes))
                    case Gap():
                        self._take([happening])
                    case Lost():
                        self._miss(happening)
                    case Ended():
                        raise ConnectError(f"the relay said not to come back: {inert(happening.reason)}")
                    case ErrorFrame():
                        raise ConnectError(f"the relay does not take this: {inert(happening.message)}")
                    case Position():
                        pass
                if self._reached() and not self._wish.follow:
                    return

    def _greet(self, subscribed: Subscribed) -> None:
        if self._lost is None:
            return
        (at, _), self._lost = self._lost, None
        missed = "nothing was missed"
        if subscribed.recovered is None:
            missed = "it begins here"
        elif not subscribed.recovered:
            missed = "what is missing is told by a gap"
        if subscribed.reason == "future":
            missed = "it knows nothing of what came last, and goes on from what is newest"
        length = length_text(time.monotonic() - at)
        self._tell(f"connected to {self._client.url} after {length}: {missed}", False)  # noqa: FBT003

    def _miss(self, lost: Lost) -> None:
        if not self._was_connected and not self._wish.wait:
            raise failure(lost)
        if self._was_connected and not self._wish.follow:
            raise ConnectError(f"the connection to {lost.url} was lost: {inert(lost.reason)}; ask again")
        # Told when it begins, and when it becomes another trouble: a refusal does not pass by waiting alone.
        if self._lost is None or (lost.is_refusal and not self._lost[1].is_refusal):
            what = "lost the relay" if self._was_connected else "no relay yet"
            hint = "; it wants another token" if lost.wants_token else ""
            told = f"{what} at {lost.url}: {inert(lost.reason)}{hint}; connecting again by itself"
            self._tell(told, lost.is_refusal)
        self._lost = (self._lost[0] if self._lost else time.monotonic(), lost)

    def _reached(self) -> bool:
        """Tell whether all that was there already has been seen; the first time, show what was held of it."""
        cursor = self._client.cursor
        if (
            self._head is not None
            and cursor is not None
            and cursor.epoch == self._epoch
            and cursor.offset >= self._head
        ):
            self._head = None
            if self._held is not None:
                held, self._held = self._held.entries, None
                self._show(held)
        return self._head is None and self._was_connected

    def _take(self, entries: list[_Entry]) -> None:
        if self._head is not None:
            was_there = [entry for entry in entries if isinstance(entry, Gap) or entry[0].offset <= self._head]
            self._show(was_there)
            if len(was_there) == len(entries):
                return
            self._reached()
            entries = entries[len(was_there) :] if self._wish.follow else []
        self._show(entries)

    def _show(self, entries: Iterable[_Entry]) -> None:
        wanted = [
            entry for entry in entries if isinstance(entry, Gap) or self._wish.accepts(entry[0].channel, entry[1])
        ]
        if self._held is not None:
            for entry in wanted:
                self._held.add(entry)
            return
        self._output.write("".join(self._json(entry) if self._wish.as_json else self._text(entry) for entry in wanted))

    def _text(self, entry: _Entry) -> str:
        if isinstance(entry, Gap):
            return self._output.text_of([gap_line(entry)])
        envelope, data = entry
        record = parse_record(envelope.channel, data, envelope.received_at, self._clock)
        lines = [record_line(record, envelope.received_at, envelope.channel, envelope.mark)]
        if self._wish.traceback:
            lines += traceback_lines(record)
        day, self._day = self._day, clock_text(envelope.received_at, "%Y-%m-%d")
        return self._output.text_of(lines if day == self._day else [day_line(envelope.received_at), *lines])

    def _json(self, entry: _Entry) -> str:
        if isinstance(entry, Gap):
            return _json_line({"epoch": self._epoch, "gap": entry.as_dict()})
        envelope, data = entry
        said: dict[str, Any] = {
            "epoch": self._epoch,
            "offset": envelope.offset,
            "received_at": envelope.received_at,
            "channel": envelope.channel,
            "data": data,
        }
        return _json_line(said if envelope.mark is None else said | {"mark": str(envelope.mark)})


class _Newest:
    """The newest so many messages, and the gaps between and after them."""

    def __init__(self, count: int) -> None:
        self.entries: deque[_Entry] = deque()
        self._room = count

    def add(self, entry: _Entry) -> None:
        if not isinstance(entry, Gap):
            self.entries.append(entry)
            self._room -= 1
            if self._room < 0:
                self.entries.popleft()
                self._room = 0
        elif self.entries:
            self.entries.append(entry)
        while self.entries and isinstance(self.entries[0], Gap):
            self.entries.popleft()


def _json_line(entry: dict[str, Any]) -> str:
    """Return JSON in one line; characters that a terminal obeys stand in it as escapes, which mean the same."""
    try:
        text = orjson.dumps(entry).decode()
    except TypeError:  # nested deeper than it writes: no relay of ours sends that
        text = orjson.dumps(entry | {"data": None, "mark": "nested too deeply"}).decode()
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"
