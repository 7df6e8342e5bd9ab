"""The dashboard as a page: a real relay process, recorded traffic, and Chromium at the other end."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Browser, Error, Route, expect
from support.chromium import Look, chromium
from support.dashboard_page import Dashboard, dashboard
from support.live_relay import LOGS, TOKEN, LiveRelay, live_relay, log_line, recorded_messages
from support.waiting import until

pytestmark = pytest.mark.browser

DATA = Path(__file__).parents[1] / "data"
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
WITHIN = 20_000
PANELS = ("activity", "stats", "log", "commits", "repositories", "health")
HOSTILE = (
    "<script>window.struck = 1</script>",
    "</script><script>window.struck = 1</script>",
    "<img src=x onerror='window.struck = 1'>",
    '" onmouseover="window.struck = 1" x="',
    "javascript:window.struck=1",
    "a\u2028b\u2029c",
    "\u202eesrever\u202c \u2066x\u2069 \u200b",
    "\x1b[31mred\x1b[0m \x00 \x07",
    "{{constructor.constructor('window.struck = 1')()}}",
    "__proto__",
    "x" * 3000,
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRelay]:
    """A relay that has heard a recording."""
    database = tmp_path_factory.mktemp("worm") / "codeworm.db"
    shutil.copy(DATA / "codeworm.db", database)
    options = ["--codeworm-db", str(database), "--codeworm-config", str(DATA / "config"), "--log-level", "debug"]
    with live_relay(*options) as started:
        started.publish(recorded_messages()[:1000])
        yield started


@pytest.fixture
def own_relay() -> Iterator[LiveRelay]:
    """A relay of the test's own, with what it kept."""
    with live_relay() as started:
        yield started


def is_live(page: Dashboard) -> None:
    expect(page.state).to_have_text("live", timeout=WITHIN)


def test_a_link_opens_it_with_all_panels_filled(browser: Browser, relay: LiveRelay) -> None:
    with dashboard(browser, relay) as opened:
        is_live(opened)
        expect(opened.rows.first).to_be_visible(timeout=WITHIN)
        expect(opened.panel("stats").locator(".cwm-tile").first).to_contain_text("215", timeout=WITHIN)
        expect(opened.panel("commits")).to_contain_text("tokens/s")
        expect(opened.panel("repositories")).to_contain_text("starlette")
        expect(opened.panel("activity")).to_contain_text("Last document")
        expect(opened.panel("health")).to_contain_text("hears Redis")
        expect(opened.panel("health")).to_contain_text(f"ws://127.0.0.1:{relay.port}/ws")
        expect(opened.page).to_have_title(re.compile("^[a-z]+.* · CodeWorm monitor$"))


@pytest.mark.parametrize("address", [f"/#token={TOKEN}", f"/?token={TOKEN}", f"/dashboard?x=1&token={TOKEN}"])
def test_the_token_leaves_the_address_bar_and_goes_nowhere_but_to_the_relay(
    browser: Browser, relay: LiveRelay, address: str
) -> None:
    with dashboard(browser, relay, address) as opened:
        is_live(opened)
        assert TOKEN not in opened.page.url
        assert opened.page.url.endswith(("/", "/dashboard?x=1"))
        assert opened.page.evaluate("document.referrer") == ""
        for request in opened.requests[1:]:
            assert TOKEN not in request.url
            assert not request.headers.get("referer")
            assert request.url.startswith((f"http://127.0.0.1:{relay.port}/", "data:"))
    assert TOKEN not in (relay.folder / "relay.log").read_text()


def test_without_a_token_it_asks_for_one_and_says_where_it_is(browser: Browser, relay: LiveRelay) -> None:
    with dashboard(browser, relay, "/") as opened:
        opened.may_be_refused = True
        expect(opened.form).to_be_visible(timeout=WITHIN)
        expect(opened.form).to_contain_text("python -m codeworm_monitor token --link")
        expect(opened.state).to_contain_text("refused")
        opened.page.get_by_label("Token, or the whole link").fill("no token")
        opened.page.get_by_role("button", name="Connect", exact=True).click()
        expect(opened.form).to_contain_text("This is no token")
        opened.page.get_by_label("Token, or the whole link").fill("wrong-wrong-wrong")
        opened.page.get_by_role("button", name="Connect", exact=True).click()
        expect(opened.form).to_contain_text("The token is not the relay's")
        assert opened.rows.count() == 0
        opened.page.get_by_label("Token, or the whole link").fill(f" http://127.0.0.1:{relay.port}/#token={TOKEN}\n")
        opened.page.keyboard.press("Enter")
        is_live(opened)
        expect(opened.form).to_be_hidden()
        expect(opened.page.locator(".cwm-page-state")).to_be_focused()
        expect(opened.rows.first).to_be_visible(timeout=WITHIN)
        opened.page.reload()
        is_live(opened)


def test_another_link_in_the_same_tab_is_taken(browser: Browser, relay: LiveRelay) -> None:
    with dashboard(browser, relay, "/#token=wrong-wrong-wrong") as opened:
        opened.may_be_refused = True
        expect(opened.form).to_contain_text("The token is not the relay's", timeout=WITHIN)
        opened.page.evaluate(f"location.hash = '#token={TOKEN}'")
        is_live(opened)
        assert TOKEN not in opened.page.url


def test_what_is_published_is_seen_and_a_restart_of_the_relay_loses_and_doubles_nothing(
    browser: Browser, own_relay: LiveRelay
) -> None:
    with dashboard(browser, own_relay) as opened:
        is_live(opened)
        opened.filter("event:numbered")
        own_relay.publish(log_line("numbered", n=n) for n in range(100))
        expect(opened.status).to_contain_text("100 of", timeout=WITHIN)
        opened.may_be_away = True
        own_relay.stop()
        expect(opened.state).to_contain_text("reconnecting", timeout=WITHIN)
        expect(opened.panel("health")).to_contain_text("The connection was lost")
        expect(opened.page).to_have_title("reconnecting · CodeWorm monitor")
        expect(opened.page.get_by_role("button", name="Connect now")).to_be_visible()
        own_relay.start()
        is_live(opened)
        own_relay.publish(log_line("numbered", n=n) for n in range(100, 200))
        expect(opened.status).to_contain_text("201 of", timeout=WITHIN)  # and the gap
        expect(opened.rows.last).to_contain_text("n 199")
        expect(opened.panel("health")).to_contain_text("The relay was away", timeout=WITHIN)
        opened.filter("nothing like it")
        expect(opened.rows).to_have_count(1)  # no filter hides a gap
        expect(opened.rows).to_contain_text("relay restart")
        opened.filter("event:numbered")
        expect(opened.page.get_by_role("button", name="Connect now")).to_be_hidden()
        kept = "sessionStorage.getItem('codeworm-monitor-view')"
        until(lambda: "event:numbered" in opened.page.evaluate(kept))
        opened.page.reload()  # all of it once more, of what the relay kept
        is_live(opened)
        expect(opened.page.locator(".cwm-log-query")).to_have_value("event:numbered")
        expect(opened.status).to_contain_text("201 of", timeout=WITHIN)


def test_while_the_relay_is_away_nothing_is_good_and_codeworm_is_not_blamed(
    browser: Browser, own_relay: LiveRelay
) -> None:
    upstream: dict[str, object] = {}

    def quiet(route: Route) -> None:
        """Let CodeWorm be quiet for longer than it is used to be."""
        headers = {name: value for name, value in route.request.headers.items() if name != "if-none-match"}
        try:
            answer = route.fetch(headers=headers)
        except Error:
            route.abort("connectionrefused")
            return
        told = answer.json()
        told["panels"]["activity"] |= {"last_message_at": told["at"] - 3600, "silence_limit": 60.0}
        told["panels"]["health"]["upstream"] |= upstream
        route.fulfill(response=answer, json=told)

    with dashboard(browser, own_relay) as opened:
        opened.page.route("**/panels", quiet)
        opened.page.reload()
        is_live(opened)
        own_relay.publish([log_line("cycle_started", cycle=1)])
        blame = opened.panel("activity").get_by_text("Does CodeWorm still run?")
        parts = opened.panel("health").locator(".cwm-part")
        dropped = opened.panel("health").locator(".cwm-fact", has_text="Dropped").locator("dd")
        expect(dropped).to_have_attribute("title", "Rows of a flood that this page did not take, the oldest of it")
        expect(blame).to_be_visible(timeout=WITHIN)
        expect(parts.nth(1)).to_contain_text("hears Redis")
        opened.may_be_away = True
        own_relay.stop()
        expect(opened.state).to_contain_text("reconnecting", timeout=WITHIN)
        expect(parts.first).to_contain_text("was running when last heard")
        expect(parts.nth(1)).to_contain_text("was connected when last heard")
        expect(parts.locator(".cwm-light.cwm-tone-muted")).to_have_count(4)
        expect(blame).to_be_hidden()
        own_relay.start()
        is_live(opened)
        expect(blame).to_be_visible(timeout=WITHIN)
        expect(parts.nth(1)).to_contain_text("hears Redis")
        upstream |= {"is_connected": False, "reason": "refused"}
        expect(parts.nth(1)).to_contain_text("does NOT hear Redis", timeout=WITHIN)
        expect(blame).to_be_hidden()
        opened.page.unroute_all(behavior="wait")


def test_the_focus_goes_to_what_is_told_when_the_button_to_connect_goes(browser: Browser, own_relay: LiveRelay) -> None:
    with dashboard(browser, own_relay) as opened:
        is_live(opened)
        opened.may_be_away = True
        own_relay.stop()
        again = opened.page.get_by_role("button", name="Connect now")
        again.focus(timeout=WITHIN)
        own_relay.start()
        opened.page.keyboard.press("Enter")
        is_live(opened)
        expect(again).to_be_hidden()
        expect(opened.page.locator(".cwm-page-state")).to_be_focused()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ((), "all are in the relay's archive, for notebooks and exports"),
        (("--no-archive",), "all are in the relay, as far as it keeps them"),
    ],
)
def test_of_rows_that_have_no_room_it_says_where_they_are(
    browser: Browser, options: tuple[str, ...], where: str
) -> None:
    def small(route: Route) -> None:
        answer = route.fetch()
        assert "50_000" in answer.text()
        route.fulfill(response=answer, body=answer.text().replace("50_000", "200"))

    with live_relay(*options) as relay, dashboard(browser, relay) as opened:
        opened.page.route("**/log_store.js", small)
        relay.publish(log_line("numbered", n=n) for n in range(600))
        opened.page.reload()
        is_live(opened)
        expect(opened.rows.filter(has_text="n 599")).to_be_visible(timeout=WITHIN)
        expect(opened.panel("health")).to_contain_text("hears Redis", timeout=WITHIN)
        opened.page.locator(".cwm-log-list").focus()
        opened.page.keyboard.press("Home")
        opened.page.get_by_role("button", name="Load older rows").click()
        expect(opened.status).to_contain_text("400", timeout=WITHIN)  # a view that stands still has twice the room
        opened.page.locator(".cwm-log-list").focus()
        opened.page.keyboard.press("Home")
        expect(opened.page.locator(".cwm-log-older")).to_contain_text(f"no room for more rows here: {where}")


def test_a_relay_that_kept_nothing_begins_a_new_numbering_beside_the_old_rows(browser: Browser) -> None:
    with live_relay("--no-archive") as relay, dashboard(browser, relay) as opened:
        is_live(opened)
        opened.filter("event:numbered")
        relay.publish(log_line("numbered", n=n) for n in range(50))
        expect(opened.status).to_contain_text("50 of", timeout=WITHIN)
        opened.may_be_away = True
        relay.stop()
        relay.start()
        relay.publish(log_line("numbered", n=n) for n in range(50, 60))
        expect(opened.status).to_contain_text("61 of", timeout=WITHIN)
        texts = opened.rows.all_inner_texts()
        assert "n 59" in texts[-1]
        assert any("relay restart" in text for text in texts)


def test_older_rows_come_when_the_log_is_scrolled_up(browser: Browser, own_relay: LiveRelay) -> None:
    own_relay.publish(log_line("numbered", n=n) for n in range(5600))
    with dashboard(browser, own_relay) as opened:
        is_live(opened)
        opened.filter("event:numbered")
        expect(opened.status).to_contain_text("5,000 of", timeout=WITHIN)
        opened.page.locator(".cwm-log-list").focus()
        opened.page.keyboard.press("Home")
        opened.page.get_by_role("button", name="Load older rows").click()
        expect(opened.status).to_contain_text("5,600 of", timeout=WITHIN)
        opened.page.locator(".cwm-log-list").focus()
        opened.page.keyboard.press("Home")
        expect(opened.rows.filter(has_text="n 0").first).to_be_visible(timeout=WITHIN)
        expect(opened.page.locator(".cwm-log-older")).to_contain_text("nothing older is kept")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_it_is_never_blank_and_nothing_is_cut_off(browser: Browser, relay: LiveRelay, scheme: str, device: str) -> None:
    options = PHONE if device == "phone" else {}
    with dashboard(browser, relay, color_scheme=scheme, **options) as opened:
        is_live(opened)
        expect(opened.panel("repositories")).to_contain_text("starlette", timeout=WITHIN)
        expect(opened.rows.first).to_be_attached(timeout=WITHIN)
        shots = [opened.page, opened.panel("log"), opened.panel("health")]
        for look in [Look(one.screenshot(animations="disabled", scale="css")) for one in shots]:
            assert (look.background > 0.8) == (scheme == "light"), look
            assert look.ink > 0.01, look
            assert look.contrast > 0.5, look
        width = opened.page.viewport_size["width"]  # type: ignore[index]
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width
        boxes = {name: opened.panel(name).bounding_box() for name in PANELS}
        for name, box in boxes.items():
            assert box is not None
            assert box["x"] >= 0, name
            assert box["x"] + box["width"] <= width, name
            assert box["height"] > 80, name
            for other, second in boxes.items():
                assert second is not None
                is_apart = (
                    box["x"] + box["width"] <= second["x"]
                    or second["x"] + second["width"] <= box["x"]
                    or box["y"] + box["height"] <= second["y"]
                    or second["y"] + second["height"] <= box["y"]
                )
                assert is_apart or name == other, (name, other)
        if device == "phone":
            assert len({round(box["x"]) for box in boxes.values() if box}) == 1


def test_on_a_phone_the_log_is_used_by_touch(browser: Browser, own_relay: LiveRelay) -> None:
    own_relay.publish(log_line("numbered", n=n) for n in range(200))
    with dashboard(browser, own_relay, **PHONE) as opened:
        is_live(opened)
        opened.filter("event:numbered")
        expect(opened.rows.last).to_contain_text("n 199", timeout=WITHIN)
        pause = opened.page.get_by_role("button", name="Pause")
        pause.scroll_into_view_if_needed()
        pause.tap()
        own_relay.publish([log_line("numbered", n=200)])
        fresh = opened.page.locator(".cwm-log-new")
        expect(fresh).to_contain_text("1 new", timeout=WITHIN)
        opened.page.locator(".cwm-log-chip-info").tap()
        expect(opened.rows).to_have_count(0)
        opened.page.locator(".cwm-log-chip-info").tap()
        fresh.tap()
        expect(opened.rows.last).to_contain_text("n 200")


def test_hostile_messages_are_nothing_but_text(browser: Browser, own_relay: LiveRelay) -> None:
    messages = []
    for text in HOSTILE:
        fields = dict.fromkeys(("target", "repo", "doc_type", "language", "commit", "commit_message", "error"), text)
        messages.append(log_line(text, **fields, component=text, level=text, exception=text, **{text: text}))
        messages.append(log_line("llm_error", **fields))
        for kind in (text, "generating", "documentation_committed"):
            event = {"type": kind, "timestamp": text, "data": {**fields, "tokens": text, "time_ms": text, text: [text]}}
            messages.append(("codeworm:events", orjson.dumps(event)))
        stats = dict.fromkeys(("timestamp", "total_cycles", "success_rate", "total_documented"), text)
        messages.append(("codeworm:stats", orjson.dumps({**stats, "by_repo": {text: 3}})))
        messages.append((LOGS, text.encode()))
    with dashboard(browser, own_relay) as opened:
        is_live(opened)
        own_relay.publish([*messages, log_line("last_of_all")])
        expect(opened.rows.filter(has_text="last_of_all")).to_be_visible(timeout=WITHIN)
        expect(opened.panel("commits")).to_contain_text("window.struck", timeout=WITHIN)
        list_ = opened.page.locator(".cwm-log-list")
        list_.focus()
        for _ in range(12):  # every kind of row, opened
            opened.page.keyboard.press("ArrowUp")
        opened.page.keyboard.press("Enter")
        opened.page.keyboard.press("Home")
        assert opened.page.evaluate("window.struck") is None
        assert (
            opened.page.evaluate("document.querySelectorAll('main script, main img, main iframe, main a').length") == 0
        )
        assert opened.page.evaluate("Object.keys(Object.prototype).length") == 0
        seen = opened.page.evaluate("document.body.innerText")
        assert not set("\u202e\u2066\u2028\x00\x1b\x07\u200b") & set(seen)


def test_a_page_of_another_origin_gets_nothing(browser: Browser, relay: LiveRelay) -> None:
    context = browser.new_context(bypass_csp=True)
    try:
        page = context.new_page()
        page.goto(f"http://localhost:{relay.port}/")  # by this name it is another origin than by its address
        other = f"127.0.0.1:{relay.port}"
        read = page.evaluate(
            """async ([url, token]) => {
              const ways = [{}, { headers: { Authorization: `Bearer ${token}` } }, { mode: "no-cors" }];
              const seen = [];
              for (const way of ways) seen.push(await fetch(url, way).then((a) => a.text(), (e) => e.name));
              return seen;
            }""",
            [f"http://{other}/panels?token={TOKEN}", TOKEN],
        )
        assert set(read) <= {"TypeError", ""}
        closed = page.evaluate(
            """([url, token]) => new Promise((done) => {
              const socket = new WebSocket(url, ["codeworm.v2", `codeworm.token.${token}`]);
              socket.onopen = () => done("open");
              socket.onclose = (event) => done(event.code);
            })""",
            [f"ws://{other}/ws", TOKEN],
        )
        assert closed == 1006
    finally:
        context.close()


def test_the_page_is_not_shown_in_the_frame_of_another(browser: Browser, relay: LiveRelay) -> None:
    context = browser.new_context(bypass_csp=True)
    try:
        page = context.new_page()
        page.goto(f"http://localhost:{relay.port}/")
        page.evaluate(
            """url => { const frame = document.createElement("iframe"); frame.src = url; document.body.append(frame); }""",
            f"http://127.0.0.1:{relay.port}/",
        )
        page.wait_for_selector("iframe", state="attached")
        framed = [frame for frame in page.frames if frame.parent_frame is not None]
        assert all(frame.query_selector(".cwm-page-head") is None for frame in framed)
    finally:
        context.close()
