"""The same questions, asked of whatever holds the messages, have the same answers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import timedelta

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from support.archives import DAY, fill, recorded_messages
from support.recorded_frames import DATA
from support.waiting import until

from codeworm_monitor import registry
from codeworm_monitor.analysis.answer import Answer
from codeworm_monitor.analysis.questions import Questions, open_frames
from codeworm_monitor.analysis.silence import Silence
from codeworm_monitor.archive.compaction import compact
from codeworm_monitor.archive.store import Store
from codeworm_monitor.envelope import Gap, GapCause
from codeworm_monitor.errors import CodeWormFileError
from codeworm_monitor.history import History
from codeworm_monitor.monitor import connect, open_recording
from codeworm_monitor.opened import open_archive
from codeworm_monitor.relay_thread import start_relay_in_thread
from codeworm_monitor.sources.memory import MemorySource
from codeworm_monitor.status import State

RECORDING = DATA / "recording-1.jsonl.gz"
FILES = {"codeworm_db": DATA / "codeworm.db", "codeworm_config": DATA / "config"}
QUESTIONS = {
    "cycles": lambda asked: asked.cycles,
    "outages": lambda asked: asked.outages,
    "documents": lambda asked: asked.documents,
    "throughput": lambda asked: asked.throughput(every="5min", by="repo", zone="UTC"),
    "success_rate": lambda asked: asked.success_rate(by="doc_type"),
    "durations": lambda asked: asked.durations(by="repo"),
    "tokens": lambda asked: asked.tokens(by=["repo", "doc_type"]),
    "schedule": lambda asked: asked.schedule(zone="America/Bogota"),
    "slowdown": lambda asked: asked.slowdown(),
    "errors": lambda asked: asked.errors(),
    "repos": lambda asked: asked.repos(),
}
EPOCHS = ["epoch", "example_epoch"]


@pytest.fixture(params=["archive", "cold archive", "history", "frames"])
def other(request, tmp_path):
    match request.param:
        case "archive" | "cold archive" as kind:
            store, messages = Store(tmp_path / "archive"), recorded_messages(RECORDING)
            fill(store, messages)
            if kind == "cold archive":
                compact(store, now=messages[-1][0] + 3 * DAY, max_rows=100)
            store.close()
            yield open_archive(tmp_path / "archive", **FILES)
        case "history":
            with open_recording(RECORDING, **FILES) as rec:
                yield rec.history(since=rec.traffic().since)
        case "frames":
            with open_recording(RECORDING) as rec:
                yield open_frames(logs=rec.logs.df, events=rec.events.df, stats=rec.stats.df, gaps=rec.gaps, **FILES)


@pytest.fixture(scope="module")
def rec():
    with open_recording(RECORDING, **FILES) as monitor:
        yield monitor


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_is_that_of_the_recording(rec, other, question):
    expected, found = QUESTIONS[question](rec), QUESTIONS[question](other)
    if question == "documents" and isinstance(other, History):  # of a span it has those of the span alone
        expected = expected[expected.is_recorded].reset_index(drop=True)
    assert isinstance(found, Answer)
    frames = [pd.DataFrame(one).drop(columns=EPOCHS, errors="ignore") for one in (found, expected)]
    pd.testing.assert_frame_equal(*frames, check_categorical=False, check_exact=False, rtol=1e-4)
    assert found.coverage == pytest.approx(expected.coverage) == 1


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_draws_itself(rec, question):
    matplotlib.use("agg")
    axes = QUESTIONS[question](rec).plot()
    assert axes.get_title() or axes.get_title(loc="left")
    assert axes.has_data()
    plt.close("all")


def test_one_message_and_none_are_answered_and_shown():
    with open_recording(RECORDING) as rec:
        one = open_frames(logs=rec.logs.df.head(1), **FILES)
        late = rec.history(
            since=rec.traffic().until + timedelta(hours=1), until=rec.traffic().until + timedelta(hours=2)
        )
        for asked in (one, open_frames(**FILES), late):
            for question, ask in QUESTIONS.items():
                if asked is late and question in ("documents", "repos"):
                    continue  # of CodeWorm's own files, which it has not
                assert repr(ask(asked))
                assert ask(asked)._repr_html_()


def test_a_recording_and_the_daemons_own_log_in_one_archive_are_one_story(rec, tmp_path):
    for order in (("recording-1.jsonl.gz", "daemon.log.gz"), ("daemon.log.gz", "recording-1.jsonl.gz")):
        directory = tmp_path / order[0]
        for name in order:
            words = ["import", "--archive", str(directory), str(DATA / name)]
            subprocess.run([sys.executable, "-m", "codeworm_monitor", *words], check=True, capture_output=True)
        found = open_archive(directory).cycles
        assert found.outcome.value_counts().to_dict() == rec.cycles.outcome.value_counts().to_dict()
        assert sorted(found.commit.dropna()) == sorted(rec.cycles.commit.dropna())


def test_silence_is_judged_at_a_moment_of_the_asker(rec, other):
    found = other.silence(now=rec.traffic().until + timedelta(minutes=5))
    assert isinstance(found, Silence)
    assert not found.is_silent  # it was stopped on purpose
    assert found.quiet_for == pytest.approx(300, abs=1)


def test_a_stretch_may_be_chosen_by_since_and_until(rec):
    whole, part = rec.cycles, rec.throughput(every="1min", since="10min", until="5min")
    end = rec.traffic().until
    inside = whole.started_at.between(end - timedelta(minutes=10), end - timedelta(minutes=5))
    assert abs(part.cycles.sum() - inside.sum()) <= 1  # one that had begun before
    assert rec.errors("error", since="10min")["count"].sum() < rec.errors("error")["count"].sum()


def test_what_was_asked_for_and_never_heard_lowers_the_share(rec, tmp_path):
    hour = timedelta(hours=1)
    history = rec.history(since=rec.traffic().since - hour)
    length = rec.traffic().until - rec.traffic().since
    assert history.cycles.coverage == pytest.approx(length / (length + hour), abs=1e-3)
    gap = Gap(
        cause=GapCause.SOURCE_OUTAGE,
        started_at=rec.traffic().since.timestamp() + 60,
        ended_at=rec.traffic().since.timestamp() + 160,
    )
    store, messages = Store(tmp_path), recorded_messages(RECORDING)
    fill(store, [*messages, (messages[-1][0], "", gap)])
    store.close()
    found = open_archive(tmp_path).cycles
    assert found.coverage == pytest.approx(1 - 100 / length.total_seconds(), abs=1e-3)
    assert "was heard" in repr(found)


def test_of_a_choice_of_messages_no_cycles_are_told(rec):
    with pytest.raises(ValueError, match="chosen by channel, level or text"):
        _ = rec.history(level="error").cycles


def test_without_codeworms_files_documents_say_what_to_give_and_repos_know_what_was_seen(monkeypatch, tmp_path):
    for name in (
        "CODEWORM_DB_PATH",
        "CODEWORM_CONFIG_DIR",
        "CODEWORM_MONITOR_CODEWORM_DB",
        "CODEWORM_MONITOR_CODEWORM_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
    with open_recording(RECORDING) as rec:
        frames = open_frames(logs=rec.logs.df, events=rec.events.df)
    with pytest.raises(CodeWormFileError, match="codeworm_db="):
        _ = frames.documents
    assert set(frames.repos().name) == {"click", "httpx", "textwrap"}


def test_frames_of_any_origin_need_a_time_and_what_they_tell():
    with open_recording(RECORDING) as rec:
        logs = rec.logs.df[["timestamp", "event", "target", "commit", "tokens", "time_ms", "error", "cycle_num"]]
    found = open_frames(logs=logs).cycles
    assert found.outcome.value_counts().to_dict()["committed"] == 99
    assert open_frames().cycles.empty
    assert "0 logs" in repr(open_frames())


def test_a_live_monitor_answers_of_what_it_holds_and_goes_on(rec, tmp_path):
    source = MemorySource()
    messages = recorded_messages(RECORDING)
    with start_relay_in_thread(
        source=source, port=0, token="test-token-123", archive=str(tmp_path / "archive")
    ) as relay:

        def publish(some):
            for _, channel, payload in some:
                source.publish(channel, payload)

        relay._loop.call_soon_threadsafe(publish, messages[:600])
        with connect(relay.url, name="questions") as mon:
            until(lambda: len(mon.traffic()) == 600)
            first = mon.cycles
            relay._loop.call_soon_threadsafe(publish, messages[600:])
            until(lambda: len(mon.traffic()) == len(messages))
            now = mon.cycles
            assert len(first) < len(now) == len(rec.cycles)
            assert now.commit.tolist() == rec.cycles.commit.tolist()
            assert now.outcome.tolist() == rec.cycles.outcome.tolist()
            assert mon.outages.kind.tolist() == rec.outages.kind.tolist()
            # What the tables held before is asked of the archive, and is the same.
            assert mon.throughput(since="1h", zone="UTC").committed.sum() == now.outcome.eq("committed").sum()
            assert mon.success_rate(since="1h").attempts.sum() > 0
        assert registry.named("questions") is None


def test_a_monitor_with_conditions_says_how_to_ask():
    with (
        start_relay_in_thread(source=MemorySource(), port=0, token="test-token-123", no_archive=True) as relay,
        connect(relay.url, name="choosy", level="error") as mon,
        pytest.raises(ValueError, match="conditions"),
    ):
        _ = mon.cycles


def test_an_answer_may_be_changed_and_the_next_is_whole(rec):
    first = rec.cycles
    first["target"] = "mine"
    first.loc[0, "outcome"] = "failed"
    first.iloc[0, 0] = 99
    assert len(rec.cycles) == 110
    assert "mine" not in set(rec.cycles.target)
    assert rec.cycles.cycle_num.iloc[0] == 1


def test_a_table_that_let_rows_go_is_not_taken_for_whole():
    with open_recording(RECORDING, capacity=300) as rec:
        assert rec.logs.dropped > 0
        traffic = rec.traffic()
        oldest = max(rec.logs.df.received_at.min(), rec.events.df.received_at.min())
        assert traffic.since == oldest
        assert traffic.stats.received_at.min() >= oldest


def test_after_a_restart_of_the_relay_answers_reach_to_now_and_count_the_time_away(tmp_path):
    settings = {"token": "test-token-123", "archive": str(tmp_path / "archive")}
    messages = recorded_messages(RECORDING)

    def publish(relay, source, some):
        relay._loop.call_soon_threadsafe(lambda: [source.publish(channel, payload) for _, channel, payload in some])

    source = MemorySource()
    relay = start_relay_in_thread(source=source, port=0, **settings)
    port = relay.relay.port
    with connect(relay.url, name="restarted") as mon:
        publish(relay, source, messages[:600])
        until(lambda: len(mon.traffic()) == 600)
        relay.close()
        until(lambda: mon.status.state is not State.CONNECTED)
        lost = mon.traffic().until
        source = MemorySource()
        with start_relay_in_thread(source=source, port=port, **settings) as relay:
            until(lambda: mon.status.state is State.CONNECTED)
            publish(relay, source, messages[600:700])
            until(lambda: len(mon.traffic()) == 700)
            assert mon.traffic().until > lost
            assert mon.traffic().until - mon.traffic().events.received_at.max() < timedelta(seconds=30)
            assert 0 < mon.cycles.coverage < 1
            assert mon.outages.kind.eq("relay").any()


@pytest.mark.parametrize("question", sorted({*QUESTIONS, "silence"}))
def test_help_tells_the_columns_where_a_person_asks_for_them(question):
    text = inspect.getdoc(vars(Questions)[question])
    assert "Returns:" in text
    assert text.index("Returns:") < len(text) - 100
