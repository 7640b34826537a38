"""What is remembered of messages that come again: how they failed before."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._retry_state import RetryState

_REMEMBERED: Final = 10_000
"""The most messages that are remembered; the oldest are forgotten first."""


class RetryStates:
    """Retry states of messages that come again themselves, not as copies with headers of their own."""

    def __init__(self) -> None:
        self._known: dict[str, RetryState] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<RetryStates of {len(self._known)} messages>"

    def keep(self, delivery: Delivery) -> None:
        """Keep the retry state of a message that is given back.

        It is a copy: if the broker took the message back and its answer was lost, the message comes again while it waits
        here too.
        """
        if delivery.retry_state is not None and (known_by := _known_by(delivery)) is not None:
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[known_by] = replace(delivery.retry_state, timer=None)

    def take(self, delivery: Delivery) -> RetryState | None:
        """Return and forget the retry state of a message that came again."""
        return self._known.pop(_known_by(delivery) or "", None)


def _known_by(delivery: Delivery) -> str | None:
    """Return the key that recognises a message when it comes again. Producers may give two messages one id."""
    return delivery.broker_id or delivery.id
