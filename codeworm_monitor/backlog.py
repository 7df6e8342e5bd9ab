"""The backlog: a bounded memory of the newest entries of the log."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from math import inf

from codeworm_monitor.envelope import Entry, Envelope, Gap, Mark

__all__ = ["Backlog"]

ENTRY_OVERHEAD = 200
"""Bytes an entry is reckoned at beside its data: the bytes object, its places in the columns, room to grow."""
BLOCK = 256
"""Entries made at one time by who goes through the backlog from its end."""


class Backlog:
    """The newest entries, by offset.

    Offsets are contiguous from `oldest` to `head`. At the bound, of entries or of bytes, the oldest entries leave;
    the newest entry always stays. Readers hold no part of it: they ask by offset, and learn from `oldest` what is gone.

    Args:
        max_entries: Most entries kept.
        max_bytes: Most bytes kept, each entry reckoned at its data and `ENTRY_OVERHEAD`.
        head: Offset of the entry before the first one.
    """

    def __init__(self, *, max_entries: int = 200_000, max_bytes: int = 64 * 2**20, head: int = 0) -> None:
        if max_entries < 1 or max_bytes < 1 or head < 0:
            raise ValueError("a backlog keeps at least one entry and starts at an offset of 0 or more")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.head = head
        self.bytes = 0
        # Columns: place `i` is of the entry at offset `_base + i`. A message costs no object but its data, and entries
        # are made when somebody asks. Before `oldest` the data is None until the next compaction: evicting is cheap and
        # frees it at once. A gap stands whole in `_notes`, its channel and data are empty.
        self._times: list[float] = []
        self._channels: list[str] = []
        self._data: list[bytes | None] = []
        self._notes: list[Mark | Gap | None] = []
        self._sizes: list[int] = []
        self._base = head + 1
        self.oldest = head + 1
        # Offset of the newest entry that is dated before the one it follows: the wall clock was set back.
        self._newest_step_back = 0
        self._newest_time = -inf

    def __len__(self) -> int:
        return self.head - self.oldest + 1

    def append(self, entry: Entry) -> None:
        """Add the next entry; its offset must be `head + 1`."""
        if isinstance(entry, Gap):
            self.extend([entry.ended_at], [""], [b""], [entry])
        else:
            self.extend([entry.received_at], [entry.channel], [entry.data], [entry.mark])

    def extend(
        self,
        times: Sequence[float],
        channels: Sequence[str],
        data: Sequence[bytes],
        notes: Sequence[Mark | Gap | None],
    ) -> None:
        """Add the next entries, by columns: when received, where published, their data; and the mark of each, if any.

        A gap stands in the place of a mark, with the time of its end and an empty channel and data.
        """
        if not data:
            return
        if times[0] < self._newest_time or times != sorted(times):
            before = [self._newest_time, *times]
            steps = [place for place, (one, other) in enumerate(pairwise(before)) if other < one]
            self._newest_step_back = self.head + 1 + steps[-1]
        self._newest_time = times[-1]
        sizes = [len(one) + ENTRY_OVERHEAD for one in data]
        self._times += times
        self._channels += channels
        self._data += data
        self._notes += notes
        self._sizes += sizes
        self.head += len(sizes)
        self.bytes += sum(sizes)
        if self.bytes > self.max_bytes or len(self) > self.max_entries:
            self._evict()

    def between(self, first: int, last: int) -> list[Entry]:
        """Return the entries from offset `first` to `last`, both included, as far as they are here."""
        start = max(first, self.oldest) - self._base
        return self._entries(start, max(last + 1 - self._base, start))

    def span(self, first: int, *, max_bytes: int, max_entries: int) -> list[Entry]:
        """Return the entries from offset `first` on, as many as are reckoned at `max_bytes` in all, and one at least."""
        return self._entries(*self._fitting(first, max_bytes, max_entries))

    def span_columns(self, first: int, *, max_bytes: int, max_entries: int) -> tuple[list[str], list[bytes]]:
        """Return what `span` does as two columns, channels and data; both are empty for a gap."""
        start, end = self._fitting(first, max_bytes, max_entries)
        return self._channels[start:end], self._data[start:end]  # type: ignore[return-value]  # none is None from `oldest` on

    def columns(
        self, first: int, *, max_bytes: int, max_entries: int
    ) -> tuple[list[float], list[str], list[bytes], list[Mark | Gap | None]]:
        """Return what `span` does as columns, in the form that `extend` takes."""
        start, end = self._fitting(first, max_bytes, max_entries)
        data = self._data[start:end]
        return self._times[start:end], self._channels[start:end], data, self._notes[start:end]  # type: ignore[return-value]

    def begin_at(self, head: int) -> None:
        """Let the next entry, which must be the first, have the offset `head + 1`."""
        if self.head + 1 != self._base or self._sizes:
            raise ValueError("a backlog that holds entries goes on with their numbering")
        self.head, self._base, self.oldest = head, head + 1, head + 1

    def __reversed__(self) -> Iterator[Entry]:
        """Yield the entries from the newest to the oldest."""
        last = self.head
        while last >= self.oldest:
            yield from reversed(self.between(last - BLOCK + 1, last))
            last -= BLOCK

    def count(self, *, channels: frozenset[str] = frozenset(), but: str = "") -> int:
        """Return how many messages are here that `offset_of_newest` counts."""
        here = self._channels[self.oldest - self._base :]
        if channels:
            return sum([channel in channels for channel in here])
        return len(here) - here.count("") - (here.count(but) if but else 0)

    def offset_of_newest(self, count: int, *, channels: frozenset[str] = frozenset(), but: str = "") -> int:
        """Return the offset of the oldest of the newest `count` messages; `oldest` if there are fewer.

        Args:
            count: Messages, one at least.
            channels: Where they were published; anywhere if empty.
            but: A channel that does not count, if `channels` is empty.
        """
        start = self.oldest - self._base
        for place, channel in zip(
            range(len(self._channels) - 1, start - 1, -1), reversed(self._channels[start:]), strict=True
        ):
            count -= channel in channels if channels else channel not in ("", but)
            if count == 0:
                return self._base + place
        return self.oldest

    def offset_at(self, received_at: float) -> int:
        """Return the offset of the first entry received at or after a time, in Unix seconds; `head + 1` if none was.

        The wall clock may step back: what follows the entry found may then be dated before the time.
        """
        start = self.oldest - self._base
        if self._newest_step_back > self.oldest:  # the times are not in order: look at each
            ahead = (place for place, time in enumerate(self._times[start:], self.oldest) if time >= received_at)
            return next(ahead, self.head + 1)
        return self._base + bisect_left(self._times, received_at, lo=start)

    def _fitting(self, first: int, max_bytes: int, max_entries: int) -> tuple[int, int]:
        start = max(first, self.oldest) - self._base
        end = min(start + max_entries, len(self._sizes))
        fitting = bisect_right(list(accumulate(self._sizes[start:end])), max_bytes)
        return start, min(start + max(fitting, 1), end)

    def _entries(self, start: int, end: int) -> list[Entry]:
        columns = (self._times, self._channels, self._data, self._notes)
        rows = zip(
            range(self._base + start, self._base + end), *(column[start:end] for column in columns), strict=False
        )
        new = tuple.__new__
        return [row[4] if type(row[4]) is Gap else new(Envelope, row) for row in rows]

    def _evict(self) -> None:
        start = self.oldest - self._base
        end = start + max(len(self) - self.max_entries, 0)
        size = self.bytes - sum(self._sizes[start:end])
        while size > self.max_bytes and end < len(self._sizes) - 1:
            size -= self._sizes[end]
            end += 1
        self._data[start:end] = [None] * (end - start)
        self.bytes = size
        self.oldest = self._base + end
        if end > 1024 and end * 2 > len(self._sizes):
            for column in (self._times, self._channels, self._data, self._notes, self._sizes):
                del column[:end]
            self._base = self.oldest
