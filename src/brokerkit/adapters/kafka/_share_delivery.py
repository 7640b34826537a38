"""A message of a share group, and the copies that keep one from being dropped.

Kafka drops a message that was delivered too often without an acknowledgement. So a message that comes close to the limit is
copied to a topic of the group's own, where its deliveries are counted from one again. The copy is the message as it was,
with one header more: where it was read first, when it was produced, and how often it has been delivered.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from confluent_kafka import Message

from brokerkit.adapters.api import ID_HEADER, Delivery, Outgoing, as_text, plausible_time
from brokerkit.adapters.kafka._delivery import KafkaDelivery

CARRIED: Final = "bk-carried"
"""JSON: topic, partition, offset, Unix time in seconds or null, deliveries. It counts only in a topic of the group's own."""

_NOTED: Final = ("topic", "partition", "offset", "delivery.count")

_Carried = tuple[str, int, int, float | None, int]


class ShareDelivery(KafkaDelivery):
    """A `Delivery` of a share group. A copy is the message that it is a copy of, delivered once more.

    Args:
        own: it was read from a topic to which only the group writes.
    """

    __slots__ = ("_carried", "_own")

    def __init__(self, message: Message[Any, Any], topic: str, token: object, *, own: bool) -> None:
        super().__init__(message, topic, token)
        self.count = message.delivery_count() or 0
        self._carried: _Carried | None = None
        self._own = own

    def become_original(self, own: Container[str]) -> None:
        """Be what this is a copy of, if it is one. ``own`` are the topics to which only the group writes."""
        headers = dict(self.headers)
        self._carried = carried = _read(headers.pop(CARRIED))
        self.headers = headers
        if carried is None:
            return
        self._own = carried[0] in own
        self.count += carried[4]
        if not self.id:  # An id is always written, and the message had none.
            self.id = None
            del headers[ID_HEADER]

    @property
    def is_ours(self) -> bool:
        return self._own

    @property
    def where(self) -> str:
        """The topic that it was read from first."""
        message: Any = self.native
        topic: str = message.topic() if self._carried is None else self._carried[0]
        return topic

    @property
    def position(self) -> tuple[int, int]:
        return super().position if self._carried is None else self._carried[1:3]

    @property
    def broker_id(self) -> str | None:
        return self._broker_id(self.where)

    @property
    def time(self) -> float | None:
        return super().time if self._carried is None else plausible_time(self._carried[3])


def delivery_of(
    message: Message[Any, Any], token: object, origins: Mapping[str, str], own: Container[str]
) -> ShareDelivery:
    """Convert a message.

    Args:
        message: as the client gave it.
        token: of the delivery.
        origins: the topics for what is to be read at once, and to which topic each belongs.
        own: the topics to which only the group writes: these, and a topic of dead letters.
    """
    topic = cast("str", message.topic())
    delivery = ShareDelivery(message, origins.get(topic, topic), token, own=topic in own)
    if topic in origins and CARRIED in delivery.headers:
        delivery.become_original(own)
    return delivery


@dataclass(frozen=True, slots=True)
class Dropped:
    """What Kafka notes about a message that it has dropped (KIP-1191)."""

    topic: str
    partition: int
    offset: int
    deliveries: int

    @classmethod
    def of(cls, delivery: Delivery) -> Dropped | None:
        """Read the headers of a note. None if it is none."""
        found = [as_text(delivery.headers.get(f"__dlq.errors.{name}", "")) for name in _NOTED]
        match found:
            case [str(topic), *numbers] if topic and all(isinstance(one, str) and one.isdecimal() for one in numbers):
                return cls(topic, *(int(one) for one in numbers))
            case _:
                return None


def carry(delivery: ShareDelivery, topic: str) -> Outgoing:
    """Return the copy that is written to a topic of the group's own."""
    carried = [delivery.where, *delivery.position, delivery.time, delivery.count]
    return Outgoing(
        topic=topic,
        body=delivery.body,
        name="",
        id=delivery.id or "",
        key=delivery.key,
        headers={**delivery.headers, CARRIED: json.dumps(carried)},
    )


def move(delivery: Delivery, topic: str) -> Outgoing:
    """Return the same message for another topic: a copy of a failed message, whose time has come."""
    return Outgoing(
        topic=topic, body=delivery.body, name="", id=delivery.id or "", key=delivery.key, headers=delivery.headers
    )


def _read(value: str | bytes) -> _Carried | None:
    """Read what `carry` wrote. None if somebody else wrote it."""
    try:
        found: object = json.loads(value)
    except (ValueError, RecursionError):
        return None
    match found:
        case [str(topic), int(partition), int(offset), None | float() | int() as time, int(deliveries)] if (
            deliveries >= 0
        ):
            return topic, partition, offset, time, min(deliveries, 1_000_000)
        case _:
            return None
