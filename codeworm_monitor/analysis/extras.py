"""Extras: libraries that only some answers need, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from codeworm_monitor.errors import MissingExtraError

__all__ = ["needed"]


def needed(module: str, extra: str = "analysis") -> Any:
    """Import a module of an extra.

    Raises:
        MissingExtraError: It is not installed; says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # something else is missing, within it
        raise MissingExtraError(module.partition(".")[0], extra) from error
