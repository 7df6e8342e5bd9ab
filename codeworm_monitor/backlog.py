"""The backlog: a bounded memory of the newest entries of the log."""

from __future__ import annotations

from bisect import bisect_left

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
        # `_entries[i]` is the entry at offset `_base + i`; those before `oldest` are None until the next compaction,
        # so that evicting is O(1) and frees the data at once.
        self._entries: list[Entry | None] = []
        self._base = head + 1
        self.oldest = head + 1

    def __len__(self) -> int:
        return self.head - self.oldest + 1

    def append(self, entry: Entry) -> None:
        """Add the next entry; its offset must be `head + 1`."""
        self.head += 1
        self.bytes += self._size(entry)
        self._entries.append(entry)
        if self.bytes > self.max_bytes or self.head - self.oldest >= self.max_entries:
            self._evict()

    def between(self, first: int, last: int) -> list[Entry]:
        """Return the entries from offset `first` to `last`, both included, as far as they are here."""
        start = max(first, self.oldest) - self._base
        return self._entries[start : max(last + 1 - self._base, start)]  # type: ignore[return-value]  # none is None from `oldest` on

    def offset_at(self, received_at: float) -> int:
        """Return the offset of the first entry received at or after a time, in Unix seconds; `head + 1` if none was.

        The wall clock may step back; entries are then found as if it had stood still.
        """
        return self.oldest + bisect_left(self.between(self.oldest, self.head), received_at, key=_received_at)

    def _evict(self) -> None:
        while len(self) > 1 and (self.bytes > self.max_bytes or len(self) > self.max_entries):
            index = self.oldest - self._base
            self.bytes -= self._size(self._entries[index])
            self._entries[index] = None
            self.oldest += 1
        gone = self.oldest - self._base
        if gone > 1024 and gone * 2 > len(self._entries):
            del self._entries[:gone]
            self._base = self.oldest

    @staticmethod
    def _size(entry: Entry | None) -> int:
        return len(entry.data) + ENTRY_OVERHEAD if type(entry) is Envelope else ENTRY_OVERHEAD


def _received_at(entry: Entry) -> float:
    return entry.received_at if isinstance(entry, Envelope) else entry.ended_at
