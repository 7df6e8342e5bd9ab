"""A real nginx with a generated site, on free ports, in a folder of the test's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import trustme

from support.servers import free_port, require_program
from support.waiting import eventually

DOMAIN = "worm.test"
HINT = "apt install nginx-light"


def program() -> str:
    """Return nginx, which administrators have on their path."""
    os.environ["PATH"] += "" if "/usr/sbin" in os.environ["PATH"].split(":") else ":/usr/sbin"
    return require_program("nginx", HINT)


class Site:
    """A site before a relay, served by nginx in the foreground.

    Attributes:
        folder: Where it logs.
        https: Port that speaks TLS.
        http: Port that does not.
        trust: What a client must know to trust its certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.https, self.http = free_port(), free_port()
        authority = trustme.CA()
        issued = authority.issue_cert(DOMAIN)
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "site.pem"))
        authority.cert_pem.write_to_path(str(folder / "authority.pem"))
        self.trust = ssl.create_default_context(cafile=str(folder / "authority.pem"))

    @property
    def certificate(self) -> str:
        """The file that holds certificate and key."""
        return str(self.folder / "site.pem")

    @property
    def log(self) -> str:
        """All that nginx wrote down."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def configure(self, text: str) -> Path:
        """Put a site's text where this nginx takes it, at its ports and in its folder, and return the configuration.

        What Debian's own nginx.conf has around it is here as well, compression among it.
        """
        for port, here in (("443", self.https), ("80", self.http)):
            if not _has_ipv6():
                text = re.sub(r"listen \[::\]:.*;", "", text)
            text = text.replace(f"listen [::]:{port}", f"listen [::1]:{here}")
            text = text.replace(f"listen {port}", f"listen 127.0.0.1:{here}")
        for place in ("/var/log/nginx", "/etc/nginx", "/var/www"):
            text = text.replace(place, str(self.folder))
        (self.folder / "site.conf").write_text(text)
        temporary = "\n".join(
            f"{name}_temp_path {self.folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = self.folder / "nginx.conf"
        # Workers as whoever runs the test: its folder is closed to others.
        whole.write_text(
            f"daemon off;\n{'user root;' if not os.geteuid() else ''}\nworker_processes 1;\npid {self.folder}/pid;\n"
            f"error_log {self.folder}/error.log;\nevents {{ worker_connections 128; }}\n"
            f"http {{\n{temporary}\ngzip on;\ngzip_types application/json;\naccess_log off;\n"
            f"include {self.folder}/site.conf;\n}}\n"
        )
        return whole

    def test(self) -> str:
        """Run `nginx -t`, which must be content, and return what it said."""
        words = [program(), "-t", "-e", "stderr", "-c", str(self.folder / "nginx.conf")]
        told = subprocess.run(words, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        return told.stderr

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Run nginx, and take it away."""
        words = [program(), "-e", str(self.folder / "error.log"), "-c", str(self.folder / "nginx.conf")]
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
        try:
            await eventually(self._listens, otherwise=lambda: self.log)
            yield
        finally:
            process.terminate()
            await process.wait()

    async def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.https)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return True
        return False

    async def ask(
        self, target: str, *headers: str, port: int | None = None, method: str = "GET"
    ) -> tuple[int, str, str]:
        """Send a request as it stands here, and return status, head and body."""
        port = port or self.https
        tls = {"ssl": self.trust, "server_hostname": DOMAIN} if port == self.https else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **tls)
        try:
            lines = [f"{method} {target} HTTP/1.1", f"Host: {DOMAIN}:{port}", "Connection: close", *headers, "", ""]
            writer.write("\r\n".join(lines).encode())
            async with asyncio.timeout(20):
                answer = (await reader.read()).decode()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), head, body


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
