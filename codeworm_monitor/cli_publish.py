"""The command `publish`: a message or many, from the command line or standard input, to whoever listens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from codeworm_monitor.cli_options import plain_errors
from codeworm_monitor.logformat import printable
from codeworm_monitor.records import LEVELS, Kind, kind_of
from codeworm_monitor.settings import redacted

if TYPE_CHECKING:
    from codeworm_monitor.publish import Publisher, PublisherStatistics

__all__ = ["COMMANDS", "publish"]

_SHORT_NAMES = ("logs", "events", "stats")
_LONGEST_LINE = 256 * 2**10
_PORTION = 1000
"""Messages between two waits for Redis: far fewer than the publisher would drop."""
_PORTION_LETTERS = 4 * 2**20
"""Letters between two waits, but for the last message."""
_MOST_BYTES = 32 * 2**20
"""Bytes that may wait: a portion at six bytes a letter, as JSON writes control characters, and what goes with them."""


@click.command()
@click.argument("words", nargs=-1, metavar="[CHANNEL] [MESSAGE]...")
@click.option("--channel", help="Where to publish: logs, events, stats, or any channel by its full name.")
@click.option("--level", type=click.Choice(LEVELS), default="info", show_default=True, help="Of text that is no JSON.")
@click.option("--component", default="publish", show_default=True, help="Who speaks, in text that is no JSON.")
@click.option(
    "--redis-url",
    envvar=["CODEWORM_MONITOR_REDIS_URL", "REDIS_URL"],
    show_envvar=True,
    help="Redis. None: one on 127.0.0.1:6379, else the one that a relay of this user hears.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds to wait for Redis.",
)
def publish(
    *, words: tuple[str, ...], channel: str | None, level: str, component: str, redis_url: str | None, timeout: float
) -> None:
    """Publish messages, and say how many subscribers they reached.

    Without a MESSAGE, each line of standard input is one. A JSON object is published as it is; on a channel of logs, any
    other text becomes a log line with that text as its event. The CHANNEL, logs if it is left out, may be given by
    --channel, or as the first word: logs, events, stats, or a full name with a colon and no spaces. Any other first word
    is a MESSAGE. The status is 1 if Redis cannot be reached or does not take it all.

    \b
    Example: python -m codeworm_monitor publish logs '{"event": "hello", "level": "info"}'
             python -m codeworm_monitor publish "backup finished"
             tail -F app.log | python -m codeworm_monitor publish --component app
    """
    from codeworm_monitor.publish import Publisher

    messages = words
    if channel is None:
        is_named = bool(words) and _is_channel(words[0])
        channel, messages = (words[0], words[1:]) if is_named else ("logs", words)
    channel = f"codeworm:{channel}" if channel in _SHORT_NAMES else channel
    texts = iter(messages) if messages else _lines()
    with (
        plain_errors(),
        Publisher(redis_url, component=component, answer_within=timeout, max_bytes=_MOST_BYTES) as publisher,
    ):
        if not publisher.connect(timeout):
            raise click.ClickException(
                printable(publisher.statistics().problem or f"Redis did not answer within {timeout:g} s")
            )
        if not messages and sys.stdin.isatty():
            click.echo(f"each line you type is published to {printable(channel)}; Ctrl-D ends", err=True)
        count = letters = 0
        for number, text in enumerate(texts, 1):
            _publish_one(publisher, channel, text, level, number)
            count, letters = count + 1, letters + len(text)
            if count >= _PORTION or letters >= _PORTION_LETTERS:
                count = letters = 0
                if not publisher.flush(timeout):
                    break
        publisher.flush(timeout)
        _report(publisher.statistics(), channel)


def _is_channel(word: str) -> bool:
    """Tell whether a first word names a channel: a short name, or a full one; JSON has colons too."""
    return word in _SHORT_NAMES or (":" in word and word.split() == [word] and not word.startswith(("{", "[", '"')))


def _publish_one(publisher: Publisher, channel: str, text: str, level: str, number: int) -> None:
    import orjson

    try:
        # Not every text can be encoded: the system's words may hold bytes that are no UTF-8.
        payload = text.encode("utf-8")
        is_object = isinstance(orjson.loads(payload), dict)
    except (ValueError, UnicodeEncodeError):
        is_object, payload = False, b""
    if is_object:
        publisher.publish(channel, payload.strip())
    elif kind_of(channel) is Kind.LOGS:
        line: dict[str, Any] = {"event": text, "level": level, "component": publisher.component}
        publisher.line(line, channel=channel)
    else:
        raise click.UsageError(
            f"message {number} is no JSON object, which {printable(channel)} wants; other text fits channels of logs only"
        )


def _lines() -> Iterator[str]:
    """Yield the lines of standard input as they come, but empty ones; of one that is too long, the beginning."""
    source = sys.stdin.buffer
    while line := source.readline(_LONGEST_LINE):
        if not line.endswith(b"\n"):
            while (rest := source.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
        if text := line.decode("utf-8", "replace").rstrip("\r\n"):
            yield text


def _report(taken: PublisherStatistics, channel: str) -> None:
    where = f"{printable(channel)} at {printable(redacted(taken.connected_to))}"
    if taken.sent:
        each = taken.deliveries / taken.sent
        noun = "message" if taken.sent == 1 else "messages"
        reached = (
            "nobody is listening"
            if not taken.heard
            else f"{taken.heard} of them reached a subscriber"
            if taken.heard < taken.sent
            else f"reached {each:g} subscriber{'s' if each != 1 else ''}"
            if taken.sent == 1
            else f"each reached {each:.3g} subscriber{'s' if each != 1 else ''}"
        )
        click.echo(f"published {taken.sent} {noun} to {where}: {reached}")
    elif not taken.dropped and not taken.waiting:
        click.echo("there was nothing to publish")
    lost = sum(taken.dropped.values()) + taken.waiting
    if lost:
        reasons = ", ".join(name.replace("_", " ") for name in taken.dropped) or "no answer in time"
        problem = f"; {printable(taken.problem)}" if taken.problem else ""
        raise click.ClickException(f"{lost} could not be published: {reasons}{problem}")


COMMANDS: tuple[click.Command, ...] = (publish,)
