"""The kernel's side of the log panel: what waits to be sent, in numbered batches, and those that were sent last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.states.wire_rows import WireRow, dump_newest, dump_rows, gap_row, skipped_row, wire_row

__all__ = ["Batch", "Fill", "LogState"]

Message = tuple[Envelope, Any]

MOST_ROWS = 2_000
MOST_BYTES = 4 * 2**20
KEPT_BATCHES = 240
"""A minute at 4 batches a second."""
KEPT_BYTES = 16 * 2**20
MOST_GAPS = 100


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that came since the batch, or the fill, before.

    Attributes:
        number: One more than that of the batch or fill before.
        count: Rows in it.
        data: The rows, a JSON array in UTF-8.
    """

    number: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Fill:
    """Rows that stand in the place of all that were sent before.

    Attributes:
        number: The next batch has one more.
        count: Rows in it.
        data: The rows, a JSON array in UTF-8.
        is_all: Whether there is nothing older.
    """

    number: int
    count: int
    data: bytes
    is_all: bool


class LogState:
    """Collects messages until they are sent, and remembers what was sent.

    Promises:

    - Rows are in the order of the log. At most `most` a batch: of more, the newest, and before them one row that counts
      those left out; gaps stay.
    - Taking messages does not look at them, so that a flood costs next to nothing until it is sent.
    - Numbers of batches ascend by one, so that whoever misses one can ask for it; those that are no longer held are
      replaced by a fill.

    Any thread may use it.

    Args:
        most: Rows of a batch.
        most_bytes: Bytes of a batch; at least 64 rows go, whatever they take.
    """

    def __init__(self, *, most: int = MOST_ROWS, most_bytes: int = MOST_BYTES) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._pending: deque[tuple[str, Sequence[Message] | Gap]] = deque()
        self._count = 0  # messages pending
        self._skipped = 0
        self._skipped_at = 0.0
        self._gaps = 0
        self._number = 0
        self._epoch: str | None = None
        self._filled_to = 0  # offset up to which, under that epoch, all is in the newest fill
        self._sent: deque[Batch] = deque()
        self._sent_bytes = 0

    @property
    def pending(self) -> int:
        """Messages that wait to be sent, or to be counted as left out."""
        with self._lock:
            return self._count + self._skipped

    def take(self, epoch: str, messages: Sequence[Message]) -> None:
        """Take messages in the order of the log; the sequence is kept, and must not change."""
        if not messages:
            return
        with self._lock:
            if epoch != self._epoch:
                self._epoch, self._filled_to = epoch, 0
            if messages[0][0].offset <= self._filled_to:  # all of them, or their beginning, was in the fill
                messages = [one for one in messages if one[0].offset > self._filled_to]
                if not messages:
                    return
            if len(messages) > self.most:
                self._skip(messages[: -self.most])
                messages = messages[-self.most :]
            self._append(epoch, messages)
            self._trim()

    def take_gap(self, epoch: str, gap: Gap) -> None:
        """Take a gap, which stands behind the messages taken before it."""
        with self._lock:
            if epoch == self._epoch and gap.offset is not None and gap.offset <= self._filled_to:
                return
            self._append(epoch, gap)
            if self._gaps > MOST_GAPS:
                oldest = next(one for one in self._pending if isinstance(one[1], Gap))
                self._pending.remove(oldest)
                self._gaps -= 1

    def flush(self) -> Batch | None:
        """Return what waits as the next batch; None: nothing does."""
        with self._lock:
            pending, skipped, at = list(self._pending), self._skipped, self._skipped_at
            self._clear()
            if not pending and not skipped:
                return None
            rows: list[WireRow] = []
            for _, one in pending:
                if isinstance(one, Gap):
                    rows.append(gap_row(one))
                else:
                    rows += [wire_row(envelope, payload) for envelope, payload in one]
            data, count = dump_newest(rows, self.most_bytes)
            left_out = rows[: len(rows) - count]
            gaps = [row for row in left_out if row[2] == "gap"]
            if len(left_out) > len(gaps):
                skipped += len(left_out) - len(gaps)
                at = left_out[-1][1]
            before = [*([skipped_row(skipped, at)] if skipped else []), *gaps]
            if before:
                data = _joined(dump_rows(before), data)
            self._number += 1
            batch = Batch(self._number, len(before) + count, data)
            self._remember(batch)
            return batch

    def resend(self, first: int, last: int) -> list[Batch] | None:
        """Return batches that were sent; None: not all of them are held any more, so a fill is wanted.

        Args:
            first: Number of the first one missed.
            last: Number of the last one; beyond the newest means that.
        """
        with self._lock:
            last = min(last, self._number)
            if first > last:
                return []
            found = [batch for batch in self._sent if first <= batch.number <= last]
            return found if len(found) == last - first + 1 else None

    def fill(self, rows: Sequence[WireRow], *, is_all: bool, epoch: str | None = None) -> Fill:
        """Return a fill; what waits and is in it is not sent again.

        Args:
            rows: The newest ones, the oldest first, as `wire_row` makes them.
            is_all: Whether there is nothing older.
            epoch: Of the numbering of the newest rows; None: that of the newest messages taken.
        """
        with self._lock:
            newest = next((row[0] for row in reversed(rows) if type(row[0]) is int), 0)
            pending, own = list(self._pending), self._epoch
            self._clear()
            if epoch is not None and epoch != own:
                self._epoch = epoch
            for its_epoch, one in pending:
                if its_epoch != self._epoch:
                    left = one if its_epoch == own else []  # rather twice than not at all
                elif isinstance(one, Gap):
                    left = one if one.offset is None or one.offset > newest else []
                else:
                    left = [message for message in one if message[0].offset > newest]
                if left:
                    self._append(its_epoch, left)
            self._filled_to = newest
            self._sent.clear()
            self._sent_bytes = 0
            self._number += 1
            return Fill(self._number, len(rows), dump_rows(rows), is_all)

    def _append(self, epoch: str, one: Sequence[Message] | Gap) -> None:
        self._pending.append((epoch, one))
        if isinstance(one, Gap):
            self._gaps += 1
        else:
            self._count += len(one)

    def _clear(self) -> None:
        self._pending.clear()
        self._count = self._skipped = self._gaps = 0
        self._skipped_at = 0.0

    def _skip(self, messages: Sequence[Message]) -> None:
        self._skipped += len(messages)
        self._skipped_at = max(self._skipped_at, messages[-1][0].received_at)

    def _trim(self) -> None:
        """Leave out the oldest messages while enough stay; gaps stay."""
        gaps: list[tuple[str, Gap]] = []
        while self._count > self.most:
            epoch, oldest = self._pending.popleft()
            if isinstance(oldest, Gap):
                gaps.append((epoch, oldest))
                continue
            over = min(self._count - self.most, len(oldest))
            self._skip(oldest[:over])
            self._count -= over
            if over < len(oldest):
                self._pending.appendleft((epoch, oldest[over:]))
        self._pending.extendleft(reversed(gaps))

    def _remember(self, batch: Batch) -> None:
        self._sent.append(batch)
        self._sent_bytes += len(batch.data)
        while len(self._sent) > KEPT_BATCHES or (self._sent_bytes > KEPT_BYTES and len(self._sent) > 1):
            self._sent_bytes -= len(self._sent.popleft().data)


def _joined(first: bytes, second: bytes) -> bytes:
    """Return two JSON arrays as one."""
    return first if second == b"[]" else first[:-1] + b"," + second[1:]
