"""A message on its way in, from the adapter that received it to the core that settles it, and its outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Protocol

from brokerkit._clock import plausible_time
from brokerkit._errors import DecodeError
from brokerkit._messages._headers import Headers
from brokerkit._messages._outgoing import Offloaded, Outgoing
from brokerkit._messages._retry_state import RetryState


class State(Enum):
    """How far the core has processed a delivery."""

    WAITING = "waiting"
    """For its turn, for a worker, or for the next attempt."""
    RUNNING = "running"
    FINISHED = "finished"
    """The outcome is decided; the broker has not been told yet."""
    SETTLED = "settled"
    LOST = "lost"
    """The broker took it away before a handler began."""
    UNREADABLE = "unreadable"
    """The client library could not read all of it: it becomes a dead letter."""


WAITING: Final = State.WAITING
"""For what is done for each message: a member of an enum costs several times what a global does."""


class EventRoute(Protocol):
    """The part of a route that this layer needs; the core's class is `brokerkit._consuming._routes.Route`."""

    @property
    def name(self) -> str:
        """The event name; "" for messages that have none."""
        ...


_NO_HEADERS: Final[Headers] = MappingProxyType({})


class Delivery:
    """One received message, to be settled exactly once.

    The adapter makes it and gives the arguments; the core sets the other attributes. Header values and the key may stay
    bytes: the core compares names as text and as bytes, and `Message` decodes what a handler asks for.

    Attributes:
        body: the payload; None only for a Kafka message without a value.
        topic: the topic, queue, stream or channel it was read from.
        key: the ordering key, or None.
        headers: all headers, including internal ones.
        id: the id that its producer gave it, or None.
        position: the broker's permanent name for it, the same on every redelivery (partition and offset, entry id, SQS
            message id), or None.
        time: Unix time in seconds at which it was produced, as far as the broker knows; None if that is not plausible.
        count: how often the broker has delivered it, including this time; 0 if the broker does not count.
        native: the client library's own object.
        token: what the adapter needs to settle it.
        routing_key: RabbitMQ's routing key, or None.
        type: the AMQP ``type`` property, or None.
        state: how far the core has come with it.
        parsed: the body as JSON, once a rule has read it, or as a `Preparation` has decoded it; for a delivery that cannot
            be read, the reason.
        schema: name of the schema that the body was written with; only set by formats with a `Preparation` that finds it.
        route: the event name and its handlers, once the core has found them.
        lane: the key of its lane while it is in one.
        retry_state: what is known about it if it has failed; otherwise None.
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
        "retry_state",
        "route",
        "routing_key",
        "schema",
        "state",
        "token",
        "topic",
        "type",
    )

    schema: str

    def __init__(
        self,
        *,
        body: bytes | None,
        topic: str,
        key: str | bytes | None = None,
        headers: Headers = _NO_HEADERS,
        id: str | None = None,
        position: str | bytes | tuple[int, int] | None = None,
        time: float | None = None,
        count: int = 0,
        native: Any = None,
        token: Any = None,
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
        self._begin()

    def _begin(self) -> None:
        """Fill the core's attributes. A subclass with a constructor of its own fills the others, and calls this."""
        self.state = WAITING
        self.parsed: object = None
        self.route: EventRoute | None = None
        self.lane: str | bytes | None = None
        self.retry_state: RetryState | None = None

    def unreadable(self, why: str) -> None:
        """Mark a delivery that could not be read completely, before the core gets it. It becomes a dead letter for this
        reason.

        Give body, key and the readable headers as usual.
        """
        self.state = State.UNREADABLE
        self.parsed = DecodeError(why)

    def header(self, name: str) -> str | bytes | None:
        """Return one header, or None. It may cost less than `headers`, for which an adapter may have to decode them all."""
        return self.headers.get(name)

    # Asked for rarely, so that an adapter may work them out only then.

    @property
    def position(self) -> str | bytes | tuple[int, int] | None:
        """The broker's permanent name for it; see the class."""
        return self._position

    @property
    def time(self) -> float | None:
        """When it was produced; see the class."""
        return plausible_time(self._time)

    @property
    def properties(self) -> Mapping[str, str]:
        """Properties that only this broker has and accepts, such as RabbitMQ's priority."""
        return {}

    @property
    def name(self) -> str:
        """The event name; "" if it has none, or before the core has looked for it."""
        return "" if self.route is None else self.route.name

    @property
    def offloaded(self) -> Offloaded | None:
        """Where its body is kept, if not in the message itself."""
        return None

    @property
    def is_ours(self) -> bool:
        """Whether it was read from an own queue. Only members of the group write there, so its internal headers count.

        Internal headers of other deliveries are ignored, because every producer can write them. An adapter marks a
        delivery as ours with `OwnDelivery`, or with its own subclass.
        """
        return False

    @property
    def stable_id(self) -> str | None:
        """An id that is the same on every redelivery: the producer's, or else one made of topic and position.

        A producer's id that begins like one made of topic and position gets the prefix ``id:``. Otherwise a producer could
        claim the id of a message that has none.
        """
        if (id := self.id) is None:
            return self.broker_id
        is_claim = "/" in id and id.startswith(f"{self.topic}/") and not self.is_ours and self.broker_id is not None
        return f"id:{id}" if is_claim else id

    @property
    def broker_id(self) -> str | None:
        """Topic and position, which no other message has, whatever ids producers give."""
        return self._broker_id(self.topic)

    def _broker_id(self, where: str) -> str | None:
        if self.position is None:
            return None
        if isinstance(self.position, tuple):
            return f"{where}/{self.position[0]}/{self.position[1]}"
        position = self.position.decode() if isinstance(self.position, bytes) else self.position
        return f"{where}/{position}"

    def need_retry_state(self) -> RetryState:
        """Return `retry_state`. A message that has none gets one."""
        if self.retry_state is None:
            self.retry_state = RetryState()
        return self.retry_state

    @property
    def origin(self) -> str | None:
        """The id that handlers see. For a copy that a retry made, it is that of the first message."""
        return (self.retry_state.origin if self.retry_state is not None else "") or self.stable_id

    def __repr__(self) -> str:
        return f"<Delivery {self.stable_id} from {self.topic}: {self.state.value}>"


class OwnDelivery(Delivery):
    """A delivery from an own queue: see `Delivery.is_ours`.

    Args:
        queue: the own queue, which ``topic`` does not name. Its positions are not positions in the topic.
        fields: those of `Delivery`.
    """

    __slots__ = ("_queue",)

    def __init__(self, *, queue: str, **fields: Any) -> None:
        super().__init__(**fields)
        self._queue = queue

    @property
    def is_ours(self) -> bool:
        return True

    @property
    def broker_id(self) -> str | None:
        return self._broker_id(self._queue)


class Ack:
    """Outcome: done; never deliver it again."""

    __slots__ = ()


class Release:
    """Outcome: not handled; deliver it to any reader at once, without counting a failure."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Outcome: deliver it again later, even if this process crashes.

    Attributes:
        after: seconds, counted from now.
        copy: the message to publish if the broker cannot delay the original (`Capabilities.copies_retries`). The
            adapter sends it to its delay queue, retry topic or sorted set, waits for the confirmation, and then
            acknowledges the original.
    """

    after: float
    copy: Outgoing


ACK: Final = Ack()
RELEASE: Final = Release()
Outcome = Ack | Release | RetryLater


@dataclass(frozen=True, slots=True)
class Part:
    """One delivery's part of a transaction: its outcome, and what is published if, and only if, that is settled.

    Attributes:
        delivery: what was handled.
        outcome: what became of it.
        messages: what its handlers have published, and a dead letter, in order. A `RetryLater` has its copy beside them.
    """

    delivery: Delivery
    outcome: Outcome
    messages: tuple[Outgoing, ...] = ()


class Settled(Enum):
    """The adapter's answer for one delivery that was settled or extended."""

    DONE = "done"
    LOST = "lost"
    """The delivery is no longer ours (revoked, lease over, channel gone): the broker gives it to somebody again."""
    FAILED = "failed"
    """It failed, and may succeed if it is tried again."""
