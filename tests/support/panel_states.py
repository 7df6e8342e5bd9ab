"""States of the small panels: as CodeWorm's recorded traffic makes them, in trouble, with hostile texts, with wrong types."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["HOSTILE", "NOW", "PANELS", "WRONG", "busy", "normal", "places", "replaced", "with_every_text"]

NOW = 1795386150.0
"""Of the relay's clock in all states."""
PANELS = ("activity", "stats", "commits", "repositories", "health")
HOSTILE = (
    "<script>alert(1)</script>",
    "</script></style></textarea><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    '"><svg onload=alert(4)><a href="javascript:alert(5)">x</a>',
    "javascript:alert(6)",
    "{{constructor.constructor('alert(7)')()}} ${alert(8)}",
    "a\u2028b\u2029c",
    "right\u202eleft\u2066isolated\u200bzero\ufeff",
    "\x1b[31mred\x1b[0m\x1b]8;;http://example.org/\x07link\x1b]8;;\x07 \x00 \x07",
    "__proto__",
    "constructor",
    "half \ud800 a pair \udfff",
    "z" + "\u0336" * 40 + "algo",
    "W" * 500,
    "w w " * 125,
    "url(https://example.org/x.png)",
)
"""Texts that must stay texts."""
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    "a word",
    "",
    [],
    [None],
    [[None, None], [1], "x", {}],
    {},
    {"a": {"b": [1, {}]}},
    {"__proto__": 1, "toString": 1, "length": -1},
)
"""What may stand where another type was meant."""

_DOCUMENTS = [
    ("wrap_columns", "textwrap", "function_doc", "rust", "11673369", 1311, 0.95, "Cover edge cases of wrap_columns"),
    (
        "HelpFormatter",
        "click",
        "class_doc",
        "python",
        "4bfb39df",
        2204,
        14.2,
        "Describe how HelpFormatter lays out sections",
    ),
    ("word_splitters.rs", "textwrap", "file_doc", "rust", "0a91c1d7", 3120, 21.7, "Outline word_splitters"),
    (
        "AsyncClient.send",
        "httpx",
        "security_review",
        "python",
        "9e107d9d",
        1877,
        12.4,
        "Review AsyncClient.send\n\nRedirects keep headers.",
    ),
    ("useInfiniteQuery", "query", "performance_analysis", "typescript", "e4d909c2", 2950, 75.1, "Look at re-renders"),
    ("FlagSet.Parse", "pflag", "function_doc", "go", "90f0c290", 1020, 8.4, "Document FlagSet.Parse"),
    ("why_pong_is_not_awaited", "websockets", "til", "python", "c2908f0a", 640, 5.05, "Note on pong"),
    ("indentation.rs", "textwrap", "file_doc", "rust", "5d41402a", 2431, 18.9, "Outline indentation"),
]


def normal(panel: str) -> dict[str, Any]:
    """Return a panel's state in the middle of a good cycle."""
    return copy.deepcopy(_NORMAL[panel])


def busy(panel: str) -> dict[str, Any]:
    """Return a panel's state in trouble."""
    state = normal(panel)
    match panel:
        case "activity":
            state |= {
                "stage": "backing_off",
                "since": NOW - 252,
                "target": None,
                "repo": None,
                "doc_type": None,
                "language": None,
            }
            state |= {"next_cycle_at": NOW + 185, "last_message_at": NOW - 720, "silence_limit": 300.0}
            error = "All connection attempts failed: POST http://127.0.0.1:11434/api/generate, after 3 tries in 90 s"
            state["last_error"] = {"at": NOW - 252, "event": "llm_error", "target": "AsyncClient.send", "error": error}
        case "stats":
            state |= {
                "source": "messages",
                "known_since": NOW - 40_000,
                "total": 99,
                "last_7_days": None,
                "last_30_days": None,
            }
            state |= {"consecutive_failures": 4, "success_rate": 61.5}
        case "repositories":
            state["source"] = "messages"
        case "health":
            state["connection"] = {
                **state["connection"], "state": "refused", "since": NOW - 31, "retry_at": NOW + 12,
                "reason": "it wants another token; HTTP 401 at ws://127.0.0.1:8765/ws",
            }  # fmt: skip
            state |= {"dropped": 17, "evicted": 1200, "lag": 3.21, "gap_count": 31}
            state["upstream"] = {
                "is_connected": False, "since": NOW - 3700, "reason": "Error 111 connecting to 127.0.0.1:6379. Connection refused.",
            }  # fmt: skip
            state["archive"] = {"is_writing": False, "reason": "No space left on device", "waiting": 20_412}
            state["ollama"] = {"is_reachable": False, "reason": "connection refused", "models": [], "size_vram": None}
            state["gaps"] = [
                {"cause": "source_outage", "started_at": NOW - 3700, "ended_at": NOW - 3600, "missed": None, "detail": "Redis was restarted"},
                {"cause": "relay_restart", "started_at": NOW - 90_000, "ended_at": NOW - 89_000, "missed": 12, "detail": ""},
                {"cause": "trimmed", "started_at": NOW - 95_000, "ended_at": NOW - 94_000, "missed": 120_345, "detail": "asked from 1, kept from 120346"},
                {"cause": "slow_reader", "started_at": NOW - 95_500, "ended_at": NOW - 95_450, "missed": 7, "detail": ""},
                {"cause": "not_archived", "started_at": NOW - 96_000, "ended_at": NOW - 95_900, "missed": 20_412, "detail": "No space left on device"},
            ]  # fmt: skip
    return state


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every field of a state, those that hold others included; the state itself is the first."""
    inner: list[tuple[str | int, ...]] = []
    if isinstance(value, dict):
        inner = [place for key, one in value.items() for place in places(one, (*path, key))]
    elif isinstance(value, list):
        inner = [place for index, one in enumerate(value[:2]) for place in places(one, (*path, index))]
    return [path, *inner]


def replaced(state: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return a state with another value at a path."""
    if not path:
        return value
    changed = copy.deepcopy(state)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


def with_every_text(value: Any, text: str, keys: frozenset[str] = frozenset({"stage", "state", "source"})) -> Any:
    """Return a state with another text in every field that holds one, but for those that choose what is shown."""
    if isinstance(value, dict):
        return {key: one if key in keys else with_every_text(one, text, keys) for key, one in value.items()}
    if isinstance(value, list):
        return [with_every_text(one, text, keys) for one in value]
    return text if isinstance(value, str) else value


_NORMAL: dict[str, dict[str, Any]] = {
    "activity": {
        "stage": "generating",
        "since": NOW - 42,
        "cycle_num": 102,
        "target": "AsyncClient.send_handling_redirects",
        "repo": "httpx",
        "doc_type": "security_review",
        "language": "python",
        "next_cycle_at": None,
        "last_message_at": NOW - 3,
        "silence_limit": 300.0,
        "last_commit": {
            "at": NOW - 212, "target": "wrap_columns", "repo": "textwrap", "doc_type": "function_doc", "language": "rust",
            "commit": "11673369", "commit_message": "Cover edge cases", "tokens": 1311, "time_ms": 950,
        },
        "last_error": {"at": NOW - 7260, "event": "push_failed", "target": "lib.rs", "error": "! [rejected] main -> main (fetch first)"},
    },
    "stats": {
        "total": 1299, "today": 27, "last_7_days": 189, "last_30_days": 712, "success_rate": 92.1, "consecutive_failures": 0,
        "total_cycles": 101, "successful_cycles": 93, "failed_cycles": 8, "skipped_cycles": 0,
        "by_repo": [["click", 456], ["textwrap", 332], ["httpx", 211], ["websockets", 120], ["query", 77], ["starlette", 52],
                    ["axios", 31], ["pflag", 12], ["a-repository-with-a-very-long-name-that-does-not-fit", 6], ["attrs", 2]],
        "by_language": [["python", 841], ["rust", 332], ["typescript", 83], ["javascript", 31], ["go", 12]],
        "by_doc_type": [["function_doc", 468], ["file_doc", 208], ["security_review", 185], ["class_doc", 183], ["performance_analysis", 78],
                        ["til", 77], ["code_evolution", 53], ["pattern_analysis", 33], ["module_doc", 14]],
        "per_hour": {
            "start": NOW - NOW % 3600 - 23 * 3600,
            "counts": [None, None, None, 0, 2, 5, 7, 6, 4, 3, 0, 0, 1, 2, 9, 12, 8, 7, 6, 6, 4, 3, 2, 1],
        },
        "source": "database", "known_since": None,
    },
    "commits": {
        "commits": [
            {
                "at": NOW - 212 - 340 * number, "target": target, "repo": repo, "doc_type": doc_type, "language": language,
                "commit": commit, "commit_message": message, "tokens": tokens, "seconds": seconds,
                "tokens_per_second": tokens / seconds,
            }
            for number, (target, repo, doc_type, language, commit, tokens, seconds, message) in enumerate(_DOCUMENTS)
        ],
        "count": 1299,
    },
    "repositories": {
        "repositories": [
            {"name": name, "is_enabled": is_enabled, "weight": weight, "documents": documents, "last_activity": at, "is_active": name == "httpx"}
            for name, is_enabled, weight, documents, at in [
                ("starlette", True, 5, 52, NOW - 4000), ("pflag", True, 5, 12, NOW - 90_000), ("websockets", True, 8, 120, NOW - 2200),
                ("query", True, 7, 77, NOW - 1572), ("axios", False, 6, 31, NOW - 900_000), ("httpx", True, 5, 211, NOW - 3),
                ("click", True, 8, 456, NOW - 552), ("textwrap", True, 4, 332, NOW - 212),
                ("a-repository-with-a-very-long-name-that-does-not-fit", True, 1, 0, None),
            ]
        ],
        "source": "configuration",
    },
    "health": {
        "connection": {"state": "connected", "since": NOW - 7325, "url": "ws://127.0.0.1:8765/ws", "reason": "", "retry_at": None, "reconnects": 1},
        "rate": 3.4, "lag": 0.012, "received": 184_467, "dropped": 0, "evicted": 0, "gap_count": 1,
        "gaps": [{"cause": "relay_restart", "started_at": NOW - 7340, "ended_at": NOW - 7325, "missed": 12, "detail": ""}],
        "relay": {"version": "0.1.0", "started_at": NOW - 7330, "readers": 2, "readers_behind": 0, "problem": None},
        "upstream": {"is_connected": True, "since": NOW - 7329, "reason": ""},
        "archive": {"is_writing": True, "reason": "", "waiting": 0},
        "ollama": {"is_reachable": True, "reason": "", "models": ["qwen2.5-coder:7b"], "size_vram": 5_137_025_024},
    },
}  # fmt: skip
