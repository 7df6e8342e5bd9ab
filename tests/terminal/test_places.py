from __future__ import annotations

import pytest

from codeworm_monitor import discovery
from codeworm_monitor.client import Lost
from codeworm_monitor.doctor.asking import find_relay
from codeworm_monitor.errors import ConnectError, RelayNotFoundError, SettingError, TokenRefusedError
from codeworm_monitor.terminal.places import Place, failure


@pytest.mark.parametrize(
    ("text", "url", "token"),
    [
        ("ws://host:1234/ws", "ws://host:1234/ws", None),
        ("http://host:1234", "ws://host:1234/ws", None),
        ("https://host/", "wss://host/ws", None),
        ("host:1234", "ws://host:1234/ws", None),
        ("ws://host/other?token=secret-token&x=1", "ws://host/other?x=1", "secret-token"),
    ],
)
def test_a_place_is_named_as_people_name_it(text: str, url: str, token: str | None) -> None:
    (address,) = Place(text).addresses(None)
    assert (address.url, address.token) == (url, token)


@pytest.mark.parametrize(
    "text",
    ["", "ftp://host", "ws://", "ws://host:99999", "ws://[::1", "ws://me:hidden@host/ws", "ws://host/\x1b[2J"],
)
def test_what_is_no_relays_url_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SettingError, match="looks like") as caught:
        Place(text)
    assert "hidden" not in str(caught.value)


def test_a_token_in_the_url_goes_before_the_one_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEWORM_MONITOR_TOKEN", "of-the-environment")
    (address,) = Place.named("ws://host/ws?token=of-the-url").addresses(None)
    assert (address.url, address.token) == ("ws://host/ws", "of-the-url")
    (address,) = Place.named("ws://host/ws").addresses(None)
    assert address.token == "of-the-environment"


@pytest.mark.parametrize("url", ["ws://me:hidden@host/ws", "ws://hidden@host", "me:hidden@host"])
def test_the_looks_at_a_relay_refuse_credentials_as_the_terminal_does(url: str) -> None:
    for read in (Place, find_relay):
        with pytest.raises(SettingError) as caught:
            read(url)
        assert "hidden" not in str(caught.value)


def test_without_a_name_it_is_the_relay_announced_here_and_its_token() -> None:
    path = discovery.announce(18_765, url="ws://127.0.0.1:18765/ws", token="announced-token")
    try:
        (address,) = Place(None).addresses(None)
        assert (address.url, address.token) == ("ws://127.0.0.1:18765/ws", "announced-token")
        (address,) = Place("localhost:18765").addresses(None)
        assert address.token == "announced-token"
        (address,) = Place(None, "given-token").addresses(None)
        assert address.token == "given-token"
    finally:
        discovery.withdraw(path)


def test_with_nothing_announced_it_is_where_it_was_or_the_usual_place() -> None:
    assert [one.url for one in Place(None).addresses(None)] == [discovery.DEFAULT_URL]
    assert [one.url for one in Place(None).addresses("ws://host:1/ws")] == ["ws://host:1/ws"]


def test_each_failure_says_what_to_do() -> None:
    url = "ws://h/ws"
    wanted = failure(Lost(reason="it answered 401", url=url, is_refusal=True, wants_token=True))
    assert isinstance(wanted, TokenRefusedError)
    assert "CODEWORM_MONITOR_TOKEN" in str(wanted)
    refused = failure(Lost(reason="it answered 403", url=url, is_refusal=True))
    assert type(refused) is ConnectError
    missing = failure(Lost(reason="nothing listens there", url=url))
    assert isinstance(missing, RelayNotFoundError)
    assert "--wait" in str(missing)
