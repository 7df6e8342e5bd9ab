from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.canned_http import canned
from support.servers import stand_in

from codeworm_monitor import discovery
from codeworm_monitor.doctor import asking
from codeworm_monitor.doctor.asking import Whereabouts, fetch, fetch_json, find_relay
from codeworm_monitor.errors import ConnectError, RelayNotFoundError, SettingError
from codeworm_monitor.told import Told

HERE = "ws://127.0.0.1:8765/ws"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("127.0.0.1:8765", HERE),
        ("http://127.0.0.1:8765/", HERE),
        ("https://ollama-host/worm", "wss://ollama-host/worm"),
        ("ws://[::1]:1/ws", "ws://[::1]:1/ws"),
    ],
)
def test_a_url_is_taken_as_people_write_it(given: str, url: str) -> None:
    assert find_relay(given).url == url


@pytest.mark.parametrize("given", ["ftp://x", "ws://", "ws://[::1", "ws://x:port", "ws://x:99999", "ws://me:word@x"])
def test_what_is_no_url_is_refused_without_its_token(given: str) -> None:
    with pytest.raises(SettingError) as error:
        find_relay(f"{given}?token=secret-word")
    assert "secret-word" not in str(error.value)


def test_the_token_that_was_given_goes_before_the_one_that_was_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_relay() == Whereabouts(discovery.DEFAULT_URL)
    path: Path = discovery.announce(8765, url=HERE, token="announced-token")
    try:
        found = find_relay()
        assert (found.token, found.is_announced, found.was_given_token) == ("announced-token", True, False)
        assert find_relay(f"{HERE}?token=of-the-url").token == "of-the-url"
        assert find_relay("ws://127.0.0.1:9/ws") == Whereabouts("ws://127.0.0.1:9/ws", was_named=True)
        monkeypatch.setenv("CODEWORM_MONITOR_TOKEN", "of-the-environment")
        found = find_relay()
        assert (found.token, found.was_given_token) == ("of-the-environment", True)
        assert "of-the-environment" not in repr(found)
    finally:
        discovery.withdraw(path)


async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_ANSWER", 1000)
    async with canned({"/info": b"x" * 5000}) as url:
        place = Whereabouts(url.replace("http", "ws") + "/ws")
        with pytest.raises(RelayNotFoundError, match="over 1,000 bytes"):
            await asyncio.to_thread(fetch, place, "/info", within=5)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "speaks no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "in time"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]", "cannot be read"),
    ],
)
async def test_what_is_no_answer_of_a_relay_is_an_error_in_one_line(answer: bytes, said: str) -> None:
    async with stand_in(answer) as url:
        place = Whereabouts(url.replace("redis", "ws") + "/ws")
        with pytest.raises(ConnectError, match=said):
            await asyncio.to_thread(fetch_json, place, "/info", within=0.5)


@pytest.mark.parametrize("token", ["one\r\nHost: evil", "\u2028"])
async def test_a_token_that_fits_no_header_is_not_sent_and_not_repeated(token: str) -> None:
    async with canned({"/info": b"{}"}) as url:
        place = Whereabouts(url.replace("http", "ws") + "/ws", token)
        with pytest.raises(RelayNotFoundError, match="cannot be sent") as error:
            await asyncio.to_thread(fetch_json, place, "/info", within=5)
    assert token not in str(error.value)
    assert error.value.__cause__ is None


def test_what_was_told_is_read_by_type_and_nothing_else_comes_through() -> None:
    told = Told({"a": {"n": True, "t": "x\ny", "f": float("nan"), "c": {"k": 1, "l": "1", "m": -1}, "big": 10**400}})
    assert told.number("a", "n") is None
    assert told.text("a", "t") == "x y"
    assert told.number("a", "f") is None
    assert told.number("a", "big") is None
    assert told.counts("a", "c") == {"k": 1}
    assert told.text("a", "t", "deeper") is None
    assert told.object("a", "c") is not None
    assert told.object("b") is None
