"""Keys: what a person presses, from the bytes that a terminal sends for it."""

from __future__ import annotations

__all__ = ["ESCAPE", "Keys"]

ESCAPE = "\x1b"


class Keys:
    """Tells keys from bytes, which may come in pieces; arrows and the like, which begin as Esc does, are none.

    `take` holds an Esc back that might begin a longer key; `settle`, to be called when nothing more came for a moment,
    says that it was one.
    """

    def __init__(self) -> None:
        self._held = b""

    @property
    def is_unsettled(self) -> bool:
        """Whether an Esc is held back."""
        return bool(self._held)

    def take(self, data: bytes) -> list[str]:
        """Return the keys in some bytes: printable ASCII characters, control characters, `ESCAPE`."""
        data, self._held = self._held + data, b""
        keys: list[str] = []
        place = 0
        while place < len(data):
            if data[place] != 0x1B:
                if data[place] < 0x80:
                    keys.append(chr(data[place]))
                place += 1
                continue
            end = _end_of_sequence(data, place)
            if end is None:
                self._held = data[place : place + 32]
                break
            if data[place + 1 : place + 2] == b"\x1b":
                keys.append(ESCAPE)
            place = end
        return keys

    def settle(self) -> list[str]:
        """Return the key that was held back, if it was one."""
        held, self._held = self._held, b""
        return [ESCAPE] if held == b"\x1b" else []


def _end_of_sequence(data: bytes, start: int) -> int | None:
    """Return where the sequence that begins with Esc ends; None: not here yet."""
    if start + 1 == len(data):
        return None
    second = data[start + 1]
    if second == 0x1B:  # Esc twice: the first one was pressed for itself
        return start + 1
    if second == ord("O"):
        return start + 3 if start + 2 < len(data) else None
    if second != ord("["):
        return start + 2  # a letter with Alt
    for place in range(start + 2, len(data)):
        if 0x40 <= data[place] <= 0x7E:
            return place + 1
    return None
