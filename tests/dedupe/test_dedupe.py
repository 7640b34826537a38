"""`dedupe=` on a bus: who runs, who waits, and who is told that all is done."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from brokerkit import ConfigError, Handlers, Message, Notice, Retry, RetryPolicy
from brokerkit.dedupe import Dedupe, MemoryStore, SqlStore, Store
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests import every_broker, every_redis
from tests.dedupe.seated import FAST, NAME, finished, seated
from tests.every_broker import Broker


@pytest.fixture(params=["memory", "kafka", "redis-streams"])
def some_broker(request: pytest.FixtureRequest) -> Broker:
    match request.param:
        case "kafka":
            return every_broker.kafka(request.getfixturevalue("kafka_broker"))
        case "redis-streams":
            return every_redis.redis_streams(request.getfixturevalue("redis_broker"))
        case _:
            return every_broker.memory()


async def test_a_message_that_comes_again_runs_nothing(some_broker: Broker, store: Store) -> None:
    ran = list[int]()
    notices = list[Notice]()
    bus = some_broker.bus(dedupe=store)
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)

    async with bus, bus.serving():
        for number in (1, 2, 1, 1, 2):
            await bus.publish(seated(number), id=f"deal-{number}")
        await finished(bus, 5)
        assert sorted(ran) == [1, 2]
        assert (bus.stats["bus"].handled, bus.stats["bus"].duplicates) == (5, 3)
    told = sorted(one.message_id or "" for one in notices if one.kind == "duplicate")
    assert told == ["deal-1", "deal-1", "deal-2"]


async def test_groups_and_handlers_are_each_for_themselves(memory: Broker) -> None:
    ran = list[str]()
    store = MemoryStore()
    handlers = Handlers()

    @handlers.on(NAME)
    async def first(event: OnPlayerSeatedDown) -> None:
        ran.append("first")

    @handlers.on(NAME)
    async def second(event: OnPlayerSeatedDown) -> None:
        ran.append("second")
        if ran.count("second") == 1:
            raise Retry(after=0.01)

    @handlers.on(NAME, dedupe=False)
    async def always(event: OnPlayerSeatedDown) -> None:
        ran.append("always")

    async with asyncio.timeout(30):
        one, other = (memory.bus(group=group, dedupe=store) for group in ("one", "other"))
        one.include(handlers)
        other.include(handlers)
        async with one, other, one.serving(), other.serving():
            await one.publish(seated(1), id="a")
            await one.publish(seated(1), id="a")
            await finished(one, 2)
            await finished(other, 2)
    assert {name: ran.count(name) for name in ("first", "second", "always")} == {"first": 2, "second": 3, "always": 4}
    assert one.stats["bus"].duplicates + other.stats["bus"].duplicates == 4


async def test_a_handler_that_fails_is_not_done(memory: Broker, store: Store) -> None:
    attempts = list[int]()
    bus = memory.bus(retry=FAST, dedupe=store)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        attempts.append(message.attempt)
        if len(attempts) < 3:
            raise RuntimeError("not yet")

    async with bus, bus.serving():
        await bus.publish(seated(1))
        await finished(bus, 1)
        assert attempts == [1, 2, 3]
        assert (bus.stats["bus"].handled, bus.stats["bus"].duplicates) == (1, 0)


async def test_a_copy_of_a_message_has_its_key(some_broker: Broker) -> None:
    """A durable retry is a copy under another id; the message itself, sent once more, is still the same."""
    ran = list[str | None]()
    bus = some_broker.bus(dedupe=MemoryStore(), hold=0.0, retry=RetryPolicy(attempts=3, first=0.2, cap=0.2))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        ran.append(message.id)
        if len(ran) == 1:
            raise RuntimeError("not yet")

    async with bus, bus.serving():
        await bus.publish(seated(1), id="deal-1")
        await finished(bus, 1)
        await bus.publish(seated(1), id="deal-1")
        await finished(bus, 2)
        assert ran == ["deal-1", "deal-1"]
        assert bus.stats["bus"].duplicates == 1


async def test_a_dead_letter_is_handled_when_it_is_sent_again(memory: Broker) -> None:
    ran = list[int]()
    broken = True
    bus = memory.bus(retry=1, dedupe=MemoryStore())

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        if broken:
            raise RuntimeError("the ledger is closed")

    async with bus, bus.serving():
        await bus.publish(seated(1), id="deal-1")
        [letter] = await memory.dead_letters(1)
        broken = False
        for _ in range(2):
            await bus.publish(Message(NAME, letter.body, id="deal-1"))
        await finished(bus, 3)
        assert ran == [1, 1]
        assert bus.stats["bus"].duplicates == 1


async def test_a_key_can_be_a_function_of_the_event(memory: Broker) -> None:
    ran = list[int | None]()
    bus = memory.bus(retry=1)

    @bus.on(NAME, dedupe=Dedupe(MemoryStore(), key=lambda event: event.player_id))
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id)

    async with bus, bus.serving():
        for number in (1, 2, 1, 2):
            await bus.publish(seated(number))
        await bus.publish(OnPlayerSeatedDown())
        await finished(bus, 5)
    assert sorted(one or 0 for one in ran) == [1, 2]
    assert (bus.stats["bus"].duplicates, bus.stats["bus"].dead_lettered) == (2, 1)


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
async def test_what_the_handler_writes_and_the_mark_are_one(memory: Broker, store: SqlStore) -> None:
    ledger = f"{store.table.name}_ledger"
    async with store.engine.begin() as connection:
        await connection.execute(text(f"CREATE TABLE {ledger} (player INTEGER)"))
    failed = set[int]()
    bus = memory.bus(dedupe=store, retry=FAST, concurrency=20)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        assert event.player_id is not None
        await message.session.execute(text(f"INSERT INTO {ledger} VALUES ({event.player_id})"))
        if event.player_id not in failed:
            failed.add(event.player_id)
            raise RuntimeError("after the effect")

    async with bus, bus.serving():
        await asyncio.gather(*(bus.publish(seated(n), id=str(n)) for n in (*range(30), *range(30))))
        await finished(bus, 60)
    async with store.engine.connect() as connection:
        assert list(await connection.scalars(text(f"SELECT player FROM {ledger} ORDER BY player"))) == [*range(30)]
    await store.engine.dispose()
    assert (bus.stats["bus"].handled, bus.stats["bus"].duplicates, bus.stats["bus"].failed) == (60, 30, 30)


def test_a_message_without_a_session_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match=r"its handler needs dedupe=Dedupe\(SqlStore"):
        assert Message(NAME, b"").session
