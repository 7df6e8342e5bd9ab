"""Webhooks: delivered in spite of a slow and broken server, and never telling its URL."""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.watched import NASTY, notice, web_server

from codeworm_monitor.watching import webhooks
from codeworm_monitor.watching.actions import ActionError
from codeworm_monitor.watching.webhooks import Webhook

GO_ON = threading.Event()
SECRET = "/hooks/T0ken-s3cret?key=als0-s3cret"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(webhooks, "LONGEST_DELAY", 0.02)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def failure(webhook: Webhook, stop: threading.Event = GO_ON) -> str:
    with pytest.raises(ActionError) as caught:
        webhook.act(notice(), stop)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    return str(caught.value)


def hang(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait(20)


def drip(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not over.wait(0.02):
        handler.wfile.write(b"X-More: 1\r\n")


def cut(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.connection.close()


def babble(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.wfile.write(b"\x00\xff<script>\r\n" * 10)


def test_the_notice_is_posted_as_json() -> None:
    with web_server() as (url, received, _):
        Webhook(url + SECRET, headers={"Authorization": "Bearer abc"}).act(notice(NASTY), GO_ON)
    (request,) = received
    assert request["path"] == SECRET
    assert request["json"] == notice(NASTY).as_dict()
    assert request["headers"]["Content-Type"] == "application/json"
    assert request["headers"]["Authorization"] == "Bearer abc"


def test_other_services_want_another_form() -> None:
    with web_server() as (url, received, _):
        Webhook(url, body=lambda one: {"content": str(one)}).act(notice(), GO_ON)
    assert received[0]["json"] == {"content": str(notice())}


@pytest.mark.parametrize("trouble", [500, 503, 429, 408, cut, babble], ids=str)
def test_what_may_pass_is_tried_again_until_the_server_is_back(trouble: Any) -> None:
    with web_server(trouble, trouble) as (url, received, _):
        Webhook(url + SECRET).act(notice(), GO_ON)
    assert len(received) == 3
    assert received[0]["json"] == received[2]["json"]


@pytest.mark.parametrize(("status", "words"), [(400, "answered 400"), (401, "401"), (404, "404"), (413, "413")])
def test_a_refusal_is_final(status: int, words: str) -> None:
    with web_server(status) as (url, received, _):
        assert words in failure(Webhook(url + SECRET))
    assert len(received) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with web_server(status) as (url, received, _):
        assert f"{status}, a redirect: give the URL that it leads to" in failure(Webhook(url + SECRET))
    assert len(received) == 1


def test_it_gives_up_after_its_attempts() -> None:
    with web_server(*[500] * 9) as (url, received, _):
        assert failure(Webhook(url + SECRET, attempts=3)).endswith("it answered 500 (3 attempts)")
    assert len(received) == 3


@pytest.mark.parametrize("trouble", [hang, drip])
def test_a_server_that_does_not_come_to_an_end_is_left_in_time(trouble: Any) -> None:
    began = time.monotonic()
    with web_server(trouble) as (url, received, _):
        assert "did not answer" in failure(Webhook(url + SECRET, timeout=0.3, attempts=1))
        assert time.monotonic() - began < 10
        Webhook(url + SECRET).act(notice(), GO_ON)
    assert len(received) == 2


def test_one_that_hangs_once_is_reached_at_the_second_attempt() -> None:
    with web_server(hang) as (url, received, _):
        Webhook(url + SECRET, timeout=0.3).act(notice(), GO_ON)
    assert len(received) == 2


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = failure(Webhook(f"http://127.0.0.1:{port}{SECRET}", attempts=2))
    assert (
        said
        == f"Webhook(http://127.0.0.1:{port}/…) was not reached: ConnectionRefusedError: Connection refused (2 attempts)"
    )


def test_an_unknown_host() -> None:
    assert "no such host is known" in failure(Webhook(f"https://no-such-host.invalid{SECRET}", attempts=1))


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        assert "certificate" in failure(Webhook(f"https://localhost:{port}{SECRET}", attempts=1)).lower()
        thread.join()


def test_over_tls_too_the_time_is_bounded_and_the_notice_arrives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ssl

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    over, heard = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for number in range(2):
                with context.wrap_socket(server.accept()[0], server_side=True) as connection:
                    while not heard or b"withheld" not in heard[-1]:
                        heard.append((heard.pop() if heard else b"") + connection.recv(65_536))
                    if number:
                        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                        return
                    while not over.wait(0.02):
                        try:
                            connection.sendall(b"H")
                        except OSError:
                            break
                    heard.append(b"")

        thread = threading.Thread(target=answer)
        thread.start()
        Webhook(f"https://localhost:{server.getsockname()[1]}{SECRET}", timeout=1.0, attempts=2).act(notice(), over)
        over.set()
        thread.join()
    assert len(heard) == 2


def test_the_end_of_the_watch_ends_the_attempts() -> None:
    stop = threading.Event()
    stop.set()
    with web_server(500, 500) as (url, received, _):
        failure(Webhook(url + SECRET), stop)
    assert len(received) == 1


def test_nothing_shows_the_url_or_the_headers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), web_server(500, 404) as (url, _, _):
        webhook = Webhook(url + SECRET, headers={"Authorization": "Bearer s3cret"})
        said = failure(webhook)
    port = urllib.parse.urlsplit(url).port
    assert repr(webhook) == str(webhook) == f"Webhook(http://127.0.0.1:{port}/…)"
    assert "s3cret" not in said + repr(webhook) + caplog.text + f"{webhook!r:>100}"


def test_what_is_too_large_is_not_posted() -> None:
    with web_server() as (url, received, _):
        assert "too many" in failure(Webhook(url + SECRET, body=lambda _: "x" * 100_000))
    assert received == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/s3cret", "file:///s3cret", "s3cret", "http://", "https:///s3cret", "http://user:s3cret@host/x",
        "http://host/s3cret\r\nX-Evil: 1", "http://host/s3cret here", "http://host:port/s3cret", "http://[::s3cret/",
        "http://höst/s3cret", "http://host/s3cret\0", "javascript:alert('s3cret')", "//host/s3cret",
    ],
)  # fmt: skip
def test_what_is_no_url_for_it_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="webhook") as caught:
        Webhook(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_other_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="a webhook is a URL"):
        Webhook(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="body"):
        Webhook("http://h", body="text")  # type: ignore[arg-type]
    for headers in ({"A": "1\r\nB: 2"}, {"A\n": "1"}, {"A": 3}):
        with pytest.raises(ValueError, match="header"):
            Webhook("http://h", headers=headers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="attempts"):
        Webhook("http://h", attempts=0)
    assert repr(Webhook("https://[::1]:8/x")) == "Webhook(https://[::1]:8/…)"
