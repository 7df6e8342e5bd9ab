"""What has arrived since the panels were told last, and waits for the thread that tells them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from codeworm_monitor.activity import Snapshot
from codeworm_monitor.envelope import Envelope, Gap
from codeworm_monitor.states.panel_states import PanelStates

__all__ = ["PanelArrivals", "Row", "Step"]

MOST_ARRIVED = 50_000
"""Messages and gaps that wait at most."""
MOST_BYTES = 32 * 2**20
"""Bytes of JSON that wait at most; as Python objects they take a few times as much."""

Step = Callable[[PanelStates], object]
Row = tuple[str, Sequence[tuple[Envelope, Any]] | Gap]


class PanelArrivals:
    """Notes what goes into a monitor's tables until it is taken.

    To note costs next to nothing, and nothing where nobody takes. If more waits than may, all of it is let go: it is in
    the tables, from which one begins anew.

    Attributes:
        taking: Held while messages go into the tables, are noted here, and are taken.
        is_begun: Whether it notes; if not, who wants to take begins with what the tables hold.
    """

    def __init__(self) -> None:
        self.taking = threading.Lock()
        self.is_begun = False
        self._steps: deque[Step] = deque()
        self._rows: deque[Row] = deque()
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        return len(self._steps)

    # For who holds `taking`

    def note(self, epoch: str, messages: Sequence[tuple[Envelope, Any]], *, size: int = 0) -> None:
        """Note messages; `size`: bytes of their JSON, as far as known."""
        if self.is_begun and self._has_room(len(messages), size):
            self._steps.append(lambda states: states.take(epoch, messages))
            self._rows.append((epoch, messages))

    def note_gap(self, epoch: str, gap: Gap) -> None:
        """Note a gap."""
        if self.is_begun and self._has_room(1, 0):
            self._steps.append(lambda states: states.take_gap(epoch, gap))
            self._rows.append((epoch, gap))

    def note_restart(self, snapshot: Snapshot, *, live_from: int, epoch: str) -> None:
        """Note the relay's state at an offset."""
        if self.is_begun:
            self._steps.append(lambda states: states.restart(snapshot, live_from=live_from, epoch=epoch))

    def take(self) -> tuple[deque[Step], deque[Row]]:
        """Return what to do with the states, and the rows; nothing waits then."""
        taken = self._steps, self._rows
        self._forget()
        return taken

    def stop(self) -> None:
        """Note nothing more, and let go of what waits."""
        self.is_begun = False
        self._forget()

    def _has_room(self, count: int, size: int) -> bool:
        self._count += count
        self._size += size
        if self._count <= MOST_ARRIVED and self._size <= MOST_BYTES:
            return True
        self.stop()
        return False

    def _forget(self) -> None:
        self._steps, self._rows = deque(), deque()
        self._count = self._size = 0
