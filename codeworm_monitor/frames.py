"""Frames of both wire protocols, from values to bytes and back; no socket, no clock, no state.

**v1**, the original dashboard's, for clients that offer no subprotocol. Text frames only::

    {"channel": "codeworm:logs", "data": …}                                  one message
    {"channel": "codeworm:history", "data": [{"channel": …, "data": …}, …]}  once, first, if there is any
    ping  →  {"type": "pong"}                                                a client's text, and the answer

**v2**, subprotocol `codeworm.v2`. Each text frame is a JSON object with a `type`. The server opens with `hello`, the
client answers with `subscribe`, the server with `subscribed`; then come `batch`, `gap` and `position` in the order of
the log. Times are Unix seconds; a cursor is the text `epoch:offset` (`envelope.Cursor`).

| from | type | fields |
|---|---|---|
| server | `hello` | `version, epoch, oldest, head, channels, snapshot, limits, time` |
| client | `subscribe` | `since`, `channels`, `filter`: see `Subscribe` |
| server | `subscribed` | `recovered` (null unless a cursor was given), `reason`, `cursor` (where delivery starts) |
| server | `batch` | `envelopes`: list of `offset, received_at, channel, data` and, if data is not the payload, `mark` |
| server | `gap` | fields of `envelope.Gap` |
| server | `position` | `offset`: all up to here was delivered or filtered out; also the heartbeat |
| client | `ping` | |
| server | `pong` | `time` |
| server | `error` | `message`; the server then closes |

Close codes say whether to come back, as those of centrifuge do: below 4500 yes (1012, the relay restarts),
from 4500 no (4500, a frame broke the protocol).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import NoneType
from typing import Any

import orjson

from codeworm_monitor.envelope import Cursor, Entry, Envelope, Gap, GapCause, Mark
from codeworm_monitor.errors import FrameError
from codeworm_monitor.filters import Filter

__all__ = [
    "CLOSE_PROTOCOL",
    "MAX_TAIL",
    "SUBPROTOCOL",
    "V1_PONG",
    "Batch",
    "ErrorFrame",
    "Hello",
    "Ping",
    "Pong",
    "Position",
    "Subscribe",
    "Subscribed",
    "encode_entries",
    "encode_from_client",
    "encode_v1",
    "encode_v1_frames",
    "encode_v1_history",
    "encode_v2",
    "join_frames",
    "parse_from_client",
    "parse_from_server",
    "text_frame",
]

SUBPROTOCOL = "codeworm.v2"
HISTORY_CHANNEL = "codeworm:history"
V1_PONG = b'{"type":"pong"}'
CLOSE_PROTOCOL = 4500
MAX_TAIL = 1_000_000


def text_frame(text: bytes) -> bytes:
    """Return a WebSocket text frame as a server sends it: whole, unmasked, without extensions."""
    return _HEADERS[len(text)] + text


COMMON_LENGTH = 4096
"""Bytes below which the length of a text is one that comes again and again."""


class _Headers(dict[int, bytes]):
    """Headers of text frames by the length of the text; those of common lengths are at hand."""

    def __missing__(self, length: int) -> bytes:
        # Source: RFC 6455, section 5.2.
        if length < 126:
            header = b"\x81" + length.to_bytes(1, "big")
        elif length < 65536:
            header = b"\x81\x7e" + length.to_bytes(2, "big")
        else:
            header = b"\x81\x7f" + length.to_bytes(8, "big")
        if length < COMMON_LENGTH:  # batches are of any length: to keep them all would take megabytes
            self[length] = header
        return header


_HEADERS = _Headers()


# v1


def encode_v1(envelope: Envelope) -> bytes:
    """Return the v1 text of a message."""
    return _v1_head(envelope.channel) + envelope.data + b"}"


def encode_v1_frames(channels: Sequence[str], data: Sequence[bytes], *, but: Iterable[str] = ()) -> bytes:
    """Return the text frames of messages, one each, in one piece; equal to joining `text_frame(encode_v1(…))`.

    Args:
        channels: Where each was published.
        data: Data of each.
        but: Channels that are left out.
    """
    heads = {channel: (head := _v1_head(channel), len(head) + 1) for channel in set(channels).difference(but)}
    headers, parts = _HEADERS, list[bytes]()
    for channel, one in zip(channels, data, strict=True):
        if channel in heads:
            head, around = heads[channel]
            parts += (headers[around + len(one)], head, one, b"}")
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _v1_head(channel: str) -> bytes:
    return b'{"channel":' + _quoted(channel) + b',"data":'


def encode_v1_history(envelopes: Iterable[Envelope], *, max_bytes: int) -> bytes | None:
    """Return the v1 history of messages, oldest first, or None if there are none.

    The oldest are left out where the text would pass `max_bytes`: clients close on a message over their limit.
    """
    texts: list[bytes] = []
    room = max_bytes - 64
    for envelope in reversed(list(envelopes)):
        text = encode_v1(envelope)
        room -= len(text) + 1
        if room < 0:
            break
        texts.append(text)
    if not texts:
        return None
    return b'{"channel":"' + HISTORY_CHANNEL.encode() + b'","data":[' + b",".join(reversed(texts)) + b"]}"


# v2, from the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The server's opening.

    Attributes:
        version: Version of the relay.
        epoch: Identity of the numbering.
        oldest: Oldest offset that can be had.
        head: Newest offset given.
        channels: Channels relayed.
        snapshot: The state now, as `activity.Snapshot.as_dict` gives it.
        limits: Bounds in force, by name: `max_frame_bytes`, `messages_per_second`,
            `heartbeat_seconds`, `batch_bytes`.
        time: The relay's clock, Unix seconds.
    """

    version: str
    epoch: str
    oldest: int
    head: int
    channels: list[str]
    snapshot: dict[str, Any]
    limits: dict[str, float]
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """The answer to `subscribe`.

    Attributes:
        cursor: Delivery starts with the entry after it.
        recovered: Whether all that followed the client's cursor will be delivered; None if it gave no cursor.
        reason: Why not: `epoch` (another numbering), `trimmed` (no longer kept) or `future` (never given); else None.
    """

    cursor: Cursor
    recovered: bool | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in ascending order of offset.

    Attributes:
        envelopes: Pairs of an envelope, its data left empty, and the decoded data.
    """

    envelopes: list[tuple[Envelope, Any]]


@dataclass(frozen=True, slots=True)
class Position:
    """All entries up to `offset` were delivered or filtered out."""

    offset: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to `ping`: the relay's clock, Unix seconds."""

    time: float


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """What the client did wrong."""

    message: str


ServerFrame = Hello | Subscribed | Batch | Gap | Position | Pong | ErrorFrame


def encode_v2(frame: ServerFrame | Sequence[Envelope]) -> bytes:
    """Return the v2 text of a frame; a sequence of envelopes becomes a `batch` with their data spliced in unread."""
    match frame:
        case Hello():
            return _dump("hello", {name: getattr(frame, name) for name in Hello.__slots__})
        case Subscribed():
            return _dump(
                "subscribed", {"recovered": frame.recovered, "reason": frame.reason, "cursor": str(frame.cursor)}
            )
        case Gap():
            return _dump("gap", frame.as_dict())
        case Position():
            return b'{"type":"position","offset":%d}' % frame.offset
        case Pong():
            return _dump("pong", {"time": frame.time})
        case ErrorFrame():
            return _dump("error", {"message": frame.message})
        case Batch():
            raise TypeError("a server sends envelopes, not a decoded batch")
        case envelopes:
            return _batch(encode_entries(envelopes))


def encode_entries(entries: Iterable[Entry]) -> list[bytes]:
    """Return the v2 text of each entry: of an envelope, the object that stands in a `batch`; of a gap, the whole frame."""
    texts: list[bytes] = []
    time, name, middle = -1.0, "", b""
    for entry in entries:
        if isinstance(entry, Gap):
            texts.append(encode_v2(entry))
            continue
        offset, received_at, channel, data, mark = entry
        if received_at != time or channel != name:  # what was read at one time is mostly of one channel
            time, name = received_at, channel
            middle = b',"received_at":%.6f,"channel":%b,"data":' % (time, _quoted(name))
        if mark is None:
            texts.append(b'{"offset":%d%b%b}' % (offset, middle, data))
        else:
            texts.append(b'{"offset":%d%b%b,"mark":"%b"}' % (offset, middle, data, mark.encode()))
    return texts


def join_frames(entries: Iterable[Entry], texts: Iterable[bytes], *, max_bytes: int) -> bytes:
    """Return the text frames for entries, in one piece: each gap alone, the others in batches of about `max_bytes`.

    Args:
        entries: In the order of the log.
        texts: Text of each, as `encode_entries` gives it.
        max_bytes: Most bytes in one batch, unless one entry alone is larger.
    """
    frames: list[bytes] = []
    run: list[bytes] = []
    size = 0
    for entry, text in zip(entries, texts, strict=True):
        is_gap = isinstance(entry, Gap)
        if run and (is_gap or size + len(text) > max_bytes):
            frames.append(text_frame(_batch(run)))
            run, size = [], 0
        if is_gap:
            frames.append(text_frame(text))
        else:
            run.append(text)
            size += len(text)
    if run:
        frames.append(text_frame(_batch(run)))
    return b"".join(frames)


def _batch(texts: Iterable[bytes]) -> bytes:
    return b'{"type":"batch","envelopes":[' + b",".join(texts) + b"]}"


# v2, from the client


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """What a client wants; may be sent again to change it.

    At most one of `cursor`, `tail` and `time` is given: on the wire `"since": {"cursor": "epoch:offset"}`,
    `{"tail": 500}` or `{"time": 1795384606.4}`. None of them: from now on, which is `"since": "now"`.

    Attributes:
        cursor: Continue after this entry.
        tail: Start with the newest so many messages of the channels wanted; the relay's own are not counted.
        time: Start with the first message received at or after this time, Unix seconds.
        filter: What of it.
    """

    cursor: Cursor | None = None
    tail: int | None = None
    time: float | None = None
    filter: Filter = field(default_factory=Filter)


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a `pong`."""


ClientFrame = Subscribe | Ping


def encode_from_client(frame: ClientFrame) -> bytes:
    """Return the v2 text of a client's frame."""
    match frame:
        case Ping():
            return b'{"type":"ping"}'
        case Subscribe():
            since: Any = "now"
            if frame.cursor is not None:
                since = {"cursor": str(frame.cursor)}
            elif frame.tail is not None:
                since = {"tail": frame.tail}
            elif frame.time is not None:
                since = {"time": frame.time}
            return _dump("subscribe", {"since": since, **frame.filter.as_dict()})


def parse_from_client(text: str | bytes) -> ClientFrame:
    """Read a client's frame.

    Raises:
        FrameError: It is not JSON, of an unknown type, or a field is unknown, of the wrong type or out of range.
    """
    frame = values = _load(text)
    match frame:
        case {"type": "ping"}:
            return Ping()
        case {"type": "subscribe"}:
            if unknown := set(values) - {"type", "since", "channels", "filter"}:
                raise FrameError(f"subscribe has no field {sorted(unknown)[0][:40]!r}")
            accepted = Filter.from_dict(values.get("channels"), values.get("filter"))
            match values.get("since"):
                case None | "now":
                    return Subscribe(filter=accepted)
                case {"cursor": str(cursor), **other} if not other:
                    return Subscribe(cursor=Cursor.parse(cursor), filter=accepted)
                case {"tail": int(tail), **other} if not other and type(tail) is int and 0 <= tail <= MAX_TAIL:
                    return Subscribe(tail=tail, filter=accepted)
                case {"time": int() | float() as time, **other} if not other and type(time) is not bool:
                    return Subscribe(time=float(time), filter=accepted)
                case _:
                    raise FrameError(
                        f'since is "now", {{"cursor": "epoch:offset"}}, {{"tail": 0 to {MAX_TAIL}}} or {{"time": seconds}}'
                    )
        case {"type": str(kind)}:
            raise FrameError(f"a client sends subscribe and ping, not {kind[:40]!r}")
        case _:
            raise FrameError("a frame is an object with a type")


def parse_from_server(text: str | bytes) -> ServerFrame | None:
    """Read a server's frame; None for a type this version does not know, which a newer relay may send.

    Raises:
        FrameError: It is not JSON, or a field of a known type is missing or of the wrong type.
    """
    frame = values = _load(text)
    try:
        match frame:
            case {"type": "batch"}:
                return Batch([_parse_envelope(item) for item in _field(values, "envelopes", list)])
            case {"type": "position"}:
                return Position(_field(values, "offset", int))
            case {"type": "gap"}:
                fields = {name: _field(values, name, *types) for name, types in _GAP_TYPES.items()}
                return Gap(**fields | {"cause": GapCause(fields["cause"])})
            case {"type": "hello"}:
                hello = Hello(**{name: _field(values, name, *types) for name, types in _HELLO_TYPES.items()})
                if not all(type(channel) is str for channel in hello.channels):
                    raise TypeError("channels")
                return hello
            case {"type": "subscribed"}:
                values = {"recovered": None, "reason": None} | values
                return Subscribed(
                    cursor=Cursor.parse(_field(values, "cursor", str)),
                    recovered=_field(values, "recovered", bool, NoneType),
                    reason=_field(values, "reason", str, NoneType),
                )
            case {"type": "pong"}:
                return Pong(float(_field(values, "time", float, int)))
            case {"type": "error"}:
                return ErrorFrame(_field(values, "message", str))
            case {"type": str()}:
                return None
            case _:
                raise FrameError("a frame is an object with a type")
    except (KeyError, TypeError, ValueError) as error:
        raise FrameError(f"a field of {frame['type']} is missing or of the wrong type: {error}") from error


def _parse_envelope(item: Any) -> tuple[Envelope, Any]:
    if type(item) is not dict:
        raise TypeError("envelopes")
    offset, received_at, channel, mark = item["offset"], item["received_at"], item["channel"], item.get("mark")
    if type(offset) is not int or type(received_at) not in (float, int) or type(channel) is not str:
        raise TypeError("envelopes")
    return Envelope(offset, received_at, channel, b"", None if mark is None else Mark(mark)), item["data"]


_HELLO_TYPES: dict[str, tuple[type, ...]] = {
    "version": (str,),
    "epoch": (str,),
    "oldest": (int,),
    "head": (int,),
    "channels": (list,),
    "snapshot": (dict,),
    "limits": (dict,),
    "time": (float, int),
}
_GAP_TYPES: dict[str, tuple[type, ...]] = {
    "offset": (int, NoneType),
    "cause": (str,),
    "started_at": (float, int),
    "ended_at": (float, int),
    "first_offset": (int, NoneType),
    "last_offset": (int, NoneType),
    "detail": (str,),
}


def _field(values: dict[str, Any], name: str, *types: type) -> Any:
    value = values[name]
    if type(value) not in types:  # exactly: a bool is no offset
        raise TypeError(name)
    return value


def _load(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"a frame is JSON: {error}") from error


def _dump(kind: str, fields: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, **fields})


@lru_cache(maxsize=1024)
def _quoted(channel: str) -> bytes:
    return orjson.dumps(channel)
