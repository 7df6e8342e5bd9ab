"""Watches of a live monitor: against a real relay, a relay that does what a test says, and recordings."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import orjson
import pytest
from nbclient import NotebookClient
from support.scripted_relay import ScriptedRelay
from support.waiting import until
from support.watched import LOGS, NASTY, Station, web_server
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State as Connection

from codeworm_monitor import frames, registry
from codeworm_monitor.arrivals import Dispatcher
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.errors import ConnectError
from codeworm_monitor.intake import Intake
from codeworm_monitor.journal import RELAY_CHANNEL
from codeworm_monitor.monitor import Monitor, connect, open_recording
from codeworm_monitor.status import State, Status
from codeworm_monitor.watching import (
    Command,
    ErrorRate,
    FailuresInARow,
    OnRecord,
    Silence,
    Watch,
    Webhook,
    watches,
    webhooks,
)
from codeworm_monitor.watching.feed import Feed
from codeworm_monitor.watching.notices import Notice, NoticeKind
from codeworm_monitor.watching.watch import WatchState
from codeworm_monitor.watching.watches import Watches

FIRED, CLEARED, BLIND, SEEING = NoticeKind.FIRED, NoticeKind.CLEARED, NoticeKind.BLIND, NoticeKind.SEEING
LOOK = 0.02


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "LOOK_EVERY", LOOK)


@pytest.fixture
def station() -> Iterator[Station]:
    made = Station()
    yield made
    made.thread.close()


@pytest.fixture(autouse=True)
def no_monitor_stays() -> Iterator[None]:
    yield
    for running in list(registry._home().monitors.values()):
        running.close()
    until(lambda: not threads())


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("codeworm_monitor:default")]


def kinds(seen: list[Notice]) -> list[NoticeKind]:
    return [one.kind for one in seen]


def has_looked(mon: Monitor, times: int = 3) -> None:
    """Wait until the tables were looked at some times more."""
    looks = 0
    look = mon._watches._look

    def counted() -> None:
        nonlocal looks
        look()
        looks += 1

    mon._watches._look = counted  # type: ignore[method-assign]
    until(lambda: looks >= times)
    mon._watches._look = look  # type: ignore[method-assign]


# Live


def test_failures_in_a_row_are_told_while_a_cell_blocks_and_so_is_their_end(station: Station) -> None:
    mon = connect()
    seen: list[tuple[Notice, str]] = []
    watch = mon.watch("failures >= 3", lambda one: seen.append((one, threading.current_thread().name)))
    assert watch.state is WatchState.CLEAR
    threading.Timer(0.1, station.fail, [3]).start()
    time.sleep(0.8)  # as a cell does
    assert [one.kind for one, _ in seen] == [FIRED]
    assert watch.state is WatchState.FIRING
    station.commit()
    until(lambda: len(seen) == 2)
    assert seen[1][0].kind is CLEARED
    assert {name for _, name in seen} == {"codeworm_monitor:default:action"}
    assert watch.history.kind.tolist() == ["fired", "cleared"]


def test_what_the_tables_hold_already_counts(station: Station) -> None:
    station.commit()
    station.fail(4)
    mon = connect()
    until(lambda: len(mon.logs) == 5)
    seen: list[Notice] = []
    mon.watch("failures >= 3", seen.append)
    until(lambda: seen)
    assert seen[0].text.startswith("4 cycles failed in a row")
    quiet = mon.watch(OnRecord(level="error"), print)
    has_looked(mon)
    assert quiet.notices == []  # of single records, only those to come


def test_each_message_counts_once_over_reconnections(station: Station) -> None:
    mon = connect()
    counted: list[Any] = []
    watch = mon.watch(lambda record: counted.append(record) or False, print)
    failures = mon.watch("failures >= 50", print)
    for round_ in range(5):
        station.fail(10)
        station.cut()
        until(lambda round_=round_: mon.status.reconnects == round_ + 1)
    until(lambda: len(counted) == 50)
    until(lambda: failures.state is WatchState.FIRING)
    has_looked(mon)
    assert len(counted) == 50
    assert watch.failures == 0
    assert mon.gaps.empty


def test_silence_is_told_and_any_message_ends_it(station: Station) -> None:
    mon = connect()
    station.commit()
    until(lambda: len(mon.logs) == 1)
    seen: list[Notice] = []
    mon.watch(Silence(after="1s"), seen.append)
    until(lambda: kinds(seen) == [FIRED])
    assert seen[0].since is not None
    assert 0.9 < (seen[0].time - seen[0].since).total_seconds() < 5
    station.publish(("codeworm:stats", {"total_cycles": 1}))
    until(lambda: kinds(seen)[:2] == [FIRED, CLEARED])


def test_messages_of_any_channel_are_signs_of_life() -> None:
    station = Station(channels=("shop:orders",))
    try:
        mon = connect()
        seen: list[Notice] = []
        watch = mon.watch(Silence(after="1s"), seen.append)
        until(lambda: watch.state is WatchState.FIRING)
        station.publish(("shop:orders", {"order": 7}))
        until(lambda: CLEARED in kinds(seen))
    finally:
        station.thread.close()


def test_a_relay_that_is_away_is_blindness_and_not_silence() -> None:
    station = Station(token=None)
    try:
        mon = connect()
        station.commit()
        until(lambda: len(mon.logs) == 1)
        seen: list[Notice] = []
        watch = mon.watch(Silence(after="1s", cooldown=0), seen.append, blind_after=0.2)
        station.thread.close()
        until(lambda: mon.status.state is not State.CONNECTED)
        until(lambda: watch.state is WatchState.BLIND)
        until(lambda: seen)
        time.sleep(1.5)  # longer than the silence that is allowed
        assert kinds(seen) == [BLIND]
        assert seen[0].text.startswith("the relay is not heard: ")
        restarted_at = time.time()
        station.start()
        until(lambda: FIRED in kinds(seen), within=30)
        *before, last = seen
        # A busy machine may lose the new relay for the fifth of a second that counts here, and find it again.
        assert kinds(before) == [BLIND, SEEING] * (len(before) // 2)
        assert last.since is not None
        assert last.since.timestamp() > restarted_at - 0.1  # what a relay was there to hear
        assert (last.time - last.since).total_seconds() > 0.9
    finally:
        station.thread.close()


def test_a_relay_that_does_not_hear_its_publisher_is_blindness_too(station: Station) -> None:
    mon = connect()
    station.commit()
    until(lambda: len(mon.logs) == 1)
    seen: list[Notice] = []
    watch = mon.watch(Silence(after="1s", cooldown=0), seen.append, blind_after=0.2)
    station.call(station.source.interrupt, "pulled the plug")
    until(lambda: watch.state is WatchState.BLIND)
    time.sleep(1.5)
    restored_at = time.time()
    station.call(station.source.restore)
    until(lambda: len(seen) == 3)
    assert kinds(seen) == [BLIND, SEEING, FIRED]
    assert seen[0].text == "the relay does not hear what it listens to"
    assert seen[2].since is not None
    assert (seen[2].time - seen[2].since).total_seconds() > 0.9
    assert seen[2].since.timestamp() > restored_at - 0.1


async def serve_then_idle(relay: ScriptedRelay, connection: ServerConnection, *, is_lively: bool) -> None:
    sent = await relay.greet(connection)
    if sent < len(relay.log):
        await connection.send(relay.batch(sent + 1, len(relay.log)), text=True)
    while connection.state is Connection.OPEN:
        if is_lively:
            await connection.send(frames.encode_v2(frames.Position(len(relay.log))), text=True)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("is_lively", [True, False])
async def test_a_connection_that_died_unnoticed_is_no_silence(*, is_lively: bool) -> None:
    relay = ScriptedRelay()
    relay.publish({"event": "x"})
    relay.behaviours = [lambda connection: serve_then_idle(relay, connection, is_lively=is_lively)]
    async with relay.running():
        mon = await asyncio.to_thread(connect, relay.url)
        watch = await asyncio.to_thread(mon.watch, Silence(after="1s"), print)
        if is_lively:
            await asyncio.to_thread(until, lambda: watch.state is WatchState.FIRING)
        else:
            await asyncio.sleep(2.5)
            assert mon.status.state is State.CONNECTED
            assert watch.notices == []
        await asyncio.to_thread(mon.close)


@pytest.mark.parametrize("hours", [24, -24])
def test_a_clock_that_is_set_is_no_silence_and_no_end_of_an_alarm(station: Station, hours: int) -> None:
    mon = connect()
    station.fail(3)
    until(lambda: len(mon.logs) == 3)
    silent: list[Notice] = []
    failing: list[Notice] = []
    mon.watch(Silence(after="1h"), silent.append)
    mon.watch("silence", silent.append)
    mon.watch(FailuresInARow(3, cooldown="1h"), failing.append)
    until(lambda: failing)
    mon._intake.clock_ahead += hours * 3600
    has_looked(mon, 5)
    station.fail(1)
    until(lambda: len(mon.logs) == 4)
    has_looked(mon, 5)
    mon._intake.clock_ahead -= hours * 3600
    has_looked(mon, 5)
    assert silent == []
    assert kinds(failing) == [FIRED]


def test_a_storm_of_a_hundred_thousand_failures_is_one_notice(station: Station) -> None:
    mon = connect()
    seen: list[Notice] = []
    watch = mon.watch(FailuresInARow(3), seen.append)
    errors = mon.watch(OnRecord(level=">=error"), seen.append)
    rate = mon.watch(ErrorRate(), seen.append)
    for _ in range(10):
        station.fail(10_000)
    until(lambda: mon.status.received == 100_000, within=60)
    until(lambda: len(seen) == 3, within=60)
    has_looked(mon)
    assert kinds(seen) == [FIRED] * 3
    assert [len(one.history) for one in (watch, errors, rate)] == [1, 1, 1]


def test_a_slow_callback_of_somebody_else_delays_no_alarm(station: Station) -> None:
    mon = connect()
    release = threading.Event()
    mon.logs.on(lambda _: release.wait(20))
    seen: list[Notice] = []
    mon.watch("failures >= 3", seen.append)
    station.fail(3)
    until(lambda: seen)
    release.set()


def test_actions_that_hang_or_fail_harm_neither_the_monitor_nor_other_watches(station: Station) -> None:
    mon = connect()
    release = threading.Event()
    seen: list[Notice] = []

    def fail(_: Notice) -> None:
        raise RuntimeError("no")

    mon.watch("failures >= 1", lambda _: release.wait(20), name="hangs")
    failing = mon.watch("failures >= 1", fail, name="fails")
    mon.watch("failures >= 1", seen.append)
    station.fail()
    until(lambda: seen and failing.failures)
    assert str(failing.last_error) == "no"
    assert mon.status.callback_failures == 0
    station.commit()
    until(lambda: len(mon.events) == 1)
    until(lambda: kinds(seen) == [FIRED, CLEARED])
    release.set()


def test_a_cell_that_is_run_again_replaces_its_watch(station: Station) -> None:
    mon = connect()
    made = [mon.watch("failures >= 1", print) for _ in range(5)]
    assert [one.state for one in made] == [WatchState.ENDED] * 4 + [WatchState.CLEAR]
    other = mon.watch("failures >= 1", len)
    named = [mon.watch(rule, print, name="mine") for rule in ("silence", "slow")]
    assert made[-1].state is other.state is named[1].state is WatchState.CLEAR
    assert named[0].state is WatchState.ENDED
    assert (named[1].name, made[-1].name) == ("mine", "failures >= 1")


def test_the_thread_lives_while_there_are_watches(station: Station) -> None:
    mon = connect()
    assert not [name for name in threads() if name.endswith(":watches")]
    for _ in range(3):
        with mon.watch("silence", print), mon.watch("failures", print):
            assert [name for name in threads() if name.endswith(":watches")] == ["codeworm_monitor:default:watches"]
        until(lambda: not [name for name in threads() if name.endswith(":watches")])


def test_a_function_of_the_rule_may_make_and_stop_watches(station: Station) -> None:
    mon = connect()
    made: list[Watch] = []

    def choose(record: Any) -> bool:
        made.append(mon.watch("failures >= 1", print, name=f"number {len(made)}"))
        made[0].stop()
        return True

    mon.watch(choose, print)
    station.fail(2)
    until(lambda: len(made) == 2)
    until(lambda: made[0].state is WatchState.ENDED)


def test_there_is_a_bound_on_watches(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MOST", 3)
    mon = connect()
    for number in range(3):
        mon.watch("silence", print, name=str(number))
    with pytest.raises(ValueError, match="3 watches already"):
        mon.watch("silence", print, name="one more")
    mon.watch("failures", print, name="2")


# The end


def test_closing_the_monitor_ends_the_watches(station: Station) -> None:
    mon = connect()
    seen: list[Notice] = []
    watch = mon.watch("failures >= 1", seen.append)
    mon.watch("failures >= 1", Command(["sleep", "1000"]))
    station.fail()
    until(lambda: seen)
    began = time.monotonic()
    mon.close()
    assert time.monotonic() - began < 3
    until(lambda: not threads())
    assert watch.state is WatchState.ENDED
    assert len(watch.history) == 1
    with pytest.raises(ConnectError, match="closed"):
        mon.watch("silence")


def test_a_function_that_never_returns_does_not_keep_the_monitor_open(station: Station) -> None:
    mon = connect()
    release, entered = threading.Event(), threading.Event()

    def hang(record: Any) -> bool:
        entered.set()
        return release.wait(20)

    watch = mon.watch(hang, print)
    station.fail()
    assert entered.wait(10)
    began = time.monotonic()
    mon.close()
    assert time.monotonic() - began < 3.5
    assert watch.state is WatchState.ENDED
    release.set()


def test_an_action_may_close_the_monitor(station: Station) -> None:
    mon = connect()
    mon.watch("failures >= 1", lambda _: mon.close())
    station.fail()
    until(lambda: mon.is_closed and not threads())


def test_a_program_ends_quietly_with_a_watch_on(station: Station, announcements: Path) -> None:
    program = (
        "import codeworm_monitor as m; mon = m.connect(); print(mon.watch('silence')); mon.watch('failures', print)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "<Watch 'silence' on 'default' clear: 0 notices to Notify()>\n"
    assert done.stderr == ""


# Arguments


def test_a_monitor_that_does_not_receive_all_cannot_tell_of_cycles(station: Station) -> None:
    mon = connect(channels="codeworm:logs")
    for rule in ("failures", "error_rate", "slow"):
        with pytest.raises(ValueError, match="receives only what passes its conditions"):
            mon.watch(rule)
    assert mon.watch("silence", print).state is WatchState.CLEAR
    assert mon.watch(OnRecord(level="error"), print).state is WatchState.CLEAR


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("loudness",), ValueError),
        ((3,), TypeError),
        (("silence", "notify-send"), TypeError),
        (("silence", "https://"), ValueError),
        (("silence", print, {"cooldown": "soon"}), ValueError),
        (("silence", print, {"name": 3}), TypeError),
        (("silence", print, {"blind_after": -1}), ValueError),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(
    station: Station, arguments: tuple[Any, ...], problem: type[Exception]
) -> None:
    mon = connect()
    options = arguments[2] if len(arguments) > 2 else {}
    with pytest.raises(problem):
        mon.watch(*arguments[:2], **options)
    assert not mon._watches._watches


def test_the_rules_own_calm_can_be_changed(station: Station) -> None:
    watch = connect().watch("failures >= 2", print, cooldown="1h", clear_after=5, remind="2h")
    assert watch.rule == FailuresInARow(2, cooldown=3600, clear_after=5, remind=7200)


# Look by look


class Bench:
    """Watches over an intake that is fed by hand, and looked at by hand; the clock stands unless it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.epoch, self.heard = 1_795_000_000.0, "e", 1
        self.offset = 0
        self.is_current = True
        self.slept = 0.0  # by how much the clock is ahead of the steady one
        self.patch = monkeypatch
        self.intake = Intake(Dispatcher("bench"), capacity=1_000)
        self.seen: list[Notice] = []
        monkeypatch.setattr(watches, "LOOK_EVERY", 1_000)  # the thread looks once, and waits
        monkeypatch.setattr(time, "monotonic", lambda: self.clock - self.slept)
        monkeypatch.setattr(self.intake, "relay_time", lambda: self.clock)
        status = lambda: Status(  # noqa: E731
            name="bench", state=State.CONNECTED, since=datetime.now(UTC), epoch=self.epoch, last_error="lost"
        )
        self.watches = Watches(
            "bench", self.intake, status=status, heard=lambda: self.heard if self.is_current else None, is_choosy=False
        )

    def put(self, channel: str, event: str, at: float | None = None, **fields: Any) -> None:
        self.offset += 1
        envelope = Envelope(self.offset, self.clock if at is None else at, channel, b"")
        self.intake.take(self.epoch, [(envelope, {"event": event, "level": "error"} | fields)])

    def gap(self, cause: GapCause, started: float, ended: float) -> None:
        self.offset += 1
        offset = self.offset if cause is GapCause.SOURCE_OUTAGE else None
        self.intake.take_gap(self.epoch, Gap(cause=cause, started_at=started, ended_at=ended, offset=offset))

    def look(self, seconds: float = 0.0) -> list[str]:
        """Let time pass, with the relay heard all along, and return what was told meanwhile."""
        before = len(self.watch.notices)
        self.clock += seconds
        self.heard += 1
        with self.watches._driving:
            self.watches._look()
        return [str(one.kind) for one in self.watch.notices[before:]]

    def begin(self, rule: Any, **options: Any) -> Bench:
        self.watch = self.watches.add(rule, self.seen.append, **options)
        return self


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with monkeypatch.context() as patch:
        made = Bench(patch)
        yield made
        made.watches._is_closed = True
        made.watches._changed.set()
    made.watches.close()


def test_between_hearing_again_and_the_gap_nothing_is_judged(bench: Bench) -> None:
    bench.put(LOGS, "x")
    bench.begin(Silence(after=30), blind_after=10)
    assert bench.look(20) == []
    bench.put(RELAY_CHANNEL, "upstream_lost")
    lost_at = bench.clock
    assert bench.look(5) == []
    assert bench.look(100) == ["blind"]
    bench.put(RELAY_CHANNEL, "upstream_heard_again")
    assert bench.look(1) == []
    bench.gap(GapCause.SOURCE_OUTAGE, lost_at, bench.clock)
    assert bench.look() == ["seeing"]
    assert bench.look(29) == []
    assert bench.look(1) == ["fired"]


def test_a_message_ends_the_blindness_too_and_so_does_another_relay(bench: Bench) -> None:
    bench.begin(Silence(after=30), blind_after=10)
    bench.put(RELAY_CHANNEL, "upstream_lost")
    assert bench.look(20) == []
    assert bench.watch.state is WatchState.BLIND
    bench.put(LOGS, "x")
    assert bench.look(1) == []
    assert bench.watch.state is WatchState.CLEAR
    bench.put(RELAY_CHANNEL, "upstream_lost")
    assert bench.look() == []
    assert bench.watch.state is WatchState.BLIND
    bench.epoch, bench.offset = "f", 0
    assert bench.look(1) == []
    assert bench.watch.state is WatchState.CLEAR


def test_another_relay_is_a_hole_also_before_it_says_so(bench: Bench) -> None:
    bench.put(LOGS, "x")
    bench.begin(Silence(after=30))
    bench.is_current = False
    assert bench.look(25) == []
    bench.is_current, bench.epoch, bench.offset = True, "f", 0
    assert bench.look(10) == []
    bench.gap(GapCause.RELAY_RESTART, bench.clock - 20, bench.clock - 1)
    assert bench.look(29) == []
    assert bench.look(1) == ["fired"]


def test_what_came_while_nobody_was_connected_is_no_silence_and_a_true_one_is_found(bench: Bench) -> None:
    bench.put(LOGS, "x")
    bench.begin(Silence(after=30))
    bench.is_current = False
    assert bench.look(50) == []
    bench.put(LOGS, "y", at=bench.clock - 10)
    bench.is_current = True
    assert bench.look() == []
    assert bench.look(19) == []
    assert bench.look(1) == ["fired"]


def test_times_that_no_clock_can_have_said_are_put_right(bench: Bench) -> None:
    bench.put(LOGS, "x")
    bench.begin(Silence(after=30))
    for wrong in (1e9, 86_400, -86_400, -1e9):
        assert bench.look(29) == []
        bench.put(LOGS, "y", at=bench.clock + wrong)
        assert bench.look(0.5) == []
    assert bench.look(29) == []
    assert bench.look(1) == ["fired"]


def test_judgement_waits_until_the_relay_is_heard(bench: Bench) -> None:
    bench.put(LOGS, "x")
    bench.begin(Silence(after=30))
    bench.look(1)
    bench.heard -= 1  # so that `look` finds it unchanged: nothing came
    assert bench.look(100) == []
    assert bench.look() == ["fired"]


@pytest.mark.parametrize("jump", [86_400, -86_400, 3.0])
def test_a_machine_that_slept_or_a_clock_that_was_set_starts_the_silence_anew(bench: Bench, jump: float) -> None:
    bench.put(LOGS, "x")
    bench.begin(Silence(after=30))
    assert bench.look(20) == []
    bench.slept = jump
    assert bench.look(jump) == []
    assert bench.look(29) == []
    assert bench.look(1) == ["fired"]


def test_failures_that_were_known_before_the_clock_was_set_still_count(bench: Bench) -> None:
    bench.begin("failures >= 3")
    bench.put(LOGS, "documentation_failed", target="a")
    assert bench.look(1) == []
    bench.slept = -500
    bench.look(-500)
    bench.put(LOGS, "documentation_failed", target="b")
    bench.put(LOGS, "documentation_failed", target="c")
    bench.put(LOGS, "documentation_failed", target="d")
    assert bench.look(1) == ["fired"]


def test_a_mistake_of_ours_ends_no_alarms(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.begin("failures >= 1")
    bench.watches.close()
    bench.watches._is_closed = False
    bench.watches._changed.clear()
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            bench.watches._is_closed = True
        raise AttributeError("a mistake")

    bench.patch.setattr(watches, "LOOK_EVERY", 0)
    bench.patch.setattr(bench.watches, "_look", look)
    bench.watches._watches[Watch(FailuresInARow(), [], monitor="m", name="n")] = (Feed(), "n")
    bench.watches._run()
    assert len(looks) == 3
    assert [record.getMessage() for record in caplog.records] == ["the watches of 'bench' failed; they go on"]


# To the world


def test_from_the_relay_to_a_webhook_that_is_slow_broken_and_back_again(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "FIRST_DELAY", 0.01)
    mon = connect()
    with web_server(500, lambda handler, over: over.wait(20), 503) as (url, received, _):
        watch = mon.watch("failures >= 2", Webhook(f"{url}/s3cret", timeout=0.5))
        station.fail(2, error=NASTY)
        until(lambda: len(received) == 4)
        station.commit()
        until(lambda: len(received) == 5)
    assert [one["json"]["kind"] for one in received] == ["fired"] * 4 + ["cleared"]
    assert not {"\x1b", "\0"} & set(received[0]["json"]["text"])
    assert (watch.failures, watch.told) == (0, 2)
    assert "s3cret" not in repr(watch) + watch._repr_html_()


def test_from_the_relay_to_a_command(station: Station, tmp_path: Path) -> None:
    mon = connect()
    script = f'cat > "{tmp_path}/$CODEWORM_ALERT_KIND.new"; mv "{tmp_path}/$CODEWORM_ALERT_KIND.new" "{tmp_path}/$CODEWORM_ALERT_KIND"'
    watch = mon.watch("failures >= 1", [Command(["sh", "-c", script]), Command(["/no/such/program"])])
    station.fail(error=f"'; touch {tmp_path}/evil; $(touch {tmp_path}/evil) {NASTY}")
    until(lambda: (tmp_path / "fired").exists())
    assert "1 cycle failed in a row" in (tmp_path / "fired").read_text()
    assert not (tmp_path / "evil").exists()
    until(lambda: watch.failures == 1)
    assert "could not be started" in str(watch.last_error)


def test_outside_a_notebook_the_default_is_a_line_on_standard_error(
    station: Station, capfd: pytest.CaptureFixture[str]
) -> None:
    mon = connect()
    watch = mon.watch("failures >= 1")
    station.fail(error="out of memory")
    until(lambda: watch.told == 1)
    watch.wait()
    line = capfd.readouterr().err
    assert line.startswith("▲ ")
    assert line.endswith("failures >= 1 · fired: 1 cycle failed in a row; the newest: failed · f · out of memory\n")


# The kernel's client warns of what it does itself, and closes its sockets when it is collected.
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_in_a_notebook_the_cell_that_watches_shows_what_happens_later(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_bytes(orjson.dumps({"argv": argv, "display_name": "3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    cells = [
        "import time, codeworm_monitor; mon = codeworm_monitor.connect()",
        "watch = mon.watch('failures >= 1')",
        "print('ready')\nwhile not watch.told: time.sleep(0.01)\nwatch.wait(); mon.close()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=60, kernel_name="python3")

    def publish(cell: Any, cell_index: int) -> None:
        if cell_index == 2:
            station.fail(error=NASTY)

    client.on_cell_execute = publish
    client.execute()
    (shown,) = notebook.cells[1].outputs
    assert shown.output_type == "display_data"
    assert "&lt;script&gt;" in shown.data["text/html"]
    assert "<script" not in shown.data["text/html"]
    assert shown.data["text/plain"].startswith("▲ ")
    assert [output.text for output in notebook.cells[2].outputs] == ["ready\n"]


# Recordings


def test_over_a_recording_the_past_is_tried_and_nothing_is_done(recording: Path) -> None:
    seen: list[Notice] = []
    with open_recording(recording) as rec:
        before = threading.active_count()
        watch = rec.watch(OnRecord(event="push_failed", count=3, within="1min"), seen.append)
        assert threading.active_count() == before
        expected = int((rec.logs.df.event == "push_failed").any())
    assert watch.state is WatchState.ENDED
    assert watch.history.kind.tolist() == ["fired", "cleared"] * expected
    assert seen == []


def test_with_act_the_actions_are_given_the_past(recording: Path) -> None:
    seen: list[Notice] = []
    with open_recording(recording) as rec:
        watch = rec.watch(OnRecord(level="warning", within=1, cooldown=0), seen.append, act=True)
    assert seen == [notice for notice, is_told in zip(watch.notices, watch.history.is_told, strict=True) if is_told]
    assert len(seen) >= 2
