"""The page's socket and its queue of frames, in a browser, against a relay that a test plays frame by frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.front_page import Front, FrontPage

pytestmark = pytest.mark.browser

HARNESS = """
import { FrameQueue } from "/front/frame_queue.js";
import { RelaySocket, lightened } from "/front/socket.js";

class Fake {
  static OPEN = 1;
  constructor(url, protocols) {
    if (protocols.some((one) => /[^!-~]/.test(one))) throw new DOMException("no protocol", "SyntaxError");
    Object.assign(this, { url, protocols, readyState: 0, sent: [], isClosed: false });
    play.sockets.push(this);
  }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.isClosed = true; }
  open() { this.readyState = 1; this.onopen?.(); }
  say(frame) { this.onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) }); }
  drop(code, reason) { this.readyState = 3; this.onclose({ code, reason: reason ?? "" }); }
}
window.play = { lightened, FrameQueue };
window.makeSocket = (token) => {
  play.socket?.rest();
  Object.assign(play, { sockets: [], rows: [], asked: 0, answer: null });
  window.WebSocket = Fake;
  play.socket = new RelaySocket({
    url: "ws://relay/ws", token: () => token, now: () => Date.now() / 1000, onTime: () => {}, onChange: () => {},
    onRows: (rows) => { if (own === play.socket) play.rows.push(...rows); },
    ask: async () => { play.asked += 1; return play.answer; },
  });
  const own = play.socket;
  play.socket.connect();
};
window.isPlaying = true;
"""


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front({"socket_harness.js": HARNESS}) as started:
        yield started


@pytest.fixture(scope="module")
def page(front: Front) -> Iterator[FrontPage]:
    with front.page() as opened:
        opened.page.evaluate("import('/made/socket_harness.js')")
        opened.page.wait_for_function("() => window.isPlaying")
        yield opened


class Play:
    """The relay's side."""

    def __init__(self, page: FrontPage, *, token: str | None = "of-the-test") -> None:
        self.page = page.page
        self.page.evaluate("token => makeSocket(token)", token)

    def open(self, *, epoch: str = "e", cursor: int = 0, heartbeat: float = 15.0) -> None:
        self.wait("play.sockets.at(-1).readyState === 0")
        self.page.evaluate("play.sockets.at(-1).open()")
        limits = {"heartbeat_seconds": heartbeat}
        self.say({"type": "hello", "epoch": epoch, "limits": limits, "version": "1", "time": 1.0})
        self.wait("play.sockets.at(-1).sent.length > 0")
        self.say({"type": "subscribed", "cursor": f"{epoch}:{cursor}", "recovered": None, "reason": None})
        self.wait("play.socket.state === 'connected'")

    def say(self, *frames: Any) -> None:
        self.page.evaluate(
            "text => JSON.parse(text).forEach((one) => play.sockets.at(-1).say(one))", json.dumps(frames)
        )

    def drop(self, code: int = 1006, reason: str = "") -> None:
        self.page.evaluate("([code, reason]) => play.sockets.at(-1).drop(code, reason)", [code, reason])

    def wait(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}")

    def told(self, what: str) -> Any:
        return self.page.evaluate(what)

    def rows(self, count: int) -> list[Any]:
        self.wait(f"play.rows.length >= {count}")
        rows: list[Any] = self.told("play.rows")
        return rows


def batch(*offsets: int, at: float = 1000.0) -> dict[str, Any]:
    rows = [{"offset": n, "received_at": at + n, "channel": "codeworm:logs", "data": {"n": n}} for n in offsets]
    return {"type": "batch", "envelopes": rows}


def test_it_offers_the_token_asks_for_the_newest_and_hands_on_rows(page: FrontPage) -> None:
    play = Play(page)
    assert play.told("play.sockets[0].protocols") == ["codeworm.v2", "codeworm.token.of-the-test"]
    play.open(cursor=7)
    assert play.told("play.sockets[0].sent") == [{"type": "subscribe", "since": {"tail": 5000}}]
    play.say(batch(8, 9))
    assert play.rows(2) == [[n, 1000.0 + n, "codeworm:logs", {"n": n}] for n in (8, 9)]


def test_without_a_token_none_is_offered(page: FrontPage) -> None:
    play = Play(page, token=None)
    assert play.told("play.sockets[0].protocols") == ["codeworm.v2"]


def test_after_a_loss_it_goes_on_behind_what_it_took_and_takes_nothing_twice(page: FrontPage) -> None:
    play = Play(page)
    play.open()
    play.say(batch(1, 2, 3), {"type": "position", "offset": 5})
    play.drop(1012, "the relay restarts")
    play.wait("play.sockets.length === 2")
    play.open(cursor=5)
    assert play.told("play.sockets[1].sent") == [{"type": "subscribe", "since": {"cursor": "e:5"}}]
    play.say(batch(4, 5, 6), batch(6, 7))
    assert [row[0] for row in play.rows(5)] == [1, 2, 3, 6, 7]
    assert play.told("play.socket.reconnects") == 1


def test_frames_that_came_before_a_loss_are_taken_though_nobody_had_read_them(page: FrontPage) -> None:
    play = Play(page)
    play.open()
    play.page.evaluate(
        "text => { const one = play.sockets.at(-1); one.say(text); one.drop(1006); }", json.dumps(batch(1, 2))
    )
    play.wait("play.sockets.length === 2")
    play.open(cursor=2)
    assert play.told("play.sockets[1].sent[0].since.cursor") == "e:2"
    assert [row[0] for row in play.rows(2)] == [1, 2]


def test_another_numbering_goes_on_above_the_old_one(page: FrontPage) -> None:
    play = Play(page)
    play.open()
    play.say(batch(1, 2, 3))
    play.drop()
    play.wait("play.sockets.length === 2")
    play.open(epoch="other", cursor=0)
    gap = {"type": "gap", "offset": None, "cause": "relay_restart", "started_at": 5.0, "ended_at": 6.0}
    play.say({**gap, "first_offset": None, "last_offset": None, "detail": "it was away"}, batch(1, 2))
    rows = play.rows(6)
    assert [row[0] for row in rows] == [1, 2, 3, None, 4, 5]
    assert rows[3][2:] == [
        "gap",
        {"cause": "relay_restart", "started_at": 5, "ended_at": 6, "missed": None, "detail": "it was away"},
    ]
    assert play.told("[play.socket.gapCount, play.socket.gaps.length]") == [1, 1]
    assert play.told("play.socket.numbering") == {"epoch": "other", "base": 3}


def test_a_gap_of_a_reader_that_was_too_slow_tells_how_many(page: FrontPage) -> None:
    play = Play(page)
    play.open()
    gap = {"type": "gap", "offset": None, "cause": "slow_reader", "started_at": 5.0, "ended_at": 6.0, "detail": ""}
    play.say(batch(1), {**gap, "first_offset": 2, "last_offset": 11}, batch(10, 11, 12))
    rows = play.rows(3)
    assert [row[0] for row in rows] == [1, None, 12]
    assert rows[1][3]["missed"] == 10


@pytest.mark.parametrize("code", [4500, 4999])
def test_a_relay_that_says_so_is_not_come_back_to(page: FrontPage, code: int) -> None:
    play = Play(page)
    play.open()
    play.say({"type": "error", "message": "since is wrong"})
    play.drop(code)
    play.wait("play.socket.state === 'closed'")
    assert "since is wrong" in play.told("play.socket.reason")
    assert play.told("[play.sockets.length, play.socket.retryAt]") == [1, None]
    play.told("play.socket.connect()")  # but by a person's wish
    assert play.told("play.sockets.length") == 2


def test_a_token_that_is_refused_is_not_tried_again(page: FrontPage) -> None:
    play = Play(page)
    play.told("play.answer = { status: 401, text: 'another token' }")
    play.drop()
    play.wait("play.socket.state === 'refused'")
    assert play.told("[play.socket.wantsToken, play.socket.reason, play.socket.retryAt]") == [
        True,
        "another token",
        None,
    ]


def test_a_relay_that_refuses_otherwise_is_asked_again_slowly(page: FrontPage) -> None:
    play = Play(page)
    play.told("play.answer = { status: 403, text: 'not this host' }")
    play.drop()
    play.wait("play.socket.state === 'refused' && play.socket.retryAt !== null")
    assert play.told("[play.socket.wantsToken, play.socket.reason]") == [False, "not this host"]
    assert play.told("play.socket.retryAt - Date.now() / 1000") > 1


def test_a_relay_that_is_away_is_tried_again_and_again(page: FrontPage) -> None:
    play = Play(page)
    for number in range(1, 4):
        play.drop()
        play.wait(f"play.sockets.length === {number + 1}")
    assert play.told("[play.asked, play.socket.state, play.socket.reason]") == [
        3,
        "connecting",
        "The relay cannot be reached.",
    ]


def test_a_proxy_that_lets_no_websocket_through_is_told_from_a_relay_that_is_away(page: FrontPage) -> None:
    play = Play(page)
    play.told("play.answer = { status: 200, text: '' }")
    play.drop()
    play.wait("play.socket.retryAt !== null")
    assert "does a proxy" in play.told("play.socket.reason")


def test_a_connection_on_which_nothing_is_heard_is_given_up(page: FrontPage) -> None:
    play = Play(page)
    play.open(heartbeat=0.1)
    play.wait("play.sockets.length === 2")
    assert play.told("[play.sockets[0].isClosed, play.socket.state]") == [True, "reconnecting"]
    play.told("play.sockets[0].onmessage({ data: '{}' })")  # what it says late is nobody's
    assert play.told("play.socket.reason") == "Nothing was heard for too long."


def test_a_page_that_wakes_asks_whether_the_connection_lives(page: FrontPage) -> None:
    play = Play(page)
    play.open()
    play.told("play.socket.wake()")
    assert play.told("play.sockets[0].sent.at(-1)") == {"type": "ping"}
    assert play.told("play.socket._patience") == 5
    play.say({"type": "pong", "time": 1.0})  # it does: silence is then what it was before
    assert play.told("play.socket._patience") == 37.5
    play.drop()
    play.told("play.socket.wake()")
    assert play.told("play.sockets.length") == 2


def test_a_page_that_is_put_aside_rests_until_it_is_taken_out_again(page: FrontPage) -> None:
    play = Play(page)
    play.open()
    play.told("play.socket.rest()")
    assert play.told("[play.sockets[0].isClosed, play.socket.retryAt, play.sockets.length]") == [True, None, 1]
    play.told("play.socket.connect()")
    play.open(cursor=0)
    assert play.told("play.sockets[1].sent[0].since.cursor") == "e:0"


def test_a_token_that_no_browser_can_send_is_refused_at_once(page: FrontPage) -> None:
    play = Play(page, token="with space")
    assert play.told("[play.socket.state, play.socket.wantsToken]") == ["refused", True]


def test_no_frame_breaks_it(page: FrontPage) -> None:
    play = Play(page)
    play.open()
    odd: list[Any] = [None, 5, "text", [], {}, {"type": 5}, {"type": "batch"}, {"type": "batch", "envelopes": 7}]
    odd += [{"type": "batch", "envelopes": [None, 5, {}, {"offset": "1"}, {"offset": 1, "received_at": "x"}]}]
    odd += [{"type": "position", "offset": "9"}, {"type": "gap"}, {"type": "pong", "time": []}, {"type": "subscribed"}]
    odd += [{"type": "subscribed", "cursor": 5}, {"type": "hello", "epoch": 4}, {"type": "of a newer relay"}]
    play.say(*odd, "{", "")
    play.say(batch(1))
    rows = play.rows(1)
    assert rows[-1][0] == 1
    assert play.told("play.socket.state") == "connected"


def test_a_very_large_payload_goes_as_its_main_fields(page: FrontPage) -> None:
    text = "x" * 100_000
    small = page.page.evaluate("play.lightened({ event: 'e', n: 1 })")
    assert small == {"event": "e", "n": 1}
    large = page.page.evaluate("text => play.lightened({ event: 'e', error: text, other: text, data: {} })", text)
    assert large.keys() == {"event", "error", "truncated"}
    assert len(large["error"]) == 2000
    assert large["truncated"] > 200_000
    play = Play(page)
    play.open()
    envelope = {"offset": 1, "received_at": 1.0, "channel": "codeworm:logs", "data": {"event": "e", "more": text}}
    play.say({"type": "batch", "envelopes": [envelope]})
    assert play.rows(1)[0][3].keys() == {"event", "truncated"}


class TestTheQueue:
    FLOOD = """
      ({ mostWaiting, mostRows, frames }) => new Promise((done) => {
        const seen = [];
        const queue = new play.FrameQueue({
          take: (frame) => (frame.type === "batch" ? frame.envelopes.map((one) => [one.offset, 0, "codeworm:logs", {}])
            : frame.type === "gap" ? [[frame.offset, 0, "gap", {}]] : []),
          flush: (rows, skipped) => { seen.push({ offsets: rows.map((row) => row[0]), skipped }); },
          mostWaiting, mostRows,
        });
        for (const frame of frames) queue.push(JSON.stringify(frame));
        queue.drain();
        done(seen);
      })
    """

    def flood(self, page: FrontPage, frames: list[Any], **most: int) -> tuple[list[int], int]:
        most = {"mostWaiting": 2**24, "mostRows": 10_000} | most
        seen = page.page.evaluate(self.FLOOD, {**most, "frames": frames})
        return [offset for one in seen for offset in one["offsets"]], sum(one["skipped"] for one in seen)

    def test_hands_on_all_in_order(self, page: FrontPage) -> None:
        frames = [batch(n, n + 1) for n in range(1, 100, 2)]
        assert self.flood(page, frames) == (list(range(1, 101)), 0)

    def test_leaves_out_the_oldest_of_too_many_rows_and_counts_them_but_no_gap(self, page: FrontPage) -> None:
        gap = {"type": "gap", "offset": 3}
        assert self.flood(page, [batch(1, 2), gap, batch(*range(4, 40))], mostRows=10) == ([3, *range(30, 40)], 28)

    def test_leaves_out_the_oldest_frames_unread_and_counts_what_was_in_them(self, page: FrontPage) -> None:
        size = len(json.dumps(batch(1), separators=(",", ":")))
        offsets, skipped = self.flood(page, [batch(n) for n in range(1, 1001)], mostWaiting=10 * size)
        assert offsets[-1] == 1000
        assert offsets == sorted(set(offsets))
        assert skipped == 1000 - len(offsets) > 900

    def test_never_leaves_out_a_gap(self, page: FrontPage) -> None:
        frames = [frame for n in range(1, 401, 2) for frame in (batch(n), {"type": "gap", "offset": n + 1})]
        offsets, skipped = self.flood(page, frames, mostWaiting=2000)
        assert set(range(2, 401, 2)) <= set(offsets)
        assert len(offsets) + skipped == 400
