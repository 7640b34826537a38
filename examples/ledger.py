"""A wallet that moves money once for each hand, and tells others if, and only if, it did.

Run it: python examples/ledger.py [DATABASE-URL] [BROKER-URL]
It needs the extra sql and a driver: pip install 'brokerkit-sdk[sql]' aiosqlite. Without a database it makes ledger.db here.

The hand comes twice, and the first attempt fails after it has written: the balance is right all the same.
"""

import asyncio
import sys
from typing import Final

from pydantic import BaseModel
from sqlalchemy import ForeignKey, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from brokerkit import Bus, Handlers, Message, RetryPolicy
from brokerkit.dedupe import Dedupe, SqlStore
from brokerkit.events import Family, register
from brokerkit.events.evenbet import OnGameDone, Participation
from brokerkit.outbox import Outbox


class Base(DeclarativeBase):
    """All tables of this service, those of brokerkit included: Alembic sees one metadata."""


class Account(Base):
    """What a player has."""

    __tablename__ = "account"
    player_id: Mapped[int] = mapped_column(primary_key=True)
    cents: Mapped[int]


class Entry(Base):
    """Why it changed."""

    __tablename__ = "entry"
    number: Mapped[int] = mapped_column(primary_key=True)
    player_id: Mapped[int] = mapped_column(ForeignKey("account.player_id"))
    game_id: Mapped[int]
    cents: Mapped[int]


class BalanceChanged(BaseModel):
    """What this service tells others."""

    player_id: int
    cents: int


register(Family("ledger", {"BalanceChanged": BalanceChanged}))

HANDS: Final = RetryPolicy(attempts=3, first=0.05)

database = sys.argv[1] if len(sys.argv) > 1 else "sqlite+aiosqlite:///ledger.db"
broker = sys.argv[2] if len(sys.argv) > 2 else "memory://ledger"

bus = Bus(broker, topic="hands", group="wallet", format="cloudevents", provision="all", retry=HANDS)
store = SqlStore(database, metadata=Base.metadata)
outbox = Outbox(store.engine, bus, metadata=Base.metadata)
handlers = Handlers()

handled = asyncio.Event()
told: list[int] = []


@handlers.on("OnGameDone", dedupe=Dedupe(store, name="settle"))
async def settle(event: OnGameDone, message: Message) -> None:
    """Book a hand: the accounts, the entries, the events and the mark that it is done are one transaction."""
    for seat in event.participations or ():
        won = (seat.stack_at_hand_end or 0) - (seat.stack_at_hand_begin or 0)
        booked = (
            update(Account)
            .where(Account.player_id == seat.player_id)
            .values(cents=Account.cents + won)
            .returning(Account.cents)
        )
        cents = (await message.session.scalars(booked)).one()
        message.session.add(Entry(player_id=seat.player_id, game_id=event.game_id, cents=won))
        changed = BalanceChanged(player_id=seat.player_id or 0, cents=cents)
        await outbox.publish(message.session, changed, key=str(seat.player_id))
    if message.attempt == 1:
        raise RuntimeError("the power went out")  # nothing of the above remains


@handlers.on("BalanceChanged")
async def tell(event: BalanceChanged) -> None:
    """Hear what the outbox sent, as another service would."""
    print(f"player {event.player_id} has {event.cents} cents", flush=True)
    told.append(event.player_id)
    if len(told) == 2:
        handled.set()


async def main() -> None:
    """Play one hand, twice."""
    async with store.engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(store.engine) as session, session.begin():
        session.add_all([Account(player_id=5, cents=10_000), Account(player_id=6, cents=10_000)])

    seats = [
        Participation(player_id=5, stack_at_hand_begin=2_000, stack_at_hand_end=2_500),
        Participation(player_id=6, stack_at_hand_begin=2_000, stack_at_hand_end=1_500),
    ]
    bus.include(handlers)
    async with bus, outbox, bus.serving():
        for _ in range(2):
            await bus.publish(OnGameDone(game_id=77, participations=seats), id="hand-77", key="77")
        await handled.wait()
        while not bus.stats["bus"].duplicates:
            await asyncio.sleep(0.01)

    async with AsyncSession(store.engine) as session:
        entries = (await session.scalars(select(Entry).order_by(Entry.player_id))).all()
        print([(entry.player_id, entry.cents) for entry in entries])
    await store.engine.dispose()
    print(f"failed attempts: {bus.stats['bus'].failed}, duplicates: {bus.stats['bus'].duplicates}")


if __name__ == "__main__":
    asyncio.run(main())
