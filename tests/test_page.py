"""The page over HTTP: what is served to whom, with which headers, and that nothing else is reached by it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.asked import PAGE, TOKEN, Reply, ask, make_front_end
from support.waiting import eventually
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from codeworm_monitor import Relay, front
from codeworm_monitor.errors import SettingError
from codeworm_monitor.page import POLICY, Page
from codeworm_monitor.settings import RelaySettings
from codeworm_monitor.sources.memory import MemorySource

MODULES = [name for name in front.names() if name.endswith(".js")]
STYLES = [name for name in front.names() if name.endswith(".css")]


@asynccontextmanager
async def port_of(**options: Any) -> AsyncIterator[int]:
    options = {"token": TOKEN} | options
    async with Relay(source=MemorySource(), port=0, **options) as relay:
        yield relay.port


def refers_to(document: bytes) -> list[str]:
    """Return all that a document refers to."""
    return [text.decode() for text in re.findall(rb'(?:href|src)="([^"]*)"', document)]


class TestThePage:
    async def test_is_at_the_root_and_at_its_own_path_for_everybody_without_a_token(self) -> None:
        async with port_of() as port:
            for path in ("/", "/dashboard", "/?token=nonsense", f"/dashboard?token={TOKEN}"):
                reply = await ask(port, path, accept=PAGE[0])
                assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
                assert b'content="/ws"' in reply.body
                assert TOKEN.encode() not in reply.body

    async def test_all_that_it_refers_to_is_there_from_both_places(self) -> None:
        async with port_of() as port:
            references = refers_to((await ask(port, "/")).body)
            files = [one for one in references if not one.startswith("data:")]
            assert {"dashboard/page.js", "dashboard/page.css", "dashboard/panels.css", "dashboard/log.css"} == set(
                files
            )
            for name in files:
                assert (await ask(port, f"/{name}")).status == 200

    @pytest.mark.parametrize(("names", "media"), [(MODULES, "text/javascript"), (STYLES, "text/css")])
    async def test_its_files_come_whole_with_their_types(self, names: list[str], media: str) -> None:
        async with port_of() as port:
            for name in names:
                reply = await ask(port, f"/dashboard/{name}")
                assert (reply.status, reply.headers["content-type"]) == (200, f"{media}; charset=utf-8")
                assert reply.headers["x-content-type-options"] == "nosniff"
                assert reply.body.decode() == front.source(name)

    async def test_no_module_imports_what_is_not_served(self) -> None:
        for name in MODULES:
            imported = re.findall(r'^import .* from "\./([^"]+)";', front.source(name), re.MULTILINE)
            assert set(imported) <= set(MODULES), name

    async def test_has_no_script_or_style_in_it_and_a_policy_that_allows_none(self) -> None:
        async with port_of() as port:
            reply = await ask(port, "/")
            assert re.findall(rb"<script(?![^>]* src=)", reply.body) == []
            assert re.findall(rb"<style|\sstyle=|\son\w+=", reply.body) == []
            assert reply.headers["content-security-policy"] == POLICY
            for name in ("default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
                assert name in POLICY
            assert "unsafe" not in POLICY
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert reply.headers["cross-origin-opener-policy"] == "same-origin"
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            assert reply.headers["x-frame-options"] == "DENY"

    async def test_is_asked_for_again_by_its_tag(self) -> None:
        async with port_of() as port:
            for path in ("/", "/dashboard", "/dashboard/page.js"):
                first = await ask(port, path)
                assert first.headers["cache-control"] == "no-cache"
                tag = first.headers["etag"]
                for given in (tag, f'"other", W/{tag}', "*"):
                    again = await ask(port, path, if_none_match=given)
                    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
                assert (await ask(port, path, if_none_match='"other"')).status == 200

    @pytest.mark.parametrize("path", ["/", "/dashboard", "/dashboard/page.js"])
    async def test_head_tells_the_size_and_other_methods_are_refused(self, path: str) -> None:
        async with port_of() as port:
            whole, head = await ask(port, path), await ask(port, path, method="HEAD")
            assert (head.status, head.body) == (200, b"")
            assert int(head.headers["content-length"]) == len(whole.body) > 0
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                refused = await ask(port, path, method=method, content_length="0")
                assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")

    async def test_with_a_slash_behind_it_leads_back_to_where_its_references_are_right(self) -> None:
        async with port_of() as port:
            reply = await ask(port, "/dashboard/")
            assert (reply.status, reply.headers["location"]) == (308, "../dashboard")

    @pytest.mark.parametrize(
        "path",
        [
            *("/dashboard/page.html", "/dashboard/__init__.py", "/dashboard/nothing.js", "/dashboard/../page.py"),
            *("/dashboard/%2e%2e/page.py", "/dashboard/..%2fpage.py", "/dashboard//page.js", "/dashboard/page.js/"),
            *("/dashboard/Page.js", "/page.js", "/dashboard/page.js%00.css", "/dashboard/.", "/dashboardpage.js"),
            *("/dashboard/__pycache__/__init__.cpython-311.pyc", "/api/dashboard", "/dashboard/%70age.js"),
        ],
    )
    async def test_no_other_file_is_reached_by_it(self, path: str) -> None:
        async with port_of() as port:
            assert (await ask(port, path)).status == 401
            assert (await ask(port, f"{path}?token={TOKEN}")).status == 404

    async def test_a_name_that_is_not_the_relays_gets_nothing(self) -> None:
        async with port_of() as port:
            for path in ("/", "/dashboard", "/dashboard/page.js", "/panels"):
                refused = await ask(port, path, host="evil.example")
                assert (refused.status, b"<" in refused.body) == (403, False)
            assert (await ask(port, "/", host=f"192.0.2.7:{port}")).status == 200  # a phone's way to it

    async def test_another_origin_gets_neither_page_nor_panels_nor_the_socket(self) -> None:
        async with port_of() as port:
            for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port + 1}"):
                for path in ("/", "/dashboard/page.js", f"/panels?token={TOKEN}"):
                    refused = await ask(port, path, origin=origin)
                    assert refused.status == 403
                    assert "access-control-allow-origin" not in refused.headers
                with pytest.raises(InvalidStatus, match="403"):
                    async with connect(
                        f"ws://127.0.0.1:{port}/ws",
                        proxy=None,
                        origin=origin,  # type: ignore[arg-type]
                        subprotocols=["codeworm.v2", f"codeworm.token.{TOKEN}"],  # type: ignore[list-item]
                    ):
                        pass


class TestPanels:
    async def test_are_for_those_with_the_token_alone(self) -> None:
        async with port_of() as port:
            assert (await ask(port, "/panels")).status == 401
            assert (await ask(port, "/panels", authorization="Bearer wrong-wrong")).status == 401
            page = {"referer": f"http://127.0.0.1:{port}/", "sec_fetch_site": "same-origin"}
            assert (await ask(port, "/panels", **page)).status == 401
            told = await ask(port, "/panels", authorization=f"Bearer {TOKEN}")
            assert told.status == 200
            assert told.headers["cache-control"] == "no-store"
            assert told.json["panels"].keys() == {"activity", "stats", "commits", "repositories", "health"}
            assert (await ask(port, "/panels", method="POST", authorization=f"Bearer {TOKEN}")).status == 405

    async def test_are_not_sent_again_while_nothing_happens(self) -> None:
        async with port_of() as port:
            headers = {"authorization": f"Bearer {TOKEN}"}
            seen: list[Reply] = []

            async def is_unchanged() -> bool:  # what the relay tells of itself settles first
                tag = seen[-1].headers["etag"] if seen else '""'
                seen.append(await ask(port, "/panels", if_none_match=tag, **headers))
                return seen[-1].status == 304

            await eventually(is_unchanged)
            assert (seen[-1].body, seen[-1].headers["etag"]) == (b"", seen[-2].headers["etag"])

    async def test_tell_of_what_was_published_and_of_the_relay(self) -> None:
        source = MemorySource()
        async with Relay(source=source, port=0, no_token=True) as relay:
            data = {
                "target": "a.b",
                "doc_type": "til",
                "repo": "click",
                "language": "python",
                "commit": "c",
                "tokens": 1,
            }
            commit = {
                "type": "documentation_committed",
                "timestamp": "2026-11-22T12:00:00",
                "data": data | {"time_ms": 2},
            }
            source.publish("codeworm:events", orjson.dumps(commit))

            async def told() -> Any:
                return (await ask(relay.port, "/panels")).json["panels"]

            panels = await eventually(lambda: _when(told, lambda panels: panels["commits"]["count"] == 1))
            assert panels["commits"]["commits"][0]["target"] == "a.b"
            assert panels["activity"]["stage"] == "committed"
            assert panels["health"]["relay"]["version"]


async def _when(told: Any, holds: Any) -> Any:
    panels = await told()
    return panels if holds(panels) else None


class TestBesideOthers:
    async def test_a_front_end_keeps_the_root_and_the_page_has_its_own_path(self, tmp_path: Path) -> None:
        static = make_front_end(tmp_path / "dist")
        (static / "dashboard").mkdir()
        (static / "dashboard/own.js").write_text("1")
        async with port_of(static=str(static)) as port:
            assert b"index-DRQoheyN" in (await ask(port, "/", accept=PAGE[0])).body
            assert b"codeworm-monitor-socket" in (await ask(port, "/dashboard", accept=PAGE[0])).body
            assert (await ask(port, "/dashboard/page.js")).status == 200
            assert (await ask(port, "/dashboard/own.js")).body == b"1"
            for path in ("/panels", "/info"):  # its own client-side routes of these names it never had
                assert (await ask(port, path, accept=PAGE[0])).status == 401

    async def test_the_rest_api_answers_as_before(self) -> None:
        async with port_of() as port:
            assert (await ask(port, "/health")).json == {"status": "healthy"}
            assert (await ask(port, "/stats", authorization=f"Bearer {TOKEN}")).json["today"] == 0

    async def test_a_websocket_at_the_root_leaves_the_page_its_own_path(self) -> None:
        async with port_of(path="/") as port:
            assert (await ask(port, "/", authorization=f"Bearer {TOKEN}")).status == 426
            assert b'content="/"' in (await ask(port, "/dashboard")).body

    @pytest.mark.parametrize("path", ["/dashboard", "/dashboard/ws", "/panels"])
    def test_the_websocket_cannot_take_its_paths(self, path: str) -> None:
        with pytest.raises(SettingError, match="path"):
            RelaySettings(path=path)

    async def test_it_is_told_where_the_websocket_is(self) -> None:
        async with port_of(path="/a/b~c") as port:
            assert b'name="codeworm-monitor-socket" content="/a/b~c"' in (await ask(port, "/")).body


def test_what_the_page_is_told_cannot_become_markup() -> None:
    page = Page(socket_path='"><script>alert(1)</script>')
    answer = page.answer("/", is_at_root=True)
    assert answer is not None
    assert b"<script>" not in answer.body
    assert b'content="&quot;&gt;&lt;script&gt;' in answer.body


def test_another_text_has_another_tag() -> None:
    tags = {
        answer.headers["ETag"]
        for text in ("a", "b", "é")
        if (answer := Page(socket_path="/ws", sources={"page.html": text}).answer("/", is_at_root=True)) is not None
    }
    assert len(tags) == 3


async def test_more_files_under_way_than_there_is_memory_for_are_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("codeworm_monitor.reception.MOST_OUTGOING", -1)
    async with port_of() as port:
        reply = await ask(port, "/")
        assert (reply.status, reply.headers["retry-after"]) == (503, "2")
