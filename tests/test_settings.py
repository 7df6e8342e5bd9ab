from __future__ import annotations

import dataclasses
import re
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codeworm_monitor.errors import SettingError
from codeworm_monitor.settings import DEFAULT_CHANNELS, RelaySettings, redacted, setting_fields

FIELDS = list(setting_fields())
NAN = float("nan")


def test_the_defaults_are_safe():
    settings = RelaySettings()
    assert settings.host == "127.0.0.1"
    assert settings.channels == DEFAULT_CHANNELS
    assert (settings.token, settings.no_token) == (None, False)
    assert (settings.v1_origin, settings.allowed_host) == ((), ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("channels", value) for value in [(), ("",), ("a", ""), ("a\nb",), "codeworm:logs", (1,), None]),
        *(("host", value) for value in ["", None, 5]),
        *((name, value) for name in ("codeworm_db", "codeworm_config") for value in ["", "a\0b", 5, ("a",)]),
        *(("port", value) for value in [-1, 65_536, "8765", 1.5, True, None]),
        *(("path", value) for value in ["", "ws", "/w s", "/ws?x=1", "/ws#x", "/wß", "/ws\n", "https://host/ws", 5]),
        *(
            ("path", f"/{name}")
            for name in [
                *("livez", "readyz", "metrics", "info", "history"),
                *("health", "stats", "repos", "recent", "activity", "languages"),
                *("api", "api/", "api/health", "api/stats", "api/languages"),
            ]
        ),
        *(
            ("token", value)
            for value in ["", "short", "x" * 257, "with space", "naïve-token", "a/b/c/d/e", "token123\n", 12345678]
        ),
        *(("no_token", value) for value in [1, "yes", None]),
        *(
            ("v1_origin", value)
            for value in [
                ("null",),
                ("*",),
                ("localhost",),
                ("http://a/",),
                ("http://a/b",),
                ("ftp://a",),
                ("http://",),
                "http://a",
            ]
        ),
        *(("allowed_host", value) for value in ["example.org", (5,)]),
        *(
            (name, value)
            for name in ("backlog", "backlog_bytes", "max_payload", "max_readers")
            for value in [0, -1, 1.5, "5"]
        ),
        *(("history", value) for value in [-1, "5", NAN]),
        *(
            (name, value)
            for name in ("dead_after", "send_timeout", "heartbeat", "drain")
            for value in [0, -1, 86_401, NAN, float("inf"), "5", True]
        ),
        *(("window", value) for value in [-0.001, 1.001, NAN, "0"]),
        *(("log_format", value) for value in ["", "xml", "JSON", None]),
        *(("log_level", value) for value in ["", "loud", "INFO", None]),
        *(
            ("redis_url", value)
            for value in [
                "",
                "localhost:6379",
                "http://localhost",
                "redis:",
                "redis://",
                "redis://host:port",
                "redis://host:0",
                "redis://host:65536",
                "redis://[::1",
                "redis:///0",
                "unix://",
                "redis+sentinel://",
                "REDIS",
                5,
            ]
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_that_names_the_setting(name, value):
    with pytest.raises(SettingError) as caught:
        RelaySettings(**{name: value})
    assert caught.value.name == name
    assert len(caught.value.problem) > 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channels", ("one",)),
        ("channels", ("Größe:logs", "a b")),
        ("port", 0),
        ("port", 65_535),
        ("path", "/"),
        ("path", "/api/ws"),
        ("token", "12345678"),
        ("token", "A.b_c~d-" * 32),
        ("no_token", True),
        ("v1_origin", ("http://localhost:5173", "https://example.org")),
        ("codeworm_db", "~/CodeWorm/data/codeworm.db"),
        ("codeworm_config", "config"),
        ("allowed_host", ("jupyter.example.org",)),
        ("history", 0),
        ("backlog", 1),
        ("dead_after", 1),
        ("drain", 86_400),
        ("window", 0),
        ("window", 1),
        ("log_format", "json"),
        ("log_level", "debug"),
        *(
            ("redis_url", url)
            for url in [
                "redis://localhost",
                "redis://localhost:6379/0",
                "rediss://user:p%40ss@[::1]:6380/2?socket_timeout=5",
                "unix:///run/redis.sock?db=1",
                "unix://user:secret@/run/redis.sock",
                "redis+sentinel://a:26379,b:26379/main",
            ]
        ),
    ],
)
def test_a_value_at_the_edge_of_its_range_is_taken(name, value):
    assert getattr(RelaySettings(**{name: value}), name) == value


@pytest.mark.parametrize("name", ["channels", "v1_origin", "allowed_host"])
def test_a_list_will_do_for_a_tuple(name):
    assert getattr(RelaySettings(**{name: ["http://a", "http://b"]}), name) == ("http://a", "http://b")


def test_a_token_and_no_token_contradict_each_other():
    with pytest.raises(SettingError, match="contradicts") as caught:
        RelaySettings(token="12345678", no_token=True)
    assert caught.value.name == "no_token"


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RelaySettings().port = 1


def test_every_field_has_an_option_a_variable_a_type_and_a_sentence_of_help():
    assert [one.name for one in FIELDS] == [field.name for field in dataclasses.fields(RelaySettings)]
    for one in FIELDS:
        assert one.option == "--" + one.name.replace("_", "-")
        assert one.variable == "CODEWORM_MONITOR_" + one.name.upper()
        assert one.type in (str, int, float, bool, tuple)
        assert one.default == getattr(RelaySettings(), one.name)
        assert re.fullmatch(r"[A-Z].{10,}\.", one.help)


def test_types_are_told_from_the_annotations():
    types = {one.name: one.type for one in FIELDS}
    assert types["redis_url"] is types["host"] is types["token"] is str
    assert types["port"] is types["backlog"] is int
    assert types["window"] is float
    assert types["no_token"] is bool
    assert types["channels"] is types["v1_origin"] is tuple


# Secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://user@host", "redis://user@host"),
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("rediss://user:secret@[::1]:6380", "rediss://user:***@[::1]:6380"),
        ("redis+sentinel://u:secret@a:1,b:2/main", "redis+sentinel://u:***@a:1,b:2/main"),
        ("unix://:secret@/run/redis.sock", "unix://:***@/run/redis.sock"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("unix:///run/redis.sock?password=secret&db=1", "unix:///run/redis.sock?password=***&db=1"),
        ("redis://h/0?sentinel_password=secret", "redis://h/0?sentinel_password=***"),
        (":secret@host", ":***@host"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert redacted(url) == shown


# Letters that occur nowhere else in a URL tell a password from what surrounds it.
passwords = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("/?#[]@:&%=\n\t "), max_size=20).map(
    lambda rest: f"QXZ{rest}ZXQ"
)
schemes = st.sampled_from(["redis://", "rediss://", "redis+sentinel://", "unix://", "http://", ""])
users = st.sampled_from(["", "user", "a-b"])
places = st.sampled_from(
    ["host", "host:6379/0", "[::1]:6379", "a:1,b:2/main", "/run/redis.sock?db=1", "host:port", "[::1", ""]
)


@given(schemes, users, passwords, places)
@example("redis://", "", "QXZ/ZXQ", "host")
@example("redis://", "", "QXZ[ZXQ", "host")
@example("redis://", "", "QXZ@ZXQ", "host")
def test_no_password_is_ever_shown_however_badly_written(scheme, user, password, place):
    shown = redacted(f"{scheme}{user}:{password}@{place}")
    assert "QXZ" not in shown
    assert "ZXQ" not in shown


@given(schemes, users, passwords, places)
def test_neither_settings_nor_the_traceback_of_their_error_show_a_password(scheme, user, password, place):
    try:
        shown = repr(RelaySettings(redis_url=f"{scheme}{user}:{password}@{place}"))
    except SettingError:
        shown = traceback.format_exc()
    assert "QXZ" not in shown
    assert "ZXQ" not in shown


@given(st.text())
def test_any_text_can_be_redacted_and_once_is_enough(text):
    assert redacted(redacted(text)) == redacted(text)


def test_settings_shown_show_no_secret():
    shown = repr(RelaySettings(redis_url="redis://:secret99@host", token="token-99-99"))
    assert "secret99" not in shown
    assert "token-99-99" not in shown
    assert "port=8765" in shown


def test_a_password_in_the_query_is_hidden_whole():
    assert redacted("redis://host:6379/0?password=ab@cd") == "redis://host:6379/0?password=***"
    assert redacted("redis://host/0?password=a&b@c&db=1") == "redis://host/0?password=***&db=1"


def test_a_front_end_and_the_websocket_cannot_both_be_at_the_root() -> None:
    with pytest.raises(SettingError, match="path"):
        RelaySettings(path="/", static="dist")
