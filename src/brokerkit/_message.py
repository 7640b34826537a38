"""Messages: what a handler sees, what crosses the seam to an adapter, and what comes back.

A `Delivery` is a message on its way in, from the adapter that received it to the core that settles it. A `Message`
is what a handler sees of it. An `Outgoing` is a message on its way out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

from brokerkit._errors import ConfigError

Headers = Mapping[str, str | bytes]

INTERNAL: Final = "bk-"
"""Prefix of the headers that brokerkit writes for itself; handlers never see them, publishers may not set them."""

# Adapters write these where the broker has no place of its own for the value, and take them back into the Delivery.
KEY_HEADER: Final = "bk-key"
ID_HEADER: Final = "bk-id"
NULL_HEADER: Final = "bk-null"

CORRELATION: Final = "correlation-id"
"""Header: the id of the message with which everything began, the same on all that follows from it."""
CAUSATION: Final = "causation-id"
"""Header: the id of the message whose handler published this one."""

TRACEPARENT: Final = "traceparent"
"""Header: where in a trace its publisher was (W3C Trace Context, section 3.2)."""
TRACESTATE: Final = "tracestate"
"""Header: what the tracing systems themselves know of that place (section 3.3)."""

CONTENT_TYPE: Final = "content-type"
"""Header for the media type of the body, where the broker has no property for it; everywhere on receipt."""


def text(value: str | bytes) -> str | bytes:
    """The header or key value as a handler sees it: bytes that are UTF-8 become a string, others stay bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def header_text(headers: Headers, name: str) -> str | None:
    """A header as text, or None where it is missing or no UTF-8."""
    value = headers.get(name)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return value


def strict_json(data: str) -> Any:
    """JSON as it came from outside, of which every string can be written again.

    JSON's escapes can spell half of a character, which no broker takes: its copy and its dead letter could never be sent.

    Raises:
        ValueError: it is no JSON, is nested too deep, or holds a lone surrogate.
    """
    try:
        value = json.loads(data)
        if "\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value


class State(Enum):
    """How far the core has come with a delivery."""

    WAITING = "waiting"
    """For its turn, for a worker, or for the next attempt."""
    RUNNING = "running"
    FINISHED = "finished"
    """The outcome is decided; the broker has not been told yet."""
    SETTLED = "settled"
    LOST = "lost"
    """The broker took it away before a handler began."""


WAITING: Final = State.WAITING
"""For what is done for each message: a member of an enum costs several times what a global does."""


class Delivery:
    """One received message, to be settled exactly once.

    The adapter fills the first group; the core owns the second. Header values and the key may be left as bytes: the
    core compares names as text and as bytes, and `Message` decodes what a handler asks for.

    Attributes:
        body: the payload; None only for a Kafka message without a value.
        topic: the topic, queue, stream or channel it was read from.
        key: the ordering key, or None.
        headers: everything that travelled beside the body, internal headers included.
        id: the id its producer gave it, or None.
        position: what the broker itself knows it by for good, the same on every redelivery (partition and offset,
            entry id, SQS message id), or None.
        time: Unix time in seconds at which it was produced, as far as the broker knows.
        count: how often the broker has delivered it, this time included; 0 where it does not count.
        native: the client library's own object.
        token: what the adapter needs to settle it.
        routing_key: RabbitMQ's routing key, or None.
        type: the AMQP ``type`` property, or None.
    """

    __slots__ = (
        "_position",
        "_time",
        "body",
        "count",
        "headers",
        "id",
        "key",
        "lane",
        "native",
        "parsed",
        "route",
        "routing_key",
        "state",
        "token",
        "topic",
        "trouble",
        "type",
    )

    def __init__(
        self,
        body: bytes | None,
        topic: str,
        key: str | bytes | None,
        headers: Headers,
        id: str | None,
        position: str | bytes | tuple[int, int] | None,
        time: float | None,
        count: int,
        native: Any,
        token: Any,
        routing_key: str | None = None,
        type: str | None = None,
    ) -> None:
        self.body = body
        self.topic = topic
        self.key = key
        self.headers = headers
        self.id = id
        self._position = position
        self._time = time
        self.count = count
        self.native = native
        self.token = token
        self.routing_key = routing_key
        self.type = type
        # The core's own.
        self.parsed: Any = None
        self.route: Any = None
        self.lane: Any = None
        self.trouble: Any = None
        self.state = WAITING

    # Asked for rarely, so that an adapter may work them out only then.

    @property
    def position(self) -> str | bytes | tuple[int, int] | None:
        return self._position

    @property
    def time(self) -> float | None:
        return self._time

    @property
    def stable_id(self) -> str | None:
        """An id that is the same on every redelivery: the producer's, else one made of topic and position."""
        return self.place if self.id is None else self.id

    @property
    def place(self) -> str | None:
        """Topic and position: what no other message has, whatever ids producers give."""
        if self.position is None:
            return None
        if isinstance(self.position, tuple):
            return f"{self.topic}/{self.position[0]}/{self.position[1]}"
        position = self.position.decode() if isinstance(self.position, bytes) else self.position
        return f"{self.topic}/{position}"

    @property
    def origin(self) -> str | None:
        """The id that handlers see: of a copy that a retry made, that of the first one."""
        return (self.trouble.origin if self.trouble is not None else "") or self.stable_id

    def __repr__(self) -> str:
        return f"<Delivery {self.stable_id} from {self.topic}: {self.state.value}>"


class Ack:
    """Outcome: done, never again."""

    __slots__ = ()


class Release:
    """Outcome: not handled; give it to anybody at once, without counting a failure."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Outcome: deliver it again after a while, and keep that promise across a crash of this process.

    Attributes:
        after: seconds, counted from now.
        copy: what to publish where the broker cannot delay the original (`Capabilities.copies_retries`). The adapter
            addresses it (its own delay queue, retry topic or sorted set), waits for the confirmation and then
            acknowledges the original.
    """

    after: float
    copy: Outgoing


ACK: Final = Ack()
RELEASE: Final = Release()
Outcome = Ack | Release | RetryLater


class Settled(Enum):
    """The adapter's answer for one delivery that was settled or extended."""

    DONE = "done"
    LOST = "lost"
    """The delivery is no longer ours (revoked, lease over, channel gone): the broker gives it to somebody again."""
    FAILED = "failed"
    """It did not work and may work when tried again."""


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """One message on its way to a broker; whoever makes it may finish it, and nobody changes it once it is handed over.

    It is not frozen because there is one for every publish, and a frozen one takes three times as long to make.

    Attributes:
        topic: where to.
        stored: ``topic`` names a plain queue that keeps what it gets (a dead-letter queue): on RabbitMQ a queue and
            not an exchange, behind SNS an SQS queue and not a topic. Elsewhere there is no difference.
        name: the event name; RabbitMQ's routing key unless ``routing_key`` says otherwise.
        id: id of the message; two sends of the same message carry the same id.
        body: None only for a Kafka message without a value; other brokers carry the `NULL_HEADER` flag instead.
        content_type: media type of the body, or None to say nothing about it.
    """

    topic: str
    body: bytes | None
    name: str
    id: str
    key: str | bytes | None = None
    headers: Headers = field(default_factory=dict[str, str | bytes])
    routing_key: str | None = None
    type: str | None = None
    content_type: str | None = None
    stored: bool = False


@dataclass(slots=True, unsafe_hash=True)
class Receipt:
    """What a broker said when it confirmed a message.

    It is not frozen for the same reason as an `Outgoing`: there is one for every publish. Nobody changes one.

    Attributes:
        topic: where the message went.
        id: the message's id, as consumers will see it.
        position: the broker's own word for the place (``"2@117"`` for a Kafka partition and offset, a stream entry id,
            an SQS message id), or None.
        receivers: how many subscribers got it, where the broker says so (Redis Pub/Sub), else None.
    """

    topic: str
    id: str
    position: str | None = None
    receivers: int | None = None


class Message:
    """An event with its envelope, as a handler sees it and as `Bus.publish` takes it too.

    Attributes:
        name: the event name.
        body: the payload as it was on the wire; None only for a Kafka message without a value.
        key: the ordering key, text where it is UTF-8.
        id: the producer's id, else one that the broker keeps. Where there is neither (RabbitMQ, Redis lists), None until a
            copy has to be made for a retry: that copy gets one.
        time: Unix time in seconds at which it was produced, or None.
        topic: the topic, queue, stream or channel.
        source: name of the source it came through, as configured.
        attempt: which attempt this is, 1 for the first.
        native: what the client library delivered; its type depends on the broker.
    """

    __slots__ = ("_headers", "attempt", "body", "id", "key", "name", "native", "source", "time", "topic")

    def __init__(
        self,
        name: str,
        body: bytes | None,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        id: str | None = None,
        time: float | None = None,
        topic: str = "",
        source: str = "",
        attempt: int = 1,
        native: Any = None,
    ) -> None:
        self.name = name
        self.body = body
        self.key = key if key is None else text(key)
        self._headers = headers or {}
        self.id = id
        self.time = time
        self.topic = topic
        self.source = source
        self.attempt = attempt
        self.native = native

    @property
    def headers(self) -> dict[str, str | bytes]:
        """What travelled beside the body, without brokerkit's own headers; values are text where they are UTF-8."""
        return {
            name: value if value.__class__ is str else text(value)
            for name, value in self._headers.items()
            if not name.startswith(INTERNAL)
        }

    @property
    def correlation_id(self) -> str | None:
        """The id of the message with which everything began: the header ``correlation-id``, else this message's own id.

        RabbitMQ's property ``correlation_id`` (AMQP 0-9-1, class basic) counts as that header where there is none.
        """
        return header_text(self._headers, CORRELATION) or self.id

    @property
    def causation_id(self) -> str | None:
        """The id of the message whose handler published this one: the header ``causation-id``, else None."""
        return header_text(self._headers, CAUSATION)

    @property
    def session(self) -> AsyncSession:
        """The session of SQLAlchemy whose transaction commits when the handler returns, with the mark that it is done.

        Raises:
            ConfigError: the handler has no ``dedupe=Dedupe(SqlStore(…))``.
        """
        raise ConfigError("this message has no session: its handler needs dedupe=Dedupe(SqlStore(...))")

    def __repr__(self) -> str:
        size = "no" if self.body is None else len(self.body)
        return f"<Message {self.name} {self.id} from {self.topic}, attempt {self.attempt}, {size} bytes>"
