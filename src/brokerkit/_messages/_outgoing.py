"""A message to publish, and its receipt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from brokerkit._messages._headers import Headers


@dataclass(slots=True, eq=False)
class Offloaded:
    """Says that the body of a message is kept outside of it, and the message only has a pointer to it.

    A copy of the message takes this along, so that its adapter can write the pointer and not the body again.

    Attributes:
        pointer: where the body is. Only the adapter that read it understands this.
        shared: a dead letter has the same pointer, so the body must not be removed together with the message.
    """

    pointer: Any
    shared: bool = False


class Unencoded(bytes):
    """The body of an event that is still JSON: the format encodes it before it is sent, with what it asks others for.

    Attributes:
        named_by_schema: whether readers find the event name only in the name of the schema.
    """

    named_by_schema: bool = False


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """One message to send to a broker. Its maker may complete it, but nobody changes it after it is given to the adapter.

    It is not frozen because each publish makes one, and a frozen one takes three times as long to make.

    Attributes:
        topic: the topic to publish to.
        is_queue: ``topic`` names a plain queue that keeps what it gets (a dead-letter queue): on RabbitMQ a queue and
            not an exchange, behind SNS an SQS queue and not a topic. Elsewhere there is no difference.
        unordered: it need not be in order with others of its key, like a dead letter. Otherwise a reader of an SQS FIFO
            queue could see only the first ten of a key.
        name: the event name; RabbitMQ's routing key unless ``routing_key`` says otherwise.
        id: id of the message; sending the same message again uses the same id.
        body: None only for a Kafka message without a value; other brokers use the `NULL_HEADER` flag instead.
        content_type: media type of the body, or None to leave it out.
        due: Unix time in seconds until which the broker keeps it back, or None; see `Capabilities.delays`.
        priority: what a priority queue sorts by, or None. Only for brokers with `Capabilities.priorities`.
        offloaded: where the body is already, if this is a copy of a message whose body is kept outside of it.
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
    is_queue: bool = False
    unordered: bool = False
    offloaded: Offloaded | None = None
    due: float | None = None
    priority: int | None = None


@dataclass(slots=True, unsafe_hash=True)
class Receipt:
    """A broker's confirmation of a message.

    It is not frozen because each publish makes one (see `Outgoing`). Nobody changes it.

    Attributes:
        topic: the topic that it was published to.
        id: the message's id, as consumers will see it.
        position: the broker's own name of the position (``"2@117"`` for a Kafka partition and offset, a stream entry id,
            an SQS message id), or None.
        receivers: how many subscribers got it, if the broker says so (Redis Pub/Sub), or None.
    """

    topic: str
    id: str
    position: str | None = None
    receivers: int | None = None
