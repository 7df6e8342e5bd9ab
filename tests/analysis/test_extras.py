"""A library that is missing is told by what brings it."""

from __future__ import annotations

import sys

import pytest

from codeworm_monitor.analysis.extras import needed
from codeworm_monitor.errors import MissingExtraError


def test_what_is_there_is_imported():
    assert needed("json.decoder").JSONDecoder


def test_what_is_missing_says_how_to_install_it():
    with pytest.raises(MissingExtraError, match=r"pip install 'codeworm-monitor\[analysis\]'"):
        needed("no_such_library.part")


def test_what_is_missing_within_a_library_is_no_matter_of_extras(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import no_such_library_either\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library_either"):
        needed("broken_library")
    sys.modules.pop("broken_library", None)
