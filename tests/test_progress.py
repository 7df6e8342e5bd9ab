"""Progress shows where somebody looks, once it takes long, and leaves nothing."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from codeworm_monitor import progress
from codeworm_monitor.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(progress, "REFRESH", 0.0)


def test_a_script_is_shown_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading") as shown:
        shown.tell(0.5)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_is_shown_a_line_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("reading") as shown:
        for fraction in (-1, 0.5, 7):
            shown.tell(fraction)
    text = terminal.getvalue()
    assert "] reading: 0%, 0 s" in text
    assert f"[{'#' * 15}{'.' * 15}] reading: 50%" in text
    assert "reading: 100%" in text
    assert text.endswith("\r\x1b[K")


def test_what_is_quick_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "SHOWN_AFTER", 60.0)
    with Progress("reading", is_shown=True) as shown:
        shown.tell(0.5)
    assert terminal.getvalue() == ""


def test_false_keeps_a_terminal_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("reading", is_shown=False) as shown:
        shown.tell(0.5)
    assert terminal.getvalue() == ""


def test_a_notebook_is_shown_a_bar_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython
    import IPython.display

    seen: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda bundle, raw: seen.append(bundle))

    def display(bundle: dict[str, str], **_: Any) -> Any:
        seen.append(bundle)
        return handle

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", display)
    with Progress("reading") as shown:
        shown.tell(0.25)
        shown.tell(0.5)
    assert '<progress value="0.250">' in seen[0]["text/html"]
    assert seen[1]["text/plain"].startswith("reading: 50%")
    assert seen[-1] == {"text/html": "", "text/plain": ""}
