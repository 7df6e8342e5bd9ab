"""The backlog estimate: against its formula, against lists of a known length, and silent where nothing tells."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from codeworm_monitor.analysis.backlog_estimate import FUNCTION_TYPES, LOOKED_AT, backlog_estimate, new_share

KINDS = len(FUNCTION_TYPES)


def frame(pairs, file="/x/a.py"):
    """Returns documents of pairs of a target and a kind."""
    return pd.DataFrame(
        {
            "file": pd.Series([file] * len(pairs), dtype="object"),
            "target": pd.Series([target for target, _ in pairs], dtype="object"),
            "doc_type": pd.Categorical([kind for _, kind in pairs]),
        }
    )


def test_it_is_chaos_estimator_of_what_was_met_in_no_pass():
    first, second = FUNCTION_TYPES[:2]
    pairs = [(f"f{n}", first) for n in range(8)] + [(f"f{n}", second) for n in (0, 1, 2, 8)]
    once, twice, met = 6, 3, 9
    unmet = 1 / 2 * once * (once - 1) / (2 * (twice + 1))
    assert backlog_estimate(frame(pairs), KINDS) == pytest.approx(KINDS * (met + unmet) - len(pairs))


def test_nothing_is_left_where_every_function_has_every_kind():
    assert backlog_estimate(frame(list(product("abcde", FUNCTION_TYPES))), KINDS) == 0


def test_what_one_kind_met_is_left_for_the_others():
    pairs = list(product("abcde", FUNCTION_TYPES))[:-2]
    assert backlog_estimate(frame(pairs), KINDS) == 2


def test_kinds_that_were_made_elsewhere_only_are_left_here():
    pairs = list(product("abcde", FUNCTION_TYPES[:2]))
    assert backlog_estimate(frame(pairs), 2) == 0
    assert backlog_estimate(frame(pairs), 3) == 5


def test_what_came_again_under_one_kind_counts_once():
    pairs = list(product("abcde", FUNCTION_TYPES))
    assert backlog_estimate(frame(pairs + pairs), KINDS) == 0


def test_classes_files_and_modules_do_not_count():
    pairs = list(product("abcde", FUNCTION_TYPES))
    others = [(f"C{n}", kind) for n, kind in product(range(9), ["class_doc", "file_doc", "module_doc"])]
    assert backlog_estimate(frame(pairs + others), KINDS) == 0
    assert math.isnan(backlog_estimate(frame(others), KINDS))


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        list(product("ab", FUNCTION_TYPES)),  # eight documents
        [(f"f{n}", FUNCTION_TYPES[0]) for n in range(40)],  # one kind
        [(f"f{n}", FUNCTION_TYPES[n % 4]) for n in range(40)],  # nothing came again
    ],
)
def test_where_too_little_tells_nothing_is_said(pairs):
    assert math.isnan(backlog_estimate(frame(pairs), KINDS))


def test_no_more_functions_are_expected_than_codeworm_looks_at():
    rng = np.random.default_rng(1)
    pairs = [(f"f{n}", kind) for kind in FUNCTION_TYPES for n in rng.choice(1000, 6, replace=False)]
    pairs += [("f1", kind) for kind in FUNCTION_TYPES]
    assert backlog_estimate(frame(pairs), KINDS) <= KINDS * LOOKED_AT - len(set(pairs))


@pytest.mark.parametrize("functions", [10, 18, 28])
def test_of_a_list_of_known_length_it_tells_what_is_left(functions):
    """Each kind takes its functions at random: then the estimator is nearly unbiased."""
    rng = np.random.default_rng(functions)
    errors = []
    for _ in range(200):
        counts = rng.integers(functions // 2, functions, KINDS)
        pairs = [
            (f"f{n}", kind)
            for kind, count in zip(FUNCTION_TYPES, counts, strict=True)
            for n in rng.choice(functions, count, replace=False)
        ]
        left = KINDS * functions - len(pairs)
        errors.append((backlog_estimate(frame(pairs), KINDS) - left) / (KINDS * functions))
    assert abs(np.nanmean(errors)) < 0.02
    assert np.nanquantile(np.abs(errors), 0.9) <= 0.1


def test_the_share_of_new_targets_is_of_the_newest_fifty():
    old = [(f"f{n}", "til") for n in range(60)]
    assert new_share(frame(old)) == 1
    assert new_share(frame([*old, *[(f"f{n}", "class_doc") for n in range(10)]])) == pytest.approx(0.8)
    assert new_share(frame([*old, *[(f"f{n}", "class_doc") for n in range(60)]])) == 0
    assert new_share(frame([("a", "til"), ("a", "class_doc")])) == 0.5
    assert math.isnan(new_share(frame([])))
