"""Pictures of answers, one function each: Matplotlib, in the viewer's style, light or dark, and in the viewer's zone.

Each takes the answer it is of (`Answer.plot()` calls it), draws into the Axes it is given or into a new figure of pyplot,
and returns the Axes, of which `.figure.savefig("picture.png")` makes a file. What tells cycles, outages or groups apart is
never the colour alone, but also a place, a hatch or a mark. Text that quotes the daemon is drawn as it reads. Where there
is nothing to draw, the picture says what is missing; where something is left out or taken together, it says that.
"""

from codeworm_monitor.plots.activity import activity_calendar
from codeworm_monitor.plots.change_point import slowdown
from codeworm_monitor.plots.cycle_timeline import cycles, timeline
from codeworm_monitor.plots.day_plan import schedule
from codeworm_monitor.plots.distributions import duration_distribution, tokens_per_s_distribution
from codeworm_monitor.plots.document_bars import documents
from codeworm_monitor.plots.error_strip import errors
from codeworm_monitor.plots.outage_lanes import outages
from codeworm_monitor.plots.repository_bars import repos
from codeworm_monitor.plots.stage_lengths import durations
from codeworm_monitor.plots.success_points import success
from codeworm_monitor.plots.throughput_bars import throughput
from codeworm_monitor.plots.token_speeds import tokens

__all__ = [
    "activity_calendar",
    "cycles",
    "documents",
    "duration_distribution",
    "durations",
    "errors",
    "outages",
    "repos",
    "schedule",
    "slowdown",
    "success",
    "throughput",
    "timeline",
    "tokens",
    "tokens_per_s_distribution",
]
