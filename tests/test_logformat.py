from __future__ import annotations

import logging
from collections.abc import Iterator

import orjson
import pytest

from codeworm_monitor.logformat import configure_logging

LOGGER = logging.getLogger("codeworm_monitor")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)


def test_a_json_line_has_the_keys_of_codeworms_own_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json", level="info")
    logging.getLogger("codeworm_monitor.relay").warning("%s is away", "Redis")
    line = orjson.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["component"]) == ("Redis is away", "warning", "codeworm_monitor.relay")
    assert line["timestamp"].endswith("Z")


def test_a_console_line_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    LOGGER.info("evil\n\x1b[31mtext\u202e")
    text = capsys.readouterr().err
    assert text.endswith(" info    evil··[31mtext·\n")


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_exception_is_written_with_its_traceback(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form=form)
    try:
        raise ValueError("here")
    except ValueError:
        LOGGER.exception("it failed")
    assert "ValueError: here" in capsys.readouterr().err


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="warning")
    LOGGER.info("quiet")
    assert capsys.readouterr().err == ""
