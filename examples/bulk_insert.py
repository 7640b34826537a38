"""Hands of poker in a table, many with one statement.

Run it: python examples/bulk_insert.py [DATABASE-URL] [BROKER-URL]
It needs SQLAlchemy (the extra sql) and a driver: aiosqlite, or asyncpg for PostgreSQL. Without a database it makes hands.db
here. With kafka://…, amqp://…, redis://… or sqs://… it reads the topic "hands" there.

Each hand comes twice, and one has no number: it becomes a dead letter, and the others of its batch are stored.
"""

import asyncio
import sys

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import create_async_engine

from brokerkit import Bus, FailedItems, Handlers, Reject
from brokerkit.events.evenbet import OnGameDone

database = sys.argv[1] if len(sys.argv) > 1 else "sqlite+aiosqlite:///hands.db"
broker = sys.argv[2] if len(sys.argv) > 2 else "memory://hands"

engine = create_async_engine(database)
metadata = MetaData()
hands = Table("hand", metadata, Column("game_id", BigInteger, primary_key=True), Column("table_id", Integer))
insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
handlers = Handlers()


@handlers.on_batch("OnGameDone", size=500, within=0.2)
async def store(events: list[OnGameDone]) -> FailedItems:
    """Store hands, and say which cannot be stored.

    A batch may come again after a crash, and a hand twice in it: what is there already is left alone.
    """
    rows = [{"game_id": event.game_id, "table_id": event.table_id} for event in events if event.game_id is not None]
    if rows:
        async with engine.begin() as connection:
            await connection.execute(insert(hands).on_conflict_do_nothing(), rows)
    print(f"a batch of {len(events)}")
    return FailedItems(
        {position: Reject("a hand without a number") for position, event in enumerate(events) if event.game_id is None}
    )


async def main() -> None:
    """Publish a thousand hands twice, and wait until they are stored."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
    bus = Bus(broker, topic="hands", group="archive", format="evenbet", provision="all")
    bus.include(handlers)
    async with bus.serving():
        played = [OnGameDone(game_id=number or None, table_id=7) for number in range(1_000)]
        await bus.publish_many([*played, *played[1:]])
        stats = bus.stats["bus"]
        while stats.handled + stats.dead_lettered < 1_999:
            await asyncio.sleep(0.05)
    async with engine.connect() as connection:
        stored = await connection.scalar(select(func.count()).select_from(hands))
    await engine.dispose()
    print(f"{stored} hands are stored, {stats.dead_lettered} is a dead letter")


asyncio.run(main())
