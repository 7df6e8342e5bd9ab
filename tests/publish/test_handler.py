from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import threading
from typing import Any

import pytest

from codeworm_monitor.publish import Publisher, PublishHandler
from codeworm_monitor.publish.handler import exception_fields
from codeworm_monitor.publish.shapes import payload_of


@pytest.fixture
def logger(nobody: Publisher) -> logging.Logger:
    """A logger whose records are published to where nobody is."""
    logger = logging.Logger("program.part", logging.DEBUG)  # noqa: LOG001  # by itself: no other handler sees what is odd
    logger.addHandler(PublishHandler(nobody))
    return logger


@pytest.fixture(autouse=True)
def _waiting_stays(nobody: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nobody, "_start", lambda: None)


def lines(publisher: Publisher) -> list[dict[str, Any]]:
    """Take what waits."""
    taken = publisher._outbox.take(10**6, 10**9)
    return [json.loads(payload_of(message, message[1])) for message in taken]


def test_a_record_is_a_log_line(logger: logging.Logger, nobody: Publisher) -> None:
    logger.warning("%d of %s", 3, "many", extra={"run": "a", "loss": 0.5, "component": "mine"})
    (line,) = lines(nobody)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "3 of many", "level": "warning", "component": "mine", "run": "a", "loss": 0.5}


def test_without_extras_there_are_no_further_keys(logger: logging.Logger, nobody: Publisher) -> None:
    logger.info("plain")
    (line,) = lines(nobody)
    assert set(line) == {"event", "level", "component", "timestamp"}
    assert line["component"] == "program.part"


def test_an_exception_goes_with_it(logger: logging.Logger, nobody: Publisher) -> None:
    try:
        raise ValueError("wrong\nin two lines")
    except ValueError:
        logger.exception("failed")
    (line,) = lines(nobody)
    assert (line["event"], line["level"]) == ("failed", "error")
    assert line["exception"].startswith("Traceback (most recent call last)")
    assert line["exception"].endswith("in two lines")
    assert line["error"] == "in two lines"


def test_an_exception_whose_text_raises_goes_with_it(logger: logging.Logger, nobody: Publisher) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    try:
        raise OddError
    except OddError:
        logger.exception("failed")
    (line,) = lines(nobody)
    assert "OddError" in line["error"]


def test_arguments_that_do_not_fit_lose_nothing(logger: logging.Logger, nobody: Publisher) -> None:
    logger.info("%d and %d", "one")
    (line,) = lines(nobody)
    assert (line["event"], line["args"]) == ("%d and %d", "('one',)")


def test_an_object_without_a_text_loses_nothing(logger: logging.Logger, nobody: Publisher) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    logger.info(Odd())
    logger.info("%s", Odd(), extra={"odd": Odd()})
    assert len(lines(nobody)) == 2


def test_an_object_that_logs_while_its_text_is_made_goes_round_once(logger: logging.Logger, nobody: Publisher) -> None:
    class Chatty:
        def __str__(self) -> str:
            logger.info("asked for %s", self.__class__)
            return "chatty"

    logging.raiseExceptions, former = False, logging.raiseExceptions
    try:
        logger.info("see %s", Chatty())
    finally:
        logging.raiseExceptions = former
    assert [line["event"] for line in lines(nobody)] == ["see chatty"]


@pytest.mark.parametrize("name", ["codeworm_monitor.publish", "codeworm_monitor.publish.sending"])
def test_what_the_publisher_says_is_not_published(name: str, logger: logging.Logger, nobody: Publisher) -> None:
    handler = logger.handlers[0]
    handler.handle(logging.makeLogRecord({"name": name, "msg": "x", "levelname": "INFO"}))
    handler.handle(logging.makeLogRecord({"name": "codeworm_monitor.publishers", "msg": "y", "levelname": "INFO"}))
    assert [line["event"] for line in lines(nobody)] == ["y"]


@pytest.mark.parametrize("name", ["redis.connection", "asyncio", "any"])
def test_what_is_logged_is_published_but_for_the_publishers_thread(
    name: str, logger: logging.Logger, nobody: Publisher
) -> None:
    nobody._sender.thread_id = 77
    for thread in (77, 78):
        record = logging.makeLogRecord({"name": name, "msg": f"of {thread}", "levelname": "INFO", "thread": thread})
        logger.handlers[0].handle(record)
    assert [line["event"] for line in lines(nobody)] == ["of 78"]


def test_the_publishers_thread_is_known_though_records_do_not_name_theirs(
    logger: logging.Logger, nobody: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "logThreads", False)
    logger.info("of the program")
    nobody._sender.thread_id = threading.get_ident()
    logger.info("of the publisher's thread")
    assert [line["event"] for line in lines(nobody)] == ["of the program"]


async def test_a_task_whose_exception_nobody_retrieved_is_told(
    nobody: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise ValueError("of the task")

    handler = PublishHandler(nobody)
    monkeypatch.setattr(logging.getLogger("asyncio"), "handlers", [handler])
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
    (line,) = lines(nobody)
    assert (line["component"], line["level"], line["error"]) == ("asyncio", "error", "ValueError: of the task")
    assert line["event"].startswith("Task exception was never retrieved")


def test_levels_and_stacks(logger: logging.Logger, nobody: Publisher) -> None:
    logger.handlers[0].setLevel("ERROR")
    logger.info("no")
    logger.critical("yes", stack_info=True)
    (line,) = lines(nobody)
    assert line["level"] == "critical"
    assert "test_levels_and_stacks" in line["stack"]


def test_an_exception_is_two_fields() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        found, same = exception_fields(sys.exc_info()), exception_fields(error)
    assert found == same
    assert found["error"] == "KeyError: 'x'"
    assert exception_fields((None, None, None)) == exception_fields(None) == {}
