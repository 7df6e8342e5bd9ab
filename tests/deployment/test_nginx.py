"""A site of nginx: checked by nginx itself, and served by a real one before a real relay."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.nginx import DOMAIN, Site
from support.processes import TOKEN, RelayProcess, relay_process
from support.readers import V2Reader, v1_reader, v1_text, v2_reader
from support.servers import Server, free_port
from support.waiting import eventually
from websockets.exceptions import ConnectionClosed, InvalidStatus

from codeworm_monitor.deployment.nginx import SITE, site, site_steps
from codeworm_monitor.errors import SettingError

LOGS = "codeworm:logs"
BEARER = f"Authorization: Bearer {TOKEN}"
PASSWORD = "Authorization: Basic " + base64.b64encode(b"worm:apple").decode()
HOSTILE = """w e"b;b}'{ #\\é"""


@pytest.fixture
def nginx(tmp_path: Path) -> Site:
    folder = tmp_path / "nginx"
    folder.mkdir()
    return Site(folder)


def made(nginx: Site, **options: object) -> str:
    values: dict[str, object] = {
        "domain": DOMAIN,
        "tls_cert": nginx.certificate,
        "tls_key": nginx.certificate,
        **options,
    }
    return site(**values).text  # type: ignore[arg-type]


def with_secrets(nginx: Site) -> None:
    """Put in place what a front end wants: the relay's token, and who may see it."""
    (nginx.folder / "codeworm-monitor-token").write_text(f'map "" $codeworm_token {{ default "{TOKEN}"; }}\n')
    (nginx.folder / "codeworm-monitor.htpasswd").write_text("worm:{PLAIN}apple\n")


@contextlib.asynccontextmanager
async def before_a_relay(nginx: Site, **options: object) -> AsyncIterator[tuple[Server, RelayProcess, int]]:
    """Serve the site before a relay; yields its Redis, the relay, and its port."""
    port = free_port()
    nginx.configure(await asyncio.to_thread(made, nginx, port=port, **options))
    async with Server() as redis, relay_process(*arguments(redis), port=port) as relay, nginx.served():
        await eventually(lambda: is_ready(nginx))
        yield redis, relay, port


def arguments(redis: Server) -> list[str]:
    return ["--redis-url", redis.url, "--allowed-host", DOMAIN, "--no-archive"]


async def is_ready(nginx: Site) -> bool:
    return (await nginx.ask("/readyz"))[0] == 200


def through(nginx: Site, path: str = "/ws", **headers: str) -> dict[str, object]:
    """Return the options of a reader that comes through nginx."""
    return {
        "url": f"wss://{DOMAIN}:{nginx.https}{path}",
        "host": "127.0.0.1",
        "port": nginx.https,
        "ssl": nginx.trust,
        "server_hostname": DOMAIN,
        **headers,
    }


@pytest.mark.parametrize("static", [None, "/srv/codeworm", f"/srv/{HOSTILE}"])
def test_nginx_has_nothing_to_say_against_the_site(static: str | None, nginx: Site) -> None:
    with_secrets(nginx)
    nginx.configure(made(nginx, static=static))
    told = nginx.test()
    assert "successful" in told
    assert "warn" not in told


def test_a_certificate_may_be_called_anything(nginx: Site) -> None:
    path = nginx.folder / HOSTILE
    shutil.copy(nginx.certificate, path)
    nginx.configure(made(nginx, tls_cert=str(path), tls_key=str(path)))
    assert "successful" in nginx.test()


@pytest.mark.parametrize(
    "domain", ["", "a b", "a;b", "a\nb", "-a.b", "a..b", "*.a", "a:443", "https://a", "a{", "é.org", f"{'a' * 64}.b"]
)
def test_a_domain_is_a_name_and_nothing_else(domain: str) -> None:
    with pytest.raises(SettingError, match="domain"):
        site(domain=domain)


@pytest.mark.parametrize("name", ["tls_cert", "tls_key", "static"])
@pytest.mark.parametrize("value", ["relative", "/srv/$uri", "/a\nb", ""])
def test_a_path_that_nginx_cannot_write_is_refused_by_the_name_of_its_setting(name: str, value: str) -> None:
    if not value and name != "static":
        assert "/etc/letsencrypt/live/a.b/" in site(domain="a.b", **{name: value}).text
        return
    with pytest.raises(SettingError) as caught:
        site(domain="a.b", **{name: value})
    assert caught.value.name == name


async def test_readers_of_both_protocols_come_through_and_without_the_token_nobody(nginx: Site) -> None:
    async with before_a_relay(nginx) as (redis, relay, _):
        origin = f"https://{DOMAIN}:{nginx.https}"
        async with (
            v1_reader(token=TOKEN, origin=origin, **through(nginx)) as first,
            v2_reader(token=TOKEN, **through(nginx)) as second,
        ):
            await second.subscribe()
            payloads = [b'{"n":%d}' % number for number in range(500)]
            await redis.publish(LOGS, payloads)
            for payload in payloads:
                assert await first.recv(decode=False) == v1_text(LOGS, payload)
            await second.read_until(500)
            assert [data["n"] for data in second.data] == list(range(500))
            assert second.is_whole
            await first.send("ping")
            assert await first.recv(decode=False) == b'{"type":"pong"}'
        for options, status in (
            ({}, 401),
            ({"token": "wrong-token"}, 401),
            ({"token": TOKEN, "origin": "https://evil.example"}, 403),
        ):
            with pytest.raises(InvalidStatus) as caught:
                async with v1_reader(**options, **through(nginx)):
                    pass
            assert caught.value.response.status_code == status
        assert (await nginx.ask("/history?limit=1"))[0] == 401
        assert (await nginx.ask("/api/history?limit=1"))[0] == 401
        for path in ("/", "/dashboard", "/dashboard/page.js", "/dashboard/log_view.js", "/dashboard/panels.css"):
            assert (await nginx.ask(path))[0] == 200
        assert (await nginx.ask("/panels"))[0] == 401
        assert (await nginx.ask("/panels", BEARER))[0] == 200
        for path in ("/dashboard/../metrics", "/dashboard/x/page.js", "/metrics", "/panels/x"):
            assert (await nginx.ask(path))[0] == 404
        await relay.stop()
    assert TOKEN not in nginx.log
    assert '"GET /ws" 101' in nginx.log


async def test_the_past_is_asked_over_both_paths_uncompressed_and_metrics_and_info_stay_inside(nginx: Site) -> None:
    async with before_a_relay(nginx) as (redis, _, _port):
        await redis.publish(LOGS, [b'{"text":"%s"}' % (b"x" * 4000)])
        for path in ("/history", "/api/history"):

            async def has_it(path: str = path) -> bool:
                status, head, body = await nginx.ask(f"{path}?limit=5", BEARER, "Accept-Encoding: gzip")
                assert (status, "gzip" in head.lower()) == (200, False)
                return "xxxx" in body

            await eventually(has_it)
        assert (await nginx.ask("/livez"))[::2] == (200, "alive\n")
        assert (await nginx.ask("/info", BEARER))[::2] == (200, "{}")
        for path in (
            *(
                "/metrics",
                "/metrics/",
                "//metrics",
                "/./metrics",
                "/%6detrics",
                "/x/../metrics",
                "/metrics?token=",
                "/METRICS",
            ),
            *(
                "/api/metrics",
                "/api//metrics",
                "/api/%2e%2e/metrics",
                "/api/../metrics",
                "/api/%2fmetrics",
                "/api/info",
            ),
            *(
                "//info",
                "/api/x",
                "/index.html",
                "/ws/",
                "/api/ws/",
                "/livez/../metrics",
                "/api/livez/..%2fmetrics",
            ),
        ):
            status, head, body = await nginx.ask(path, BEARER)
            found = (status, "codeworm_monitor_" in body, "statistics" in body)
            assert found in ((404, False, False), (200, False, False)), (path, head)
            assert status == 404 or body == "{}", path
        status, head, _ = await nginx.ask("/some?where=1", port=nginx.http)
        assert (status, f"Location: https://{DOMAIN}/some?where=1" in head) == (301, True)
    assert TOKEN not in nginx.log


async def test_a_notebook_reads_live_and_past_messages_through_it(nginx: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(nginx.folder / "authority.pem"))
    code = (
        "import socket, sys\n"
        "real = socket.getaddrinfo\n"
        f"socket.getaddrinfo = lambda host, *more, **options: real('127.0.0.1' if host == {DOMAIN!r} else host, *more, **options)\n"
        "from codeworm_monitor import connect\n"
        "with connect(sys.argv[1], token=sys.argv[2]) as mon:\n"
        "    print(mon.history(since='1h').logs.df['event'].tolist())\n"
    )
    async with before_a_relay(nginx) as (redis, _, _port):
        await redis.publish(LOGS, [b'{"event":"first","level":"info","timestamp":"2026-11-22T10:00:00Z"}'])
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-c", code, f"wss://{DOMAIN}:{nginx.https}/ws", TOKEN],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"['first']\n"), err.decode()


async def test_while_the_relay_is_away_it_says_so_and_readers_come_back_without_loss(nginx: Site) -> None:
    async with before_a_relay(nginx) as (redis, relay, port):
        async with v2_reader(token=TOKEN, **through(nginx)) as reader:
            await reader.subscribe()
            await redis.publish(LOGS, [b'{"n":1}'])
            await reader.read_until(1)
            await relay.stop()
            with pytest.raises(ConnectionClosed) as caught:
                await came(reader)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012
        assert (await nginx.ask(f"/readyz?token={TOKEN}"))[0] == 502
        with pytest.raises(InvalidStatus) as refused:
            async with v2_reader(token=TOKEN, **through(nginx)):
                pass
        assert refused.value.response.status_code == 502
        async with relay_process(*arguments(redis), port=port):
            await eventually(lambda: is_ready(nginx))
            async with v2_reader(token=TOKEN, **through(nginx)) as again:
                await again.subscribe()
                await redis.publish(LOGS, [b'{"n":2}'])
                await came(again)
    assert TOKEN not in nginx.log


async def came(reader: V2Reader) -> None:
    while not reader.data or reader.data[-1] != {"n": 2}:
        await reader.read()


async def test_a_front_end_is_served_to_those_who_know_the_password_and_its_requests_get_the_token(
    nginx: Site, tmp_path: Path
) -> None:
    front_end = tmp_path / "dist"
    front_end.mkdir()
    (front_end / "index.html").write_text("<html>page</html>")
    (front_end / "app.js").write_text("let a")
    with_secrets(nginx)
    async with before_a_relay(nginx, static=str(front_end)) as (redis, _, _port):
        for path in ("/", "/app.js", "/api/history"):
            assert (await nginx.ask(path))[0] == 401
        assert (await nginx.ask("/app.js", PASSWORD))[::2] == (200, "let a")
        for page in ("/", "/repos/a%20b", "/index.html"):
            assert (await nginx.ask(page, PASSWORD))[::2] == (200, "<html>page</html>")
        assert (await nginx.ask("/", PASSWORD, method="DELETE"))[0] == 403
        for hidden in ("/metrics", "/api/metrics", "/api/info"):
            assert (await nginx.ask(hidden, PASSWORD))[0] == 404
        assert (await nginx.ask("/api/history?limit=1", PASSWORD))[0] == 200
        headers = {"Authorization": PASSWORD.partition(" ")[2]}
        origin = f"https://{DOMAIN}:{nginx.https}"
        reader = v1_reader(additional_headers=headers, origin=origin, **through(nginx, "/api/ws"))  # type: ignore[arg-type]
        async with reader as page:
            await redis.publish(LOGS, [b'{"n":1}'])
            assert await page.recv(decode=False) == v1_text(LOGS, b'{"n":1}')
        # A page of another's, in a browser that knows the password.
        with pytest.raises(InvalidStatus, match="403"):
            async with v1_reader(
                additional_headers=headers, origin="https://evil.example", **through(nginx, "/api/ws")
            ):  # type: ignore[arg-type]
                pass
        # Programs go on with the token alone.
        async with v1_reader(token=TOKEN, **through(nginx)):
            pass


def test_the_step_that_hands_nginx_the_token_writes_what_it_reads(nginx: Site) -> None:
    with_secrets(nginx)
    (nginx.folder / "environment").write_text(f"CODEWORM_MONITOR_TOKEN={TOKEN}\n")
    told = site_steps(None, DOMAIN, has_front_end=True)
    line = next(line for line in told.splitlines() if "map" in line).removeprefix("sudo ")
    line = line.replace("/etc/codeworm-monitor", str(nginx.folder)).replace("/etc/nginx", str(nginx.folder))
    expected = (nginx.folder / "codeworm-monitor-token").read_text()
    (nginx.folder / "codeworm-monitor-token").unlink()
    subprocess.run(["sh", "-c", line], check=True)
    assert (nginx.folder / "codeworm-monitor-token").read_text() == expected
    assert (nginx.folder / "codeworm-monitor-token").stat().st_mode & 0o777 == 0o600


def test_the_steps_name_the_file_and_how_the_relay_learns_its_name() -> None:
    told = site_steps(Path("/tmp/a b"), DOMAIN, has_front_end=False)
    assert f"'/tmp/a b/{SITE}'" in told
    assert f"--allowed-host {DOMAIN}" in told
    assert "htpasswd" not in told
    assert f"https://{DOMAIN}/#token=" in told
    assert f"https://{DOMAIN}/dashboard#token=" in site_steps(Path("/tmp"), DOMAIN, has_front_end=True)
