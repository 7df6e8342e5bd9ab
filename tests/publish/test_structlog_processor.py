from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from codeworm_monitor.publish import Publisher, PublishProcessor, publish_processor
from codeworm_monitor.publish.shapes import payload_of


@pytest.fixture(autouse=True)
def _waiting_stays(nobody: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nobody, "_start", lambda: None)


def lines(publisher: Publisher) -> list[dict[str, Any]]:
    return [json.loads(payload_of(message, message[1])) for message in publisher._outbox.take(10**6, 10**9)]


def a_logger(publisher: Publisher, *processors: Any) -> Any:
    """Return a logger of structlog that ends with ours and hands what it passes on to the program."""
    return structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[*processors, PublishProcessor(publisher)], context_class=dict
    )


def test_it_passes_on_what_it_was_given_and_publishes_a_line(nobody: Publisher) -> None:
    given = {"event": "push_failed", "error": "no", "exc_info": False, "nested": {"a": 1}}
    before = json.dumps(given)
    processor = PublishProcessor(nobody)
    assert processor(None, "error", given) is given
    assert json.dumps(given) == before
    given["nested"]["a"] = 2  # type: ignore[index]
    (line,) = lines(nobody)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "push_failed",
        "error": "no",
        "nested": {"a": 1},
        "level": "error",
        "component": "test",
    }


def test_codeworms_own_processors_give_codeworms_own_line(nobody: Publisher) -> None:
    logger = a_logger(
        nobody,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ).bind(component="daemon")
    try:
        raise ValueError("wrong")
    except ValueError:
        logger.exception("documentation_failed", target="a.b")
    (line,) = lines(nobody)
    assert (line["event"], line["level"], line["component"]) == ("documentation_failed", "error", "daemon")
    assert line["timestamp"].endswith("Z")
    assert line["exception"].endswith("ValueError: wrong")


def test_an_exception_that_nobody_formatted_is_formatted_in_the_copy(nobody: Publisher) -> None:
    passed: dict[str, Any] = {}
    logger = a_logger(nobody)
    try:
        raise ValueError("wrong")
    except ValueError:
        _, passed = logger.exception("failed")
    assert passed == {"event": "failed", "exc_info": True}
    (line,) = lines(nobody)
    assert (line["error"], line["level"]) == ("ValueError: wrong", "error")
    assert "exc_info" not in line


def test_a_unix_time_is_written_out(nobody: Publisher) -> None:
    a_logger(nobody, structlog.processors.TimeStamper()).info("x")
    assert lines(nobody)[0]["timestamp"].endswith("Z")


@pytest.mark.parametrize("rendered", ["a text", b"a text"])
def test_behind_the_renderer_it_publishes_the_text(rendered: Any, nobody: Publisher) -> None:
    assert PublishProcessor(nobody)(None, "info", rendered) is rendered
    assert lines(nobody)[0]["event"] == "a text"


def test_nothing_it_is_given_raises(nobody: Publisher) -> None:
    class Odd(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError

    for odd in (Odd(a=1), None, 3, {"timestamp": 1e300}, {1: 2, "event": object()}):
        assert PublishProcessor(nobody)(None, "info", odd) is odd  # type: ignore[type-var]


def test_the_one_of_the_default_publisher_is_ready_made() -> None:
    assert isinstance(publish_processor, PublishProcessor)
