"""What makes spans, as sources and targets see it. `brokerkit.tracing` implements it; without it, nothing is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from brokerkit._errors import BrokerkitError
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing, Receipt

Results = asyncio.Future[list[Receipt | BrokerkitError]]
Outcome = Literal["retry", "dead_letter", "released"]


class SourceSpans(Protocol):
    """Makes the spans of one source's messages: one for each attempt."""

    def begin(self, delivery: Delivery) -> None:
        """Begin the span of an attempt, and make it the current one of this context."""
        ...

    def trace_id(self, delivery: Delivery) -> str:
        """Return the trace id of the span of a running attempt, as 32 hexadecimal digits; "" where it is not recorded."""
        ...

    def begin_many(self, deliveries: Sequence[Delivery]) -> None:
        """Begin the spans of an attempt of a batch, and make none of them the current one: what is published follows from no
        single message.
        """
        ...

    def end(self, delivery: Delivery) -> None:
        """End the span of an attempt that did not fail."""
        ...

    def fail(self, delivery: Delivery, error: BaseException, outcome: Outcome, *, wait: float | None) -> None:
        """End the span of an attempt that failed, or that was given up.

        Args:
            delivery: what was handled.
            error: why it ended.
            outcome: what becomes of the message.
            wait: seconds until the next attempt; None if there is none here.
        """
        ...


class TargetSpans(Protocol):
    """Makes the spans of what is published to one target."""

    def create(self, outgoing: Outgoing) -> None:
        """Make the span of a message that is kept before it is sent, and write its context into the message."""
        ...

    def send(self, batch: Sequence[Outgoing], send: Callable[[Sequence[Outgoing]], Results]) -> Results:
        """Send messages inside a span, with its context in each that has none."""
        ...
