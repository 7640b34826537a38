"""Events of your own: a pydantic model, a dataclass and a TypedDict become a family, are published and handled.

python examples/own_events.py        # on the embedded broker
brokerkit asyncapi examples.own_events:bus      # the same bus as an AsyncAPI document
"""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel
from typing_extensions import TypedDict

from brokerkit import Bus, Message
from brokerkit.events import Family, register


@dataclass(frozen=True)
class BonusGranted:
    """A player was given a bonus."""

    player: int
    amount: Decimal


class BonusExpired(TypedDict):
    """A bonus ran out."""

    player: int
    reason: Literal["time", "turnover"]


class BonusPaid(BaseModel):
    """A bonus became money."""

    player: int
    amount: Decimal


register(Family("bonus", {"BonusGranted": BonusGranted, "BonusExpired": BonusExpired, "BonusPaid": BonusPaid}))

bus = Bus("memory://own-events", topic="bonus.events", group="wallet")
paid = asyncio.Event()


@bus.on(BonusGranted)
async def grant(event: BonusGranted) -> None:
    print(f"player {event.player} gets {event.amount}")


@bus.on(BonusExpired)
async def expire(event: BonusExpired) -> None:
    print(f"the bonus of player {event['player']} ran out: {event['reason']}")


@bus.on(BonusPaid)
async def pay(event: BonusPaid, message: Message) -> None:
    print(f"player {event.player} is paid {event.amount}, {message.name}")
    paid.set()


async def main() -> None:
    async with bus.serving():
        await bus.publish(BonusGranted(player=1, amount=Decimal("2.50")), key="1")
        await bus.publish("BonusExpired", BonusExpired(player=1, reason="time"), key="1")
        await bus.publish(BonusPaid(player=1, amount=Decimal("1.25")), key="1")
        await paid.wait()


if __name__ == "__main__":
    asyncio.run(main())
