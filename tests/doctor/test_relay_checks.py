from __future__ import annotations

import pytest
from support.canned_http import canned
from support.faked_relay import FakedRelay
from support.findings import case_of, findings, outcomes
from support.processes import TOKEN, relay_process
from support.servers import free_port, stand_in

from codeworm_monitor.doctor.case import Outcome
from codeworm_monitor.doctor.relay_checks import check_relay

WRONG = "wrong-horse-battery"


async def test_a_relay_that_is_not_there_is_a_failure_that_says_how_to_start_one() -> None:
    found = await findings(check_relay, case_of(f"ws://127.0.0.1:{free_port()}/ws"))
    assert outcomes(found) == {"relay.reachable": Outcome.FAILED}
    assert "python -m codeworm_monitor" in found["relay.reachable"].mend


async def test_a_real_relay_is_looked_through_and_what_is_wrong_with_it_named() -> None:
    page = "http://localhost:5173"
    async with relay_process("--redis-url", f"redis://127.0.0.1:{free_port()}", "--no-archive") as relay:
        found = await findings(check_relay, case_of(relay.url, token=TOKEN, origin=page))
        assert outcomes(found) == {
            "relay.reachable": Outcome.OK,
            "relay.hears": Outcome.FAILED,
            "relay.token": Outcome.OK,
            "relay.websocket": Outcome.OK,
            "relay.origin": Outcome.FAILED,
        }
        assert "deaf" in found["relay.hears"].said
        assert f"--v1-origin {page}" in found["relay.origin"].mend
        for token in (WRONG, None):
            found = await findings(check_relay, case_of(relay.url, token=token))
            assert outcomes(found)["relay.token"] is Outcome.FAILED
            assert "--token" in found["relay.token"].mend
            assert WRONG not in str(found)
        found = await findings(check_relay, case_of(relay.url.replace("/ws", "/elsewhere"), token=TOKEN))
        assert outcomes(found)["relay.websocket"] is Outcome.FAILED


async def test_a_page_that_the_relay_lets_in_is_let_in() -> None:
    page = "http://localhost:5173"
    async with relay_process("--v1-origin", page, "--no-archive") as relay:
        found = await findings(check_relay, case_of(relay.url, token=TOKEN, origin=page))
    assert set(outcomes(found).values()) == {Outcome.OK}


async def test_a_relay_that_refuses_the_host_name_is_to_be_told_of_it() -> None:
    relay = FakedRelay()
    relay.answers["/livez"] = 403, b"This host name is not allowed.\n"
    async with relay.running():
        found = await findings(check_relay, case_of(relay.url.replace("127.0.0.1", "localhost")))
    assert outcomes(found) == {"relay.reachable": Outcome.OK, "relay.host": Outcome.FAILED}
    assert found["relay.host"].mend.endswith("--allowed-host localhost")


@pytest.mark.parametrize("answers", [{}, {"/livez": b"<html>hello</html>"}])
async def test_another_program_on_the_port_is_no_relay(answers: dict[str, bytes]) -> None:
    async with canned(answers) as url:
        found = await findings(check_relay, case_of(url.replace("http", "ws") + "/ws"))
    assert outcomes(found) == {"relay.reachable": Outcome.FAILED}
    assert "is no relay" in found["relay.reachable"].said


async def test_what_accepts_and_never_answers_is_given_up() -> None:
    async with stand_in() as url:
        found = await findings(check_relay, case_of(url.replace("redis", "ws") + "/ws", step=0.3))
    assert "did not answer in time" in found["relay.reachable"].said


async def test_where_a_proxy_passes_no_websocket_on_the_mend_says_what_nginx_needs() -> None:
    relay = FakedRelay()
    relay.subprotocol = None
    async with relay.running():
        found = await findings(check_relay, case_of(relay.url))
    assert outcomes(found)["relay.websocket"] is Outcome.FAILED
    assert "Upgrade" in found["relay.websocket"].mend
