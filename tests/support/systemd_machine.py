"""A real systemd, in namespaces of its own: process 1, file systems, network and control groups of a small machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.waiting import eventually

SYSTEMD = Path("/lib/systemd/systemd")
TARGETS = ["sysinit", "basic", "shutdown", "network", "network-online", "multi-user", "default", "umount", "final"]
BOOT = """set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /etc/codeworm-monitor
mount -t tmpfs -o mode=755 none /var/lib
# The kernel is everybody's: process 1 shall change nothing of it.
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
mount -t tmpfs -o mode=755 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
ip link set lo up
[ ! -e "$SEED/environment" ] || install -m 600 "$SEED/environment" /etc/codeworm-monitor/environment
mkdir -p /run/units
cp -r "$SEED/units/." /run/units
export container=test SYSTEMD_UNIT_PATH=/run/units
"""
OPTIONS = (
    "--unit=default.target --log-target=console --log-level=warning --show-status=no --default-standard-output=null"
)
SYSTEM = f"exec /lib/systemd/systemd --system {OPTIONS}"
USER = f"""mkdir -p /run/systemd/system; mkdir -m 700 /run/mine
export XDG_RUNTIME_DIR=/run/mine HOME=/run/mine XDG_CONFIG_HOME=/run/mine/config XDG_DATA_HOME=/run/mine/data
# Root by name, with no more rights than any user has.
setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all /lib/systemd/systemd --user {OPTIONS}
"""


class Machine:
    """A booted machine.

    Attributes:
        folder: A folder of the test's, which it sees as well.
    """

    def __init__(self, folder: Path, init: int, *, is_user: bool) -> None:
        self.folder = folder
        self._init = init
        self._systemctl = ["systemctl"]
        if is_user:
            self._systemctl = ["env", "XDG_RUNTIME_DIR=/run/mine", "systemctl", "--user"]

    def command(self, *words: str) -> list[str]:
        """Return a command line by which a command runs on the machine, as root."""
        spaces = ["--mount", "--net", "--pid", "--ipc", "--uts"]
        return ["nsenter", "--target", str(self._init), *spaces, *words]

    async def run(self, *words: str) -> tuple[int, str]:
        """Run a command on the machine and return its status and what it wrote."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    async def systemctl(self, *words: str) -> str:
        """Run systemctl on the machine and return what it said."""
        status, out = await self.run(*self._systemctl, *words)
        assert status == 0, out + "\n" + (self.folder / "console").read_text(errors="replace")
        return out

    async def says(self, unit: str, *properties: str) -> dict[str, str]:
        """Return what systemctl shows of a unit."""
        words = [f"--property={name}" for name in properties]
        out = await self.systemctl("show", *words, unit)
        return dict(line.split("=", 1) for line in out.splitlines())


@contextlib.contextmanager
def _control_group() -> Iterator[Path]:
    root = Path("/sys/fs/cgroup/systemd")
    if not (root / "cgroup.procs").exists() or not os.access(root / "cgroup.procs", os.W_OK):
        pytest.skip("no control groups of systemd that a test may make use of")
    group = Path(tempfile.mkdtemp(prefix="codeworm-test-", dir=root))
    try:
        yield group
    finally:
        for path in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            path.rmdir()
        group.rmdir()


@contextlib.asynccontextmanager
async def machine(
    folder: Path, units: dict[str, str], *, environment: str | None = None, is_user: bool = False
) -> AsyncIterator[Machine]:
    """Boot a machine that knows these units alone, and take it away.

    Args:
        folder: An empty folder for it.
        units: Text by name; `x.service.d/y.conf` is a drop-in.
        environment: Text of /etc/codeworm-monitor/environment; None: there is none.
        is_user: It is the manager of a user's services, without any privilege.
    """
    if not SYSTEMD.exists() or os.geteuid() or not all(map(shutil.which, ("unshare", "nsenter"))):
        pytest.skip("a machine of its own for systemd needs systemd, root, unshare and nsenter")
    seed = folder / "seed"
    for name, text in {**{f"{one}.target": f"[Unit]\nDescription={one}\n" for one in TARGETS}, **units}.items():
        path = seed / "units" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if environment is not None:
        (seed / "environment").write_text(environment)

    def said() -> str:
        return (folder / "console").read_text(errors="replace")

    made = not Path("/etc/codeworm-monitor").exists()
    Path("/etc/codeworm-monitor").mkdir(exist_ok=True)  # a place to mount on
    try:
        with _control_group() as group, (folder / "console").open("wb") as console:
            spaces = [
                "--pid",
                "--fork",
                "--kill-child",
                "--mount",
                "--mount-proc",
                "--uts",
                "--ipc",
                "--net",
                "--cgroup",
            ]
            process = subprocess.Popen(  # noqa: ASYNC220  # takes a millisecond
                ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec unshare "$@" sh -c "$BOOT"', "sh", *spaces],
                env={"PATH": os.environ["PATH"], "SEED": str(seed), "BOOT": BOOT + (USER if is_user else SYSTEM)},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
            try:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
                init = await eventually(
                    lambda: process.poll() is not None or children.read_text().split(), otherwise=said
                )
                if process.poll() is not None and "not permitted" in said():
                    pytest.skip("namespaces are forbidden here")
                assert process.poll() is None, said()
                booted = Machine(folder, int(init[0]), is_user=is_user)

                async def is_up() -> bool:
                    assert process.poll() is None, said()
                    return (await booted.run(*booted._systemctl, "is-active", "default.target"))[1].strip() == "active"

                await eventually(is_up, otherwise=said)
                yield booted
            finally:
                process.kill()
                process.wait()
                await eventually(lambda: not (group / "cgroup.procs").read_text() and not _processes(group))
    finally:
        if made:
            with contextlib.suppress(OSError):  # another test has it
                Path("/etc/codeworm-monitor").rmdir()


def _processes(group: Path) -> str:
    return "".join(path.read_text() for path in group.rglob("cgroup.procs"))
