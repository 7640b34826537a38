"""What messages and names look like on RabbitMQ: pure functions, without a connection.

AMQP has places of its own for id, type, content type and time; the key, the null flag and what does not fit travel in
headers that begin with ``bk-``.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from pamqp.commands import Basic

from brokerkit._derived import RABBITMQ, derived_name
from brokerkit._errors import InvalidMessage
from brokerkit._message import (
    CONTENT_TYPE,
    CORRELATION,
    ID_HEADER,
    KEY_HEADER,
    NULL_HEADER,
    Delivery,
    Outgoing,
    header_text,
    strict_json,
)
from brokerkit.adapters._delays import LEVELS, label

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

ROUTING_KEY_HEADER: Final = "bk-routing-key"
"""The original routing key of a message that lies in a queue under the queue's own name."""

LONG_HEADERS: Final = "bk-headers"
"""JSON object of the headers whose names are too long for a table; a list around a value means base64."""

SHORT_STRING: Final = 255
"""Bytes of UTF-8 in routing keys, exchange and queue names and properties (AMQP 0-9-1, 4.2.5.3)."""

HEADER_NAME: Final = 128
"""Bytes of UTF-8 in the name of a header (AMQP 0-9-1, 4.2.5.5: 128 characters). The client cuts longer ones."""

PERSISTENT: Final = 2

# What the broker writes itself: it differs between two deliveries of one message, and copies must not carry it on.
_BROKER_HEADERS: Final = frozenset(
    {
        "x-acquired-count",
        "x-death",
        "x-delivery-count",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)

# Groups whose plain queue name could be read as something else of ours.
_RESERVED_GROUPS: Final = frozenset({"dlq", "retry", "queue", *map(label, LEVELS)})


@dataclass(frozen=True, slots=True)
class Letter:
    """A message with its address, ready to be published."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties


def letter(message: Outgoing, now: datetime) -> Letter:
    """Address a message: to its exchange, or straight to the queue of that name where it is ``stored``.

    Raises:
        InvalidMessage: a header, a name or the id cannot be put on the wire.
    """
    key = message.name if message.routing_key is None else message.routing_key
    if message.stored:
        return Letter("", _short(message.topic, "the queue name"), message.body or b"", _properties(message, now, key))
    return Letter(
        _short(message.topic, "the exchange name"),
        _short(key, "the routing key"),
        message.body or b"",
        _properties(message, now, None),
    )


def retry_letter(copy: Outgoing, original: Delivery, queue: str) -> Letter:
    """Address the copy of a delivery to a delay queue; what only AMQP knows about the original goes with it.

    Raises:
        InvalidMessage: as for `letter`.
    """
    key = original.routing_key if copy.routing_key is None else copy.routing_key
    old: Basic.Properties = original.native.header.properties
    properties = _properties(copy, old.timestamp or datetime.now(UTC), key)
    properties.message_type = properties.message_type or old.message_type
    properties.content_type = properties.content_type or old.content_type
    properties.content_encoding = old.content_encoding
    properties.correlation_id = old.correlation_id or properties.correlation_id
    properties.reply_to = old.reply_to
    properties.app_id = old.app_id
    properties.priority = old.priority
    return Letter("", queue, copy.body or b"", properties)


def _properties(message: Outgoing, now: datetime, routing_key: str | None) -> Basic.Properties:
    """The properties; ``routing_key`` is kept in a header where the message goes to a queue by its name."""
    table: dict[str, Any] = {}
    long: dict[str, str | list[str]] = {}
    headers = cast("dict[Any, Any]", message.headers)  # a publisher's mistake shows here first
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, (str, bytes)):
            raise InvalidMessage(
                f"header {name!r} of {message.name} is {type(value).__name__}; names are text, values text or bytes"
            )
        # A character has at most four bytes.
        if len(name) > HEADER_NAME // 4 and len(_utf8(name, "a header name")) > HEADER_NAME:
            if isinstance(value, bytes):
                long[name] = [b64encode(value).decode()]
            else:
                _utf8(value, "a header value")  # JSON would let a lone surrogate pass
                long[name] = value
        else:
            table[name] = bytearray(value) if isinstance(value, bytes) else value
    # A message that is sent on may still carry what a queue or another broker needed.
    table.pop(ROUTING_KEY_HEADER, None)
    if long:
        table[LONG_HEADERS] = json.dumps(long)
    if message.key is not None:
        table[KEY_HEADER] = bytearray(message.key) if isinstance(message.key, bytes) else message.key
    if message.body is None:
        table[NULL_HEADER] = "1"
    if routing_key is not None:
        table[ROUTING_KEY_HEADER] = routing_key
    identifier: str | None = message.id
    if len(_utf8(message.id, "the id")) > SHORT_STRING:
        table[ID_HEADER] = message.id
        identifier = None
    # Others look for it in the property. It stays a header too: a property holds less, and no bytes.
    correlation = header_text(headers, CORRELATION)
    if correlation is not None and len(_utf8(correlation, "a header value")) > SHORT_STRING:
        correlation = None
    return Basic.Properties(
        content_type=None if message.content_type is None else _short(message.content_type, "the content type"),
        headers=table,
        delivery_mode=PERSISTENT,
        message_id=identifier,
        correlation_id=correlation,
        timestamp=now,
        message_type=None if message.type is None else _short(message.type, "the type"),
    )


def delivery(message: DeliveredMessage, topic: str) -> Delivery:
    """Take a message from the client library apart."""
    frame = cast("Basic.Deliver", message.delivery)
    properties = message.header.properties
    table = properties.headers or {}
    headers: dict[str, str | bytes] = {
        name: value if type(value) is str else _value(value)
        for name, value in table.items()
        if name not in _BROKER_HEADERS
    }
    if LONG_HEADERS in headers:
        _add_long_headers(headers)
    if properties.content_type is not None:
        headers[CONTENT_TYPE] = properties.content_type
    if properties.correlation_id:
        headers.setdefault(CORRELATION, properties.correlation_id)
    deliveries = table.get("x-delivery-count")
    if isinstance(deliveries, int):
        count = deliveries + 1
    else:
        # Quorum queues write no count on a first delivery; classic queues never count, they only flag redeliveries.
        count = 0 if frame.redelivered else 1
    identifier = headers.get(ID_HEADER, properties.message_id)
    routing_key = headers.get(ROUTING_KEY_HEADER, frame.routing_key)
    return Delivery(
        body=None if NULL_HEADER in headers and not message.body else message.body,
        topic=topic,
        key=headers.get(KEY_HEADER),
        headers=headers,
        id=identifier if isinstance(identifier, str) else None,
        position=None,
        time=properties.timestamp.timestamp() if properties.timestamp else None,
        count=count,
        native=message,
        token=frame.delivery_tag,
        routing_key=routing_key if isinstance(routing_key, str) else frame.routing_key,
        type=properties.message_type,
    )


def _add_long_headers(headers: dict[str, str | bytes]) -> None:
    """Put the headers with long names back to the others; what is not ours is left as it is."""
    try:
        packed = headers[LONG_HEADERS]
        long: dict[str, Any] = strict_json(packed if isinstance(packed, str) else packed.decode())
        found = {name: value if isinstance(value, str) else b64decode(value[0]) for name, value in long.items()}
    except (ValueError, AttributeError, LookupError, TypeError):
        return
    headers.update(found)
    del headers[LONG_HEADERS]


def _value(value: object) -> str | bytes:
    """A header value of any AMQP type: scalars become text, tables and arrays JSON text."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=_json, ensure_ascii=False)
    return _scalar(value)


def _scalar(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _json(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return value.decode(errors="backslashreplace")
    return _scalar(value)


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"{what} {text!r} is not valid Unicode: {error.reason}") from error


def _short(text: str, what: str) -> str:
    if len(text) > SHORT_STRING // 4:
        size = len(_utf8(text, what))
        if size > SHORT_STRING:
            raise InvalidMessage(f"{what} {text[:40]!r}... has {size} bytes; AMQP holds {SHORT_STRING}")
    return text


def queue_name(topic: str, group: str) -> str:
    """The queue of a group: ``topic.group``, or a longer name where that one could mean something else."""
    full = derived_name(topic, group, "queue", RABBITMQ)
    plain = f"{topic}.{group}"
    return _allowed(plain if full == f"{plain}.queue" and group not in _RESERVED_GROUPS else full)


def role_name(topic: str, group: str | None, role: str) -> str:
    """See `Adapter.derived`."""
    return _allowed(derived_name(topic, group, role, RABBITMQ))


def _allowed(name: str) -> str:
    """Names that begin with ``amq.`` belong to the broker, which refuses to declare them (``amq.topic`` is a topic)."""
    if not name.startswith("amq."):
        return name
    return f"bk-{name}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def split_prefix(unsettled: Iterable[int], done: AbstractSet[int]) -> tuple[int, list[int]]:
    """Find what one acknowledgement with ``multiple`` can cover, which takes every unsettled tag up to it.

    Args:
        unsettled: all tags of the channel that the broker waits for, ascending.
        done: those that are to be acknowledged, all of them unsettled.

    Returns:
        The last tag of the unbroken run of done ones at the beginning (0 for none), and the other done tags, ascending.
    """
    last = 0
    for tag in unsettled:
        if tag not in done:
            break
        last = tag
    return last, sorted(tag for tag in done if tag > last)
