"""Actions: functions, and the cell that called `watch`."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from support.watched import NASTY, notice

from codeworm_monitor.errors import MonitorError
from codeworm_monitor.watching.actions import ActionError, Call, Notify
from codeworm_monitor.watching.commands import Command
from codeworm_monitor.watching.notices import Notice, NoticeKind
from codeworm_monitor.watching.webhooks import Webhook

GO_ON = threading.Event()


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What a notebook's cell shows, one bundle after the other."""
    import IPython
    import IPython.display

    seen: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda bundle, raw: seen.append(bundle))

    def display(bundle: dict[str, str], **options: Any) -> Any:
        assert options == {"raw": True, "display_id": True}
        seen.append(bundle)
        return handle

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", display)
    return seen


def test_a_function_is_called_with_the_notice() -> None:
    seen: list[Notice] = []
    Call(seen.append).act(notice(), GO_ON)
    assert seen == [notice()]


def test_in_a_notebook_the_cell_that_watches_is_changed_in_place(
    cell: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    action = Notify(keep=2)
    action.begin()
    assert cell == [{"text/html": "", "text/plain": ""}]
    for number in range(3):
        action.act(notice(f"number {number}"), GO_ON)
    assert [line.rpartition(": ")[2] for line in cell[-1]["text/plain"].splitlines()] == ["number 2", "number 1"]
    assert cell[-1]["text/html"].index("number 2") < cell[-1]["text/html"].index("number 1")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_hostile_text_is_text(cell: list[dict[str, str]], kind: NoticeKind) -> None:
    action = Notify()
    action.begin()
    action.act(notice(NASTY, kind=kind, rule=NASTY, monitor=NASTY), GO_ON)
    html = cell[-1]["text/html"]
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") == 3


def test_elsewhere_a_line_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    action = Notify()
    action.begin()
    action.act(notice("quiet"), GO_ON)
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{notice('quiet')}\n")


def test_without_standard_error_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    Notify().act(notice(), GO_ON)


def test_actions_that_do_the_same_are_equal() -> None:
    assert Notify().identity == Notify().identity
    assert Command(["a", "b"]).identity == Command(("a", "b")).identity != Command(["a"]).identity
    assert Webhook("http://h/a").identity != Webhook("http://h/b").identity
    assert Call(print).identity != Call(len).identity


def test_keep_is_bounded_and_its_error_is_one_of_ours() -> None:
    with pytest.raises(ValueError, match="keep is between 1 and 100"):
        Notify(keep=0)
    assert issubclass(ActionError, MonitorError)
