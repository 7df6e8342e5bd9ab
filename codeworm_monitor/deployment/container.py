"""Containers: a container file of the relay, and a compose file with Redis beside CodeWorm's own services."""

from __future__ import annotations

import secrets
from pathlib import Path

import codeworm_monitor
from codeworm_monitor.deployment.artefacts import Artefact, render
from codeworm_monitor.deployment.quoting import one_line, shell_word, yaml_text
from codeworm_monitor.deployment.systemd import has_password
from codeworm_monitor.errors import SettingError

__all__ = [
    "COMPOSE",
    "DOCKERFILE",
    "compose",
    "compose_steps",
    "container",
    "container_steps",
    "secret_files",
    "source",
]

COMPOSE = "compose.yaml"
DOCKERFILE = "Dockerfile"
_REDIS_URL = "redis://redis:6379"


def source() -> str | None:
    """Return the clone of the repository that this package was installed from with `-e`; None: it was not."""
    clone = Path(codeworm_monitor.__file__).absolute().parents[1]
    return str(clone) if (clone / "pyproject.toml").is_file() and (clone / "LICENSE").is_file() else None


def container() -> list[Artefact]:
    """Return the container file, and what it must not take from the clone."""
    ignored = f"{DOCKERFILE}.dockerignore"
    return [
        Artefact(name=DOCKERFILE, text=render("Dockerfile")),
        Artefact(name=ignored, text=render("Dockerfile.dockerignore")),
    ]


def container_steps(directory: Path | None, clone: str | None) -> str:
    """Return what to do next with the container file, a line a step."""
    file = DOCKERFILE if directory is None else shell_word(str(directory / DOCKERFILE))
    lines = [] if directory is not None else [f"# keep what was printed as {DOCKERFILE}, then:"]
    lines += [
        f"docker build -f {file} -t codeworm-monitor {shell_word(clone or '/path/to/the/clone')}",
        "(umask 077; echo CODEWORM_MONITOR_TOKEN=$(head -c 18 /dev/urandom | base64 | tr +/ -_) > codeworm-monitor.env)",
        "docker run -d --name codeworm-monitor --init --read-only --tmpfs /tmp --restart unless-stopped "
        "--stop-timeout 20 --env-file codeworm-monitor.env -e CODEWORM_MONITOR_REDIS_URL=redis://host.docker.internal:26849 "
        "--add-host host.docker.internal:host-gateway -p 127.0.0.1:8765:8765 "
        "-v codeworm-archive:/var/lib/codeworm-monitor codeworm-monitor",
        "curl -fsS http://127.0.0.1:8765/readyz",
    ]
    return "\n".join(lines)


def compose(
    *,
    port: int = 8765,
    redis_url: str | None = None,
    domain: str | None = None,
    codeworm_db: str | None = None,
    codeworm_config: str | None = None,
    clone: str | None = None,
    dockerfile: str = DOCKERFILE,
    is_printed: bool = False,
) -> Artefact:
    """Return the compose file.

    Args:
        port: Port of this machine at which the relay is found.
        redis_url: Redis to subscribe to, as a container sees it; None: one is brought, at CodeWorm's port 26849.
        domain: Name by which readers address the relay; None: this machine's addresses only.
        codeworm_db: CodeWorm's database, by its absolute path here; None: not told.
        codeworm_config: Directory of CodeWorm's configuration; None: not told.
        clone: Clone of the repository, from which the image is built; None: a place to fill in.
        dockerfile: Path of the container file.
        is_printed: Whether no file can be written beside it, for a secret.

    Raises:
        SettingError: A value cannot stand in it.
    """
    is_secret = has_password(redis_url)
    if is_secret and is_printed:
        raise SettingError(
            "redis_url", "it may hold a password, which has no place there: with --output it goes into a secret"
        )
    environment, volumes = [], []
    for name, value in (("codeworm_db", codeworm_db), ("codeworm_config", codeworm_config)):
        if value is None:
            continue
        path = Path(one_line(name, value))
        if not path.is_absolute() or (name == "codeworm_db" and path.parent == Path("/")):
            raise SettingError(name, "name it by its absolute path, in a directory of its own")
        # The directory, not the file: SQLite's journal lies beside it.
        inside, here = ("/codeworm/data", path.parent) if name == "codeworm_db" else ("/codeworm/config", path)
        seen = f"{inside}/{path.name}" if name == "codeworm_db" else inside
        environment.append(f"      CODEWORM_MONITOR_{name.upper()}: {yaml_text(seen)}")
        volumes += [
            "      - type: bind",
            f"        source: {yaml_text(str(here))}",
            f"        target: {inside}",
            "        read_only: true",
            "        bind: {create_host_path: false}",
        ]
    own_redis = redis_url is None
    shown_url = (
        ""
        if is_secret
        else f"      CODEWORM_MONITOR_REDIS_URL: {yaml_text(one_line('redis_url', redis_url or _REDIS_URL))}"
    )
    text = render(
        "compose.yaml",
        redis_note="# Where CodeWorm's own compose file runs a Redis on port 26849 already, give\n"
        "# --redis-url redis://host.docker.internal:26849 and this one brings none."
        if own_redis
        else "",
        redis=render("compose-redis.yaml") if own_redis else "",
        context=yaml_text(one_line("source", clone or "/path/to/the/clone")),
        dockerfile=yaml_text(dockerfile),
        depends="    depends_on:\n      redis: {condition: service_healthy}" if own_redis else "",
        redis_url=shown_url,
        allowed_host=yaml_text("" if domain is None else one_line("domain", domain)),
        codeworm_environment="\n".join(environment),
        redis_secret="      - codeworm_monitor_redis_url" if is_secret else "",
        port=str(port),
        codeworm_volumes="\n".join(volumes),
        extra_hosts='    extra_hosts: ["host.docker.internal:host-gateway"]' if not own_redis else "",
        redis_secret_file="  codeworm_monitor_redis_url:\n    file: ./secrets/redis_url" if is_secret else "",
    )
    return Artefact(name=COMPOSE, text=text)


def secret_files(redis_url: str | None = None) -> list[Artefact]:
    """Return the secrets of the compose file: a new token, and a Redis URL that holds a password.

    The relay's user in the container must be able to read them, whoever owns them here: it is their folder that keeps
    others of this machine out.
    """
    texts = {"token": secrets.token_urlsafe(24)}
    if redis_url is not None and has_password(redis_url):
        texts["redis_url"] = one_line("redis_url", redis_url)
    return [
        Artefact(name=f"secrets/{name}", text=f"{text}\n", mode=0o444, folder_mode=0o700)
        for name, text in texts.items()
    ]


def compose_steps(directory: Path | None, port: int) -> str:
    """Return what to do next with the compose file, a line a step."""
    if directory is None:
        lines = [
            f"# keep what was printed as {COMPOSE}, beside what `deploy container` prints as {DOCKERFILE}, then:",
            "mkdir -m 700 secrets; head -c 18 /dev/urandom | base64 | tr +/ -_ > secrets/token; chmod 444 secrets/token",
            "docker compose up -d --build",
        ]
    else:
        lines = [f"docker compose --project-directory {shell_word(str(directory))} up -d --build"]
    lines.append(f"curl -fsS http://127.0.0.1:{port}/readyz")
    lines.append("# CodeWorm publishes to redis://localhost:26849; readers present the token in secrets/token")
    return "\n".join(lines)
