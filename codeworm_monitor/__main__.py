"""`python -m codeworm_monitor`."""

from codeworm_monitor.cli import main

main(prog_name="python -m codeworm_monitor")
