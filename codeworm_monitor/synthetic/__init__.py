"""Synthetic traffic: days of a CodeWorm that never was, with what truly happened beside them.

A plan says what the days are like and what befalls the daemon in them; the same plan gives the same messages, byte for
byte as CodeWorm writes them. Faults say what goes wrong on their way to the relay::

    days = Days.of(Plan(seed=1, lasts=3 * 86_400), Faults(drop=0.01))
    days.write("three-days.jsonl.gz")   # a recording, to be played or opened
    days.frames()["logs"]               # as a monitor has it
    days.truth.cycles                   # what really happened

`Publishing`, `heard`, `frames_of` and `write_recording` do the same message by message, for more than fits in memory.
"""

from codeworm_monitor.synthetic.daemon import Publishing
from codeworm_monitor.synthetic.days import Days, frames_of, write_recording
from codeworm_monitor.synthetic.plan import Episode, Plan, Trouble
from codeworm_monitor.synthetic.transport import Away, Faults, Heard, heard
from codeworm_monitor.synthetic.truth import Published, Sign, Step, TrueCycle, TrueOutage, TrueRun, Truth

__all__ = [
    "Away",
    "Days",
    "Episode",
    "Faults",
    "Heard",
    "Plan",
    "Published",
    "Publishing",
    "Sign",
    "Step",
    "Trouble",
    "TrueCycle",
    "TrueOutage",
    "TrueRun",
    "Truth",
    "frames_of",
    "heard",
    "write_recording",
]
