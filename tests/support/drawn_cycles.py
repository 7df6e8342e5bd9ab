"""Cycles and outages made by hand, to be drawn: as many days as wanted, with failures, waits and lost ends."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from codeworm_monitor.analysis.answer import Answer

OUTCOMES = ["committed", "failed", "llm_error", "skipped", "dry_run", "interrupted", "running"]
KINDS = ["ollama", "commit", "push", "database", "redis", "relay", "daemon"]
DOC_TYPES = [
    *("function_doc", "class_doc", "file_doc", "security_review", "til", "performance_analysis", "code_evolution"),
    *("module_doc", "pattern_analysis", "weekly_summary", "monthly_summary"),
]
_WEIGHTS = np.array([35, 12, 12, 10, 10, 8, 5, 3, 3, 1, 1]) / 100
_BEGIN = datetime(2026, 10, 12, 6, 30, tzinfo=UTC)


def drawn_cycles(
    count: int = 132,
    *,
    every_s: float = 650.0,
    begin: datetime = _BEGIN,
    target: str | None = None,
    covered: float = 1.0,
    seed: int = 7,
) -> Answer:
    """Return cycles as `cycles()` gives them: mostly good ones, the newest running."""
    random = np.random.default_rng(seed)
    started = pd.DatetimeIndex(
        pd.Timestamp(begin) + pd.to_timedelta(np.cumsum(random.uniform(0.92, 1.08, count)) * every_s, unit="s")
    ).as_unit("us")
    outcome = random.choice(OUTCOMES[:6], count, p=[0.86, 0.05, 0.03, 0.03, 0.01, 0.02]).astype(object)
    outcome[random.random(count) < 0.01] = None
    if count:
        outcome[-1] = "running"
    is_done = np.isin(outcome.astype(str), ["committed", "dry_run"])
    is_committed = outcome == "committed"
    found = outcome != "skipped"
    doc_type = random.choice(DOC_TYPES, count, p=_WEIGHTS)
    find = random.lognormal(0.2, 0.5, count)
    generate = random.lognormal(2.8, 0.4, count) * (1 + 0.5 * (doc_type == "weekly_summary"))
    commit, push = random.lognormal(-1, 0.3, count), random.lognormal(0, 0.5, count)
    wait = np.where(random.random(count) < 0.02, random.uniform(20, 90, count), 0.0)
    total = find + wait + np.where(found, generate, 0) + np.where(is_committed, commit + push, 0)
    ended = started + pd.to_timedelta(total, unit="s").as_unit("us")
    tokens = np.where(is_done, np.round(generate * random.uniform(25, 40, count)), np.nan)
    frame = pd.DataFrame(
        {
            "cycle_num": np.arange(1.0, count + 1),
            "scheduled_at": started,
            "started_at": started,
            "ended_at": pd.Series(ended).where([one not in (None, "running") for one in outcome]),
            "target": pd.Series([target or f"module_{i % 7}.function_{i}" for i in range(count)], dtype="str"),
            "repo": pd.Categorical(random.choice(["textwrap", "click", "starlette", "websockets"], count)),
            "language": pd.Categorical(random.choice(["python", "go", "rust"], count)),
            "doc_type": pd.Categorical(doc_type),
            "find_s": find,
            "generate_s": np.where(is_done, generate, np.nan),
            "commit_s": np.where(is_committed, commit, np.nan),
            "push_s": np.where(is_committed, push, np.nan),
            "tokens": tokens,
            "tokens_per_s": tokens / generate,
            "commit": pd.Series([f"{i:08x}" if good else None for i, good in enumerate(is_committed)], dtype="str"),
            "commit_message": pd.Series([None] * count, dtype="str"),
            "pushed": pd.array([True if good else None for good in is_committed], dtype="boolean"),
            "outcome": pd.Categorical(outcome, categories=OUTCOMES),
            "error": pd.Series([None] * count, dtype="str"),
            "wait_s": wait,
            "model": pd.Categorical(["qwen2.5:7b"] * count),
            "run": np.ones(count, np.int64),
            "is_complete": np.ones(count, bool),
            "epoch": pd.Series(["e"] * count, dtype="str"),
            "first_offset": np.arange(count) * 9,
            "last_offset": np.arange(count) * 9 + 8,
        }
    )
    return _answer(frame, begin, pd.Timestamp(started[-1]) if count else pd.Timestamp(begin), covered, "cycles")


def drawn_outages(cycles: pd.DataFrame, count: int = 7, *, seconds: float = 3000.0, seed: int = 5) -> Answer:
    """Return outages as `outages()` gives them, of all kinds, within the stretch of some cycles; the newest lasts."""
    random = np.random.default_rng(seed)
    begin, end = (pd.Timestamp(cycles.attrs[name] or _BEGIN) for name in ("since", "until"))
    started = pd.DatetimeIndex(begin + (end - begin) * np.sort(random.uniform(0.02, 0.97, count))).as_unit("us")
    ended = pd.Series(started + pd.to_timedelta(random.uniform(0.2, 1, count) * seconds, unit="s").as_unit("us"))
    ended.iloc[-1:] = pd.NaT
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical([KINDS[i % len(KINDS)] for i in range(count)], categories=KINDS),
            "started_at": started,
            "ended_at": ended,
            "cause": pd.Series(["connection refused"] * count, dtype="str"),
            "evidence": pd.Series(["ollama_unavailable_waiting"] * count, dtype="str"),
            "cycles_lost": random.integers(0, 4, count),
        }
    )
    return _answer(frame, begin, end, 1.0, "outages")


def drawn_gaps(*spans: tuple[str, str]) -> pd.DataFrame:
    """Return gaps as `Monitor.gaps` gives them, of which a picture needs the two times."""
    begins, ends = ([pd.Timestamp(span[i], tz="UTC") for span in spans] for i in (0, 1))
    return pd.DataFrame(
        {"started_at": pd.DatetimeIndex(begins).as_unit("us"), "ended_at": pd.DatetimeIndex(ends).as_unit("us")}
    )


def _answer(frame: pd.DataFrame, since: datetime, until: datetime, covered: float, picture: str) -> Answer:
    made = Answer(frame)
    bounds = {"since": since.isoformat(), "until": until.isoformat()} if len(frame) else {"since": None, "until": None}
    made.attrs = {**bounds, "covered": covered, "picture": picture}
    return made
