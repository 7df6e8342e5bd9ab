"""The command line as a person has it: a home and a working directory of its own, and the console script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["console_script", "in_place", "isolated"]


def isolated(home: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of this machine's user counts, below a directory; it is made."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CODEWORM_", "REDIS_", "XDG_"))}
    return {
        **kept,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "configuration"),
        "XDG_DATA_HOME": str(home / "data"),
        "CODEWORM_MONITOR_RUNTIME_DIR": str(home / "announcements"),
        **more,
    }


def in_place(
    directory: Path, *arguments: str, environment: dict[str, str], within: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a directory, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "codeworm_monitor", *arguments],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=within,
    )


def console_script(directory: Path) -> Path:
    """Write what an installer makes of `[project.scripts]`, and return its directory, for PATH."""
    directory.mkdir(exist_ok=True)
    script = directory / "codeworm-monitor"
    script.write_text(f"#!{sys.executable}\nimport sys\n\nfrom codeworm_monitor.cli import main\n\nsys.exit(main())\n")
    script.chmod(0o755)
    return directory
