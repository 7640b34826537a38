"""Converts messages and names to and from AMQP. The functions are pure and need no connection.

AMQP has properties for id, type, content type and time. The key, the null flag and values that do not fit travel in headers
that begin with ``bk-``.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from brokerkit.adapters.api import (
    CONTENT_TYPE,
    CORRELATION,
    DELAY_LEVELS,
    ID_HEADER,
    KEY_HEADER,
    NAMED_PROPERTIES,
    NULL_HEADER,
    PROPERTY_PREFIX,
    TIME_HEADER,
    ConfigError,
    Delivery,
    InvalidMessage,
    NameStyle,
    Outgoing,
    delay_label,
    derived_name,
    header_text,
    is_role,
    strict_json,
)
from brokerkit.adapters.rabbitmq._amqp_value import ENCODED, unwrapped
from brokerkit.adapters.rabbitmq._frames import RAW_HEADER, DamagedHeader

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

NAME_STYLE: Final = NameStyle(limit=200)
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9-_.:@#,/+ ]")
LONGEST_EXCHANGE: Final = 127
"""AMQP short strings hold 255 bytes of UTF-8; 200 leave room for a delay level."""

ROUTING_KEY_HEADER: Final = "bk-routing-key"
"""The original routing key of a message that was published to a queue by the queue's name."""

LONG_HEADERS: Final = "bk-headers"
"""JSON object with the headers that a table cannot have. A value in a list is base64."""

_ROUTING_HEADERS: Final = ("BCC", "CC")
"""RabbitMQ reads these itself: a list has more routing keys, and at anything else it closes the channel."""

SHORT_STRING: Final = 255
"""Bytes of UTF-8 in routing keys, exchange and queue names and properties (AMQP 0-9-1, 4.2.5.3)."""

HEADER_NAME: Final = 128
"""Bytes of UTF-8 in the name of a header (AMQP 0-9-1, 4.2.5.5: 128 characters). The client cuts longer ones."""

PERSISTENT: Final = 2

KEPT_PROPERTIES: Final = ("app_id", "content_encoding", "correlation_id", "priority", "reply_to")
"""Properties that a copy keeps on every broker, beside those that are attributes of `Delivery`."""

COPY_HEADERS: Final = frozenset(
    {TIME_HEADER, *(PROPERTY_PREFIX + name for name in (*KEPT_PROPERTIES, *NAMED_PROPERTIES))}
)

_RARE_HEADERS: Final = COPY_HEADERS.union(_ROUTING_HEADERS)

LATER_HEADERS: Final = tuple(f"bk-later-{level}" for level in range(20))
"""For each power of two, whether a message that is published later waits for so many seconds."""

# Headers of the broker, and those that lead through its queues. They differ between two deliveries of one message, and
# copies must not carry them.
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
        *LATER_HEADERS,
    }
)

_DELAY_LABELS: Final = frozenset(map(delay_label, DELAY_LEVELS))

# With these groups, the short queue name could be the name of another queue of ours.
_RESERVED_GROUPS: Final = frozenset({"dlq", "retry", "queue", *_DELAY_LABELS})


@dataclass(frozen=True, slots=True)
class AddressedMessage:
    """A message with exchange and routing key, ready to be published."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties


def address_message(message: Outgoing, now: datetime) -> AddressedMessage:
    """Address a message to its exchange, or straight to the queue of that name if ``is_queue`` is set.

    Raises:
        InvalidMessage: AMQP cannot carry a header, a name or the id.
    """
    key = message.name if message.routing_key is None else message.routing_key
    if message.is_queue:
        return AddressedMessage(
            "", _check_short(message.topic, "the queue name"), message.body or b"", _properties(message, now, key)
        )
    return AddressedMessage(
        _check_short(message.topic, "the exchange name"),
        _check_short(key, "the routing key"),
        message.body or b"",
        _properties(message, now, None),
    )


def address_retry(copy: Outgoing, original: Delivery, queue: str) -> AddressedMessage:
    """Address the copy of a delivery to a delay queue.

    Raises:
        InvalidMessage: as for `address_message`.
    """
    key = original.routing_key if copy.routing_key is None else copy.routing_key
    properties = _properties(copy, datetime.now(UTC), key)
    return AddressedMessage("", queue, copy.body or b"", properties)


def _properties(message: Outgoing, now: datetime, routing_key: str | None) -> Basic.Properties:
    """Build the properties. ``routing_key`` is kept in a header if the message goes to a queue by its name."""
    table: dict[str, Any] = {}
    long: dict[str, str | list[str]] = {}
    headers = cast("dict[Any, Any]", message.headers)  # A publisher's mistake is noticed here first.
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, (str, bytes)):
            raise InvalidMessage(
                f"header {name!r} of {message.name} is {type(value).__name__}; names are text, values text or bytes"
            )
        # A character has at most four bytes.
        if len(name) > HEADER_NAME // 4 and len(_encode(name, "a header name")) > HEADER_NAME:
            long[name] = _packed(value)
        else:
            table[name] = bytearray(value) if isinstance(value, bytes) else value
    # A forwarded message may still carry headers that a queue or another broker needed.
    table.pop(ROUTING_KEY_HEADER, None)
    kept: dict[str, Any] = {}
    if not _RARE_HEADERS.isdisjoint(table):
        long |= {name: _packed(headers[name]) for name in _ROUTING_HEADERS if table.pop(name, None) is not None}
        kept = _kept_properties(table)
    if long:
        table[LONG_HEADERS] = json.dumps(long)
    if message.key is not None:
        table[KEY_HEADER] = bytearray(message.key) if isinstance(message.key, bytes) else message.key
    if message.body is None:
        table[NULL_HEADER] = "1"
    if routing_key is not None:
        table[ROUTING_KEY_HEADER] = routing_key
    identifier: str | None = message.id
    if len(_encode(message.id, "the id")) > SHORT_STRING:
        table[ID_HEADER] = message.id
        identifier = None
    # Other programs look for it in the property. It stays a header too: a property is shorter and holds no bytes.
    correlation = header_text(headers, CORRELATION)
    if correlation is not None and len(_encode(correlation, "a header value")) > SHORT_STRING:
        correlation = None
    properties = Basic.Properties(
        content_type=None if message.content_type is None else _check_short(message.content_type, "the content type"),
        headers=table,
        delivery_mode=PERSISTENT,
        priority=message.priority,
        message_id=identifier,
        correlation_id=correlation,
        timestamp=now,
        message_type=None if message.type is None else _check_short(message.type, "the type"),
    )
    for name, value in kept.items():
        setattr(properties, name, value)
    if message.unordered:
        properties.timestamp = now  # Of a dead letter too large for more headers, it tells when the message failed.
    return properties


def _packed(value: str | bytes) -> str | list[str]:
    """Return a value for `LONG_HEADERS`."""
    if isinstance(value, bytes):
        return [b64encode(value).decode()]
    _encode(value, "a header value")  # JSON would accept a lone surrogate.
    return value


def _kept_properties(table: dict[str, Any]) -> dict[str, Any]:
    """Move the properties that a copy keeps out of the table of headers, and return them as properties.

    The time also stays in the table, because the property has whole seconds only. Invalid values are ignored: somebody else
    wrote them.
    """
    kept: dict[str, Any] = {}
    for name in NAMED_PROPERTIES:
        table.pop(PROPERTY_PREFIX + name, None)
    for name in KEPT_PROPERTIES:
        value = table.pop(PROPERTY_PREFIX + name, None)
        value = value.decode(errors="replace") if isinstance(value, bytearray) else value
        if name != "priority" and isinstance(value, str) and len(value.encode(errors="replace")) <= SHORT_STRING:
            kept[name] = value
        elif name == "priority" and isinstance(value, str) and value.isdecimal() and int(value) < 256:
            kept[name] = int(value)
    try:
        time = float(table.get(TIME_HEADER, b""))
        if time >= 0:  # AMQP has none before 1970.
            kept["timestamp"] = datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return kept


class RabbitDelivery(Delivery):
    """A `Delivery` that reads its rarer properties from the client's message only when they are used."""

    __slots__ = ()

    @property
    def properties(self) -> Mapping[str, str]:
        """See `Delivery.properties`. The expiration is left out: a message that is handled again must not expire."""
        found: Basic.Properties = self.native.header.properties
        values = {name: getattr(found, name) for name in KEPT_PROPERTIES}
        return {name: str(value) for name, value in values.items() if value is not None}

    @property
    def is_ours(self) -> bool:
        """See `Delivery.is_ours`. The broker tells through which exchange a message came.

        Copies come through the default exchange, which leads to every queue and has a right of its own. What the broker
        moves comes through it too: from our delay queues, and with a producer's headers from elsewhere (an expired message,
        a policy). Messages of a stream have a position, and are never copies.
        """
        message: DeliveredMessage = self.native
        frame = cast("Basic.Deliver", message.delivery)
        deaths: Any = (message.header.properties.headers or {}).get("x-death")
        return not frame.exchange and self._position is None and (not deaths or _was_ours(deaths))


def read_message(message: DeliveredMessage, topic: str, position: tuple[int, int] | None = None) -> RabbitDelivery:
    """Convert a message of the client library. An unreadable part does not raise: the delivery says what it is."""
    header = message.header
    if header.__class__ is ContentHeader:
        try:
            return _read(message, topic, position)
        except Exception as error:  # noqa: BLE001 (raised here, it would stop the source silently)
            header = DamagedHeader(ContentHeader(), f"{type(error).__name__}: {error}", {RAW_HEADER: _raw(header)})
    assert isinstance(header, DamagedHeader)
    one = _read(replace(message, header=header), topic, position)
    one.headers = {**one.headers, **header.raw}
    one.unreadable(f"the message cannot be read as a whole: {header.problem}")
    return one


def _raw(header: ContentHeader) -> bytes:
    try:
        return header.marshal()
    except Exception:  # noqa: BLE001 (it came from the wire, but may still be invalid)
        return repr(header.properties.headers).encode(errors="backslashreplace")


def _read(message: DeliveredMessage, topic: str, position: tuple[int, int] | None) -> RabbitDelivery:
    frame = cast("Basic.Deliver", message.delivery)
    properties = message.header.properties
    table = properties.headers or {}
    headers: dict[str, str | bytes] = {
        name: value if type(value) is str else _to_text(value)
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
        # Quorum queues write no count on a first delivery, and from 4.3 on none after a message was only given back. Classic
        # queues never count; they only flag redeliveries.
        count = 0 if frame.redelivered and "x-acquired-count" not in table else 1
    identifier = headers.get(ID_HEADER, properties.message_id)
    # Through an exchange a message has its own routing key, and the broker may have checked that its producer may use it.
    routing_key = frame.routing_key if frame.exchange else headers.get(ROUTING_KEY_HEADER, frame.routing_key)
    body, kind = message.body, properties.message_type
    if kind == ENCODED and (content := unwrapped(body)) is not None:
        body, kind = content, None
    return RabbitDelivery(
        body=None if NULL_HEADER in headers and not body else body,
        topic=topic,
        key=headers.get(KEY_HEADER),
        headers=headers,
        id=identifier if isinstance(identifier, str) else None,
        position=position,
        time=properties.timestamp.timestamp() if properties.timestamp else None,
        count=count,
        native=message,
        token=frame.delivery_tag,
        routing_key=routing_key if isinstance(routing_key, str) else frame.routing_key,
        type=kind,
    )


def _was_ours(deaths: Any) -> bool:
    """Whether the broker has moved a message only out of our own queues: delay queues, and queues of dead letters."""
    return all(_is_own_queue(death) for death in cast("list[object]", deaths))


def _is_own_queue(death: object) -> bool:
    match death:
        case {"queue": str(queue)}:
            return queue.rpartition(".")[2] in _DELAY_LABELS or is_role(queue, "dlq")
        case _:
            return False


def _add_long_headers(headers: dict[str, str | bytes]) -> None:
    """Add the headers with long names to the others. A header that brokerkit did not write stays as it is."""
    try:
        packed = headers[LONG_HEADERS]
        long: dict[str, Any] = strict_json(packed if isinstance(packed, str) else packed.decode())
        found = {name: value if isinstance(value, str) else b64decode(value[0]) for name, value in long.items()}
    except (ValueError, AttributeError, LookupError, TypeError):
        return
    headers.update(found)
    del headers[LONG_HEADERS]


def _to_text(value: object) -> str | bytes:
    """Convert a header value of any AMQP type: scalars become text, tables and arrays JSON."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=_to_json, ensure_ascii=False)
    return _scalar_to_text(value)


def _scalar_to_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _to_json(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return value.decode(errors="backslashreplace")
    return _scalar_to_text(value)


def _encode(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"{what} {text!r} is not valid Unicode: {error.reason}") from error


def _check_short(text: str, what: str) -> str:
    if len(text) > SHORT_STRING // 4:
        size = len(_encode(text, what))
        if size > SHORT_STRING:
            raise InvalidMessage(f"{what} {text[:40]!r}... has {size} bytes; AMQP holds {SHORT_STRING}")
    return text


def check_name(name: str, *, longest: int = SHORT_STRING) -> None:
    """Refuse names of exchanges and queues that the client library cannot send: it raises a bare ValueError for them.

    pamqp 4.0 allows letters, digits and ``-_.:@#,/+`` and spaces, and 127 characters for an exchange.

    Args:
        name: of an exchange or a queue.
        longest: most characters.

    Raises:
        ConfigError: naming what is wrong.
    """
    if wrong := sorted(set(_NOT_IN_NAMES.findall(name))):
        raise ConfigError(f"RabbitMQ: the client cannot send the name {name!r:.150}, because it holds {wrong[0]!r}")
    if len(name) > longest:
        raise ConfigError(
            f"RabbitMQ: the name {name[:40]!r}… has {len(name)} characters; at most {longest} can be sent"
        )


def queue_name(topic: str, group: str) -> str:
    """The queue of a group: ``topic.group``, or a longer name if that one could be the name of something else."""
    full = derived_name(topic, group, "queue", NAME_STYLE)
    plain = f"{topic}.{group}"
    return _allowed(plain if full == f"{plain}.queue" and group not in _RESERVED_GROUPS else full)


def role_name(topic: str, group: str | None, role: str) -> str:
    """See `Adapter.derived`."""
    return _allowed(derived_name(topic, group, role, NAME_STYLE))


def _allowed(name: str) -> str:
    """Prefix a name that begins with ``amq.``: the broker refuses to declare those (``amq.topic`` can be a topic)."""
    if not name.startswith("amq."):
        return name
    return f"bk-{name}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def split_prefix(unsettled: Iterable[int], done: AbstractSet[int]) -> tuple[int, list[int]]:
    """Find the tags that one acknowledgement with ``multiple`` can cover. It settles every unsettled tag up to its own.

    Args:
        unsettled: all unsettled tags of the channel, ascending.
        done: the tags to acknowledge, all of them unsettled.

    Returns:
        The last tag of the unbroken run of done ones at the beginning (0 for none), and the other done tags, ascending.
    """
    last = 0
    for tag in unsettled:
        if tag not in done:
            break
        last = tag
    return last, sorted(tag for tag in done if tag > last)
