"""The panels' states as the relay folds them: when, from where, how often, and what it costs the loop."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.live_relay import recorded_messages
from support.waiting import eventually

from codeworm_monitor import page_states
from codeworm_monitor.backlog import Backlog
from codeworm_monitor.dashboard_api import DashboardAPI
from codeworm_monitor.envelope import Envelope, Gap, GapCause
from codeworm_monitor.http import Answer
from codeworm_monitor.hub import Hub
from codeworm_monitor.page_states import PageStates
from codeworm_monitor.sources import Message
from codeworm_monitor.states.panel_states import PanelStates

DATA = Path(__file__).parent / "data"
LOGS, EVENTS = "codeworm:logs", "codeworm:events"
NOW = 1_795_400_000.0


def commit(number: int) -> Message:
    data = {"target": f"t{number}", "repo": "click", "doc_type": "til", "language": "python", "commit": f"{number:08x}"}
    data |= {"tokens": 10, "time_ms": 1000}
    event = {"type": "documentation_committed", "timestamp": "2026-11-22T12:00:00", "data": data}
    return Message(EVENTS, orjson.dumps(event), NOW + number)


def page_of(hub: Hub, **options: Any) -> PageStates:
    return PageStates(hub, **{"dashboard": None, "info": dict, "clock": lambda: NOW + 1000} | options)


async def told(page: PageStates) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads((await page.answer()).body)
    return answer


def targets(answer: dict[str, Any]) -> list[str]:
    return [one["target"] for one in answer["panels"]["commits"]["commits"]]


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_states, "FRESH", 0.0)


async def test_the_first_answer_has_all_of_the_backlog_and_the_next_what_came_since() -> None:
    hub = Hub()
    hub.receive([commit(1), commit(2)])
    page = page_of(hub)
    first = await told(page)
    assert (targets(first), first["offset"], first["epoch"], first["is_whole"]) == (["t2", "t1"], 2, hub.epoch, True)
    hub.receive([commit(3)])
    assert targets(await told(page)) == ["t3", "t2", "t1"]
    assert targets(await told(page)) == ["t3", "t2", "t1"]


async def test_the_states_are_those_of_one_who_followed_from_the_beginning(recording: Path) -> None:
    messages = recorded_messages(recording.name.partition(".")[0])
    hub = Hub()
    followed = PanelStates(NOW)
    followed.restart(hub.snapshot, live_from=0, epoch=hub.epoch)
    page = page_of(hub)
    for start in range(0, len(messages), 97):
        some = [Message(channel, text, NOW + start) for channel, text in messages[start : start + 97]]
        hub.receive(some)
        entries = hub.backlog.between(start + 1, start + 97)
        followed.take(hub.epoch, [(one, orjson.loads(one.data)) for one in entries if not isinstance(one, Gap)])
        if start % 5 == 0:
            await page.answer()
    late = page_of(hub)  # asked once, at the end
    expected = orjson.loads(orjson.dumps(followed.as_dict(NOW + 1000)))
    answers = [await told(page), await told(late)]
    for panel in ("stats", "commits", "repositories"):
        assert [one["panels"][panel] for one in answers] == [expected[panel]] * 2
    for name in ("stage", "target", "repo", "cycle_num", "last_commit", "last_error"):
        assert [one["panels"]["activity"][name] for one in answers] == [expected["activity"][name]] * 2


async def test_nothing_is_folded_until_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(PanelStates, "take", lambda self, epoch, messages: taken.append(list(messages)))
    hub = Hub()
    page = page_of(hub)
    hub.receive([commit(1)])
    await asyncio.sleep(0)
    assert (taken, page._states) == ([], None)
    await page.answer()
    assert len(taken) == 1


async def test_gaps_are_told_where_they_stand() -> None:
    hub = Hub()
    hub.receive([commit(1)])
    hub.report(Gap(cause=GapCause.SOURCE_OUTAGE, started_at=NOW + 1, ended_at=NOW + 2, detail="Redis was away"))
    hub.receive([commit(2)])
    answer = await told(page_of(hub))
    assert targets(answer) == ["t2", "t1"]
    (gap,) = answer["panels"]["health"]["gaps"]
    assert (gap["cause"], gap["detail"]) == ("source_outage", "Redis was away")


async def test_who_asks_again_after_the_backlog_has_moved_on_is_told_what_it_holds_without_a_hole() -> None:
    hub = Hub(backlog=Backlog(max_entries=5))
    hub.receive([commit(number) for number in range(3)])
    page = page_of(hub)
    assert len(targets(await told(page))) == 3
    hub.receive([commit(number) for number in range(10, 30)])
    assert targets(await told(page)) == ["t29", "t28", "t27", "t26", "t25"]


def kept(*numbers: int) -> list[Envelope]:
    """Return messages as an archive keeps them: the newest before offset 100."""
    return [
        Envelope(101 - len(numbers) + place, message.received_at, message.channel, message.payload)
        for place, message in enumerate(commit(number) for number in numbers)
    ]


async def test_what_the_run_before_left_counts_only_while_nothing_lies_between() -> None:
    hub = Hub(backlog=Backlog(max_entries=5))
    hub.take_up("a", 100, kept(1, 2, 3))
    hub.receive([commit(4)])
    page = page_of(hub)
    answer = await told(page)
    assert targets(answer) == ["t4", "t3", "t2", "t1"]
    assert answer["is_whole"]
    hub.receive([commit(number) for number in range(10, 30)])
    answer = await told(page)
    assert targets(answer) == ["t29", "t28", "t27", "t26", "t25"]
    assert answer["panels"]["stats"]["known_since"] == NOW + 25
    assert targets(await told(page_of(hub))) == ["t29", "t28", "t27", "t26", "t25"]


async def test_what_the_run_before_left_is_folded_by_and_by_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_states, "WITHIN", 0.0)
    monkeypatch.setattr(page_states, "SLICE", 0.0)
    hub = Hub()
    hub.take_up("a", 100, kept(1, 2, 3))
    page = page_of(hub)
    answer = await told(page)
    assert not answer["is_whole"]
    monkeypatch.setattr(page_states, "WITHIN", 60.0)
    answer = await told(page)
    assert (answer["is_whole"], targets(answer)) == (True, ["t3", "t2", "t1"])


async def test_a_flood_between_two_slices_begins_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_states, "STEP", 1)
    monkeypatch.setattr(page_states, "SLICE", 0.0)
    hub = Hub(backlog=Backlog(max_entries=5))
    hub.receive([commit(number) for number in range(5)])
    page = page_of(hub)
    asked = asyncio.create_task(told(page))
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < page._offset < 5
    hub.receive([commit(number) for number in range(10, 30)])
    await asked
    answer = await told(page)
    assert targets(answer) == ["t29", "t28", "t27", "t26", "t25"]
    assert answer["panels"]["stats"]["known_since"] == NOW + 25


async def test_another_numbering_begins_anew() -> None:
    hub = Hub()
    page = page_of(hub)
    assert (await told(page))["offset"] == 0
    hub.take_up("other", 100)
    hub.receive([commit(1)])
    answer = await told(page)
    assert (answer["epoch"], answer["offset"], targets(answer)) == ("other", 101, ["t1"])


async def test_however_many_ask_one_answer_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_states, "FRESH", 3600.0)
    hub = Hub()
    page = page_of(hub)
    answers: list[Answer] = await asyncio.gather(*(page.answer() for _ in range(50)))
    assert all(one is answers[0] for one in answers)
    hub.receive([commit(1)])
    assert await page.answer() is answers[0]
    monkeypatch.setattr(page_states, "FRESH", 0.0)
    assert targets(await told(page)) == ["t1"]


async def test_the_tag_changes_with_the_states_alone() -> None:
    hub = Hub()
    at = NOW
    page = page_of(hub, clock=lambda: at)
    hub.receive([commit(1)])
    first = await page.answer()
    at = NOW + 0.5
    again = await page.answer()
    assert again.headers["ETag"] == first.headers["ETag"]
    assert orjson.loads(again.body)["at"] == NOW + 0.5
    hub.receive([commit(2)])
    assert (await page.answer()).headers["ETag"] != first.headers["ETag"]


async def test_the_loop_has_its_turn_all_the_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_states, "SLICE", 0.0)
    hub = Hub()
    hub.receive([commit(number) for number in range(10 * page_states.STEP)])
    page = page_of(hub)
    asked = asyncio.create_task(page.answer())
    turns = 0
    while not asked.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 10


async def test_a_long_backlog_is_told_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_states, "WITHIN", 0.0)
    hub = Hub()
    hub.receive([commit(number) for number in range(3)])
    page = page_of(hub)
    assert (await told(page))["is_whole"] is False
    monkeypatch.setattr(page_states, "WITHIN", 60.0)
    answer = await told(page)
    assert (answer["is_whole"], len(targets(answer))) == (True, 3)


async def test_who_goes_away_while_it_is_made_leaves_it_whole() -> None:
    hub = Hub()
    hub.receive([commit(number) for number in range(200)])
    page = page_of(hub)
    asked = asyncio.create_task(page.answer())
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    assert (await told(page))["panels"]["commits"]["count"] == 200


async def test_what_cannot_be_read_is_told_as_it_was_relayed() -> None:
    hub = Hub()
    texts = [
        b"no JSON",
        b"[]",
        b"null",
        b'"\\ud800"',
        b"\xff\xfe",
        b'{"event":5,"level":[],"timestamp":{}}',
        b"1e999",
        b"",
    ]
    hub.receive([Message(channel, text, NOW) for channel in (LOGS, EVENTS, "codeworm:stats") for text in texts])
    answer = await told(page_of(hub))
    assert (answer["is_whole"], answer["panels"]["health"]["received"]) == (True, 3 * len(texts))


class TestFiles:
    def api(self, folder: Path) -> DashboardAPI:
        shutil.copy(DATA / "codeworm.db", folder / "codeworm.db")
        return DashboardAPI(str(folder / "codeworm.db"), str(DATA / "config"))

    async def test_codeworms_database_and_configuration_are_in_the_answer(self, tmp_path: Path) -> None:
        page = page_of(Hub(), dashboard=self.api(tmp_path))

        async def is_read() -> Any:
            answer = await told(page)
            return answer["panels"] if answer["panels"]["repositories"]["source"] == "configuration" else None

        panels = await eventually(is_read)
        assert (panels["stats"]["source"], panels["stats"]["total"]) == ("database", 215)
        assert "starlette" in [one["name"] for one in panels["repositories"]["repositories"]]
        await page.aclose()

    async def test_they_are_not_looked_at_each_time(self, tmp_path: Path) -> None:
        asked: list[str] = []

        class Counted(DashboardAPI):
            async def answer(self, path: str, query: str) -> Answer:
                asked.append(path)
                return await super().answer(path, query)

        page = page_of(Hub(), dashboard=Counted(None, None))
        for _ in range(10):
            await page.answer()
        assert asked == ["/stats", "/repos"]

    async def test_a_slow_disk_keeps_nobody_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page_states, "PATIENCE", 0.0)
        is_let_go = asyncio.Event()

        class Slow(DashboardAPI):
            async def answer(self, path: str, query: str) -> Answer:
                await is_let_go.wait()
                return await super().answer(path, query)

        page = page_of(Hub(), dashboard=Slow(None, None))
        assert (await told(page))["panels"]["stats"]["total"] is None
        assert page._reading is not None
        await page.aclose()
        assert page._reading.cancelled()
        await page.aclose()

    async def test_a_database_that_cannot_be_read_changes_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "codeworm.db").write_text("nonsense " * 1000)
        hub = Hub()
        hub.receive([commit(1)])
        page = page_of(hub, dashboard=DashboardAPI(str(tmp_path / "codeworm.db"), None))
        await page.answer()
        answer = await told(page)
        assert (targets(answer), answer["panels"]["stats"]["source"]) == (["t1"], "messages")
        await page.aclose()
