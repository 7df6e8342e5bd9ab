"""The container and compose files: read as what they are, their commands run here, their facts held against CodeWorm's."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.processes import TOKEN
from support.servers import Server, free_port
from support.waiting import eventually

from codeworm_monitor import RelaySettings
from codeworm_monitor.deployment.container import (
    DOCKERFILE,
    compose,
    compose_steps,
    container,
    container_steps,
    secret_files,
    source,
)
from codeworm_monitor.errors import SettingError
from codeworm_monitor.settings import setting_fields

ROOT = Path(__file__).parents[2]
ENTRYPOINT = ROOT / "codeworm_monitor/deployment/templates/entrypoint.sh"
HOSTILE = "/w e$x/${y}: [{%q\"b\\c'#é"


def instructions(text: str) -> list[tuple[str, str]]:
    """Read a container file: names and arguments, without comments, continued lines joined."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    return [
        (name, rest) for name, _, rest in (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    ]


FILE = container()[0].text
STAGES = "\n".join(f"{name} {rest}" for name, rest in instructions(FILE)).split("FROM ")[1:]
LAST = instructions("FROM " + STAGES[-1])


def read(**options: Any) -> dict[str, Any]:
    """Return the relay's part of a compose file, `$$` read as compose does, the whole under `whole`."""
    whole = json.loads(json.dumps(yaml.safe_load(compose(**options).text)).replace("$$", "$"))
    return {**whole["services"]["relay"], "whole": whole}


def given(name: str) -> str:
    """Return what the last instruction of this name in the last stage says."""
    return [rest for one, rest in LAST if one == name][-1]


def variables() -> dict[str, str]:
    return dict(word.split("=", 1) for one, rest in LAST if one == "ENV" for word in shlex.split(rest))


def test_every_instruction_is_one() -> None:
    known = set("FROM ARG ENV RUN WORKDIR COPY VOLUME EXPOSE USER STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD".split())  # noqa: SIM905
    assert {name for name, _ in instructions(FILE)} == known
    assert len(STAGES) == 2


def test_the_image_is_small_pinned_and_not_run_by_root() -> None:
    bases = {stage.split()[0] for stage in STAGES}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases.pop())
    assert given("USER") == "10001:10001"
    assert given("STOPSIGNAL") == "SIGTERM"
    assert all("--no-cache-dir" in rest for _, rest in instructions(FILE) if "pip install" in rest)
    assert variables()["PYTHONUNBUFFERED"] == "1"


def test_what_is_copied_is_in_the_repository_and_is_not_ignored() -> None:
    ignored = container()[1].text.splitlines()
    copied = [
        word
        for name, rest in instructions(FILE)
        if name == "COPY" and "--from" not in rest
        for word in shlex.split(rest)[:-1]
        if not word.startswith("--")
    ]
    assert len(copied) == 5
    for path in copied:
        assert (ROOT / path).exists()
        assert f"!{Path(path).parts[0]}" in ignored


def test_the_clone_holds_all_that_its_build_reads() -> None:
    hatch = (ROOT / "pyproject.toml").read_text()
    for name in re.findall(r'^(?:readme|license-files) = \[?"(\w+(?:\.md)?)"', hatch, re.MULTILINE):
        assert re.search(rf"COPY .*\b{re.escape(name)}\b", FILE)


def test_its_variables_are_settings_of_the_relay_and_the_volume_holds_the_archive() -> None:
    known = {one.variable for one in setting_fields()} | {"CODEWORM_MONITOR_RUNTIME_DIR"}
    own = {name for name in variables() if name.startswith("CODEWORM_MONITOR_")}
    assert own <= known
    assert json.loads(given("VOLUME")) == [str(Path(variables()["CODEWORM_MONITOR_ARCHIVE"]).parent)]
    assert given("EXPOSE") == variables()["CODEWORM_MONITOR_PORT"]


def test_a_linter_has_nothing_to_say_against_the_container_file(tmp_path: Path) -> None:
    linter = shutil.which("hadolint", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    if linter is None:
        pytest.skip("hadolint is not installed")
    (tmp_path / DOCKERFILE).write_text(FILE)
    told = subprocess.run([linter, str(tmp_path / DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


async def test_entry_point_and_command_run_a_relay_that_the_health_check_judges_and_sigterm_ends(
    tmp_path: Path,
) -> None:
    secrets, python = tmp_path / "secrets", tmp_path / "python"
    secrets.mkdir()
    (secrets / "codeworm_monitor_token").write_text(f"{TOKEN}\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(python)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    port = free_port()
    check = json.loads(given("HEALTHCHECK").partition("CMD ")[2])
    async with Server() as redis:
        (secrets / "codeworm_monitor_redis_url").write_text(redis.url)
        environment = {
            **os.environ,
            **variables(),
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "CODEWORM_MONITOR_SECRETS": str(secrets),
            "CODEWORM_MONITOR_HOST": "127.0.0.1",
            "CODEWORM_MONITOR_PORT": str(port),
            "CODEWORM_MONITOR_ARCHIVE": str(tmp_path / "archive"),
            "CODEWORM_MONITOR_RUNTIME_DIR": str(tmp_path / "runtime"),
            "CODEWORM_MONITOR_ALLOWED_HOST": "",
        }

        async def is_healthy() -> bool:
            process = await asyncio.create_subprocess_exec(
                *check, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            return await process.wait() == 0

        assert not await is_healthy()
        relay = await asyncio.create_subprocess_exec(
            str(ENTRYPOINT.absolute()) if os.access(ENTRYPOINT, os.X_OK) else "sh",
            *([] if os.access(ENTRYPOINT, os.X_OK) else [str(ENTRYPOINT)]),
            *json.loads(given("CMD")),
            env=environment,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            await eventually(is_healthy, within=30)
            # The process that the container runs is the relay itself: it has the token, and takes the signal.
            assert f"CODEWORM_MONITOR_TOKEN={TOKEN}" in Path(f"/proc/{relay.pid}/environ").read_text().split("\0")
            assert TOKEN not in Path(f"/proc/{relay.pid}/cmdline").read_text()
            await redis.kill()
            await eventually(lambda: _not(is_healthy()), within=20)
            relay.send_signal(signal.SIGTERM)
            out, _ = await relay.communicate()
            assert (relay.returncode, TOKEN in out.decode()) == (0, False), out.decode()
        finally:
            if relay.returncode is None:
                relay.kill()
                await relay.wait()


def test_a_secret_that_cannot_be_read_ends_the_container_instead_of_running_without_it(tmp_path: Path) -> None:
    (tmp_path / "codeworm_monitor_token").mkdir()
    told = subprocess.run(
        ["sh", str(ENTRYPOINT), "--version"],
        env={"PATH": os.environ["PATH"], "CODEWORM_MONITOR_SECRETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode != 0
    assert "codeworm_monitor_token" in told.stderr


def test_beside_a_redis_of_its_own_codeworm_finds_it_at_its_port() -> None:
    relay = read(clone="/clone", dockerfile="/there/Dockerfile")
    redis = relay["whole"]["services"]["redis"]
    assert redis["ports"] == ["127.0.0.1:26849:6379"]
    assert relay["environment"]["CODEWORM_MONITOR_REDIS_URL"] == "redis://redis:6379"
    assert relay["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert relay["build"] == {"context": "/clone", "dockerfile": "/there/Dockerfile"}
    assert relay["ports"] == [f"127.0.0.1:8765:{variables()['CODEWORM_MONITOR_PORT']}"]
    assert "healthcheck" in redis
    for service in relay["whole"]["services"].values():
        assert service["restart"] == "unless-stopped"
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert "max-size" in service["logging"]["options"]
    assert relay["whole"]["secrets"] == {"codeworm_monitor_token": {"file": "./secrets/token"}}
    assert [volume["target"] for volume in relay["volumes"]] == json.loads(given("VOLUME"))


def test_beside_codeworms_own_redis_none_is_brought() -> None:
    relay = read(redis_url="redis://host.docker.internal:26849")
    assert list(relay["whole"]["services"]) == ["relay"]
    assert "depends_on" not in relay
    assert relay["environment"]["CODEWORM_MONITOR_REDIS_URL"] == "redis://host.docker.internal:26849"
    assert relay["extra_hosts"] == ["host.docker.internal:host-gateway"]


def test_codeworms_files_are_seen_read_only_at_the_places_the_relay_is_told() -> None:
    relay = read(codeworm_db="/worm/data/codeworm.db", codeworm_config="/worm/config")
    assert [(one["source"], one["target"], one["read_only"]) for one in relay["volumes"][1:]] == [
        ("/worm/data", "/codeworm/data", True),
        ("/worm/config", "/codeworm/config", True),
    ]
    assert relay["environment"]["CODEWORM_MONITOR_CODEWORM_DB"] == "/codeworm/data/codeworm.db"
    assert relay["environment"]["CODEWORM_MONITOR_CODEWORM_CONFIG"] == "/codeworm/config"


def test_its_environment_is_settings_that_the_relay_takes() -> None:
    relay = read(domain="worm.test", codeworm_db="/a/b.db", codeworm_config="/c")
    by_variable = {one.variable: one.name for one in setting_fields()}
    values: dict[str, Any] = {by_variable[name]: value for name, value in relay["environment"].items()}
    assert RelaySettings(**{**values, "allowed_host": (values["allowed_host"],)}).allowed_host == ("worm.test",)


def test_hostile_values_arrive_as_they_were_meant_and_bring_nothing_else() -> None:
    url = f"unix://{HOSTILE}"
    relay = read(redis_url=url, codeworm_db=f"{HOSTILE}/a:b.db", codeworm_config=HOSTILE, clone=HOSTILE, domain="a: b")
    assert relay["environment"] == {
        "CODEWORM_MONITOR_REDIS_URL": url,
        "CODEWORM_MONITOR_ALLOWED_HOST": "a: b",
        "CODEWORM_MONITOR_CODEWORM_DB": "/codeworm/data/a:b.db",
        "CODEWORM_MONITOR_CODEWORM_CONFIG": "/codeworm/config",
    }
    assert [one["source"] for one in relay["volumes"]] == ["archive", HOSTILE, HOSTILE]
    assert relay["build"]["context"] == HOSTILE
    assert relay.keys() - {"whole"} == read(redis_url="redis://a").keys() - {"whole"}


def test_every_dollar_of_a_value_is_kept_from_compose() -> None:
    text = compose(redis_url="unix:///$a${b}", codeworm_config="/$$").text
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("codeworm_db", "data/codeworm.db"),
        ("codeworm_db", "/codeworm.db"),
        ("codeworm_config", "/a\nb"),
        ("redis_url", "redis://a\n  x: y"),
        ("clone", "/a\x1b"),
        ("domain", "a\nb"),
    ],
)
def test_a_value_that_cannot_stand_in_it_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingError):
        compose(**{name: value})  # type: ignore[arg-type]


def test_a_password_goes_into_a_secret_and_never_into_the_file() -> None:
    url = "redis://:hush@redis.example:1"
    with pytest.raises(SettingError) as caught:
        compose(redis_url=url, is_printed=True)
    assert "hush" not in str(caught.value)
    text = compose(redis_url=url).text
    assert "hush" not in text
    relay = yaml.safe_load(text)
    assert relay["secrets"]["codeworm_monitor_redis_url"] == {"file": "./secrets/redis_url"}
    assert "CODEWORM_MONITOR_REDIS_URL" not in relay["services"]["relay"]["environment"]
    files = {one.name: one for one in secret_files(url)}
    assert files["secrets/redis_url"].text == f"{url}\n"
    assert {one.folder_mode for one in files.values()} == {0o700}


def test_the_secrets_have_the_names_that_the_entry_point_looks_for() -> None:
    looked_for = set(re.findall(r"\$secrets/(\w+)", ENTRYPOINT.read_text()))
    assert looked_for == set(yaml.safe_load(compose(redis_url="redis://:a@b").text)["secrets"])


def test_the_token_is_new_and_the_relay_takes_it() -> None:
    tokens = {secret_files()[0].text.strip() for _ in range(3)}
    assert len(tokens) == 3
    assert all(RelaySettings(token=token) for token in tokens)


async def test_the_command_and_health_check_of_redis_are_understood_by_a_real_one() -> None:
    redis = (await asyncio.to_thread(read))["whole"]["services"]["redis"]
    program, *options = map(str, redis["command"])
    assert program == "redis-server"
    async with Server("redis", *options) as server:
        assert (await server.do("CONFIG", "GET", "save"))[1] == b""
        assert b"pubsub 67108864 16777216 60" in (await server.do("CONFIG", "GET", "client-output-buffer-limit"))[1]
        cli, ping = redis["healthcheck"]["test"][1:]
        if shutil.which(cli):
            process = await asyncio.create_subprocess_exec(
                cli, "-p", str(server.port), ping, stdout=asyncio.subprocess.PIPE
            )
            assert (await process.communicate())[0] == b"PONG\n"


def test_compose_itself_reads_the_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    (tmp_path / "compose.yaml").write_text(compose(codeworm_config=str(tmp_path), clone=str(tmp_path)).text)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/token").write_text(TOKEN)
    words = [docker, "compose", "--project-directory", str(tmp_path), "config", "--quiet"]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_the_steps_that_make_secrets_make_such_as_the_relay_takes(tmp_path: Path) -> None:
    line = next(line for line in compose_steps(None, 1).splitlines() if "/dev/urandom" in line)
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert RelaySettings(token=(tmp_path / "secrets/token").read_text().strip())
    line = next(line for line in container_steps(None, None).splitlines() if "/dev/urandom" in line)
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    assert (tmp_path / "codeworm-monitor.env").stat().st_mode & 0o777 == 0o600
    assert RelaySettings(token=(tmp_path / "codeworm-monitor.env").read_text().strip().partition("=")[2])


def test_a_clone_is_known_where_this_runs_from_one() -> None:
    assert source() == str(ROOT)
    assert f"-t codeworm-monitor {ROOT}" in container_steps(Path("/there"), source())


async def _not(answer: Any) -> bool:
    return not await answer
