"""Cases of the filter language, for the kernel's reader of it and for the browser's: both must agree on each.

The rules, beyond what README tells:

- White space is space, tab, newline, return, form feed, vertical tab and U+00A0. At most 1,000 characters.
- A phrase ends at the next `"`, a regex at the next `/` that no backslash stands before; white space or the end follows.
- In a regex no group is repeated more than four times that itself repeats, chooses or refers to a group.
- A key is one of `KEYS`, in any letter case; a word with another one before its colon is a word. A value may be quoted.
- A level is one of debug, info, warning, error, critical, or warn (warning), exception (error), fatal (critical).
  A row of another level has none. A value of `level:` with `*` in it is compared as a text.
- Keys are looked for in the payload, then in its `data`, strings only; level and component in the payload alone.
- Letter case is ignored by lowering both sides.
- Of the row's text: values of the payload lie at depth 1, lists count as objects do; numbers are written as browsers
  write them; true, false and null are left out. Its event name stands before all values, among which it is again.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CASES", "KEYS", "VIEW_CASES"]

KEYS = ("level", "component", "repo", "event", "channel", "target", "doc_type")

LOG: list[Any] = [
    *(7, 1000.5, "codeworm:logs"),
    {
        "event": "documentation_failed",
        "level": "error",
        "component": "daemon",
        "timestamp": "2026-11-24T01:02:03Z",
        "target": "Parser.parse_args",
        "doc_type": "function_doc",
        "error": "Connection refused: [Errno 111]",
        "count": 42,
        "ratio": 0.5,
        "is_new": True,
        "nothing": None,
    },
]
EVENT: list[Any] = [
    *(8, 1001.0, "codeworm:events"),
    {
        "type": "documentation_committed",
        "timestamp": "2026-11-23T20:02:03",
        "data": {"target": "main loop", "repo": "Click", "doc_type": "til", "commit": "0a1b2c3d", "tokens": 1302},
    },
]
DEBUG: list[Any] = [9, 1002.0, "codeworm:logs", {"event": "target_found", "level": "debug", "path": "/usr/bin/git"}]
WARN: list[Any] = [10, 1003.0, "codeworm:logs", {"event": "slow", "level": "WARN", "component": "Git"}]
ODD: list[Any] = [11, 1004.0, "other", {"event": "odd", "level": "notice", "repo": 5, "component": ["x"]}]
RELAY: list[Any] = [12, 1005.0, "codeworm:relay", {"event": "ollama_reachable", "level": "info", "component": "relay"}]
STATS: list[Any] = [
    13,
    1006.0,
    "codeworm:stats",
    {"total_documented": 120, "by_repo": {"click": 7}, "success_rate": 87.5},
]
LIST: list[Any] = [14, 1007.0, "codeworm:logs", ["alpha", {"b": "beta"}, 3]]
TEXT: list[Any] = [15, 1008.0, "codeworm:logs", "just a text"]
NONE: list[Any] = [16, 1009.0, "codeworm:logs", None]
DEEP: list[Any] = [17, 1010.0, "codeworm:logs", {"a": {"b": {"c": {"d": "four", "e": {"f": "five"}}}}, "z": [["two"]]}]
LONG: list[Any] = [18, 1011.0, "codeworm:logs", {"event": "long", "text": "y" * 3984 + "inside" + "outside"}]
NUMBERS: list[Any] = [
    *(19, 1012.0, "codeworm:logs"),
    {"a": 1.0, "b": 1e21, "c": 0.0000001, "d": 12345678901234567000.0, "e": -0.00001, "f": 1.5e300},
]
SHOUT: list[Any] = [
    20,
    1013.0,
    "codeworm:logs",
    {"event": "ÉTÉ", "level": "Fatal", "text": 'Straße OR "quoted" a/b 50%'},
]
GAP: list[Any] = [
    21,
    1014.0,
    "gap",
    {"cause": "source_outage", "started_at": 1.0, "ended_at": 2.0, "missed": None, "detail": ""},
]
SKIPPED: list[Any] = [None, 1015.0, "skipped", {"count": 5}]

CASES: list[tuple[str, list[Any], bool | str]] = [
    # (query, row, whether it passes; a text: the query is a mistake, and its message holds this, in any letter case)
    # all
    ("", LOG, True),
    ("  \t ", LOG, True),
    ("", NONE, True),
    # words
    ("refused", LOG, True),
    ("REFUSED", LOG, True),
    ("connec", LOG, True),
    ("absent", LOG, False),
    ("42", LOG, True),
    ("0.5", LOG, True),
    ("true", LOG, False),
    ("null", LOG, False),
    ("none", LOG, False),
    ("été", SHOUT, True),
    ("STRASSE", SHOUT, False),
    ("straße", SHOUT, True),
    ("error refused", LOG, True),
    ("error absent", LOG, False),
    ("error\u00a0refused", LOG, True),
    ("or", SHOUT, True),
    ("a/b", SHOUT, True),
    ("50%", SHOUT, True),
    ("alpha", LIST, True),
    ("beta", LIST, True),
    ("3", LIST, True),
    ("just", TEXT, True),
    ("none", NONE, False),
    ("1302", EVENT, True),
    ("click", EVENT, True),
    ("click", STATS, False),  # names are no values
    ("87.5", STATS, True),
    # the text: depth, length, numbers
    ("four", DEEP, True),
    ("five", DEEP, False),
    ("two", DEEP, True),
    ('"four two"', DEEP, True),
    ("inside", LONG, True),
    ("outside", LONG, False),
    ('"long long yyy"', LONG, True),
    ('"1 1e+21 1e-7 12345678901234567000 -0.00001 1.5e+300"', NUMBERS, True),
    # phrases
    ('"connection refused"', LOG, True),
    ('"refused connection"', LOG, False),
    ('"level:error"', LOG, False),
    ('"OR"', SHOUT, True),
    ('"-x"', LOG, False),
    ('"daemon 2026-11-24T01:02:03Z parser.parse_args"', LOG, True),  # values in their order, one space between
    ('"open', LOG, "quote"),
    ('-"open', LOG, "quote"),
    ('""', LOG, "quote"),
    ('"a"b', LOG, "quote"),
    # negation
    ("-absent", LOG, True),
    ("-refused", LOG, False),
    ('-"connection refused"', LOG, False),
    ("error -daemon", LOG, False),
    ("error -git", LOG, True),
    ("--x", LOG, True),
    ("-", LOG, "-"),
    ("a - b", LOG, "-"),
    # regex
    ("/refused|absent/", LOG, True),
    ("/^documentation_failed /", LOG, True),
    ("/ERRNO \\d+/", LOG, True),
    ("/errno [a-z]+/", LOG, False),
    ("-/errno/", LOG, False),
    ("-/absent/", LOG, True),
    ("/usr\\/bin/", DEBUG, True),
    ("/\\/usr\\/bin\\/git$/", DEBUG, True),
    ("/ÉT/", SHOUT, True),
    ("/été/", SHOUT, True),
    ("/connection refused/ level:error", LOG, True),
    ("/open", LOG, "regex"),
    ("/", LOG, "regex"),
    ("//", LOG, "regex"),
    ("/(/", LOG, "regex"),
    ("/[a-/", LOG, "regex"),
    ("/*a/", LOG, "regex"),
    ("/usr/bin", DEBUG, "regex"),
    ("/open\\/", DEBUG, "regex"),
    ("/(e+)+x/", LOG, "regex"),  # could take for ever
    ("/(refused|absent)*/", LOG, "regex"),
    ("/(?:a*b)*c/", LOG, "regex"),
    ("/(a?){9}/", LOG, "regex"),
    ("/(.)\\1*(b\\1)+/", LOG, "regex"),
    ("/(refused|absent)?/", LOG, True),
    ("/(f[u(s+]+ed)/", LOG, True),
    ("/(fused){1,9}/", LOG, True),
    ("/errno (1{3})/", LOG, True),
    # keys
    ("repo:click", EVENT, True),
    ("REPO:CLICK", EVENT, True),
    ("repo:cli", EVENT, False),
    ("repo:cl*", EVENT, True),
    ("repo:*ck", EVENT, True),
    ("repo:*l*c*", EVENT, True),
    ("repo:c*x", EVENT, False),
    ("repo:*", EVENT, True),
    ("repo:*", LOG, False),
    ("repo:5", ODD, False),
    ("-repo:click", LOG, True),
    ("-repo:click", EVENT, False),
    ("component:daemon", LOG, True),
    ("component:git", WARN, True),
    ("component:x", ODD, False),
    ("event:documentation_failed", LOG, True),
    ("event:documentation_committed", EVENT, True),
    ("event:documentation_*", LOG, True),
    ("event:documentation", LOG, False),
    ("target:parser.*", LOG, True),
    ("target:parser?parse_args", LOG, False),
    ('target:"main loop"', EVENT, True),
    ("target:main", EVENT, False),
    ("doc_type:til", EVENT, True),
    ("doc_type:function_doc", LOG, True),
    ("channel:logs", LOG, True),
    ("channel:codeworm:logs", LOG, True),
    ("channel:events", LOG, False),
    ("channel:stats", STATS, True),
    ("channel:relay", RELAY, True),
    ("channel:other", ODD, True),
    ("channel:codeworm:*", ODD, False),
    ("repo:", LOG, "value"),
    ("repo: click", LOG, "value"),
    ('repo:"open', LOG, "quote"),
    ('repo:"a"b', LOG, "quote"),
    ("01:02", LOG, True),
    ("foo:bar", LOG, False),
    ("refused:", LOG, True),
    ("repo:click event:documentation_committed -level:error", EVENT, True),
    ("repo:click", TEXT, False),
    ("repo:click", LIST, False),
    # levels
    ("level:error", LOG, True),
    ("level:ERROR", LOG, True),
    ("level:exception", LOG, True),
    ("level:warning", WARN, True),
    ("level:warn", WARN, True),
    ("level:critical", SHOUT, True),
    ("level:error", EVENT, False),
    ("-level:error", EVENT, True),
    ("level:>=warning", LOG, True),
    ("level:>=warning", WARN, True),
    ("level:>warning", WARN, False),
    ("level:<warning", DEBUG, True),
    ("level:<=debug", DEBUG, True),
    ("level:<=debug", RELAY, False),
    ("level:>=debug", EVENT, False),
    ("level:>=debug", ODD, False),
    ("level:not*", ODD, True),
    ("level:*", EVENT, False),
    ("level:notice", ODD, "level"),
    ("level:>=loud", LOG, "level"),
    ("level:>=", LOG, "level"),
    ("level:", LOG, "value"),
    ("level:>=warn*", LOG, "level"),
    # alternatives
    ("absent OR refused", LOG, True),
    ("absent OR missing", LOG, False),
    ("refused absent OR level:error daemon", LOG, True),
    ("refused absent OR level:error git", LOG, False),
    ("repo:click OR level:error", EVENT, True),
    ("-refused OR daemon", LOG, True),
    ("absent or refused", LOG, False),
    ("absent ORrefused", LOG, False),
    ("OR", LOG, "OR"),
    ("a OR", LOG, "OR"),
    ("OR a", LOG, "OR"),
    ("a OR OR b", LOG, "OR"),
    # length
    ("x" * 1000, LOG, False),
    ("x" * 1001, LOG, "1,000"),
    # gaps and what was left out
    ("absent", GAP, True),
    ("-source_outage", GAP, True),
    ("level:error", SKIPPED, True),
]

VIEW_CASES: list[tuple[dict[str, Any], list[Any], bool]] = [
    # (view, row, whether it is shown)
    ({}, LOG, True),
    ({"query": "", "levels": ["info", "warning", "error", "critical"], "component": ""}, LOG, True),
    ({"levels": ["info", "warning"]}, LOG, False),
    ({"levels": []}, LOG, False),
    ({"levels": []}, EVENT, True),
    ({"levels": []}, STATS, True),
    ({"levels": []}, ODD, True),
    ({"levels": []}, TEXT, True),
    ({"levels": ["warning"]}, WARN, True),
    ({"levels": ["critical"]}, SHOUT, True),
    ({"levels": ["error"]}, SHOUT, False),
    ({"component": "daemon"}, LOG, True),
    ({"component": "DAEMON"}, LOG, True),
    ({"component": "git"}, LOG, False),
    ({"component": "daemon"}, EVENT, False),  # it has none
    ({"component": "d*"}, LOG, False),  # no pattern
    ({"query": "refused", "levels": ["error"], "component": "daemon"}, LOG, True),
    ({"query": "absent", "levels": ["error"], "component": "daemon"}, LOG, False),
    ({"query": "absent", "levels": [], "component": "x"}, GAP, True),
    ({"query": "absent", "levels": [], "component": "x"}, SKIPPED, True),
    ({"is_paused": True, "first": 1, "last": 5, "selected": [7]}, LOG, True),  # what is held is told apart
]
