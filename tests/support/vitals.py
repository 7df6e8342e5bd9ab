"""A relay process under watch: alive, its descriptors back where they were, its memory, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from support.processes import TOKEN, RelayProcess, relay_process
from support.waiting import eventually

MIB = 2**20


class Vitals:
    """What the system and the relay's metrics tell of a relay process.

    Attributes:
        relay: The process.
        port: Port it listens on.
        descriptors_at_rest: Descriptors it had without readers; those of connections to Redis are not counted.
    """

    def __init__(self, relay: RelayProcess) -> None:
        self.relay = relay
        self.pid = relay.process.pid
        self.port = int(relay.url.rsplit(":", 1)[1].split("/")[0])
        self._redis_port = (re.search(r":(\d+)(?:/\d*)?$", relay.redis_url) or ["", "0"])[1]
        self.descriptors_at_rest = 0

    @property
    def url(self) -> str:
        """The WebSocket's URL."""
        return self.relay.url

    @property
    def is_alive(self) -> bool:
        """Whether the process lives."""
        return self.relay.process.returncode is None

    @property
    def descriptors(self) -> int:
        """Open descriptors now, without those to Redis, which come and go, and the archive's, opened when first used."""
        upstream = self._sockets_to(int(self._redis_port))
        found = 0
        for descriptor in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{self.pid}/fd/{descriptor}")
                found += target not in upstream and not re.search(r"/(archive\.sqlite.*|writer\.lock)$", target)
        return found

    def _sockets_to(self, port: int) -> set[str]:
        lines = [line.split() for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]]
        return {f"socket:[{words[9]}]" for words in lines if int(words[2].rpartition(":")[2], 16) == port}

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def fetch(self, path: str, token: str | None = TOKEN) -> tuple[int, str]:
        """Ask by HTTP and return status and text."""

        def ask() -> tuple[int, str]:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            try:
                with urlopen(Request(f"{self.relay.http}{path}", headers=headers), timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(ask)

    async def is_ready(self) -> bool:
        """Tell whether all channels are heard."""
        return (await self.fetch("/readyz"))[0] == 200

    async def metric(self, name: str) -> float:
        """Return a metric by its name after the prefix; its series, if it has several, are added."""
        _, text = await self.fetch("/metrics")
        pattern = rf"^codeworm_monitor_{name}(?:\{{[^}}]*\}})? (\S+)$"
        return sum(map(float, re.findall(pattern, text, re.MULTILINE)))

    async def check_at_rest(self) -> None:
        """Wait until no reader and no handshake is left, nor a descriptor more than there was before them."""
        await eventually(self._has_nobody, otherwise="readers or handshakes are left")
        await eventually(
            lambda: self.descriptors <= self.descriptors_at_rest,
            otherwise=lambda: f"{self.descriptors} descriptors, at rest {self.descriptors_at_rest}",
        )

    async def _has_nobody(self) -> bool:
        # The request that asks is a handshake itself.
        return await self.metric("readers") == 0 and await self.metric("handshakes") <= 1


@contextlib.asynccontextmanager
async def watched_relay(
    *arguments: str,
    redis_url: str | None = None,
    port: int = 0,
    before: Sequence[str] = (),
    is_heard: bool = True,
    may_complain: bool = False,
) -> AsyncIterator[Vitals]:
    """Start a relay, and see at the end that it lives, has kept nothing of its readers, and ends with status 0.

    The body leaves it without readers. What it wrote must hold neither a traceback, nor a forgotten resource, nor
    the token.

    Args:
        arguments: Of its command line.
        redis_url: Where it reads; None: the embedded server.
        port: Where it listens; 0: anywhere.
        before: Command under which to run it.
        is_heard: Wait until all channels are heard.
        may_complain: The case lets the loop itself log a traceback.
    """
    where = () if redis_url is None else ("--redis-url", redis_url)
    complaints = {"PYTHONWARNINGS": "always::ResourceWarning,always::RuntimeWarning"}
    async with relay_process(*where, *arguments, port=port, before=before, **complaints) as relay:
        vitals = Vitals(relay)
        if is_heard:
            await eventually(vitals.is_ready)
        vitals.descriptors_at_rest = min([vitals.descriptors for _ in range(5)])
        yield vitals
        if not vitals.is_alive:
            return  # the case was about its end, and has looked at it
        assert (await vitals.fetch("/livez"))[0] == 200
        await vitals.check_at_rest()
        status, out, err = await relay.stop()
        assert status == 0, err
        assert TOKEN not in out + err
        if not may_complain:
            for word in ("Traceback", "ResourceWarning", "RuntimeWarning", "never retrieved", "never awaited"):
                assert word not in err, err
