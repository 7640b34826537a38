"""The first messages of a source: until one has a known event name, nothing is acknowledged.

EvenBet's documents do not say where the event name travels, so a name rule is a guess until it has worked once. A wrong
guess must not run a vendor's stream dry in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from brokerkit._errors import WrongNameRule
from brokerkit._message import Delivery, text

FIRST_MESSAGES: Final = 100
"""So many messages without a known name, and none with one before them, mean that the rule is wrong."""


class Probation:
    """Keeps the messages whose name is unknown until a known one shows that the rule is right.

    Args:
        source: the source's name, for the error.
        rules: its name rules, for the error.
        limit: how many messages may be kept at most.
    """

    def __init__(self, *, source: str, rules: Iterable[str], limit: int) -> None:
        self._source = source
        self._rules = ", ".join(rules)
        self._limit = min(FIRST_MESSAGES, limit)
        self.kept: list[Delivery] = []

    def __repr__(self) -> str:
        return f"<Probation of {self._source}: {len(self.kept)} of {self._limit} unknown>"

    def keep(self, delivery: Delivery) -> None:
        """Keep one more.

        Raises:
            WrongNameRule: that makes too many. The message shows one of them.
        """
        self.kept.append(delivery)
        if len(self.kept) >= self._limit:
            raise WrongNameRule(
                f"source {self._source!r}: none of the first {len(self.kept)} messages has a known event name by "
                f"name_from = {self._rules}; nothing was acknowledged. One of them: {show(self.kept[0])}. "
                'Set name_from to where the name is, or unknown = "ack" if these messages may go'
            )


def show(delivery: Delivery) -> str:
    """A message as somebody sees it who looks for the event name in it."""
    body = (delivery.body or b"")[:200].decode(errors="backslashreplace")
    headers = {name: text(value) for name, value in delivery.headers.items()}
    return (
        f"topic {delivery.topic!r}, key {delivery.key!r}, routing key {delivery.routing_key!r}, "
        f"headers {headers!r:.500}, body {body!r}"
    )
