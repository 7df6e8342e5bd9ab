from __future__ import annotations

import asyncio
import re
import shlex
import time

import pytest
from support.faked_relay import FakedRelay
from support.findings import case_of, findings, outcomes
from support.servers import Server, free_port, stand_in
from support.waiting import eventually

from codeworm_monitor.doctor.case import Outcome
from codeworm_monitor.doctor.redis_checks import check_redis

LOGS = "codeworm:logs"


async def test_a_redis_that_is_down_is_not_reached_and_the_mend_names_the_setting() -> None:
    found = await findings(check_redis, case_of(redis_url=f"redis://127.0.0.1:{free_port()}"))
    assert outcomes(found) == {"redis.reachable": Outcome.FAILED}
    assert "Connection refused" in found["redis.reachable"].said
    assert "--redis-url" in found["redis.reachable"].mend


async def test_a_redis_that_accepts_and_never_answers_is_told_from_one_that_is_down() -> None:
    async with stand_in() as url:
        found = await findings(check_redis, case_of(redis_url=url, step=0.3))
    assert outcomes(found) == {"redis.reachable": Outcome.FAILED}
    assert "says nothing" in found["redis.reachable"].mend


@pytest.mark.parametrize("credentials", ["", ":wrong-word@", "worm:wrong-word@"])
async def test_a_wrong_password_fails_the_login_alone_and_is_not_repeated(credentials: str) -> None:
    async with Server("redis", "--requirepass", "secret-word") as server:
        found = await findings(check_redis, case_of(redis_url=f"redis://{credentials}127.0.0.1:{server.port}"))
    assert outcomes(found) == {"redis.reachable": Outcome.OK, "redis.login": Outcome.FAILED}
    assert "--redis-url" in found["redis.login"].mend
    assert "wrong-word" not in str(found)


async def test_channels_that_the_acl_forbids_are_named_and_the_mend_mends_it() -> None:
    async with Server() as server:
        await server.do("ACL", "SETUSER", "worm", "on", ">word", "resetchannels", "+subscribe", "+ping", f"&{LOGS}")
        case = case_of(redis_url=f"redis://worm:word@127.0.0.1:{server.port}")
        found = await findings(check_redis, case)
        assert outcomes(found)["redis.channels"] is Outcome.FAILED
        assert "codeworm:events, codeworm:stats" in found["redis.channels"].said
        assert LOGS not in found["redis.channels"].said
        program, *command = shlex.split(found["redis.channels"].mend)
        assert program == "redis-cli"
        await server.do(*command)
        found = await findings(check_redis, case)
    assert outcomes(found)["redis.channels"] is Outcome.OK


async def test_where_probes_are_not_permitted_it_is_a_warning_that_says_what_to_permit() -> None:
    async with Server() as server:
        await server.do("ACL", "SETUSER", "worm", "on", ">word", "resetchannels", "+subscribe", "+ping", "&codeworm:*")
        found = await findings(check_redis, case_of(redis_url=f"redis://worm:word@127.0.0.1:{server.port}"))
    assert outcomes(found)["redis.hears"] is Outcome.WARNING
    assert "&codeworm_monitor:probe:*" in found["redis.hears"].mend


async def test_a_publisher_is_heard_and_the_listening_ends_at_once() -> None:
    async with Server() as server:

        async def publish() -> None:
            await eventually(lambda: server.publish(LOGS, [b'{"event":"x"}']))  # until it reaches somebody

        publishing = asyncio.create_task(publish())
        found = await findings(check_redis, case_of(redis_url=server.url, listen=60.0))
        await publishing
    assert set(outcomes(found).values()) == {Outcome.OK}
    assert re.search(r"[1-9] messages", found["redis.publishing"].said)


async def test_a_silent_redis_is_a_warning_as_codeworm_may_be_silent_for_minutes() -> None:
    async with Server() as server:
        found = await findings(check_redis, case_of(redis_url=server.url))
    assert outcomes(found)["redis.channels"] is Outcome.OK
    assert outcomes(found)["redis.publishing"] is Outcome.WARNING
    assert "subscribe codeworm:logs" in found["redis.publishing"].mend


@pytest.mark.parametrize(
    ("statistics", "outcome"),
    [
        ({"last_message_at": -60}, Outcome.OK),
        ({"last_message_at": -86_400}, Outcome.FAILED),
        ({"is_connected": True, "upstream_since": -86_400}, Outcome.FAILED),
        ({"is_connected": True, "upstream_since": -60}, Outcome.WARNING),
    ],
)
async def test_what_the_relay_heard_counts_where_nothing_came_while_listening(
    statistics: dict[str, float], outcome: Outcome
) -> None:
    ago = {name: time.time() + value if value < 0 else value for name, value in statistics.items()}
    relay = FakedRelay()
    relay.tell("/info", {"statistics": ago})
    async with Server() as server, relay.running():
        found = await findings(check_redis, case_of(relay.url, redis_url=server.url))
    assert outcomes(found)["redis.publishing"] is outcome


async def test_without_a_name_the_redis_of_the_relay_on_this_machine_is_looked_at() -> None:
    relay = FakedRelay()
    async with Server() as server, relay.running():
        relay.tell("/info", {"statistics": {"upstream": server.url}})
        found = await findings(check_redis, case_of(relay.url, is_announced=True))
        assert server.url in found["redis.reachable"].said
        relay.tell("/info", {"statistics": {"upstream": "redis://worm:***@127.0.0.1:6379"}})
        found = await findings(check_redis, case_of(relay.url, is_announced=True))
    assert outcomes(found) == {"redis.reachable": Outcome.SKIPPED}
    assert "--redis-url" in found["redis.reachable"].mend


@pytest.mark.parametrize(
    "url", ["redis://", "http://127.0.0.1", "redis://127.0.0.1:port", "nonsense", "redis://:secret/word@127.0.0.1"]
)
async def test_a_url_that_cannot_be_used_is_a_finding(url: str) -> None:
    found = await findings(check_redis, case_of(redis_url=url, step=0.3))
    assert outcomes(found)["redis.reachable"] is Outcome.FAILED
    assert "secret" not in str(found)


async def test_a_server_that_is_no_redis_is_a_finding() -> None:
    async with stand_in(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        found = await findings(check_redis, case_of(redis_url=url, step=1.0))
    assert outcomes(found)["redis.reachable"] is Outcome.FAILED
