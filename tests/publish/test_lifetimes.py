"""The ends of processes, and forks, each in a program of its own."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from support.published import Subscriber, program, start
from support.servers import Server
from support.waiting import eventually

BEGIN = """
import multiprocessing, os, signal, sys, threading, time, warnings
from codeworm_monitor.publish import Publisher
publisher = Publisher(sys.argv[1], component="child", exit_within=20)
"""
"""The end may take long on a busy machine; the test of the bound sets its own."""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('the program fails')", 1),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); os.kill(os.getpid(), signal.SIGTERM)", 4),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", None),
        ("threading.Thread(target=lambda: publisher.log('line')).start()", 0),
    ],
)
async def test_what_waits_is_sent_at_the_end(
    end: str, status: int | None, server: Server, subscriber: Subscriber
) -> None:
    text = f"{BEGIN}for _ in range(2000): publisher.log('line')\n{end}"
    ended, _, err = await program(text, server.url)
    assert status is None or ended == status, err
    expected = 2001 if "Thread" in end else 2000
    await eventually(lambda: len(subscriber.payloads) == expected, otherwise=lambda: f"{len(subscriber.payloads)}")


async def test_what_is_published_at_the_very_end_is_sent_to_a_host_found_by_name(
    server: Server, subscriber: Subscriber
) -> None:
    text = f"{BEGIN}import atexit\natexit.register(lambda: publisher.log('last'))\npublisher.log('first')"
    ended, _, err = await program(text, server.url.replace("127.0.0.1", "localhost"))
    assert (ended, err) == (0, "")
    await subscriber.hears("first", "last")


async def test_a_signal_without_a_handler_ends_it_at_once(server: Server, subscriber: Subscriber) -> None:
    text = f"{BEGIN}publisher.log('line'); publisher.flush(); print('ready', flush=True); time.sleep(60)"
    process = await start(text, server.url)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.terminate()
    await process.communicate()
    assert process.returncode == -signal.SIGTERM
    await subscriber.hears("line")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis://localhost:1"])
async def test_a_redis_that_is_not_there_delays_the_end_by_little(url: str) -> None:
    ended, _, err = await program(f"{BEGIN}publisher.log('line')", url, PYTHONWARNINGS="error")
    assert ended == 0
    assert "Traceback" not in err


async def test_a_frozen_redis_delays_the_end_by_no_more_than_its_bound(server: Server) -> None:
    server.freeze()
    try:
        text = f"{BEGIN}publisher.log('line'); publisher.exit_within = 0.3; print(time.time(), flush=True)"
        ended, out, err = await program(text, server.url)
        assert ended == 0, err
        assert time.time() - float(out) < 10, "far less than the answer is waited for, with room for a busy machine"
    finally:
        server.thaw()


FORK = """
publisher.log('parent')
publisher.flush()
for _ in range(500): publisher.log('of the parent')
pid = os.fork()
if pid == 0:
    publisher.log('child')
    done = publisher.flush(10)
    count = publisher.statistics()
    publisher.close()
    os._exit(0 if done and count.sent == 1 and not count.dropped else 9)
assert os.waitpid(pid, 0)[1] == 0
publisher.log('parent again')
"""


async def test_a_forked_child_sends_its_own_and_nothing_of_its_parents(server: Server, subscriber: Subscriber) -> None:
    ended, _, err = await program(BEGIN + FORK, server.url, is_measured=False)
    assert (ended, err) == (0, "")
    await eventually(lambda: len(subscriber.payloads) == 503)
    assert sorted(subscriber.events) == sorted(["parent", *["of the parent"] * 500, "child", "parent again"])


async def test_a_url_with_options_is_as_good(server: Server, subscriber: Subscriber) -> None:
    """Here redis-py makes the connection, and is imported while the program may already be ending."""
    ended, _, err = await program(f"{BEGIN}publisher.log('short')", f"{server.url}?db=0")
    assert (ended, err) == (0, "")
    await subscriber.hears("short")
    subscriber.payloads.clear()
    ended, _, err = await program(BEGIN + FORK, f"{server.url}?db=0", is_measured=False)
    assert (ended, err) == (0, "")
    await eventually(lambda: len(subscriber.payloads) == 503)


async def test_forks_at_any_moment_neither_hang_nor_send_twice(server: Server, subscriber: Subscriber) -> None:
    """From the first message on: while the thread starts, imports, connects and sends."""
    text = """
def write():
    while not stop.is_set(): publisher.log('parent')
stop = threading.Event()
writer = threading.Thread(target=write)
writer.start()
for number in range(25):
    pid = os.fork()
    if pid == 0:
        publisher.log('child', number=number)
        os._exit(0 if publisher.close(20) else 9)
    assert os.waitpid(pid, 0)[1] == 0, number
stop.set()
writer.join()
"""
    ended, _, err = await program(f"{BEGIN}{text}", server.url, is_measured=False)
    assert ended == 0, err
    await eventually(lambda: subscriber.events.count("child") == 25)
    assert sorted(line["number"] for line in subscriber.on() if line["event"] == "child") == list(range(25))


async def test_workers_of_multiprocessing_send_what_waits_at_their_end(server: Server, subscriber: Subscriber) -> None:
    text = """
def work(number):
    publisher.log('worker', number=number)
if __name__ == '__main__':
    context = multiprocessing.get_context('fork')
    publisher.log('parent')
    workers = [context.Process(target=work, args=(number,)) for number in range(4)]
    for one in workers: one.start()
    for one in workers: one.join()
"""
    ended, _, err = await program(BEGIN + text, server.url, is_measured=False)
    assert (ended, err) == (0, "")
    await eventually(lambda: len(subscriber.payloads) == 5)
    assert sorted(line.get("number", -1) for line in subscriber.on()) == [-1, 0, 1, 2, 3]


async def test_the_childs_end_leaves_the_parents_connection_alone(server: Server, subscriber: Subscriber) -> None:
    text = """
publisher.log('before'); publisher.flush()
if os.fork() == 0:
    sys.exit(0)
os.wait()
publisher.log('after')
assert publisher.flush(10)
assert not publisher.statistics().dropped
"""
    ended, _, err = await program(BEGIN + text, server.url, is_measured=False)
    assert (ended, err) == (0, "")
    await subscriber.hears("before", "after")


async def test_an_asyncio_program_publishes_from_its_loop(server: Server, subscriber: Subscriber) -> None:
    text = """
import asyncio
async def main():
    async with Publisher(sys.argv[1]) as mine:
        mine.log('in the loop')
        assert await mine.aflush()
    publisher.log('by the other')
asyncio.run(main(), debug=True)
"""
    ended, _, err = await program(BEGIN + text, server.url)
    assert (ended, err) == (0, "")
    async with asyncio.timeout(10):
        await subscriber.hears("in the loop", "by the other")


async def test_importing_it_brings_in_nothing_heavy() -> None:
    text = (
        "import sys, codeworm_monitor.publish;"
        "print(*{name.partition('.')[0] for name in sys.modules}"
        " & {'pandas', 'numpy', 'websockets', 'redis', 'asyncio', 'ssl', 'structlog', 'click', 'rich'})"
    )
    assert await program(text) == (0, "\n", "")
