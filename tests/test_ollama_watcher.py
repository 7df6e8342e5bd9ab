"""Ollama beside the relay: what of many looks is told, and that a server in any state delays nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from support.ollama_stand_in import OllamaStandIn, model
from support.waiting import eventually

from codeworm_monitor import ollama_watcher as module
from codeworm_monitor.ollama import LoadedModel, OllamaState
from codeworm_monitor.ollama_watcher import Note, OllamaChanges, OllamaWatcher

URL = "http://127.0.0.1:11434"
BEGIN = 1_763_845_200.0  # 2025-11-22 21:00 UTC


def loaded(name: str = "qwen", *, expires_at: str | None = "2025-11-22T21:05:00.000Z", **words: Any) -> LoadedModel:
    return LoadedModel(name=name, size=words.pop("size", 10), size_vram=8, expires_at=expires_at, **words)


def state(*models: LoadedModel, version: str = "0.12.6") -> OllamaState:
    return OllamaState(version=version, models=models)


def changes(**words: Any) -> OllamaChanges:
    return OllamaChanges(URL, every=30.0, **words)


def events(notes: list[Note]) -> list[str]:
    assert all(note.details["url"] == URL for note in notes)
    assert orjson.dumps([note.details for note in notes])
    return [note.event for note in notes]


def test_the_first_answer_is_told_with_all_that_it_says() -> None:
    (note,) = changes().answered(state(loaded()), BEGIN)
    assert (note.event, note.level) == ("ollama_reachable", "info")
    assert note.details == {
        "url": URL,
        "version": "0.12.6",
        "models": [loaded().as_dict()],
        "unlisted": 0,
        "size": 10,
        "size_vram": 8,
    }


def test_sameness_is_told_every_ten_minutes_only() -> None:
    told = changes()
    told.answered(state(loaded()), BEGIN)
    seen = [(at, event) for at in range(30, 1801, 30) for event in events(told.answered(state(loaded()), BEGIN + at))]
    assert seen == [(600, "ollama_unchanged"), (1200, "ollama_unchanged"), (1800, "ollama_unchanged")]


def test_a_clock_set_back_does_not_silence_it() -> None:
    told = changes()
    told.answered(state(), BEGIN)
    assert events(told.answered(state(), BEGIN - 86_400)) == ["ollama_unchanged"]


def test_what_was_loaded_and_unloaded_is_named() -> None:
    told = changes()
    told.answered(state(loaded("a"), loaded("b")), BEGIN)
    (note,) = told.answered(state(loaded("b"), loaded("c")), BEGIN + 30)
    assert note.event == "ollama_models"
    assert (note.details["loaded"], note.details["unloaded"]) == (["c"], ["a"])
    (note,) = told.answered(state(), BEGIN + 60)
    assert (note.details["loaded"], note.details["unloaded"], note.details["models"]) == ([], ["b", "c"], [])


@pytest.mark.parametrize(
    ("after", "is_told"),
    [
        (loaded(), False),
        (loaded(expires_at="2025-11-22T21:05:30.000Z"), False),
        (loaded(expires_at="2025-11-22T21:10:00.000Z"), True),
        (loaded(expires_at="2025-11-22T21:00:00.000Z"), True),
        (loaded(expires_at=None), True),
        (loaded(expires_at=None, never_expires=True), True),
        (loaded(size=11), True),
        (loaded(digest="other"), True),
        (loaded(context_length=8192), True),
    ],
)
def test_a_change_is_told_if_it_matters(after: LoadedModel, is_told: object) -> None:
    told = changes()
    told.answered(state(loaded()), BEGIN)
    notes = told.answered(state(after), BEGIN + 30)
    assert events(notes) == (["ollama_models"] if is_told else [])
    assert told.answered(state(after), BEGIN + 60) == []


def test_an_expiry_that_moves_on_a_little_each_time_is_told_now_and_then() -> None:
    told, notes = changes(heartbeat=1e9), []
    for step in range(121):  # an hour of steady use
        minutes, seconds = divmod(300 + 30 * step, 60)
        expiry = f"2025-11-22T{21 + minutes // 60}:{minutes % 60:02}:{seconds:02}.000Z"
        notes += told.answered(state(loaded(expires_at=expiry)), BEGIN + 30 * step)
    assert events(notes) == ["ollama_reachable", *["ollama_models"] * 12]


def test_a_model_that_stays_beyond_the_time_told_is_told_again() -> None:
    told = changes()
    told.answered(state(loaded()), BEGIN)
    later = loaded(expires_at="2025-11-22T21:05:02.000Z")
    assert events(told.answered(state(later), BEGIN + 301)) == ["ollama_models"]


def test_another_version_is_told_and_so_is_one_that_tells_no_models() -> None:
    told = changes()
    told.answered(state(loaded()), BEGIN)
    (note,) = told.answered(state(loaded(), version="0.13.0"), BEGIN + 30)
    assert (note.event, note.details["version"], note.details["before"]) == (
        "ollama_version_changed",
        "0.13.0",
        "0.12.6",
    )
    old = OllamaState(version="0.1.30", models=None)
    notes = told.answered(old, BEGIN + 60)
    assert events(notes) == ["ollama_version_changed", "ollama_models"]
    assert (notes[1].details["models"], notes[1].details["unloaded"]) == (None, ["qwen"])
    assert told.answered(old, BEGIN + 90) == []


def test_one_look_that_fails_is_no_outage() -> None:
    told = changes()
    told.answered(state(), BEGIN)
    assert told.failed("it did not answer within 5 s", BEGIN + 30, BEGIN + 35) == []
    assert told.is_reachable
    assert told.answered(state(), BEGIN + 37) == []
    assert (told.outages, told.reason) == (0, "")


def test_an_outage_has_a_begin_and_an_end_with_reason_and_seconds() -> None:
    told = changes()
    told.answered(state(loaded()), BEGIN)
    assert told.failed("connection refused", BEGIN + 30, BEGIN + 30.5) == []
    (begin,) = told.failed("connection refused", BEGIN + 32.5, BEGIN + 33)
    assert (begin.event, begin.level) == ("ollama_unreachable", "warning")
    assert begin.details == {
        "url": URL,
        "error": "connection refused",
        "since": "2025-11-22T21:00:30.000Z",
        "last_heard_at": "2025-11-22T21:00:00.000Z",
    }
    notes = [told.failed("it answered 503", at, at) for at in (BEGIN + 100, BEGIN + 640)]
    assert events(notes[0]) == []
    assert events(notes[1]) == ["ollama_still_unreachable"]
    assert notes[1][0].details["after_seconds"] == 610.0
    (end,) = told.answered(state(loaded()), BEGIN + 700)
    assert end.event == "ollama_reachable"
    assert (end.details["since"], end.details["after_seconds"], end.details["error"]) == (
        "2025-11-22T21:00:30.000Z",
        670.0,
        "it answered 503",
    )
    assert end.details["models"] == [loaded().as_dict()]
    assert (told.outages, told.is_reachable, told.since) == (1, True, BEGIN + 700)


def test_one_that_never_answered_was_never_heard() -> None:
    told = changes()
    told.failed("connection refused", BEGIN, BEGIN)
    assert told.is_reachable is None
    (note,) = told.failed("connection refused", BEGIN + 2, BEGIN + 2)
    assert note.details["last_heard_at"] is None


def test_looks_are_confirmed_soon_then_rarer_and_never_in_step() -> None:
    told, middles, ranges = changes(), [], []

    def draw(low: float, high: float) -> float:
        ranges.append((low, high))
        return (low + high) / 2

    told.answered(state(), BEGIN)
    middles.append(told.pause(draw))
    for _ in range(30):
        told.failed("connection refused", BEGIN, BEGIN)
        middles.append(told.pause(draw))
    assert middles[:5] == pytest.approx([30, 2, 30, 45, 67.5])
    assert max(middles) == pytest.approx(120)
    assert all(low < high for low, high in ranges)
    told.answered(state(), BEGIN + 60)
    assert told.pause(draw) == pytest.approx(30)


def test_who_wants_rare_looks_is_not_looked_at_more_often_in_an_outage() -> None:
    told = OllamaChanges(URL, every=3600.0)
    for _ in range(5):
        told.failed("connection refused", BEGIN, BEGIN)
    assert told.pause(lambda low, high: (low + high) / 2) == pytest.approx(3600)


# With a server


class Notes(list[tuple[str, dict[str, Any]]]):
    def __call__(self, event: str, *, level: str = "info", **details: Any) -> None:
        self.append((event, {"level": level, **details}))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self]


@contextlib.asynccontextmanager
async def watching(server: OllamaStandIn, **words: Any) -> AsyncIterator[tuple[OllamaWatcher, Notes]]:
    notes = Notes()
    watcher = OllamaWatcher(server.url, **{"every": 0.02, "note": notes, **words})
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher, notes
    finally:
        task.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([task])
        assert task.cancelled()


async def test_before_the_first_look_nothing_is_claimed() -> None:
    with OllamaStandIn(mode="hang") as server:
        async with watching(server, timeout=60) as (watcher, notes):
            await eventually(lambda: server.asked)
            status = watcher.status
            assert (status.is_reachable, status.age, status.version, status.models, status.size) == (None,) * 5
        assert notes == []


async def test_a_restart_with_another_model_is_told_from_end_to_end() -> None:
    with OllamaStandIn(model("a", expires_in=None)) as server:
        async with watching(server) as (watcher, notes):
            await eventually(lambda: notes.events == ["ollama_reachable"])
            status = watcher.status
            assert (status.is_reachable, status.version, status.models_loaded) == (True, "0.12.6", 1)
            assert (status.size, status.size_vram) == (6_591_830_464, 5_333_539_264)
            assert status.age is not None
            assert status.round_trip is not None
            server.stop()
            await eventually(lambda: notes.events[1:] == ["ollama_unreachable"])
            status = watcher.status
            assert (status.is_reachable, status.reason, status.outages) == (False, notes[1][1]["error"], 1)
            assert (status.models_loaded, status.size, status.size_vram) == (None, None, None)
            assert [one.name for one in status.models or ()] == ["a"]
            server.models = [model("b", expires_in=None)]
            server.start()
            await eventually(lambda: notes.events[2:] == ["ollama_reachable"])
            assert notes[2][1]["models"][0]["name"] == "b"
            assert watcher.status.reason == ""


@pytest.mark.parametrize(
    "mode", ["hang", "trickle", "500", "page", "large", "endless", "redirect", "reset", "closed", "[]"]
)
async def test_however_it_fails_it_is_an_outage_with_a_reason_and_ends(mode: str) -> None:
    with OllamaStandIn(model(expires_in=None), mode=mode) as server:
        async with watching(server, timeout=0.2) as (_, notes):
            await eventually(lambda: notes.events == ["ollama_unreachable"])
            assert notes[0][1]["error"]
            server.mode = "fine"
            await eventually(lambda: notes.events == ["ollama_unreachable", "ollama_reachable"])


async def test_its_end_waits_for_no_look_and_the_loop_runs_on_meanwhile() -> None:
    with OllamaStandIn(mode="hang") as server:
        async with watching(server, timeout=600):
            await eventually(lambda: server.asked)
            assert server.most_at_once == 1
        # `watching` awaited the end; the thread ends too, as its connection was cut.
        threads = module.threading
        await eventually(lambda: not [one for one in threads.enumerate() if one.name == "relay:ollama"])


async def test_a_name_that_is_never_found_does_not_pile_up_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    over = module.threading.Event()

    def look_up(*_: Any, **__: Any) -> Any:
        over.wait(30)
        raise OSError("no name server")

    monkeypatch.setattr("codeworm_monitor.ollama.socket.getaddrinfo", look_up)
    server = OllamaStandIn()
    server.port = 11434
    try:
        async with watching(server, timeout=-0.95) as (_, notes):
            await eventually(lambda: "ollama_unreachable" in notes.events)
            assert "host's name" in notes[0][1]["error"]
            assert len([one for one in module.threading.enumerate() if one.name == "relay:ollama"]) == 1
    finally:
        over.set()


async def test_a_mistake_of_ours_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> None:
        raise ZeroDivisionError

    with OllamaStandIn(model(expires_in=None)) as server, monkeypatch.context() as patched:
        patched.setattr(module.Look, "read", broken)
        async with watching(server) as (watcher, notes):
            await eventually(lambda: notes.events == ["ollama_unreachable"])
            assert watcher.status.reason == "looking failed on ZeroDivisionError"
            patched.undo()
            await eventually(lambda: notes.events[-1] == "ollama_reachable")
    assert "looking at Ollama failed" in caplog.text
