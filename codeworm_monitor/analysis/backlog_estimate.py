"""Backlog estimate: how many documents CodeWorm can likely still make of the functions of a repository."""

from __future__ import annotations

import math

import pandas as pd

__all__ = ["FUNCTION_TYPES", "backlog_estimate", "new_share"]

FUNCTION_TYPES = ("function_doc", "security_review", "performance_analysis", "til")
"""Kinds of document that are about a function; CodeWorm takes the functions for each of them from one list."""
LEAST = 10
"""Documents of those kinds, below which nothing is estimated."""
LOOKED_AT = 30
"""Functions of a repository among which CodeWorm looks for one to document."""
NEWEST = 50
"""Documents looked back for the share of new targets."""


def backlog_estimate(documents: pd.DataFrame, kinds: int) -> float:
    """Estimate how many documents of functions are left to be made, from how often functions came again.

    Each kind of document is a pass through the same functions. Those that were met in one pass only, and in two, tell
    how many were met in none: Chao's estimator for incidences, bias-corrected, Q0 = (m - 1)/m * Q1 (Q1 - 1) / (2 (Q2 + 1))
    (A. Chao, Estimating the population size for capture-recapture data with unequal catchability, Biometrics 43, 1987;
    for abundances: Nonparametric estimation of the number of classes in a population, Scand. J. Stat. 11, 1984). Left are
    then kinds * (functions met + Q0) less the documents there are; the functions are no more than the 30 that CodeWorm
    1.1.7 looks at in a repository, those it scores highest, unless more were met. It is a lower bound by its nature;
    classes, files and modules, which come once each, are not in it, nor is code that is yet to be written.

    Args:
        documents: Of one repository; file, target, doc_type.
        kinds: How many of `FUNCTION_TYPES` CodeWorm makes, told from all repositories.

    Returns:
        Documents; NaN with fewer than ten of these kinds, or where no function came again, so that nothing tells.
    """
    is_of_function = documents["doc_type"].isin(FUNCTION_TYPES) & documents["file"].notna()
    pairs = documents.loc[is_of_function, ["file", "target", "doc_type"]].astype("object").drop_duplicates()
    if len(pairs) < LEAST:
        return math.nan
    times = pairs.groupby(["file", "target"], dropna=False).size()
    once, twice = int((times == 1).sum()), int((times == 2).sum())
    if once == len(times):
        return math.nan
    passes = pairs["doc_type"].nunique()
    unmet = (passes - 1) / passes * once * (once - 1) / (2 * (twice + 1))
    functions = min(len(times) + unmet, max(len(times), LOOKED_AT))
    return max(0.0, max(kinds, passes) * functions - len(pairs))


def new_share(documents: pd.DataFrame) -> float:
    """Return which share of the newest fifty documents is about what no document had been about before.

    Args:
        documents: Of one repository, all there are, by time; file, target.

    Returns:
        0 to 1; NaN without documents.
    """
    if not len(documents):
        return math.nan
    is_new = ~documents[["file", "target"]].astype("object").duplicated()
    return float(is_new.tail(NEWEST).mean())
