"""The parsers under a coverage-guided fuzzer; `parsers.py` runs the same for as long as one likes."""

from __future__ import annotations

import pytest
from fuzz.parsers import PARSERS, BrokenPromiseError, Fuzzer, Parser


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_whatever_comes_a_parser_keeps_its_promises(name):
    fuzzer = Fuzzer(PARSERS[name])
    begun_with = fuzzer.edges
    fuzzer.run(4000)
    assert fuzzer.edges > begun_with, "nothing new was reached: is the package traced?"


def test_the_fuzzer_finds_its_way_to_what_a_lucky_input_alone_reaches():
    def check(text):
        if b"NaN" in text:
            found = 1
            if b"1e999" in text:
                found += 1
                if b"__proto__" in text:
                    found += 1
                    if b"-0" in text:
                        raise ZeroDivisionError(found)

    with pytest.raises(BrokenPromiseError, match="ZeroDivisionError") as found:
        Fuzzer(Parser("planted", check, [b"{}"], traced=__file__)).run(20_000)
    with pytest.raises(ZeroDivisionError):
        check(found.value.text)
