"""Admission: how many may be connected at one time, in all, from one address, and in mid-handshake."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from codeworm_monitor.access import Refusal

__all__ = ["Admission"]


class Admission:
    """Counts connections and says who is one too many.

    Args:
        max_readers: Most readers at one time.
        max_per_address: Most of them from one address; this machine's own (127.0.0.0/8, ::1) is not counted, as
            everything behind a reverse proxy comes from there.
        max_handshakes: Most connections that have not finished their handshake.
    """

    def __init__(self, *, max_readers: int, max_per_address: int, max_handshakes: int) -> None:
        self.max_readers = max_readers
        self.max_per_address = max_per_address
        self.max_handshakes = max_handshakes
        self.handshakes = 0
        """Connections in mid-handshake now."""
        self.refused: Counter[str] = Counter()
        """Connections refused so far, by the bound they met: `handshakes`, `readers` or `address`."""
        self._by_address: Counter[str] = Counter()

    @property
    def readers(self) -> int:
        """Readers connected now."""
        return self._by_address.total()

    def begin(self) -> bool:
        """Count a connection whose handshake begins; return whether it may go on. `end` must follow in any case."""
        self.handshakes += 1
        if self.handshakes > self.max_handshakes:
            self.refused["handshakes"] += 1
            return False
        return True

    def end(self) -> None:
        """Count the end of a handshake, however it ended."""
        self.handshakes -= 1

    def check(self, address: str) -> Refusal | None:
        """Judge a reader that wants to come in from an address."""
        if self.readers >= self.max_readers:
            self.refused["readers"] += 1
            return Refusal(503, "The relay has as many readers as it may (--max-readers); come back later.")
        if self._by_address[address] >= self.max_per_address and not _is_own(address):
            self.refused["address"] += 1
            return Refusal(429, "Your address has as many readers as it may (--max-readers-per-address).")
        return None

    def enter(self, address: str) -> None:
        """Count a reader in."""
        self._by_address[address] += 1

    def leave(self, address: str) -> None:
        """Count a reader out."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


def _is_own(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return True  # a Unix socket has none
