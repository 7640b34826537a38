"""The outbox: what commits is sent, in order for each key, under the id it was written with; what does not, is not."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData, event, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from brokerkit import BrokerkitError, Bus, Closed, ConfigError, InvalidMessage, Message, NotFound, Receipt
from brokerkit._errors import ConnectionLost
from brokerkit._messages._outgoing import Outgoing
from brokerkit._publishing._target import Target
from brokerkit.dedupe import Dedupe, SqlStore
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.outbox import Outbox
from brokerkit.outbox._rows import outgoing_of, row_of
from tests.every_broker import Broker, Recorder, until
from tests.stores import DATABASES, database_url

NAME = "OnPlayerSeatedDown"


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, request, tmp_path)


@pytest.fixture
async def make(url: str) -> Callable[..., Outbox]:
    """What makes outboxes over one pair of tables."""
    table = f"o{uuid.uuid4().hex[:10]}"
    await Outbox(
        create_async_engine(url, poolclass=NullPool), Bus("memory://x", topic="t"), table=table
    ).create_tables()

    def outbox(bus: Bus, **settings: Any) -> Outbox:
        return Outbox(url, bus, table=table, **settings)

    return outbox


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


async def waiting(outbox: Outbox) -> int:
    async with outbox.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(outbox.table)) or 0


async def empty(outbox: Outbox) -> None:
    async with asyncio.timeout(30):
        while await waiting(outbox):
            await asyncio.sleep(0.02)


async def test_what_commits_is_sent_and_what_does_not_is_not(memory: Broker, make: Callable[..., Outbox]) -> None:
    bus, heard = memory.bus(), Recorder().record()
    outbox = make(bus, poll=600.0)
    async with heard.serving(bus), outbox:
        async with AsyncSession(outbox.engine) as session:
            await outbox.publish(session, seated(1), key="gone")
            await session.rollback()
        async with AsyncSession(outbox.engine) as session, session.begin():
            first = await outbox.publish(session, seated(2), key="k", headers={"who": "me"})
            await outbox.publish(session, NAME, {"playerId": 3}, id="mine", key=b"\xff\x00")
            await outbox.publish(session, Message(NAME, b'{"playerId": 4}', id="other", headers={"raw": b"\xff"}))
        # The poll is ten minutes away: the commit itself woke the relay.
        await until(lambda: len(heard.got) == 3)
        await empty(outbox)
    got = {message.id: (event.player_id, message.key, message.headers) for _, event, message in heard.got}
    assert set(got) == {first, "mine", "other"}
    assert got[first][:2] == (2, "k") and got[first][2]["who"] == "me"
    assert got["mine"][:2] == (3, b"\xff\x00")
    assert got["other"][:2] == (4, None) and got["other"][2]["raw"] == b"\xff"


async def test_a_handlers_mark_effect_and_event_are_one(memory: Broker, url: str, make: Callable[..., Outbox]) -> None:
    store = SqlStore(url, table=f"d{uuid.uuid4().hex[:10]}")
    await store.create_tables()
    bus = memory.bus(retry=3)
    outbox = make(bus, poll=600.0)
    heard = list[str | None]()
    failed = set[int]()

    @bus.on(NAME, dedupe=Dedupe(store))
    async def settle(event: OnPlayerSeatedDown, message: Message) -> None:
        number = event.player_id or 0
        await outbox.publish(message.session, "OnUserLoggedIn", {"playerId": number}, id=f"event-{number}")
        if number not in failed:
            failed.add(number)
            raise RuntimeError("after the event was written")

    @bus.on("OnUserLoggedIn")
    async def hear(event: object, message: Message) -> None:
        heard.append(message.id)

    async with bus, outbox, bus.serving():
        for number in (1, 2, 3, 1, 2, 3):
            await bus.publish(seated(number), id=str(number))
        await until(lambda: bus.stats["bus"].handled == 9, seconds=60)
    assert sorted(str(one) for one in heard) == ["event-1", "event-2", "event-3"]
    assert (bus.stats["bus"].duplicates, bus.stats["bus"].failed) == (3, 3)


async def test_broker_tables_store_and_outbox_can_be_one_file(tmp_path: Path) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path}/all.db"
    store = SqlStore(database)
    bus = Bus(f"sqlite:///{tmp_path}/all.db", topic="t", group="g", format="evenbet", provision="all", retry=3)
    outbox = Outbox(store.engine, bus, poll=600.0)
    await store.create_tables()
    await outbox.create_tables()
    async with store.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE ledger (player INTEGER)"))
    heard = list[str | None]()

    @bus.on(NAME, dedupe=Dedupe(store))
    async def settle(event: OnPlayerSeatedDown, message: Message) -> None:
        await message.session.execute(text(f"INSERT INTO ledger VALUES ({event.player_id})"))
        await outbox.publish(message.session, "OnUserLoggedIn", {"playerId": event.player_id}, id=f"of-{message.id}")
        if message.attempt == 1:
            raise RuntimeError("after everything was written")

    @bus.on("OnUserLoggedIn")
    async def hear(event: object, message: Message) -> None:
        heard.append(message.id)

    async with bus, outbox, bus.serving():
        for number in range(20):
            await bus.publish(seated(number), id=str(number))
        await until(lambda: len(heard) == 20, seconds=60)
    assert sorted(str(one) for one in heard) == sorted(f"of-{number}" for number in range(20))
    async with store.engine.connect() as connection:
        found = await connection.scalars(text("SELECT player FROM ledger ORDER BY player"))
        assert list(found) == list(range(20))
    await store.engine.dispose()


async def test_what_another_process_wrote_is_found_by_polling(memory: Broker, make: Callable[..., Outbox]) -> None:
    bus, heard = memory.bus(), Recorder().record()
    outbox, writer = make(bus, poll=0.1), make(bus)
    async with heard.serving(bus), outbox:
        async with AsyncSession(writer.engine) as session, session.begin():
            await writer.publish(session, seated(1))
        await until(lambda: len(heard.got) == 1)
        await empty(outbox)
    await writer.engine.dispose()


class Unreliable:
    """Makes publishing fail now and then, with the message sent or not sent, and notes what was sent in which order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: dict[str, list[str]] = defaultdict(list)
        self.calls = 0
        original = Target.publish_many

        async def publish_many(target: Target, batch: list[Outgoing]) -> list[Receipt | BrokerkitError]:
            results: list[Receipt | BrokerkitError] = []
            for one in batch:
                self.calls += 1
                if self.calls % 5 == 0:
                    results.append(ConnectionLost("before it was sent"))
                    continue
                results += await original(target, [one])
                self.sent[str(one.key)].append(one.id)
                if self.calls % 7 == 0:
                    results[-1] = ConnectionLost("before it was confirmed")
            return results

        monkeypatch.setattr(Target, "publish_many", publish_many)


async def test_events_of_a_key_stay_in_order_whatever_fails_and_however_many_relays_there_are(
    memory: Broker, make: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Unreliable(monkeypatch)
    bus = memory.bus()
    relays = [make(bus, poll=0.05, lease=0.3) for _ in range(3)]
    writer = make(bus)
    async with bus, relays[0], relays[1], relays[2]:
        for number in range(12):
            async with AsyncSession(writer.engine) as session, session.begin():
                for key in "abcd":
                    await writer.publish(session, seated(number), key=key, id=f"{key}-{number:02}")
        await empty(writer)
    await writer.engine.dispose()
    for key in "abcd":
        first_time = list(dict.fromkeys(broker.sent[key]))
        assert first_time == [f"{key}-{number:02}" for number in range(12)]
    assert broker.calls > 48


async def test_an_event_that_cannot_be_sent_holds_back_its_key_alone(
    memory: Broker, make: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, heard = memory.bus(), Recorder().record()
    outbox = make(bus, poll=0.05)
    async with heard.serving(bus), outbox:
        async with AsyncSession(outbox.engine) as session, session.begin():
            await outbox.publish(session, Message(NAME, b" " * 2_000_000), key="stuck", id="large")
            await outbox.publish(session, seated(1), key="stuck", id="behind it")
            await outbox.publish(session, seated(2), key="free", id="free")
            await outbox.publish(session, seated(3), id="without a key")
        await until(lambda: len(heard.got) == 2)

        async def large() -> Any:
            async with outbox.engine.connect() as connection:
                return (await connection.execute(select(outbox.table).where(outbox.table.c.id == "large"))).one()

        async with asyncio.timeout(20):
            while (row := await large()).attempts < 3:
                await asyncio.sleep(0.02)
        assert row.error.startswith("MessageTooLarge: message of 2,000,")
        assert {message.id for *_, message in heard.got} == {"free", "without a key"}
        async with outbox.engine.begin() as connection:
            await connection.execute(outbox.table.delete().where(outbox.table.c.id == "large"))
        await until(lambda: len(heard.got) == 3)
        await empty(outbox)


async def test_many_events_of_one_key_do_not_ask_the_database_for_each(
    memory: Broker, make: Callable[..., Outbox]
) -> None:
    bus, heard, count = memory.bus(), Recorder().record(), 200
    outbox, commits = make(bus, poll=600.0), list[object]()
    event.listen(outbox.engine.sync_engine, "commit", commits.append)
    async with heard.serving(bus), outbox:
        async with AsyncSession(outbox.engine) as session, session.begin():
            for number in range(count):
                await outbox.publish(session, seated(number), key="hot")
        await heard.wait_for(count)
        await empty(outbox)
    assert [event.player_id for _, event, _ in heard.got] == list(range(count))
    assert len(commits) < count / 2


async def test_the_relay_outlives_a_database_that_is_away(
    memory: Broker, make: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, heard = memory.bus(), Recorder().record()
    outbox = make(bus, poll=0.05)
    away = 5

    def refuse(*_: object) -> None:
        nonlocal away
        if away:
            away -= 1
            raise ConnectionRefusedError("no database today")

    async with heard.serving(bus), outbox:
        event.listen(outbox.engine.sync_engine, "before_cursor_execute", refuse)
        await until(lambda: away == 0)
        event.remove(outbox.engine.sync_engine, "before_cursor_execute", refuse)
        async with AsyncSession(outbox.engine) as session, session.begin():
            await outbox.publish(session, seated(1))
        await until(lambda: len(heard.got) == 1)


async def test_the_next_relay_takes_over_when_one_is_gone(memory: Broker, make: Callable[..., Outbox]) -> None:
    bus, heard = memory.bus(), Recorder().record()
    gone, here = make(bus, lease=1.0), make(bus, poll=0.05)
    assert await gone._is_ours()
    assert not await here._is_ours()
    await gone.engine.dispose()
    began = asyncio.get_running_loop().time()
    async with heard.serving(bus), here:
        async with AsyncSession(here.engine) as session, session.begin():
            await here.publish(session, seated(1))
        await until(lambda: len(heard.got) == 1)
        assert asyncio.get_running_loop().time() - began > 0.5
        await empty(here)


async def test_leaving_sends_what_was_committed(memory: Broker, make: Callable[..., Outbox]) -> None:
    bus = memory.bus()
    outbox = make(bus, poll=600.0)
    async with bus:
        async with outbox, AsyncSession(outbox.engine) as session, session.begin():
            await outbox.publish(session, seated(1))
        assert await waiting(outbox) == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await outbox.serve()
    await outbox.engine.dispose()


async def test_errors_at_the_start(memory: Broker, tmp_path: Path) -> None:
    bus = memory.bus()
    outbox = Outbox(f"sqlite+aiosqlite:///{tmp_path}/x.db", bus)
    with pytest.raises(NotFound, match=r"table brokerkit_outbox is missing: create it with Outbox.create_tables\(\)"):
        async with outbox:
            pass
    await outbox.create_tables()
    async with AsyncSession(outbox.engine) as session:
        with pytest.raises(Closed):
            await outbox.publish(session, seated(1))
    async with bus, outbox:
        with pytest.raises(ConfigError, match="relaying already"):
            async with outbox:
                pass
        async with AsyncSession(outbox.engine) as session:
            with pytest.raises(InvalidMessage):
                await outbox.publish(session, "OnNothing", {})
    with pytest.raises(ConfigError, match="poll and lease must be more than 0"):
        Outbox("sqlite+aiosqlite://", bus, poll=0)
    with pytest.raises(ConfigError, match="must be PostgreSQL or SQLite, not mysql"):
        Outbox(_engine_of("mysql"), bus)
    metadata = MetaData()
    Outbox("sqlite+aiosqlite://", bus, table="events_out", metadata=metadata)
    assert sorted(metadata.tables) == ["events_out", "events_out_relay"]


def _engine_of(name: str) -> AsyncEngine:
    engine = create_async_engine("sqlite+aiosqlite://")
    engine.dialect.name = name
    return engine


keys = st.none() | st.text() | st.binary()
values = st.text() | st.binary()


@given(
    st.builds(
        Outgoing,
        topic=st.text(),
        body=st.none() | st.binary(),
        name=st.text(),
        id=st.text(),
        key=keys,
        headers=st.dictionaries(st.text(), values),
        routing_key=st.none() | st.text(),
        type=st.none() | st.text(),
        content_type=st.none() | st.text(),
        priority=st.none() | st.integers(0, 255),
    )
)
def test_a_message_is_read_as_it_was_written(outgoing: Outgoing) -> None:
    class Row:
        pass

    row: Any = Row()
    for name, value in row_of("target", outgoing, due=0.0).items():
        setattr(row, name, value)
    again = outgoing_of(row)

    def on_the_wire(one: Outgoing) -> object:
        raw = {name: value.encode() if isinstance(value, str) else value for name, value in one.headers.items()}
        key = one.key.encode() if isinstance(one.key, str) else one.key
        return (
            one.topic,
            one.body,
            one.name,
            one.id,
            key,
            raw,
            one.routing_key,
            one.type,
            one.content_type,
            one.priority,
        )

    assert on_the_wire(again) == on_the_wire(outgoing)
