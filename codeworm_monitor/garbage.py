"""The garbage collector of Python, which looks through all objects again and again while many are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collection_paused"]


@contextmanager
def collection_paused() -> Iterator[None]:
    """Look for garbage afterwards, not during work that makes many objects and hardly any garbage.

    A notebook holds hundreds of thousands of objects; to go through them while cycles are pieced together took a third
    of the time. What no cycle of references holds is freed at once as ever.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
