"""Who may ask what, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from support.asked import PAGE, SCRIPT, TOKEN, ask, make_front_end, port_of
from support.waiting import eventually
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from codeworm_monitor import reception
from codeworm_monitor.reception import _is_local

DATABASE, CONFIGURATION = Path(__file__).parent / "data/codeworm.db", Path(__file__).parent / "data/config"
LISTED = "http://localhost:5173"
API = ["/stats", "/repos", "/recent", "/activity", "/languages"]


@pytest.fixture
def static(tmp_path: Path) -> Path:
    return make_front_end(tmp_path / "dist")


async def shakes_hands(port: int, path: str = "/api/ws", *, v2: bool = False, **headers: str) -> int:
    """Return the status of a WebSocket's handshake."""
    try:
        async with connect(
            f"ws://127.0.0.1:{port}{path}",
            proxy=None,
            subprotocols=["codeworm.v2"] if v2 else None,  # type: ignore[list-item]
            additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        ):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


class TestAPageOfTheRelay:
    @pytest.mark.parametrize("prefix", ["", "/api"])
    async def test_asks_the_api_and_connects_without_a_token(self, prefix: str, static: Path) -> None:
        async with port_of(static=static, database=DATABASE, configuration=CONFIGURATION) as port:
            page = {"referer": f"http://127.0.0.1:{port}/repos", "accept": SCRIPT[0]}
            for path in API:
                newer = await ask(port, prefix + path, sec_fetch_site="same-origin", **page)
                older = await ask(port, prefix + path, **page)
                assert (newer.status, older.status) == (200, 200)
                assert newer.json == older.json
                assert newer.headers["vary"] == "Origin"
            assert newer.json[0]["language"] == "python"
            assert await shakes_hands(port, f"{prefix}/ws", origin=f"http://127.0.0.1:{port}") == 101

    async def test_may_not_ask_what_the_original_does_not_show(self, static: Path) -> None:
        async with port_of(static=static) as port:
            page = {"referer": f"http://127.0.0.1:{port}/", "sec_fetch_site": "same-origin"}
            for path in ("/info", "/api/info", "/api/nothing", "/api"):
                assert (await ask(port, path, **page)).status == 401
            own = f"http://127.0.0.1:{port}"
            assert await shakes_hands(port, v2=True, origin=own) == 401
            among_many = ", ".join([*(f"p{n}" for n in range(40)), "codeworm.v2"])
            assert await shakes_hands(port, origin=own, sec_websocket_protocol=among_many) == 401
            assert (await ask(port, f"/api/nothing?token={TOKEN}")).json == {"detail": "Not Found"}

    async def test_is_not_known_behind_a_proxy_or_on_another_address_unless_its_origin_is_allowed(
        self, static: Path
    ) -> None:
        own = "http://monitor.lan"
        forwarded = {"referer": f"{own}/", "sec_fetch_site": "same-origin", "host": "monitor.lan"}
        async with port_of(static=static, hosts=("monitor.lan",)) as port:
            page = {"referer": f"http://127.0.0.1:{port}/", "sec_fetch_site": "same-origin"}
            for name in ("x_forwarded_for", "x_forwarded_host", "forwarded", "x_real_ip", "via", "cf_connecting_ip"):
                assert (await ask(port, "/api/stats", **page, **{name: "192.0.2.1"})).status == 401
            assert (await ask(port, "/api/stats", **page)).status == 200
            assert (await ask(port, "/api/stats", **forwarded)).status == 401
            there = f"192.0.2.1:{port}"
            assert (await ask(port, "/api/stats", host=there, referer=f"http://{there}/")).status == 401
            assert (await ask(port, "/", **forwarded, accept=PAGE[0])).status == 200
        async with port_of(static=static, hosts=("monitor.lan",), origins=(own,)) as port:
            assert (await ask(port, "/api/stats", **forwarded, x_forwarded_for="192.0.2.1")).status == 200
            assert (await ask(port, "/api/stats", host="monitor.lan")).status == 401

    async def test_is_unknown_where_no_front_end_is_served(self) -> None:
        async with port_of() as port:
            own = f"http://127.0.0.1:{port}"
            assert (await ask(port, "/api/stats", referer=f"{own}/", sec_fetch_site="same-origin")).status == 401
            assert await shakes_hands(port, origin=own) == 401


class TestOthers:
    @pytest.mark.parametrize("path", ["/api/stats", "/stats", "/api/ws", "/ws", "/info"])
    async def test_a_program_without_the_token_is_refused_as_ever_and_one_with_it_is_not(
        self, path: str, static: Path
    ) -> None:
        async with port_of(static=static) as port:
            assert (await ask(port, path)).status == 401
            assert (await ask(port, path, authorization="Bearer wrong-wrong")).status == 401
            with_token = await ask(port, path, authorization=f"Bearer {TOKEN}")
            assert with_token.status == (426 if path.endswith("ws") else 200)
            assert (await ask(port, f"{path}?token={TOKEN}")).status == with_token.status

    @pytest.mark.parametrize("path", ["/api/stats", "/stats", "/api/ws", "/info", "/", "/assets/index-DRQoheyN.js"])
    async def test_another_site_is_refused_and_told_nothing_it_could_read(self, path: str, static: Path) -> None:
        async with port_of(static=static, origins=(LISTED,)) as port:
            for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"{LISTED}.evil.example"):
                refused = await ask(port, path, origin=origin, referer=f"http://127.0.0.1:{port}/")
                assert refused.status == 403
                assert "access-control-allow-origin" not in refused.headers

    async def test_another_site_gets_nothing_by_a_request_without_an_origin(self, static: Path) -> None:
        async with port_of(static=static, origins=(LISTED,)) as port:
            own = f"http://127.0.0.1:{port}/"
            for headers in (
                {"referer": "http://evil.example/", "sec_fetch_site": "cross-site"},
                {"referer": own, "sec_fetch_site": "cross-site"},
                {"referer": own, "sec_fetch_site": "same-site"},
                {"referer": "http://127.0.0.1:3000/", "sec_fetch_site": "same-site"},
                {"sec_fetch_site": "none"},
                {"sec_fetch_site": "same-origin"},
            ):
                assert (await ask(port, "/api/stats", **headers)).status == 401

    @pytest.mark.parametrize("path", ["/api/stats", "/health", "/", "/assets/index-DRQoheyN.js", "/api/ws", "/livez"])
    async def test_a_rebound_name_gets_nothing_at_all(self, path: str, static: Path) -> None:
        async with port_of(static=static, token=None) as port:
            host = f"evil.example:{port}"
            for headers in (
                {},
                {"origin": f"http://{host}"},
                {"referer": f"http://{host}/", "sec_fetch_site": "same-origin"},
            ):
                refused = await ask(port, path, host=host, **headers)
                assert (refused.status, b"SECRET" in refused.body) == (403, False)

    async def test_health_is_for_everybody(self) -> None:
        async with port_of() as port:
            for path in ("/health", "/api/health"):
                assert (await ask(port, path)).json == {"status": "healthy"}
                other = await ask(port, path, origin="http://evil.example")
                assert (other.status, "access-control-allow-origin" in other.headers) == (200, False)


class TestAnAllowedOrigin:
    async def test_asks_reads_and_connects_without_a_token(self) -> None:
        async with port_of(origins=(LISTED,), database=DATABASE) as port:
            for path in ("/stats", "/api/stats", "/api/recent?limit=0", "/api/health"):
                reply = await ask(port, path, origin=LISTED, sec_fetch_site="same-site", accept=SCRIPT[0])
                assert reply.headers["access-control-allow-origin"] == LISTED
                assert reply.headers["vary"] == "Origin"
                assert reply.status == (422 if "limit=0" in path else 200)
            assert await shakes_hands(port, origin=LISTED) == 101

    async def test_a_page_behind_its_own_proxy_is_told_by_its_referer(self) -> None:
        async with port_of(origins=(LISTED,)) as port:
            assert (await ask(port, "/stats", referer=f"{LISTED}/", sec_fetch_site="same-origin")).status == 200

    async def test_is_told_beforehand_what_it_may_ask(self) -> None:
        ahead = {"method": "OPTIONS", "access_control_request_method": "GET"}
        async with port_of(origins=(LISTED,)) as port:
            told = await ask(port, "/api/stats", origin=LISTED, access_control_request_headers="content-type", **ahead)
            assert (told.status, told.body) == (204, b"")
            assert told.headers["access-control-allow-origin"] == LISTED
            assert "GET" in told.headers["access-control-allow-methods"]
            assert "Content-Type" in told.headers["access-control-allow-headers"]
            assert (await ask(port, "/api/stats", origin="http://evil.example", **ahead)).status == 403
            assert (await ask(port, "/info", origin=LISTED, **ahead)).status == 405
            assert (await ask(port, "/api/stats", method="OPTIONS", origin=LISTED)).status == 405
            posted = await ask(port, "/api/stats", method="POST", origin=LISTED, content_length="0")
            assert (posted.status, posted.headers["access-control-allow-origin"]) == (405, LISTED)

    async def test_without_tokens_pages_of_this_machine_may_read_too(self) -> None:
        async with port_of(token=None, database=DATABASE) as port:
            reply = await ask(port, "/api/stats", origin="http://localhost:3000")
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "http://localhost:3000")
            assert (await ask(port, "/api/stats")).json["total_documented"] == 215


class TestTheFrontEnd:
    async def test_pages_of_its_own_are_told_from_what_it_asks(self, static: Path) -> None:
        async with port_of(static=static, token=None, database=DATABASE, configuration=CONFIGURATION) as port:
            page = await ask(port, "/repos", accept=PAGE[0])
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert page.headers["vary"] == "Accept"
            for path in ("/repos", "/api/repos"):
                assert len((await ask(port, path, accept=SCRIPT[0])).json) == 8
            assert len((await ask(port, "/api/repos", accept=PAGE[0])).json) == 8
            assert (await ask(port, "/info", accept=PAGE[0])).body == b"of the relay\n"
            assert (await ask(port, "/nothing", accept=SCRIPT[0])).status == 404

    async def test_files_need_no_token_and_what_is_known_is_not_sent_again(self, static: Path) -> None:
        async with port_of(static=static) as port:
            first = await ask(port, "/assets/index-DRQoheyN.js")
            assert (first.status, first.headers["x-content-type-options"]) == (200, "nosniff")
            again = await ask(port, "/assets/index-DRQoheyN.js", if_none_match=first.headers["etag"])
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
            head = await ask(port, "/", method="HEAD")
            assert (head.status, head.body, int(head.headers["content-length"]) > 0) == (200, b"", True)
            assert (await ask(port, "/", method="POST", content_length="0")).status == 405
            for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/.env", "//etc/passwd", "/assets/"):
                assert (await ask(port, path)).status == 404

    async def test_a_large_file_comes_whole_to_a_slow_reader_and_few_wait_in_memory(
        self, static: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reception, "MOST_OUTGOING", 3_000_000)
        whole = bytes(range(256)) * 15_000
        (static / "film.mp4").write_bytes(whole)
        async with port_of(static=static) as port:
            with socket.socket() as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                slow.setblocking(False)  # noqa: FBT003  # the library's spelling
                loop = asyncio.get_running_loop()
                await loop.sock_connect(slow, ("127.0.0.1", port))
                await loop.sock_sendall(slow, f"GET /film.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                received = await loop.sock_recv(slow, 1)
                refused = await ask(port, "/film.mp4")
                assert (refused.status, refused.headers["retry-after"]) == (503, "2")
                while part := await loop.sock_recv(slow, 8192):
                    received += part
            assert received.endswith(b"\r\n\r\n" + whole)

            async def is_served() -> bool:
                return (await ask(port, "/film.mp4")).body == whole

            await eventually(is_served)


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(("192.168.1.7", False), ("::ffff:10.0.0.1", False), ("", False), ("localhost", False)),
    ],
)
def test_only_connections_of_this_machine_are_local(address: str, is_local: bool) -> None:  # noqa: FBT001  # of the table
    assert _is_local(address) is is_local


async def test_what_is_no_address_is_told(static: Path) -> None:
    async with port_of(static=static) as port:
        assert (await ask(port, "http://[/")).status == 400
