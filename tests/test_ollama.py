"""One look at Ollama: its shapes of answers, and servers that fail, dawdle, or are something else."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from support.ollama_stand_in import OLDER, QWEN, OllamaStandIn, model
from support.servers import free_port
from support.waiting import until

from codeworm_monitor import ollama as module
from codeworm_monitor.errors import OllamaError
from codeworm_monitor.ollama import MOST_BYTES, MOST_MODELS, LoadedModel, Look, parse_models, parse_version, read_ollama

NOW = 1_732_318_000.0


def models_of(*told: Any) -> tuple[LoadedModel, ...]:
    return parse_models(orjson.dumps({"models": list(told)}), now=NOW)[0]


def reason(url: str, *, timeout: float = 10.0) -> str:
    with pytest.raises(OllamaError) as caught:
        read_ollama(url, timeout)
    assert caught.value.__cause__ is None
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


# What it answers


def test_what_a_release_of_today_tells_of_a_model_is_read() -> None:
    assert models_of(QWEN) == (
        LoadedModel(
            name="qwen2.5-coder:7b",
            digest="2b0496514337",
            size=6_591_830_464,
            size_vram=5_333_539_264,
            context_length=4096,
            parameter_size="7.6B",
            quantization_level="Q4_K_M",
            family="qwen2",
            expires_at="2026-11-22T23:47:07.933Z",
        ),
    )


def test_an_early_release_left_fields_out() -> None:
    assert models_of(OLDER) == (
        LoadedModel(
            name="mistral:latest",
            digest="2ae6f6dd7a3d",
            size=5_137_025_024,
            family="llama",
            expires_at="2024-06-04T21:38:31.837Z",
        ),
    )


@pytest.mark.parametrize("body", [b'{"models":[]}', b'{"models":null}', b"{}"])
def test_no_model_is_an_empty_list(body: bytes) -> None:
    assert parse_models(body) == ((), 0)


@pytest.mark.parametrize(
    ("told", "expires_at", "never"),
    [
        ("2317-03-05T12:00:00.123456789+01:00", None, True),
        ("9999-12-31T23:59:59-12:00", None, True),
        ("0001-01-01T00:00:00Z", None, False),
        ("1970-01-01T00:00:00Z", None, False),
        ("2026-11-22T23:47:07Z", "2026-11-22T23:47:07.000Z", False),
        ("2026-11-22T23:47:07", None, False),
        ("soon", None, False),
        ("2026-11-22T23:47:07Z" + " " * 99, None, False),
        (1_732_318_000, None, False),
    ],
)
def test_an_expiry_is_a_time_in_utc_or_never_or_not_told(told: Any, expires_at: str | None, never: object) -> None:
    (one,) = models_of({**QWEN, "expires_at": told})
    assert (one.expires_at, one.never_expires) == (expires_at, never)


@pytest.mark.parametrize("wrong", [True, -1, 1.5, "12", 2**63, [], {}, None])
def test_a_number_of_another_kind_is_not_taken(wrong: Any) -> None:
    (one,) = models_of({**QWEN, "size": wrong, "size_vram": wrong, "context_length": wrong})
    assert (one.size, one.size_vram, one.context_length) == (None, None, None)


@pytest.mark.parametrize("wrong", [7, None, [], {"a": 1}, True])
def test_a_text_of_another_kind_is_not_taken(wrong: Any) -> None:
    (one,) = models_of({**QWEN, "digest": wrong, "details": {"family": wrong, "parameter_size": wrong}})
    assert (one.digest, one.family, one.parameter_size) == (None, None, None)
    assert models_of({**QWEN, "details": wrong})[0].family is None
    assert models_of({**QWEN, "name": wrong})[0].name == "qwen2.5-coder:7b"
    assert parse_models(orjson.dumps({"models": [{**QWEN, "name": wrong, "model": wrong}, wrong]})) == ((), 2)


def test_what_is_read_is_bounded_and_harmless_on_a_terminal() -> None:
    long = "\x1b[2J\u202e" + "é" * 400
    told = {**QWEN, "name": long, "digest": long, "details": {"family": long, "quantization_level": long}}
    found, more = parse_models(orjson.dumps({"models": [told] * 5000}), now=NOW)
    assert (len(found), more) == (MOST_MODELS, 5000 - MOST_MODELS)
    assert all(
        len(text) <= 120 and text.isprintable()
        for one in found
        for text in one.as_dict().values()
        if isinstance(text, str)
    )
    assert len(orjson.dumps([one.as_dict() for one in found])) < 16_384
    assert parse_version(orjson.dumps({"version": long})).isprintable()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"<html>", b'{"version":7}', b'{"version":""}', b"{}", b"[" * 99_999]
)
def test_an_answer_that_names_no_version_is_not_ollamas(body: bytes) -> None:
    with pytest.raises(ValueError, match="not Ollama"):
        parse_version(body)


@pytest.mark.parametrize(
    "body", [b"7", b'{"models":{}}', b'{"models":"all"}', b"\xff\xfe", b'{"models":[\xed\xa0\x80]}']
)
def test_an_answer_without_a_list_of_models_is_not_ollamas(body: bytes) -> None:
    with pytest.raises(ValueError, match="not Ollama"):
        parse_models(body)


# Over a connection


def test_a_look_tells_version_models_and_what_they_take() -> None:
    with OllamaStandIn(QWEN, model("llama3.2:3b", expires_in=None, size=10, size_vram=4)) as server:
        state = read_ollama(server.url + "/")
    assert state.version == "0.12.6"
    assert [one.name for one in state.models or ()] == ["qwen2.5-coder:7b", "llama3.2:3b"]
    assert [one.never_expires for one in state.models or ()] == [False, True]
    assert (state.size, state.size_vram, state.unlisted) == (6_591_830_474, 5_333_539_268, 0)
    assert 0 < state.seconds < 60
    assert server.asked == ["/api/version", "/api/ps"]
    assert server.hosts == [f"127.0.0.1:{server.port}"] * 2


def test_a_release_that_does_not_know_the_request_has_a_version_alone() -> None:
    with OllamaStandIn(mode="no ps") as server:
        state = read_ollama(server.url)
    assert (state.version, state.models, state.size, state.size_vram) == ("0.12.6", None, 0, 0)


def test_localhost_is_reached_at_whichever_of_its_addresses_listens() -> None:
    with OllamaStandIn(QWEN) as server:
        assert read_ollama(f"http://localhost:{server.port}").version == "0.12.6"


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with OllamaStandIn(QWEN) as server:
        assert read_ollama(server.url).version == "0.12.6"


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("500", "it answered 500"),
        ("403", "it answered 403"),
        ("404", "it answered 404"),
        ("redirect", "it answered 302, a redirect: give the URL that it leads to"),
        ("page", "what answers there is not Ollama: its answer is not JSON"),
        ("[]", "what answers there is not Ollama: its answer is no JSON object"),
        ('{"version": 7, "models": 7}', "what answers there is not Ollama: /api/version names no version"),
        ('{"version": "1", "models": 7}', "what answers there is not Ollama: /api/ps gives no list of models"),
        ("no http", "what answers there is not Ollama: it does not speak HTTP"),
        ("closed", "it closed the connection without an answer"),
        ("short", "its answer broke off midway"),
        ("reset", "connection reset by peer"),
        ("large", f"it answered 104,857,600 bytes, {MOST_BYTES:,} are read at most"),
        ("endless", f"its answer is longer than the {MOST_BYTES:,} bytes that are read at most"),
    ],
)
def test_each_failure_is_named_in_plain_words(mode: str, words: str) -> None:
    with OllamaStandIn(QWEN, mode=mode) as server:
        assert reason(server.url) == words
    assert "/other" not in server.asked


@pytest.mark.parametrize("mode", ["hang", "trickle", "trickled head"])
def test_a_server_that_comes_to_no_end_is_left_in_time(mode: str) -> None:
    with OllamaStandIn(QWEN, mode=mode) as server:
        assert reason(server.url, timeout=0.3) == "it did not answer within 0.3 s"


@pytest.mark.parametrize("late", [0.3, None])
def test_the_words_are_the_same_whichever_clock_ends_it(monkeypatch: pytest.MonkeyPatch, late: float | None) -> None:
    class LateTimer(threading.Timer):
        def __init__(self, interval: float, *words: Any) -> None:
            super().__init__(interval + (late or 0), *words)

        def start(self) -> None:
            if late is not None:
                super().start()

    monkeypatch.setattr(module.threading, "Timer", LateTimer)
    with OllamaStandIn(QWEN, mode="hang") as server:
        assert reason(server.url, timeout=0.1) == "it did not answer within 0.1 s"


def test_one_that_is_slow_is_waited_for() -> None:
    with OllamaStandIn(QWEN, mode="slow") as server:
        assert read_ollama(server.url, 30).version == "0.12.6"


def test_a_body_without_an_end_takes_no_memory() -> None:
    with OllamaStandIn(mode="endless") as server:
        reason(server.url)  # what is loaded once is loaded
        tracemalloc.start()
        try:
            reason(server.url)
            assert tracemalloc.get_traced_memory()[1] < 8 * MOST_BYTES
        finally:
            tracemalloc.stop()


def test_nobody_there() -> None:
    assert reason(f"http://127.0.0.1:{free_port()}") == "connection refused"


def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(module.socket, "getaddrinfo", unknown)
    assert reason("http://no-such-host.invalid:11434") == "no such host is known"


def test_one_that_takes_no_connection_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:  # until its queue is full
                filler.settimeout(0)
                filler.connect_ex(("127.0.0.1", port))
            assert reason(f"http://127.0.0.1:{port}", timeout=0.3) == "it did not answer within 0.3 s"
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://127.0.0.1",
        "127.0.0.1:11434",
        "http://",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://a b",
        "http://127.0.0.1\r\nX: 1",
        "http://127.0.0.1/path?query",
        "http://\x00",
    ],
)
def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    assert reason(url) == "its URL cannot be used; one looks like http://127.0.0.1:11434"


@pytest.mark.parametrize("host", ["é" * 100, "." * 10, "a" * 300])
def test_a_host_that_no_name_can_be_is_not_found_either(host: str) -> None:
    assert reason(f"http://{host}:11434")


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(OllamaError) as caught:
        read_ollama("http://user:s3cret@127.0.0.1:11434")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in caught.value.url


def test_another_thread_can_break_a_look_off() -> None:
    with OllamaStandIn(mode="hang") as server:
        look, ended = Look(server.url, timeout=60), []

        def read() -> None:
            with pytest.raises(OllamaError):
                look.read()
            ended.append(time.monotonic())

        thread = threading.Thread(target=read)
        thread.start()
        until(lambda: server.asked)
        look.break_off()
        look.break_off()
        thread.join(30)
        assert ended


def test_one_that_was_broken_off_before_it_began_asks_nothing() -> None:
    with OllamaStandIn(QWEN) as server:
        look = Look(server.url)
        look.break_off()
        with pytest.raises(OllamaError):
            look.read()
    assert server.asked == []


def test_over_tls_the_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    body = orjson.dumps({"version": "0.12.6", "models": [QWEN]})
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(3):
                connection, _ = listener.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as wrapped:
                        while wrapped.recv(4096):
                            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        assert reason(url).startswith("its certificate is not trusted: ")
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert read_ollama(url).models
        thread.join(10)


def test_a_look_leaves_no_thread_and_no_socket_behind() -> None:
    with OllamaStandIn(QWEN) as server:
        read_ollama(server.url)
        until(lambda: not [one for one in threading.enumerate() if isinstance(one, threading.Timer)])
        until(lambda: not server._open)
    assert module.__all__ == sorted(module.__all__)
