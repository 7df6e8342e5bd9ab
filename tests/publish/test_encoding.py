from __future__ import annotations

import json
import math
import uuid
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.publish.encoding import LARGEST, encode, text_of


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


class BrokenText(str):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenMapping(dict[str, Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("no keys")


class Tensor:
    """As a tensor of one element answers."""

    def __init__(self, number: float) -> None:
        self.number = number

    def item(self) -> float:
        return self.number


def written(value: Any) -> Any:
    """Return what a reader reads."""
    text = encode(value)
    assert len(text) <= LARGEST
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        ("\ud800 odd", "? odd"),
        (2**63 - 1, 2**63 - 1),
        (2**70, str(2**70)),
        (-(2**70), str(-(2**70))),
        pytest.param(10**5000, "<integer of 16610 bits>", id="huge"),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        ({1}, [1]),
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.int64(7), 7),
        (np.bool_(1), True),
        (np.arange(3), [0, 1, 2]),
        (Tensor(0.5), 0.5),
        (Path("/tmp/x"), "/tmp/x"),
        (ValueError("wrong"), "ValueError('wrong')"),
        (Broken(), "<Broken that cannot be shown>"),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (1 + 2j, "(1+2j)"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC), "2026-11-23T01:02:03+00:00"),
        (OrderedDict(a=(1, 2)), {"a": [1, 2]}),
    ],
)
def test_what_json_has_not_is_written_as_near_as_can_be(value: Any, expected: Any) -> None:
    assert written({"key": value}) == {"key": expected}
    assert written({"key": value, "odd": "\ud800"})["key"] == expected, "what is beside it makes no difference"


def test_keys_become_texts() -> None:
    assert written({1: "a", None: "b", (2, 3): "c", "\udcff": "d"}) == {"1": "a", "None": "b", "(2, 3)": "c", "?": "d"}


def test_what_is_part_of_itself_is_left_out_there() -> None:
    loop: list[Any] = [1]
    loop += [loop, loop]
    assert written({"loop": loop, "other": 2}) == {"loop": [1, "…", "…"], "other": 2}


def test_what_lies_too_deep_is_left_out() -> None:
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    assert "…" in json.dumps(written({"deep": deep}), ensure_ascii=False)


def test_a_huge_text_keeps_both_ends() -> None:
    text = written({"event": "x", "text": "begin" + "x" * 10_000_000 + "end"})["text"]
    assert text.startswith("begin")
    assert text.endswith("end")
    assert "characters…" in text


def test_many_large_texts_fit_after_all() -> None:
    line = written({"event": "x", **{f"key {number}": "é" * 200_000 for number in range(300)}})
    assert line["event"] == "x"


@pytest.mark.parametrize("character", ["x", "\0", "\U0001f40d", '"'])
def test_many_huge_keys_fit_after_all(character: str) -> None:
    assert written({f"{number}{character * 3000}": character * 3000 for number in range(400)})
    assert written([[[2**4000] * 300] * 3] * 30)


def test_a_long_list_is_cut() -> None:
    line = written({"event": "x", "list": list(range(1_000_000))})
    assert line["list"][:3] == [0, 1, 2]
    assert str(line["list"][-1]).endswith("more")


def test_a_text_that_has_none_is_said_to_have_none() -> None:
    assert text_of(Broken()) == "<Broken that cannot be shown>"
    assert written({"a": BrokenText("here")}) == {"a": "here"}


def test_an_object_of_the_programs_own_that_breaks_is_its_error() -> None:
    with pytest.raises(RuntimeError, match="no keys"):
        encode({"odd": "\ud800", "a": BrokenMapping(b=1)})


def test_what_is_written_does_not_change_with_the_object() -> None:
    inner = [1]
    text = encode({"inner": inner})
    inner.append(2)
    assert json.loads(text) == {"inner": [1]}


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary()
    | st.builds(Broken)
    | st.datetimes()
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(scalars.filter(lambda key: key == key), inner),
    max_leaves=30,
)


@given(anything)
def test_anything_becomes_valid_json(value: Any) -> None:
    written(value)
    written({"key": value})
