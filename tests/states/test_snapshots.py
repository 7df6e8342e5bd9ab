from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from codeworm_monitor.activity import Counters, Snapshot, Stage
from codeworm_monitor.states.snapshots import sound_snapshot

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([one.name for one in fields(Snapshot)])
counter_names = st.sampled_from([one.name for one in fields(Counters)])


def test_what_is_sound_passes_unchanged() -> None:
    told = Snapshot(
        stage=Stage.GENERATING,
        since=1000.5,
        cycle_num=3,
        target="x",
        repo="click",
        last_commit={"at": 1.0},
        counters=Counters(total_documented=5, success_rate=93.5, by_repo={"click": 5}),
    )
    assert sound_snapshot(told.as_dict()) == told


@given(st.dictionaries(names, anything | st.dictionaries(counter_names, anything, max_size=5)))
def test_whatever_is_told_what_comes_out_has_the_types_it_should(values: dict[str, object]) -> None:
    told = sound_snapshot(values)
    assert isinstance(told.stage, Stage)
    for number in (told.since, told.next_cycle_at, told.last_message_at, told.counters.success_rate):
        assert number is None or (type(number) is float and abs(number) < 1e15)
    for text in (told.target, told.repo, told.doc_type, told.language):
        assert text is None or isinstance(text, str)
    assert all(type(count) is int for count in told.counters.by_repo.values())
    assert told.counters.total_documented is None or type(told.counters.total_documented) is int
