"""A slot of the executor, and the message that a handler sees."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from brokerkit._consuming._routes import Call
from brokerkit._messages._copies import produced_at
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._message import Message


def message_of(delivery: Delivery, source: str) -> Message:
    """Return the message of a delivery, as a handler sees it."""
    route, retry_state = delivery.route, delivery.retry_state
    return Message(
        "" if route is None else route.name,
        delivery.body,
        key=delivery.key,
        headers=delivery.headers,
        id=delivery.origin,
        time=delivery.time if retry_state is None else produced_at(delivery),
        topic=delivery.topic,
        source=source,
        attempt=retry_state.failures + 1 if retry_state else 1,
        native=delivery.native,
    )


class Slot:
    """One slot, and what runs in it.

    Attributes:
        batch: the deliveries of the batch that runs; empty while single messages do.
        begun: when the handler began, by `perf_counter`; only where durations are measured.
        seen: the delivery and call that the timeout check saw last, and when it first saw them. So no message has to
            read the clock.
    """

    __slots__ = ("batch", "begun", "call", "delivery", "seen", "task", "timed_out")

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.delivery: Delivery | None = None
        self.call: Call | None = None
        self.batch: Sequence[Delivery] = ()
        self.begun = 0.0
        self.seen: tuple[Delivery | None, Call | None, float] = (None, None, 0.0)
        self.timed_out = False

    def __repr__(self) -> str:
        return f"<slot: {self.delivery or 'idle'}>"
