from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.asked import make_front_end

from codeworm_monitor import static_files
from codeworm_monitor.errors import SettingError
from codeworm_monitor.http import Answer
from codeworm_monitor.static_files import StaticFiles, media_type, segments_of


@pytest.fixture
def front_end(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("SECRET")
    return make_front_end(tmp_path / "dist")


async def get(directory: Path, path: str, *, accepts_html: bool = False, tag: str | None = None) -> Answer:
    return await StaticFiles(directory).answer(path, accepts_html=accepts_html, if_none_match=tag)


@pytest.mark.parametrize(
    ("path", "content_type", "caching"),
    [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/index.html", "text/html; charset=utf-8", "no-cache"),
        ("/assets/index-DRQoheyN.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/index-DgtMk1n3.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/settings.js", "text/javascript; charset=utf-8", "no-cache"),
        ("/favicon.ico", "image/x-icon", "no-cache"),
        ("/%69ndex.html", "text/html; charset=utf-8", "no-cache"),
    ],
)
async def test_files_are_served_with_their_type_and_their_caching(
    path: str, content_type: str, caching: str, front_end: Path
) -> None:
    answer = await get(front_end, path)
    name = "index.html" if path == "/" else path.replace("%69", "i")[1:]
    assert (answer.status, answer.body) == (200, (front_end / name).read_bytes())
    assert (answer.content_type, answer.headers["Cache-Control"]) == (content_type, caching)
    assert answer.headers["ETag"].startswith('"')


@pytest.mark.parametrize(
    ("name", "is_for_good"),
    [
        ("vendor-charts-B-k1LESV.js", True),
        ("rolldown-runtime-Ckerh37x.js", True),
        ("repos-Cs_SVlVS.css", True),
        ("index-DRQoheyN.js.map", True),
        ("main.8f3a2b1c.js", True),
        ("main.8f3a2b1c9d0e.chunk.js", False),
        ("report-20261122.js", False),
        ("jquery-3.7.1.min.js", False),
        ("bootstrap.bundle.js", False),
        ("plain", False),
    ],
)
async def test_only_names_with_a_hash_are_kept_for_good(name: str, is_for_good: bool, front_end: Path) -> None:  # noqa: FBT001  # of the table
    (front_end / "assets" / name).write_text("1")
    (front_end / name).write_text("1")
    assert ("immutable" in (await get(front_end, f"/assets/{name}")).headers["Cache-Control"]) is is_for_good
    assert (await get(front_end, f"/{name}")).headers["Cache-Control"] == "no-cache"


def test_media_types_are_those_of_the_web_and_what_is_unknown_is_no_page() -> None:
    assert media_type("a.SVG") == "image/svg+xml"
    assert media_type("a.woff2") == "font/woff2"
    assert media_type("site.webmanifest") == "application/manifest+json"
    assert {media_type(name) for name in ("a", "a.exe", "", ".", "html.", "a.html.unknown")} == {
        "application/octet-stream"
    }


async def test_a_page_of_the_application_is_its_index(front_end: Path) -> None:
    index = (front_end / "index.html").read_bytes()
    for path in ("/repos", "/repos/", "/deep/er/page", "/assets", "/assets/", "/caf%C3%A9"):
        assert (await get(front_end, path, accepts_html=True)).body == index
        assert (await get(front_end, path)).status == 404
    for path in ("/missing.js", "/repos/a.txt", "/.env", "/.git/config", "/a/../b", "//"):
        assert (await get(front_end, path, accepts_html=True)).status == 404


async def test_a_page_may_run_its_scripts_and_reach_its_own_websocket_and_nothing_else(front_end: Path) -> None:
    headers = (await get(front_end, "/")).headers
    policy = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert not {"script-src", "connect-src"} & policy.keys()
    assert policy["object-src"] == "'none'"
    assert headers["Referrer-Policy"] == "same-origin"


async def test_what_is_known_by_its_tag_is_not_sent_again_until_it_changes(front_end: Path) -> None:
    tag = (await get(front_end, "/")).headers["ETag"]
    for given_tag in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = await get(front_end, "/", tag=given_tag)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
        assert answer.headers["Cache-Control"] == "no-cache"
    assert (await get(front_end, "/", tag='"other"')).status == 200
    (front_end / "index.html").write_text("new")
    answer = await get(front_end, "/", tag=tag)
    assert (answer.status, answer.body) == (200, b"new")
    assert answer.headers["ETag"] != tag


async def test_no_link_is_followed_but_the_directory_itself(front_end: Path, tmp_path: Path) -> None:
    (front_end / "link.txt").symlink_to(tmp_path / "secret.txt")
    (front_end / "inside.txt").symlink_to(front_end / "index.html")
    (front_end / "up").symlink_to(tmp_path)
    (front_end / "loop").symlink_to("loop")
    for path in ("/link.txt", "/inside.txt", "/up/secret.txt", "/loop"):
        assert (await get(front_end, path)).status == 404
    (tmp_path / "current").symlink_to(front_end)
    files = StaticFiles(tmp_path / "current")
    assert (await files.answer("/", accepts_html=True)).status == 200
    (tmp_path / "next").mkdir()
    (tmp_path / "next/index.html").write_text("next")
    (tmp_path / "new").symlink_to(tmp_path / "next")
    (tmp_path / "new").rename(tmp_path / "current")
    assert (await files.answer("/", accepts_html=True)).body == b"next"


async def test_what_is_no_plain_file_is_not_waited_for(front_end: Path) -> None:
    os.mkfifo(front_end / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(front_end / "socket.txt"))
        for path in ("/pipe.txt", "/socket.txt", "/index.html/x.txt"):
            assert (await get(front_end, path)).status == 404


async def test_a_file_that_is_too_large_is_told_and_not_read(front_end: Path) -> None:
    with (front_end / "film.mp4").open("wb") as film:
        film.truncate(static_files.LARGEST + 1)
    answer = await get(front_end, "/film.mp4")
    assert (answer.status, b"4,000,000" in answer.body) == (403, True)
    with (front_end / "film.mp4").open("wb") as film:
        film.truncate(static_files.LARGEST)
    assert len((await get(front_end, "/film.mp4")).body) == static_files.LARGEST


async def test_a_file_that_is_written_while_it_is_read_is_not_remembered(
    front_end: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read

    def reading(descriptor: int, size: int) -> bytes:
        text = read(descriptor, size)
        (front_end / "index.html").write_text("half")
        return text

    monkeypatch.setattr(os, "read", reading)
    headers = (await get(front_end, "/")).headers
    assert headers["Cache-Control"] == "no-store"
    assert "ETag" not in headers


async def test_descriptors_that_are_exhausted_are_told_and_none_is_left_open(
    front_end: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else set()
    for path in ("/", "/assets/index-DRQoheyN.js", "/assets", "/nothing.js", "/a/b/c.js"):
        await get(front_end, path, accepts_html=True)
    after = set(os.listdir("/proc/self/fd")) if before else set()
    assert len(after) <= len(before)

    def refused(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refused)
    assert (await get(front_end, "/")).status == 503


def test_a_directory_without_an_index_is_refused_at_the_start(front_end: Path, tmp_path: Path) -> None:
    StaticFiles(front_end).check()
    for path in (tmp_path, tmp_path / "nowhere", front_end / "index.html"):
        with pytest.raises(SettingError, match=r"index\.html: name the directory of a built front end"):
            StaticFiles(path).check()


def test_the_home_of_a_user_who_is_not_known_is_told() -> None:
    with pytest.raises(SettingError, match="static"):
        StaticFiles("~no-such-user-here/dist")


@pytest.mark.parametrize(
    "path",
    [
        *("/..", "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/../../secret.txt", "/a%00.txt"),
        *("/..%5csecret.txt", "/.env", "/%2eenv", "/.git/config", "/a//b", "//etc/passwd", "etc", "", "/%ff", "/a%0ab"),
        *("/" + "a/" * 600, "/" + "a" * 256, "/" + quote("é" * 200), "/./index.html"),
    ],
)
def test_paths_that_mean_no_file_of_the_front_end_are_told_apart_before_the_disk_is_asked(path: str) -> None:
    assert segments_of(path) is None


def test_paths_are_decoded_once() -> None:
    assert segments_of("/") == ()
    assert segments_of("/a/b%20c.js") == ("a", "b c.js")
    assert segments_of("/%252e%252e/x") == ("%2e%2e", "x")
    assert segments_of("/a%2Fb") == ("a", "b")


PIECES = st.sampled_from(
    [
        *(
            "..",
            ".",
            "",
            "%2e",
            "%2e%2e",
            "%2F",
            "%5c",
            "\\",
            "%00",
            "secret.txt",
            "assets",
            "up",
            "dist",
            "index.html",
        ),
        *(".env", ".git", "config", "%c0%af", "~", "C:", "etc", "passwd", "%", "%zz", ";", "*", "proc", "self"),
    ]
)


@pytest.fixture(scope="module")
def beside_a_secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "secret.txt").write_text("SECRET")
    front_end = make_front_end(folder / "dist")
    (front_end / "up").symlink_to(folder)
    return front_end


@given(st.lists(PIECES | st.text(max_size=3), max_size=8).map("/".join) | st.text(max_size=40))
def test_no_path_leads_out_of_the_directory_or_to_what_is_hidden(beside_a_secret: Path, path: str) -> None:
    answer = asyncio.run(get(beside_a_secret, f"/{path}", accepts_html=True))
    assert answer.status in (200, 404)
    assert b"SECRET" not in answer.body
    if answer.status == 200:
        names = segments_of(f"/{path}")
        assert names is not None
        assert not any(name.startswith(".") for name in names)
