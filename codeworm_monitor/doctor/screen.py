"""Rows on a terminal, or as plain lines where there is none: a sign, a name, and texts that anybody may have written."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

from codeworm_monitor.logformat import printable

__all__ = ["Row", "show"]

WIDEST = 300
"""Characters of one text."""
_STYLES = {"good": "green", "bad": "yellow", "worst": "bold red", "title": "bold", "": ""}


class Row(NamedTuple):
    """One row.

    Attributes:
        name: What it is about; empty: the row above goes on.
        text: What there is to say.
        style: `good`, `bad`, `worst`, `title`, or empty: as it is.
        sign: A word or sign before the name; empty: none.
    """

    name: str
    text: str
    style: str = ""
    sign: str = ""


def show(rows: Iterable[Row]) -> None:
    """Write rows to standard output: in colour and folded to the width of a terminal; elsewhere a line each, without.

    Texts are inert: neither control characters nor markup in them do anything.
    """
    rows = [
        row._replace(
            name=printable(row.name), text=_shortened(printable(row.text)), sign=printable(row.sign), style=row.style
        )
        for row in rows
    ]
    has_signs = any(row.sign for row in rows)
    if not sys.stdout.isatty():
        names = max((len(row.name) for row in rows), default=0)
        signs = max((len(row.sign) for row in rows), default=0) + 2 if has_signs else 0
        for row in rows:
            sys.stdout.write(
                f"{row.sign:{signs}}{row.name:{names}}  {row.text}".rstrip() + "\n"
                if signs
                else f"{row.name:{names}}  {row.text}".rstrip() + "\n"
            )
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3 if has_signs else 2):
        table.add_column(no_wrap=True)
    table.columns[-1].no_wrap = False
    table.columns[-1].overflow = "fold"
    for row in rows:
        style = _STYLES[row.style]
        cells = [
            Text(row.name, style="" if has_signs else "dim" if row.style != "title" else "bold"),
            Text(row.text, style="" if has_signs else style),
        ]
        table.add_row(*([Text(row.sign, style=style)] if has_signs else []), *cells)
    Console(highlight=False, markup=False, emoji=False).print(table)


def _shortened(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
