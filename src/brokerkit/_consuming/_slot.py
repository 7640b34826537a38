"""A slot of the executor."""

from __future__ import annotations

import asyncio

from brokerkit._consuming._routes import Call
from brokerkit._messages._delivery import Delivery


class Slot:
    """One slot, and what runs in it.

    Attributes:
        begun: when the handler began, by `perf_counter`; only where durations are measured.
        seen: the delivery and call that the timeout check saw last, and when it first saw them. So no message has to
            read the clock.
    """

    __slots__ = ("begun", "call", "delivery", "seen", "task", "timed_out")

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.delivery: Delivery | None = None
        self.call: Call | None = None
        self.begun = 0.0
        self.seen: tuple[Delivery | None, Call | None, float] = (None, None, 0.0)
        self.timed_out = False

    def __repr__(self) -> str:
        return f"<slot: {self.delivery or 'idle'}>"
