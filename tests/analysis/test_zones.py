"""Zones: a name, an object, or this machine's, each good for pandas."""

from __future__ import annotations

import time
from datetime import UTC
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from codeworm_monitor.analysis.zones import resolved

SUMMER, WINTER = pd.Timestamp("2026-07-01T12:00Z"), pd.Timestamp("2026-12-01T12:00Z")


@pytest.fixture
def machine(monkeypatch):
    def set_zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("name", ["Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_this_machines_zone_knows_its_daylight_saving_time(machine, name):
    machine(name)
    times = pd.DatetimeIndex([SUMMER, WINTER]).tz_convert(resolved(None))
    assert times.hour.tolist() == [14, 13]


def test_names_and_objects_are_taken(machine):
    assert resolved("America/Bogota") == ZoneInfo("America/Bogota")
    assert resolved(UTC) is UTC
    machine("UTC")
    assert SUMMER.tz_convert(resolved(None)).hour == 12


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../../etc/passwd", "a\0b"])
def test_a_name_that_is_none_says_what_to_write(name):
    with pytest.raises(ValueError, match="Europe/Berlin, or UTC"):
        resolved(name)
