from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.access import AccessRules

TOKEN = "correct-horse-battery"
RULES = AccessRules(token=TOKEN, origins=["http://localhost:5173"], hosts=["ollama.lan"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST", "[::1]:8765", "192.168.1.7:8765", "ollama.lan:8765"]
)
def test_addresses_localhost_and_allowed_names_may_be_addressed(host: str) -> None:
    assert RULES.check_host(host) is None


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:8765", "localhost.evil.example", "[", "127.0.0.1.evil.example"]
)
def test_a_rebound_name_is_refused(host: str | None) -> None:
    refusal = RULES.check_host(host)
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    ("origins", "passes"),
    [
        ([], True),
        (["http://127.0.0.1:8765"], True),
        (["http://localhost:5173"], True),
        (["http://localhost:5174"], False),
        (["https://evil.example"], False),
        (["null"], False),
        (["file://"], False),
        (["http://127.0.0.1:8765", "https://evil.example"], False),
        ([""], False),
    ],
)
def test_only_the_relays_own_and_listed_origins_pass(origins: list[str], passes: bool) -> None:  # noqa: FBT001  # a parameter of the table
    assert (RULES.check_origin(origins, "127.0.0.1:8765") is None) is passes


def test_without_tokens_pages_of_this_machine_pass_and_others_do_not() -> None:
    rules = AccessRules(token=None)
    assert rules.check_origin(["http://localhost:3000"], "127.0.0.1:8765") is None
    assert rules.check_origin(["http://[::1]:3000"], "127.0.0.1:8765") is None
    assert rules.check_origin(["http://localhost.evil.example"], "127.0.0.1:8765") is not None
    assert rules.check_origin(["null"], "127.0.0.1:8765") is not None


def check(rules: AccessRules = RULES, **presented: Any) -> int | None:
    defaults: dict[str, Any] = {"origins": [], "authorization": None, "query": "", "subprotocols": []}
    refusal = rules.check_token(**{**defaults, **presented})
    return None if refusal is None else refusal.status


def test_the_token_is_taken_from_header_query_and_subprotocol() -> None:
    assert check(authorization=f"Bearer {TOKEN}") is None
    assert check(authorization=f"bearer  {TOKEN}") is None
    assert check(query=f"a=b&token={TOKEN}") is None
    assert check(subprotocols=["codeworm.v2", f"codeworm.token.{TOKEN}"]) is None


def test_a_missing_or_wrong_token_is_refused() -> None:
    assert check() == 401
    assert check(authorization=f"Basic {TOKEN}") == 401
    assert check(authorization=f"Bearer {TOKEN[:-1]}") == 401
    assert check(query="token=") == 401
    assert check(query=f"token={TOKEN}x") == 401
    assert check(subprotocols=["codeworm.token."]) == 401
    assert check(query="token=\udcff") == 401


def test_a_listed_origin_and_a_relay_without_tokens_need_none() -> None:
    assert check(origins=["http://localhost:5173"]) is None
    assert check(AccessRules(token=None)) is None


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_header_makes_the_rules_raise(one: str, other: str) -> None:
    RULES.check_host(one)
    RULES.check_origin([one], other)
    assert check(authorization=one, query=other, subprotocols=[one, other]) == 401


def is_known(rules: AccessRules, **request: Any) -> bool:
    own = {"origins": [], "referers": ["http://127.0.0.1:8765/repos"], "sites": ["same-origin"]}
    return rules.is_known_page(**{**own, "host": "127.0.0.1:8765", "is_local": True, **request})


SERVING = AccessRules(token=TOKEN, origins=["http://localhost:5173", "http://ollama.lan:8765"], serves_pages=True)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"sites": []},
        {"referers": ["http://LOCALHOST:8765"], "host": "localhost:8765"},
        {"referers": ["https://[::1]:8765/?a=b"], "host": "[::1]:8765"},
        {"origins": ["http://127.0.0.1:8765"], "referers": [], "sites": ["cross-site"]},
        {"origins": ["http://localhost:5173"], "referers": []},
        {"referers": ["http://localhost:5173/"], "is_local": False},
        {"referers": ["http://ollama.lan:8765/"], "host": "ollama.lan:8765", "is_local": False},
    ],
)
def test_a_page_of_the_relay_on_this_machine_and_of_an_allowed_origin_is_known(request_: dict[str, Any]) -> None:
    assert is_known(SERVING, **request_)


@pytest.mark.parametrize(
    "request_",
    [
        {"referers": []},
        {"referers": ["http://127.0.0.1:8765/"] * 2},
        {"sites": ["cross-site"]},
        {"sites": ["same-site"]},
        {"sites": ["none"]},
        {"sites": ["same-origin"] * 2},
        {"is_local": False},
        {"referers": ["http://127.0.0.1:3000/"]},
        {"referers": ["http://evil.example/http://127.0.0.1:8765/"]},
        {"referers": ["http://127.0.0.1:8765@evil.example/"]},
        {"referers": ["http://127.0.0.1:8765\\@evil.example/"], "host": "127.0.0.1:8765@evil.example"},
        {"referers": ["file://127.0.0.1:8765/"]},
        {"referers": ["127.0.0.1:8765"]},
        {"referers": ["://127.0.0.1:8765"]},
        {"host": None},
        {"host": "192.168.1.7:8765", "referers": ["http://192.168.1.7:8765/"]},
        {"host": "ollama.lan", "referers": ["http://ollama.lan/"]},
        {"origins": ["http://evil.example"]},
        {"origins": ["http://127.0.0.1:8765", "http://evil.example"]},
        {"origins": ["null"]},
        {"origins": [""]},
    ],
)
def test_no_other_page_is_known(request_: dict[str, Any]) -> None:
    assert not is_known(SERVING, **request_)


def test_without_a_front_end_of_its_own_only_allowed_origins_are_known() -> None:
    assert not is_known(RULES)
    assert is_known(RULES, referers=["http://localhost:5173/"])


@given(st.text(max_size=100), st.text(max_size=100))
def test_no_header_of_a_page_makes_the_rules_raise(one: str, other: str) -> None:
    assert not is_known(RULES, origins=[one], host=other)
    assert not is_known(RULES, referers=[one], sites=[], host=other)
