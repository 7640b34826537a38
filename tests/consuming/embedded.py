"""What the tests of the consumer on the embedded broker share: messages, and how they end."""

from __future__ import annotations

from typing import Final

from brokerkit import Bus, RetryPolicy
from brokerkit._messages._headers import as_text
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until

NAME: Final = "OnPlayerSeatedDown"
FAST = RetryPolicy(attempts=3, first=0.01, cap=0.02)


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


async def over(bus: Bus, count: int) -> None:
    """Wait until so many messages have come to an end."""
    stats = bus.stats["bus"]
    await until(lambda: stats.handled + stats.dead_lettered + stats.skipped >= count, seconds=8)


async def letters(memory: Broker, count: int) -> list[tuple[str, str]]:
    """Type and text of the errors of so many dead letters."""
    found = await memory.dead_letters(count)
    return [(str(as_text(one.headers["bk-error-type"])), str(as_text(one.headers["bk-error"]))) for one in found]
