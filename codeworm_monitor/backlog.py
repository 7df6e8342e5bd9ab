"""The backlog: a bounded memory of the newest entries of the log."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import inf

from codeworm_monitor.envelope import Entry, Envelope

__all__ = ["Backlog"]

ENTRY_OVERHEAD = 200
"""Bytes an entry is reckoned at beside its data: the tuple, the bytes object and the numbers in it."""


class Backlog:
    """The newest entries, by offset.

    Offsets are contiguous from `oldest` to `head`. At the bound, of entries or of bytes, the oldest entries leave;
    the newest entry always stays. Readers hold no part of it: they ask by offset, and learn from `oldest` what is gone.

    Args:
        max_entries: Most entries kept.
        max_bytes: Most bytes kept, each entry reckoned at its data and `ENTRY_OVERHEAD`.
        head: Offset of the entry before the first one.
    """

    def __init__(self, *, max_entries: int = 50_000, max_bytes: int = 64 * 2**20, head: int = 0) -> None:
        if max_entries < 1 or max_bytes < 1 or head < 0:
            raise ValueError("a backlog keeps at least one entry and starts at an offset of 0 or more")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.head = head
        self.bytes = 0
        # `_entries[i]` is the entry at offset `_base + i`, `_sizes[i]` what it is reckoned at. Entries before `oldest`
        # are None until the next compaction: evicting is cheap and frees the data at once.
        self._entries: list[Entry | None] = []
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
        size = len(entry.data) if isinstance(entry, Envelope) else 0
        self._extend([entry], [_received_at(entry)], [size + ENTRY_OVERHEAD])

    def extend(self, envelopes: Sequence[Envelope]) -> None:
        """Add the next entries, all of them envelopes; their offsets must follow `head` without a hole."""
        # By position: this is on the relay's hot path.
        self._extend(envelopes, [one[1] for one in envelopes], [len(one[3]) + ENTRY_OVERHEAD for one in envelopes])

    def _extend(self, entries: Sequence[Entry], times: list[float], sizes: list[int]) -> None:
        if not entries:
            return
        if times[0] < self._newest_time or times != sorted(times):
            before = [self._newest_time, *times]
            steps = [place for place, (one, other) in enumerate(pairwise(before)) if other < one]
            self._newest_step_back = self.head + 1 + steps[-1]
        self._newest_time = times[-1]
        self._entries += entries
        self._sizes += sizes
        self.head += len(sizes)
        self.bytes += sum(sizes)
        if self.bytes > self.max_bytes or len(self) > self.max_entries:
            self._evict()

    def between(self, first: int, last: int) -> list[Entry]:
        """Return the entries from offset `first` to `last`, both included, as far as they are here."""
        start = max(first, self.oldest) - self._base
        return self._entries[start : max(last + 1 - self._base, start)]  # type: ignore[return-value]  # none is None from `oldest` on

    def span(self, first: int, *, max_bytes: int, max_entries: int) -> list[Entry]:
        """Return the entries from offset `first` on, as many as are reckoned at `max_bytes` in all, and one at least."""
        start = max(first, self.oldest) - self._base
        end = min(start + max_entries, len(self._entries))
        fitting = bisect_right(list(accumulate(self._sizes[start:end])), max_bytes)
        return self._entries[start : min(start + max(fitting, 1), end)]  # type: ignore[return-value]  # as above

    def offset_at(self, received_at: float) -> int:
        """Return the offset of the first entry received at or after a time, in Unix seconds; `head + 1` if none was.

        The wall clock may step back: what follows the entry found may then be dated before the time.
        """
        if self._newest_step_back > self.oldest:  # the times are not in order: look at each
            entries = self.between(self.oldest, self.head)
            ahead = (offset for offset, entry in enumerate(entries, self.oldest) if _received_at(entry) >= received_at)
            return next(ahead, self.head + 1)
        start = self.oldest - self._base
        return self._base + bisect_left(self._entries, received_at, lo=start, key=_received_at)  # type: ignore[arg-type]

    def _evict(self) -> None:
        start = self.oldest - self._base
        end = start + max(len(self) - self.max_entries, 0)
        size = self.bytes - sum(self._sizes[start:end])
        while size > self.max_bytes and end < len(self._sizes) - 1:
            size -= self._sizes[end]
            end += 1
        self._entries[start:end] = [None] * (end - start)
        self.bytes = size
        self.oldest = self._base + end
        if end > 1024 and end * 2 > len(self._entries):
            del self._entries[:end], self._sizes[:end]
            self._base = self.oldest


def _received_at(entry: Entry) -> float:
    return entry.received_at if isinstance(entry, Envelope) else entry.ended_at
