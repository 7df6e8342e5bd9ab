"""Texts: repositories, targets, messages and errors such as CodeWorm's."""

from __future__ import annotations

import random
from typing import NamedTuple, Self

__all__ = ["OLLAMA_URL", "Failure", "Target", "Targets", "commit_message", "push_error"]

OLLAMA_URL = "http://localhost:11434"
DOC_TYPES = {
    "function_doc": 35,
    "class_doc": 12,
    "file_doc": 12,
    "security_review": 10,
    "til": 10,
    "performance_analysis": 8,
    "code_evolution": 5,
    "module_doc": 3,
    "pattern_analysis": 3,
}
"""Kinds of document, with their weights; the two summaries are never chosen by the daemon itself."""
_REPOS = {
    "harbour": ("python",),
    "quayside": ("typescript", "tsx"),
    "tidewatch": ("go",),
    "dredge": ("rust",),
    "lantern": ("javascript", "typescript"),
    "buoy-tools": ("python", "javascript"),
}
_SUBJECTS = (
    "Channel",
    "Ledger",
    "Mooring",
    "Parser",
    "Router",
    "Session",
    "Signal",
    "Store",
    "Tide",
    "Timer",
    "Token",
    "Vessel",
    "Window",
    "Café",
)
_VERBS = (
    "apply",
    "build",
    "check",
    "close",
    "drain",
    "fetch",
    "flush",
    "join",
    "load",
    "merge",
    "open",
    "parse",
    "prune",
    "send",
    "sort",
)
_OBJECTS = (
    "batch",
    "bounds",
    "cursor",
    "entry",
    "frame",
    "headers",
    "index",
    "keys",
    "lines",
    "offset",
    "page",
    "queue",
    "range",
    "state",
)
_WHOLE = frozenset({"file_doc", "module_doc", "code_evolution"})
_TOKENS = {"function_doc": 1_450, "til": 1_350, "security_review": 1_400, "performance_analysis": 1_400}
_OOM = (
    'Model OOM: {"error": "llama runner process has terminated: CUDA error: out of memory\\n  current device: 0, in'
    ' function alloc at ggml-cuda.cu:455"}'
)


class Target(NamedTuple):
    """What a cycle documents.

    Attributes:
        name: As the messages give it.
        repo: Its repository.
        language: Its language.
        doc_type: Kind of document.
        score: How much it asks for a document.
    """

    name: str
    repo: str
    language: str
    doc_type: str
    score: float


class Targets:
    """Draws what is documented next; a target comes again with another kind of document, as the daemon has it."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._weights = list(DOC_TYPES.values())
        self._used: set[tuple[str, str, str]] = set()

    def next(self) -> Target:
        """Return a target, never twice with the same kind of document."""
        draw = self._draw
        for attempt in range(1_000_000):
            repo = draw.choice(tuple(_REPOS))
            doc_type = draw.choices(tuple(DOC_TYPES), self._weights)[0]
            owner, step = draw.choice(_SUBJECTS), f"{draw.choice(_VERBS)}_{draw.choice(_OBJECTS)}"
            if attempt > 3:  # the usual names are used up
                step += f"_{draw.randrange(10**6)}"
            if doc_type in _WHOLE:
                name = step if attempt else owner.lower()
            elif doc_type == "class_doc":
                name = owner + ("" if attempt == 0 else step.title().replace("_", ""))
            else:
                name = f"{owner}.{step}" if draw.random() < 0.5 else step
            if (name, repo, doc_type) not in self._used:
                self._used.add((name, repo, doc_type))
                language = draw.choice(_REPOS[repo])
                return Target(name, repo, language, doc_type, round(draw.uniform(26, 100), 2))
        raise RuntimeError("there are no more names")

    def tokens(self, target: Target) -> int:
        """Return how many tokens a document of it takes."""
        return max(1, round(self._draw.gauss(_TOKENS.get(target.doc_type, 2_000), 250)))


def commit_message(draw: random.Random, target: Target) -> str:
    """Return the first line of a commit."""
    name, repo, language = target.name, target.repo, target.language
    message = draw.choice(
        (
            f"Document {name}",
            f"Cover edge cases of {name}",
            f"Explain {name} in {language}",
            f"docs({repo}): describe {name} — error paths",
            f"Break down {name}\N{RIGHT SINGLE QUOTATION MARK}s control flow",
            f"Capture parameters and return value for `{name}` in {repo}",
            f"添加 {name} 的文档说明",
            f"📝 Clarify {name}",
            f'Cover {name} <{language}> & "edge cases"',
        )
    )
    return message if len(message) <= 72 else message[:69] + "..."


class Failure(NamedTuple):
    """What went wrong.

    Attributes:
        kind: Whose fault it is, as in `analysis.outages`.
        error: As the daemon tells it.
        exception: The traceback; None: an error of the LLM, of which the daemon gives none.
    """

    kind: str
    error: str
    exception: str | None

    @classmethod
    def of(cls, how: str) -> Self:
        """Return a failure by its short name."""
        return cls(*_FAILURES[how])


def _traceback(last: str, *frames: tuple[str, str, str]) -> str:
    lines = [f'  File "/home/user/dev/{path}", in {name}\n    {code}\n' for path, name, code in frames]
    return f"Traceback (most recent call last):\n{''.join(lines)}{last}"


_GENERATING = (
    "CodeWorm/codeworm/daemon.py",
    "_document_target",
    "doc = await generator.generate_from_target(target)",
)
_COMMITTING = ("CodeWorm/codeworm/daemon.py", "_document_target", "result = self.devlog.commit(")
_CLIENT = ("CodeWorm/codeworm/llm/client.py", "generate", "data = response.json()")
_GIT = ("CodeWorm/codeworm/git/ops.py", "commit", 'if not repo.index.diff("HEAD") and not repo.untracked_files:')
_STATE = ("CodeWorm/codeworm/core/state.py", "should_document", "row = conn.execute(query, parameters).fetchone()")
_TASK = ("CodeWorm/codeworm/daemon.py", "_on_scheduled_task", "future.result(timeout = 1800)")
_AWAY = "Server disconnected without sending a response."
_NONSENSE = "Unterminated string starting at: line 1 column 34 (char 33)"
_NO_HEAD = "Ref 'HEAD' did not resolve to an object"
_FAILURES: dict[str, tuple[str, str, str | None]] = {
    "oom": ("ollama", _OOM, None),
    "notfound": ("ollama", 'Generation failed: {"error": "model \'qwen2.5:7b\' not found"}', None),
    "silence": ("ollama", "Request timed out: ", None),
    "away": ("ollama", f"Cannot connect to Ollama at {OLLAMA_URL}: All connection attempts failed", None),
    "broken_off": ("ollama", _AWAY, _traceback(f"httpx.RemoteProtocolError: {_AWAY}", _GENERATING, _CLIENT)),
    "nonsense": ("ollama", _NONSENSE, _traceback(f"json.decoder.JSONDecodeError: {_NONSENSE}", _GENERATING, _CLIENT)),
    "commit": ("commit", _NO_HEAD, _traceback(f"gitdb.exc.BadName: {_NO_HEAD}", _COMMITTING, _GIT)),
    "locked": ("database", "database is locked", _traceback("sqlite3.OperationalError: database is locked", _STATE)),
    "timeout": ("daemon", "", _traceback("TimeoutError", _TASK)),
}


def push_error(how: str) -> str:
    """Return the error of a failed push."""
    failed = (
        "Cmd('git') failed due to: exit code({})\n  cmdline: git push --force-with-lease origin main\n  stderr: '{}'"
    )
    match how:
        case "rejected":
            reason = " ! [rejected]        main -> main (stale info)\nerror: failed to push some refs"
            return "Push rejected due to conflict: " + failed.format(1, reason)
        case "refused":
            reason = "fatal: unable to connect to git.example.org: errno=Connection refused\n"
            return "Push failed after 3 retries: " + failed.format(128, reason)
        case _:
            reason = "fatal: '/home/user/git/DevLog.git' does not appear to be a git repository"
            return "Push failed: " + failed.format(128, reason)
