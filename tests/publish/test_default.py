from __future__ import annotations

import pytest
from support.published import Subscriber, program
from support.servers import Server
from support.waiting import eventually

from codeworm_monitor.publish import default_publisher

TEXT = """
import logging
from codeworm_monitor.publish import PublishHandler, publish_event, publish_log, publish_processor, publish_stats
assert publish_log("line", level="warning", number=1)
assert publish_event("epoch", number=2, type="x")
assert publish_stats(total_cycles=3)
logging.basicConfig(handlers=[PublishHandler(component="mine")], level="INFO")
logging.info("by logging")
publish_processor(None, "info", {"event": "by structlog"})
"""


async def test_functions_of_the_module_need_no_set_up(server: Server, subscriber: Subscriber) -> None:
    assert await program(TEXT, REDIS_URL=server.url) == (0, "", "")
    await eventually(lambda: len(subscriber.payloads) == 5)
    assert [(line["event"], line["level"], line["component"]) for line in subscriber.on()] == [
        ("line", "warning", "python"),
        ("by logging", "info", "mine"),
        ("by structlog", "info", "python"),
    ]
    assert subscriber.on("codeworm:events")[0]["data"] == {"number": 2, "type": "x"}
    assert subscriber.on("codeworm:stats")[0]["total_cycles"] == 3


async def test_a_program_without_a_redis_runs_as_ever() -> None:
    assert (await program(TEXT, REDIS_URL="redis://127.0.0.1:1"))[0] == 0
    assert (await program(TEXT, REDIS_URL="no url at all"))[0] == 0


def test_there_is_one() -> None:
    assert default_publisher() is default_publisher()


@pytest.mark.parametrize("name", ["publish_event", "publish_log", "publish_stats"])
def test_each_function_says_what_it_does(name: str) -> None:
    import codeworm_monitor.publish as module

    assert "Example:" in getattr(module, name).__doc__
