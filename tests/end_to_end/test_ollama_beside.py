"""A relay process that looks at Ollama: what it tells reaches a reader, the archive, /info, /metrics and `mon.outages`."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path
from typing import Any

import orjson
from support.ollama_stand_in import OllamaStandIn, model
from support.processes import TOKEN, relay_process
from support.readers import V2Reader, v2_reader
from support.servers import Server, free_port
from support.waiting import eventually

from codeworm_monitor import connect, open_archive
from codeworm_monitor.envelope import Cursor


async def asked(relay: Any, path: str) -> str:
    def ask() -> str:
        request = urllib.request.Request(relay.http + path, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(ask)


async def told(reader: V2Reader, event: str) -> dict[str, Any]:
    """Read until a record of this name came, and return it; it is not found again."""
    async with asyncio.timeout(20):
        while not (found := [record for record in reader.journal if record["event"] == event]):
            await reader.read()
    reader.journal.remove(found[0])
    return dict(found[0])


async def on_card(mon: Any, text: str) -> bool:
    return text in await asyncio.to_thread(mon._repr_html_)


async def test_records_reach_a_reader_the_archive_and_the_relays_own_pages(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with OllamaStandIn(model("qwen2.5-coder:7b", expires_in=None)) as server:
        options = ("--ollama", server.url, "--ollama-every", "1", "--archive", str(archive))
        async with Server() as redis, relay_process("--redis-url", redis.url, *options) as relay:
            mon = await asyncio.to_thread(connect, relay.url, token=TOKEN)
            async with v2_reader(relay.url, TOKEN) as reader:
                await reader.subscribe(cursor=Cursor(reader.hello.epoch, 0))
                record = await told(reader, "ollama_reachable")
                assert (record["component"], record["version"], record["size_vram"]) == (
                    "relay",
                    "0.12.6",
                    5_333_539_264,
                )
                assert [one["name"] for one in record["models"]] == ["qwen2.5-coder:7b"]
                known = orjson.loads(await asked(relay, "/info"))
                assert known["ollama"]["is_reachable"] is True
                assert known["ollama"]["models"][0]["context_length"] == 4096
                assert known["statistics"]["ollama"]["models_loaded"] == 1
                metrics = await asked(relay, "/metrics")
                assert "codeworm_monitor_ollama_reachable 1.0\n" in metrics
                assert "codeworm_monitor_ollama_models 1.0\n" in metrics
                assert "codeworm_monitor_ollama_vram_bytes 5.333539264e+09\n" in metrics
                assert "codeworm_monitor_ollama_look_age_seconds " in metrics

                reachable = "reachable · version 0.12.6 · qwen2.5-coder:7b · 5.3 GB of VRAM"
                await eventually(lambda: on_card(mon, reachable))
                server.models = []
                assert (await told(reader, "ollama_models"))["unloaded"] == ["qwen2.5-coder:7b"]
                server.stop()
                begin = await told(reader, "ollama_unreachable")
                assert (begin["level"], begin["url"]) == ("warning", server.url)
                await eventually(lambda: on_card(mon, f"not reachable since {begin['since']}: {begin['error']}"))
                metrics = await asked(relay, "/metrics")
                assert "codeworm_monitor_ollama_reachable 0.0\n" in metrics
                assert "codeworm_monitor_ollama_outages_total 1.0\n" in metrics
                assert "codeworm_monitor_ollama_models " not in metrics
                server.start()
                end = await told(reader, "ollama_reachable")
                assert end["since"] == begin["since"]
            await eventually(lambda: len(mon.channel("codeworm:relay")) >= 4)
            await eventually(lambda: asyncio.to_thread(lambda: mon.outages.ended_at.notna().tolist() == [True]))
            live = await asyncio.to_thread(lambda: mon.outages)
            await asyncio.to_thread(mon.close)
            status, _, errors = await relay.stop()
    assert status == 0, errors
    assert f"Ollama at {server.url} is not reachable: {begin['error']}" in errors

    def kept() -> Any:
        with open_archive(archive) as past:
            return past.outages

    past = await asyncio.to_thread(kept)
    for rows in (live, past):
        assert rows.kind.tolist() == ["ollama"]
        assert rows.started_at[0].isoformat(timespec="milliseconds").replace("+00:00", "Z") == begin["since"]
        assert rows.ended_at[0].isoformat().replace("+00:00", "Z") == end["timestamp"]


async def test_the_end_of_a_relay_waits_for_no_ollama() -> None:
    with OllamaStandIn(mode="hang") as server:
        async with relay_process("--no-archive", "--ollama", server.url) as relay:
            await eventually(lambda: server.asked)
            known = orjson.loads(await asked(relay, "/info"))
            assert known["ollama"]["is_reachable"] is None
            status, _, errors = await relay.stop()
    assert (status, "Traceback" in errors) == (0, False)


async def test_one_that_is_not_there_harms_nothing() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with relay_process("--no-archive", "--ollama", url, "--ollama-every", "1") as relay:
        async with v2_reader(relay.url, TOKEN) as reader:
            await reader.subscribe(cursor=Cursor(reader.hello.epoch, 0))
            assert (await told(reader, "ollama_unreachable"))["error"] == "connection refused"
        assert await asked(relay, "/livez") == "alive\n"


async def test_without_the_option_nothing_is_said_of_ollama() -> None:
    async with relay_process("--no-archive") as relay:
        assert orjson.loads(await asked(relay, "/info"))["ollama"] is None
        assert "ollama" not in await asked(relay, "/metrics")
