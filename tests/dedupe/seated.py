"""What the tests of `dedupe=` share: events, and when their messages are over."""

from __future__ import annotations

from brokerkit import Bus, RetryPolicy
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import until

NAME = "OnPlayerSeatedDown"
FAST = RetryPolicy(attempts=3, first=0.01, cap=0.02)


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


async def finished(bus: Bus, count: int) -> None:
    """Wait until so many messages have come to an end."""
    stats = bus.stats["bus"]
    await until(lambda: stats.handled + stats.dead_lettered + stats.skipped >= count, seconds=60)
