from __future__ import annotations

import inspect
import re

import pytest

from codeworm_monitor import errors
from codeworm_monitor.errors import MonitorError, PortTakenError, SettingError

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_derives_from_the_one_base(error):
    assert issubclass(error, MonitorError)


def test_the_tree_drawn_in_the_docstring_is_the_tree_of_the_classes():
    drawn, ancestors = {}, {}
    tree = errors.__doc__.partition("::\n\n")[2].partition("\n\n")[0]
    for line in tree.splitlines():
        name = re.search(r"\w+", line)
        depth = (name.start() - 4) // 4
        ancestors[depth] = name[0]
        drawn[name[0]] = ancestors[depth - 1] if depth else "Exception"
    assert drawn == {error.__name__: error.__base__.__name__ for error in CLASSES}


def test_every_error_says_what_it_stands_for():
    assert all(inspect.getdoc(error) != inspect.getdoc(error.__base__) for error in CLASSES)


def test_a_setting_error_names_the_setting_and_the_problem():
    error = SettingError("port", "70000 is not between 0 and 65535")
    assert (error.name, error.problem) == ("port", "70000 is not between 0 and 65535")
    assert str(error) == "port: 70000 is not between 0 and 65535"


def test_a_taken_port_is_named_together_with_the_way_out():
    error = PortTakenError("127.0.0.1", 8765)
    assert (error.host, error.port) == ("127.0.0.1", 8765)
    assert "port 8765 on 127.0.0.1 is taken" in str(error)
    assert "--port" in str(error)
