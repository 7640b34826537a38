"""Delay levels: how a broker that delays whole queues or topics keeps a retry waiting.

A broker without a delay for each message (RabbitMQ, Kafka) gets one queue or topic for each level, so a message never
waits behind one that is due later. A level is never longer than the wait that was asked for. The message waits for the
rest at shorter levels, until it is due.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

DELAY_LEVELS: Final = (1, 10, 60, 600, 3600)
"""Seconds, ascending."""


def delay_level(after: float) -> int:
    """Return the longest level, in seconds, that is not longer than ``after``; the shortest if all are longer."""
    return DELAY_LEVELS[max(bisect_right(DELAY_LEVELS, after) - 1, 0)]


def delay_label(level: int) -> str:
    """Return a level as it is written in names: ``1s``, ``10s``, ``1m``, ``10m``, ``1h``."""
    for unit, letter in ((3600, "h"), (60, "m")):
        if level % unit == 0:
            return f"{level // unit}{letter}"
    return f"{level}s"
