"""Delay levels: how a broker that delays whole queues or topics keeps a retry waiting.

A broker without a delay for each message (RabbitMQ, Kafka) gets one queue or topic for each level, so a message never
waits behind one that is due later. A level is never longer than the wait that was asked for; what remains after it is
asked for again, until the message is due.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

LEVELS: Final = (1, 10, 60, 600, 3600)
"""Seconds, ascending."""


def level_for(after: float) -> int:
    """The longest level, in seconds, that is not longer than ``after``; the shortest where all of them are."""
    return LEVELS[max(bisect_right(LEVELS, after) - 1, 0)]


def label(level: int) -> str:
    """A level as it stands in names: ``1s``, ``10s``, ``1m``, ``10m``, ``1h``."""
    for unit, letter in ((3600, "h"), (60, "m")):
        if level % unit == 0:
            return f"{level // unit}{letter}"
    return f"{level}s"
