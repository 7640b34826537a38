"""Reads AMQP frames, including those with a value that the client library cannot decode.

At such a frame aiormq ends the whole connection, and the broker sends the same message again on the next one. Here the
message arrives with everything that can be read, and says what cannot. aiormq has no hook for that. `TolerantConnection`
replaces the reader of our own connections; connections of other users of the library stay as they are.
"""

from __future__ import annotations

import asyncio
import re
import struct
from asyncio import StreamReader
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, cast

import aio_pika
import aiormq
import pamqp.frame
from aio_pika.abc import TimeoutType, UnderlayConnection
from aiormq.channel import Channel
from aiormq.connection import FrameReceiver, ReceivedFrame
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp import constants, decode
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import INDEX_MAPPING, Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat
from yarl import URL

from brokerkit.adapters.api import get_logger
from brokerkit.adapters.rabbitmq._codec import DELIVER, decode_deliver, decode_header
from brokerkit.adapters.rabbitmq._deliveries import Arrived, Deliveries

logger = get_logger(__name__)

RAW_HEADER: Final = "amqp-raw-header"
"""Header of a delivery whose content header frame could not be decoded as a whole: the payload of that frame."""

RAW_METHOD: Final = "amqp-raw-method"
"""The same for the method frame, which holds exchange and routing key."""

_READER: Final = "_Connection__reader"
"""The private method of aiormq that reads the frames of one connection (7.2.4)."""

_READ: Final = 256 * 1024
"""Bytes that are read at once at most, as many as asyncio keeps."""

_HEAD: Final = struct.Struct(">BHI")
_CONTENT: Final = struct.Struct(">HHQ")
_DEEPEST: Final = 32
_SIZES: Final = {b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"L": 8, b"f": 4, b"d": 8}
_SIZES.update({b"D": 5, b"T": 8, b"V": 0, b"\0": 0})
_WITH_LENGTH: Final = (b"S", b"x", b"A", b"F")
_UNREADABLE: Final = object()
_LAST_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z. A larger time is no number of seconds that a date could have."""
_EARLY: Final = datetime.fromtimestamp(_LAST_SECOND / 1000, UTC)
# A field of a table with a time from 2106 to 9999, in seconds as AMQP has it. What only looks like one does no harm: the
# header is then read twice.
_LATE: Final = re.compile(rb"T\0\0\0[\x01-\x3a]")
_CARRIES_CONTENT: Final = (Basic.Deliver, Basic.GetOk, Basic.Return)


class DamagedHeader(ContentHeader):
    """The header of a message that could not be decoded as a whole.

    Attributes:
        problem: what could not be decoded, as text for people.
        raw: the payloads of the damaged frames, by the name of the delivery's header that keeps them.
    """

    def __init__(self, header: ContentHeader, problem: str, raw: dict[str, bytes]) -> None:
        super().__init__(header.weight, header.body_size, header.properties)
        self.class_id = header.class_id
        self.problem = problem
        self.raw = raw


class TolerantConnection(aio_pika.Connection):
    """A connection of aio-pika that survives frames that the client library cannot decode."""

    async def connect(self, timeout: TimeoutType = None) -> None:
        """See `aio_pika.Connection.connect`."""
        closed = cast("Any", self._on_connection_close)  # pyright: ignore[reportUnknownMemberType]
        self.transport = await _Underlay.connect(self.url, closed, timeout=timeout, **self.kwargs)
        await self._on_connected()


class _Underlay(UnderlayConnection):
    @classmethod
    async def make_connection(
        cls, url: URL, timeout: TimeoutType = None, **kwargs: Any
    ) -> aiormq.abc.AbstractConnection:
        connection = _Connection(url, **kwargs)
        connecting = cast("Any", connection.connect())  # pyright: ignore[reportUnknownMemberType]
        await asyncio.wait_for(connecting, timeout=timeout)
        await connection.ready()
        return connection


class _Connection(aiormq.Connection):
    deliveries: Deliveries | None = None

    async def _Connection__reader(self, frames: FrameReceiver) -> None:  # noqa: N802 (the name that the base class calls)
        tolerant = TolerantFrames(frames.reader)
        self.deliveries = tolerant.deliveries
        await getattr(super(), _READER)(tolerant)


async def consume(
    channel: Channel, queue: str, arrived: Arrived, *, consumer_tag: str, arguments: dict[str, Any], timeout: float
) -> None:
    """Begin to consume, on a connection of ours. A message is handed over at once where aiormq reads as we know it.

    Args:
        channel: where the tag has not been used before.
        queue: to be read.
        arrived: is called with each message. It must neither raise nor take long.
        consumer_tag: of the consumer.
        arguments: of the consumer.
        timeout: seconds for the broker's answer.
    """
    connection = channel.connection
    if isinstance(connection, _Connection) and connection.deliveries is not None:
        connection.deliveries.add(channel, consumer_tag, arrived)
    await channel.basic_consume(
        queue, cast("Any", arrived), arguments=arguments, consumer_tag=consumer_tag, timeout=timeout
    )


if not hasattr(aiormq.Connection, _READER):
    logger.warning(
        "aiormq %s reads frames in a way that brokerkit does not know: an undecodable message ends the connection",
        aiormq.connection.__version__,
    )


class TolerantFrames(FrameReceiver):
    """The frames of one connection, in order. The client library does not see the deliveries to `consume`.

    Raises:
        AMQPConnectionError: the connection broke.
        InvalidFrameError: the bytes are not AMQP.
    """

    def __init__(self, reader: StreamReader) -> None:
        super().__init__(reader)
        self.deliveries = Deliveries()
        # What has been read; the next frame begins at `_at`.
        self._data: bytes = b""
        self._at = 0
        # By channel: problem and payload of a damaged method frame whose content header comes next.
        self._damaged: dict[int, tuple[str, bytes]] = {}

    async def get_frame(self) -> ReceivedFrame:
        """Read the next frame for the client library. Return the number of bytes, the channel and the frame."""
        take, taken = self.deliveries.take, False
        while True:
            if (received := self._next()) is None:
                if taken:
                    # aiormq takes a connection for dead from which no frame comes.
                    return 8, 0, Heartbeat()
                await self._read()
            elif take(received[1], received[2]):
                taken = True
            else:
                return received

    async def _read(self) -> None:
        """Read what has come, at least one byte."""
        if self._at == len(self._data) and self.reader.at_eof():
            raise StopAsyncIteration
        try:
            more: bytes = await self.reader.read(_READ)
        except OSError as error:
            raise AMQPConnectionError(f"the connection broke: {error!r}") from error
        if not more:
            raise AMQPConnectionError("the broker closed the connection")
        self._data, self._at = self._data[self._at :] + more, 0

    def _next(self) -> ReceivedFrame | None:
        """The next frame, or None if not all of it was read."""
        data, at = self._data, self._at
        begin = at + _HEAD.size
        if len(data) < begin:
            return None
        kind, channel, size = _HEAD.unpack_from(data, at)
        end = begin + size
        if len(data) <= end:
            return None
        self._at = end + 1
        if data[end] == constants.FRAME_END:
            payload = data[begin:end]
            if kind == constants.FRAME_BODY and payload:
                return end + 1 - at, channel, ContentBody(payload)
            usual: Basic.Deliver | ContentHeader | None = None
            if kind == constants.FRAME_HEADER and not self._damaged:
                usual = decode_header(payload)
            elif kind == constants.FRAME_METHOD and payload.startswith(DELIVER):
                usual = decode_deliver(payload)
            if usual is not None:
                return end + 1 - at, channel, usual
        return self._decode(kind, channel, data[at : end + 1])

    def _decode(self, kind: int, channel: int, raw: bytes) -> ReceivedFrame:
        rest = raw[_HEAD.size :]
        try:
            received = pamqp.frame.unmarshal(raw)
        except Exception as error:  # noqa: BLE001 (a decoder may raise anything, OverflowError and RecursionError included)
            return len(raw), channel, self._salvage(kind, channel, rest, error)
        if kind == constants.FRAME_HEADER and _may_be_late(cast("ContentHeader", received[2]), rest):
            header, problem = salvage_header(rest[:-1])
            received = received if problem else (received[0], channel, header)
        if self._damaged and kind == constants.FRAME_HEADER and channel in self._damaged:
            problem, method = self._damaged.pop(channel)
            header = DamagedHeader(
                cast("ContentHeader", received[2]), problem, {RAW_METHOD: method, RAW_HEADER: rest[:-1]}
            )
            return received[0], channel, header
        return received

    def _salvage(self, kind: int, channel: int, rest: bytes, error: Exception) -> Frame | ContentHeader:
        payload = rest[:-1]
        try:
            if rest[-1] == constants.FRAME_END and kind == constants.FRAME_HEADER:
                header, problem = salvage_header(payload)
                raw = {RAW_HEADER: payload}
                if channel in self._damaged:
                    earlier, raw[RAW_METHOD] = self._damaged.pop(channel)
                    problem = f"{earlier}; {problem}"
                return DamagedHeader(header, problem or str(error), raw)
            if rest[-1] == constants.FRAME_END and kind == constants.FRAME_METHOD:
                method, problem = salvage_method(payload)
                if isinstance(method, _CARRIES_CONTENT):
                    self._damaged[channel] = problem or str(error), payload
                return method
        except (ValueError, KeyError, IndexError, struct.error):
            pass
        raise InvalidFrameError(f"{type(error).__name__}: {error}") from error


def _may_be_late(header: ContentHeader, payload: bytes) -> bool:
    """Whether a time may be one that pamqp takes for milliseconds, and so for the seventies: every one after 2106-02-07."""
    sent = header.properties.timestamp
    return (sent is not None and sent <= _EARLY) or _LATE.search(payload) is not None


def _read_time(data: bytes) -> tuple[int, datetime]:
    """Decode a time. AMQP counts seconds; only what cannot be seconds is read as milliseconds, which many producers write.

    Raises:
        ValueError: it is no time that Python has.
    """
    seconds = int.from_bytes(data[:8], "big")
    return decode.timestamp(data) if seconds > _LAST_SECOND else (8, datetime.fromtimestamp(seconds, UTC))


_DECODERS: Final[dict[bytes, Callable[[bytes], tuple[int, Any]]]] = {**decode.TABLE_MAPPING, b"T": _read_time}


def salvage_method(payload: bytes) -> tuple[Frame, str]:
    """Decode a method frame whose short strings may hold any bytes. Return it with a description of what is not UTF-8.

    Raises:
        ValueError: the frame is cut off.
        KeyError: the method does not exist.
    """
    method: Frame = INDEX_MAPPING[int.from_bytes(payload[:4], "big")]()
    problems: list[str] = []
    data, bits = payload[4:], -1
    for argument in method.attributes():
        kind = method.amqp_type(argument)
        if kind == "bit" and bits < 7:
            bits += 1
        else:
            data, bits = data[bits >= 0 :], 0 if kind == "bit" else -1
        if kind == "shortstr":
            raw = data[1 : 1 + data[0]]
            setattr(method, argument, _read_text(raw, argument, problems))
            data = data[1 + len(raw) :]
        else:
            consumed, value = decode.by_type(data, kind, max(bits, 0))
            setattr(method, argument, value)
            data = data[consumed:]
    return method, "; ".join(problems)


def salvage_header(payload: bytes) -> tuple[ContentHeader, str]:
    """Decode the readable properties of a content header. Return it with a description of the unreadable ones.

    Raises:
        ValueError: the header is too short to tell the length of the body.
    """
    if len(payload) < _CONTENT.size + 2:
        raise ValueError("a content header is cut off")
    header = ContentHeader()
    header.class_id, header.weight, header.body_size = _CONTENT.unpack_from(payload)
    flags = count = 0
    words = memoryview(payload)[_CONTENT.size :]
    while True:  # AMQP 0-9-1, 4.2.6.1: the lowest bit of a word says that another word follows
        word = int.from_bytes(words[2 * count : 2 * count + 2], "big")
        flags |= word << (16 * count)
        count += 1
        if not word & 1:
            break
    data, problems = payload[_CONTENT.size + 2 * count :], list[str]()
    for name in Basic.Properties.attributes():
        if flags & Basic.Properties.flags[name]:
            size = _PROPERTY_SIZES[Basic.Properties.amqp_type(name)](data)
            if size > len(data):
                problems.append(f"property {name} is cut off")
                break
            value = _read_property(name, data[:size], problems)
            if value is not None:
                setattr(header.properties, name, value)
            data = data[size:]
    return header, "; ".join(problems)


_PROPERTY_SIZES: Final[dict[str, Callable[[bytes], int]]] = {
    "octet": lambda data: 1,
    "shortstr": lambda data: 1 + (data[0] if data else 0),
    "table": lambda data: 4 + int.from_bytes(data[:4], "big"),
    "timestamp": lambda data: 8,
}


def _read_property(name: str, data: bytes, problems: list[str]) -> object:
    kind = Basic.Properties.amqp_type(name)
    if kind == "table":
        return _read_table(data[4:], problems, deep=0)
    if kind == "shortstr":
        return _read_text(data[1:], f"property {name}", problems)
    try:
        return _read_time(data)[1] if kind == "timestamp" else decode.by_type(data, kind)[1]
    except Exception as error:  # noqa: BLE001 (as in `get_frame`)
        problems.append(f"property {name} is {data.hex()}: {error}")
        return None


def _read_table(data: bytes, problems: list[str], *, deep: int) -> dict[str, Any]:
    """Decode the fields of a table. Leave out undecodable fields; stop at a field whose end is unknown."""
    table: dict[str, Any] = {}
    at = 0
    while at < len(data):
        begin = at + 1 + data[at]
        name = _read_text(data[at + 1 : begin], "a header name", problems)
        value, at = _read_field(data, begin, f"header {name!r}", problems, deep)
        if value is not _UNREADABLE:
            table[name] = value
    return table


def _read_array(data: bytes, problems: list[str], *, deep: int) -> list[Any]:
    values: list[Any] = []
    at = 0
    while at < len(data):
        value, at = _read_field(data, at, "an item of an array", problems, deep)
        if value is not _UNREADABLE:
            values.append(value)
    return values


def _read_field(data: bytes, at: int, what: str, problems: list[str], deep: int) -> tuple[Any, int]:
    """Decode one value with its type, or return `_UNREADABLE`. Also return where the next value begins."""
    kind = data[at : at + 1]
    begin = at + 1
    if kind in _WITH_LENGTH:
        size = 4 + int.from_bytes(data[begin : begin + 4], "big")
    elif kind in _SIZES:
        size = _SIZES[kind]
    else:
        problems.append(f"{what} has the type {kind!r}, which AMQP does not define; the rest cannot be read")
        return _UNREADABLE, len(data)
    raw = data[begin : begin + size]
    if len(raw) < size:
        problems.append(f"{what} is cut off")
        return _UNREADABLE, len(data)
    value: Any = _UNREADABLE
    if kind not in (b"A", b"F"):
        try:
            value = _DECODERS[kind](raw)[1]
        except Exception as error:  # noqa: BLE001 (as in `get_frame`)
            problems.append(f"{what} is {kind.decode()} {raw.hex()}: {error}")
    elif deep < _DEEPEST:
        value = (_read_table if kind == b"F" else _read_array)(raw[4:], problems, deep=deep + 1)
    else:
        problems.append(f"{what} is nested deeper than {_DEEPEST} levels")
    return value, begin + size


def _read_text(raw: bytes, what: str, problems: list[str]) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        problems.append(f"{what} is not UTF-8: {raw!r}")
        return raw.decode(errors="backslashreplace")
