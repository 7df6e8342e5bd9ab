"""Watching: a condition on the live stream, and what is done when it holds.

`Monitor.watch(rule, action)` makes a `Watch`. A **rule** says what is watched for and how calmly it is told; of it a
state machine is made, which takes records and ticks of a clock and knows neither threads nor the network. A **notice**
is what there is to tell. An **action** takes notices: a notebook's cell, a command, a webhook, any function.

Between an event and an action stand three bounds, so that no storm of messages becomes one of alerts: the rule's
hysteresis (it fires once, clears when it is well over, and rests), the watch's allowance of notices, and the queue before
the action. What a bound held back is counted, and told by the next notice.
"""

from __future__ import annotations

from codeworm_monitor.watching.actions import Action, Notify
from codeworm_monitor.watching.commands import Command
from codeworm_monitor.watching.cycle_rules import ErrorRate, FailuresInARow, SlowGeneration
from codeworm_monitor.watching.notices import Notice
from codeworm_monitor.watching.record_rule import OnRecord
from codeworm_monitor.watching.rules import Rule
from codeworm_monitor.watching.silence_rule import Silence
from codeworm_monitor.watching.watch import Watch
from codeworm_monitor.watching.webhooks import Webhook

__all__ = [
    "Action",
    "Command",
    "ErrorRate",
    "FailuresInARow",
    "Notice",
    "Notify",
    "OnRecord",
    "Rule",
    "Silence",
    "SlowGeneration",
    "Watch",
    "Webhook",
]
