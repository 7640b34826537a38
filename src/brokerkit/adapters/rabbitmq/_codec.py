"""Decodes and encodes the frames of messages quickly.

The client library can read and write any frame, one field at a time. These functions give the same for what nearly every
message consists of, in about a quarter of the time, and leave the rest to it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

import pamqp.frame
from pamqp import constants
from pamqp.commands import Basic
from pamqp.header import ContentHeader

DELIVER: Final = struct.pack(">I", Basic.Deliver.index)
"""How the payload of a Basic.Deliver begins."""

_TAG: Final = struct.Struct(">qB")
_FRAME: Final = struct.Struct(">BHI")
_HEADER: Final = struct.Struct(">HHQH")
_SIZE: Final = struct.Struct(">I")
_LONG: Final = struct.Struct(">q")
_SECONDS: Final = struct.Struct(">Q")
_LONGEST_NAME: Final = 128
_MORE_FLAGS: Final = 0b11
_LAST_SECOND: Final = 0xFFFFFFFF
_TEXT, _NUMBER, _BYTES = b"Slx"


def decode_deliver(payload: bytes) -> Basic.Deliver | None:
    """Decode the payload of a Basic.Deliver, or return None if it is not a usual one."""
    try:
        tag = 5 + payload[4]
        exchange = tag + _TAG.size
        key = exchange + 1 + payload[exchange]
        end = key + 1 + payload[key]
        if end > len(payload):
            return None
        frame = Basic.Deliver.__new__(Basic.Deliver)  # its __init__ checks the name of the exchange, for a publisher
        frame.consumer_tag = payload[5:tag].decode()
        frame.delivery_tag, bits = _TAG.unpack_from(payload, tag)
        frame.redelivered = bool(bits & 1)
        frame.exchange = payload[exchange + 1 : key].decode()
        frame.routing_key = payload[key + 1 : end].decode()
    except (IndexError, UnicodeDecodeError, struct.error):
        return None
    return frame


def decode_header(payload: bytes) -> ContentHeader | None:
    """Decode the payload of a content header, or return None if it is not a usual one."""
    header = ContentHeader.__new__(ContentHeader)
    properties = header.properties = Basic.Properties()
    try:
        header.class_id, header.weight, header.body_size, flags = _HEADER.unpack_from(payload)
        if flags & _MORE_FLAGS:
            return None
        at = _HEADER.size
        for name, kind in _properties(flags):
            value: Any
            if kind == "shortstr":
                begin = at + 1
                at = begin + payload[at]
                value = payload[begin:at].decode()
            elif kind == "table":
                begin = at + _SIZE.size
                at = begin + _SIZE.unpack_from(payload, at)[0]
                if at > len(payload) or (value := _table(payload, begin, at)) is None:
                    return None
            elif kind == "octet":
                value = payload[at]
                at += 1
            else:
                value = _time(_SECONDS.unpack_from(payload, at)[0])
                at += _SECONDS.size
            setattr(properties, name, value)
    except (IndexError, UnicodeDecodeError, struct.error, OverflowError, ValueError):
        return None
    return header if at <= len(payload) else None


@lru_cache(maxsize=64)
def _properties(flags: int) -> tuple[tuple[str, str], ...]:
    """The names and types of the properties of a message, in their order."""
    kinds = Basic.Properties
    return tuple((name, kinds.amqp_type(name)) for name in kinds.attributes() if flags & kinds.flags[name])


@lru_cache(maxsize=8)
def _time(seconds: int) -> datetime:
    """Messages that come together were often sent in the same second."""
    if seconds > _LAST_SECOND:
        raise ValueError("the client library takes it for milliseconds")
    return datetime.fromtimestamp(seconds, tz=UTC)


def _table(payload: bytes, at: int, end: int) -> dict[str, Any] | None:
    """Decode a table of texts, whole numbers and bytes, or return None if it has anything else."""
    table: dict[str, Any] = {}
    while at < end:
        begin = at + 1 + payload[at]
        kind = payload[begin]
        name = payload[at + 1 : begin].decode()
        if kind == _NUMBER:
            at = begin + 1 + _LONG.size
            table[name] = _LONG.unpack_from(payload, begin + 1)[0]
        elif kind in (_TEXT, _BYTES):
            at = begin + 5 + _SIZE.unpack_from(payload, begin + 1)[0]
            raw = payload[begin + 5 : at]
            table[name] = raw.decode() if kind == _TEXT else bytearray(raw)
        else:
            return None
    return table if at == end else None


@lru_cache(maxsize=1024)
def encode_publish(channel: int, exchange: str, routing_key: str) -> bytes:
    """Encode the frame of a mandatory Basic.Publish.

    Raises:
        ValueError: AMQP has no such name of an exchange.
        TypeError: a name is too long.
    """
    return pamqp.frame.marshal(Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True), channel)


def encode_header(channel: int, properties: Basic.Properties, size: int) -> bytes:
    """Encode the frame of a content header.

    Args:
        channel: its number.
        properties: of the message.
        size: of the body, in bytes.

    Raises:
        ValueError, TypeError: AMQP cannot carry a property.
    """
    flags, parts = 0, [b""]
    for name, flag, encode in _ENCODERS:
        value = getattr(properties, name)
        if value is None or value == "":
            continue
        part = encode(value)
        if part is None:
            return pamqp.frame.marshal(ContentHeader(properties=properties, body_size=size), channel)
        flags |= flag
        parts.append(part)
    parts[0] = _HEADER.pack(Basic.frame_id, 0, size, flags)
    payload = b"".join(parts)
    return _FRAME.pack(constants.FRAME_HEADER, channel, len(payload)) + payload + constants.FRAME_END_CHAR


def encode_body(channel: int, body: bytes, limit: int) -> list[bytes]:
    """Encode the frames of a body, of at most ``limit`` bytes each, or in one if it is 0 or less."""
    step = limit if limit > 0 else len(body)
    cut = [body] if 0 < len(body) <= step else [body[at : at + step] for at in range(0, len(body), step or 1)]
    parts: list[bytes] = []
    for part in cut:
        parts += _FRAME.pack(constants.FRAME_BODY, channel, len(part)), part, constants.FRAME_END_CHAR
    return parts


def _encode_short(value: object) -> bytes | None:
    if type(value) is not str:
        return None
    raw = value.encode()
    return bytes((len(raw),)) + raw if len(raw) < 256 else None


def _encode_octet(value: object) -> bytes | None:
    return bytes((value,)) if type(value) is int and 0 <= value < 256 else None


def _encode_time(value: object) -> bytes | None:
    if type(value) is not datetime or value.tzinfo is not UTC:
        return None
    seconds = int(value.timestamp())
    return _SECONDS.pack(seconds) if seconds >= 0 else None


def _encode_table(value: object) -> bytes | None:
    """Encode a table of texts and bytes, in the order of their names as the client library does."""
    if type(value) is not dict:
        return None
    parts = [b""]
    table = cast("dict[str, object]", value)
    for name in sorted(table):
        raw, item = name.encode(), table[name]
        if len(raw) > _LONGEST_NAME:
            return None
        if type(item) is str:
            content = item.encode()
            kind = b"S"
        elif type(item) is bytearray:
            content = bytes(item)
            kind = b"x"
        else:
            return None
        parts += bytes((len(raw),)), raw, kind, _SIZE.pack(len(content)), content
    content = b"".join(parts)
    return _SIZE.pack(len(content)) + content


_BY_KIND: Final[dict[str, Callable[[object], bytes | None]]] = {
    "shortstr": _encode_short,
    "octet": _encode_octet,
    "timestamp": _encode_time,
    "table": _encode_table,
}
_ENCODERS: Final = tuple(
    (name, Basic.Properties.flags[name], _BY_KIND[Basic.Properties.amqp_type(name)])
    for name in Basic.Properties.attributes()
)
