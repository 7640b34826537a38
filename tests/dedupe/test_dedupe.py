"""`dedupe=` on a bus: who runs, who waits, who is told that all is done, and what is refused at the start."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from brokerkit import (
    Bus,
    ConfigError,
    ConnectionLost,
    Handlers,
    Message,
    Notice,
    Retry,
    RetryPolicy,
    UnsupportedFeature,
)
from brokerkit._consuming._idempotent import key_text
from brokerkit.dedupe import Claim, Dedupe, Done, MemoryStore, SqlStore, Store, Taken
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.testing import virtual_time
from tests import every_broker
from tests.every_broker import Broker, until
from tests.stores import STORES, make_store

NAME = "OnPlayerSeatedDown"
FAST = RetryPolicy(attempts=3, first=0.01, cap=0.02)


@pytest.fixture(params=["memory", "kafka", "redis-streams"])
def some_broker(request: pytest.FixtureRequest) -> Broker:
    match request.param:
        case "kafka":
            return every_broker.kafka(request.getfixturevalue("kafka_broker"))
        case "redis-streams":
            return every_broker.redis_streams(request.getfixturevalue("redis_broker"))
        case _:
            return every_broker.memory()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return (await make_store(request.param, request, tmp_path))()


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


async def finished(bus: Bus, count: int) -> None:
    """Wait until so many messages have come to an end."""
    stats = bus.stats["bus"]
    await until(lambda: stats.handled + stats.dead_lettered + stats.skipped >= count, seconds=60)


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


@pytest.mark.parametrize("shared", ["memory", "redis", "postgresql"])
async def test_two_consumers_never_both_run_it(
    shared: str, memory: Broker, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Two groups of one name would share; here two services with one scope get the same message at the same time."""
    make = await make_store(shared, request, tmp_path)
    running, ran, most = 0, 0, 0
    go = asyncio.Event()

    def service(topic: str) -> Bus:
        bus = memory.bus(topic=topic, dedupe=make(), hold=0.2)

        @bus.on(NAME, dedupe=Dedupe(make(), lease=3.0, name="settle"))
        async def handle(event: OnPlayerSeatedDown) -> None:
            nonlocal running, ran, most
            running, ran = running + 1, ran + 1
            most = max(most, running)
            await go.wait()
            running -= 1

        return bus

    one, other = service("here"), service("there")
    async with one, other, one.serving(), other.serving():
        await asyncio.gather(*(bus.publish(seated(1), id="deal-1") for bus in (one, other)))
        await until(lambda: ran == 1)
        received = [bus.stats["bus"] for bus in (one, other)]
        await until(lambda: all(stats.received for stats in received))
        await asyncio.sleep(1.2)  # long enough for the one that waits to ask several times
        assert ran == 1
        go.set()
        await finished(one, 1)
        await finished(other, 1)
    assert (ran, most) == (1, 1)
    assert sum(stats.duplicates for stats in received) == 1
    assert sum(stats.failed for stats in received) == 0


async def test_a_claim_of_a_process_that_is_gone_ends_with_its_lease(memory: Broker) -> None:
    store = MemoryStore()
    ran = list[float]()
    bus = memory.bus(dedupe=Dedupe(store, lease=0.5))

    @bus.on(NAME, dedupe=Dedupe(store, lease=0.5, name="settle"))
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(asyncio.get_running_loop().time())

    began = asyncio.get_running_loop().time()
    await store.claim(key_text("wallet", "settle", "deal-1"), lease=0.5, keep=9)
    async with bus, bus.serving():
        await bus.publish(seated(1), id="deal-1")
        await finished(bus, 1)
    assert ran[0] - began >= 0.5
    assert bus.stats["bus"].failed == 0


async def test_a_handler_may_run_longer_than_its_lease(memory: Broker) -> None:
    ran = 0
    store = MemoryStore()
    one, other = (memory.bus(topic=topic, hold=0.1) for topic in ("here", "there"))

    async def handle(event: OnPlayerSeatedDown) -> None:
        nonlocal ran
        ran += 1
        await asyncio.sleep(4)

    for bus in (one, other):
        bus.on(NAME, dedupe=Dedupe(store, lease=2.0, name="settle"))(handle)
    with virtual_time():
        async with one, other, one.serving(), other.serving():
            await asyncio.gather(*(bus.publish(seated(1), id="deal-1") for bus in (one, other)))
            await finished(one, 1)
            await finished(other, 1)
    assert ran == 1


class Interrupted(MemoryStore):
    """A store that is away for a while, and that loses a claim."""

    def __init__(self) -> None:
        super().__init__()
        self.away = 0
        self.lose = False
        self.opened = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.opened -= 1

    async def claim(self, key: str, *, lease: float, keep: float) -> Claim | Taken | Done:
        if self.away:
            self.away -= 1
            raise ConnectionLost("the store is away")
        claim = await super().claim(key, lease=lease, keep=keep)
        if self.lose:
            self.lose = False
            self.remove(key)
            await super().claim(key, lease=0.2, keep=keep)
        return claim


async def test_a_store_that_is_away_fails_nothing(memory: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokerkit._consuming._idempotent._STORE_AWAY", 0.02)
    ran = list[int]()
    store = Interrupted()
    store.away = 20
    bus = memory.bus(dedupe=store, retry=2)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        ran.append(message.attempt)

    async with bus, bus.serving():
        assert store.opened == 1
        await bus.publish(seated(1))
        await finished(bus, 1)
        assert ran == [1]
        assert (bus.stats["bus"].failed, bus.stats["bus"].dead_lettered) == (0, 0)
    assert store.opened == 0


async def test_who_lost_his_claim_does_not_mark_it_done(memory: Broker) -> None:
    ran = 0
    store = Interrupted()
    store.lose = True
    bus = memory.bus(dedupe=store)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        nonlocal ran
        ran += 1

    async with bus, bus.serving():
        await bus.publish(seated(1))
        await finished(bus, 1)
    assert ran == 2  # the other claim was of a process that died
    assert bus.stats["bus"].failed == 0


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


async def test_a_plain_function_runs_in_its_thread(memory: Broker) -> None:
    threads = list[str]()
    bus = memory.bus(dedupe="memory://")

    @bus.on(NAME)
    def handle(event: OnPlayerSeatedDown) -> None:
        threads.append(threading.current_thread().name)

    async with bus, bus.serving():
        for _ in range(2):
            await bus.publish(seated(1), id="deal-1")
        await finished(bus, 2)
    [name] = threads
    assert name.startswith("brokerkit-bus")


async def test_a_thread_that_timed_out_keeps_its_claim_until_the_lease_ends(memory: Broker) -> None:
    began = list[float]()
    release = threading.Event()
    bus = memory.bus(hold=0.1, retry=RetryPolicy(attempts=2, first=0.01))

    @bus.on(NAME, timeout=3.0, dedupe=Dedupe(MemoryStore(), lease=6.0))
    def handle(event: OnPlayerSeatedDown) -> None:
        began.append(time.monotonic())
        if len(began) == 1:
            release.wait(60)

    async with bus, bus.serving():
        await bus.publish(seated(1))
        await finished(bus, 1)
        release.set()
    assert len(began) == 2
    assert began[1] - began[0] >= 5.0
    assert (bus.stats["bus"].handled, bus.stats["bus"].failed) == (1, 1)


async def test_a_coroutine_that_timed_out_gives_its_claim_back(memory: Broker) -> None:
    ran = 0
    bus = memory.bus(retry=FAST)

    @bus.on(NAME, timeout=0.5, dedupe=Dedupe(MemoryStore(), lease=600.0))
    async def handle(event: OnPlayerSeatedDown) -> None:
        nonlocal ran
        ran += 1
        if ran == 1:
            await asyncio.sleep(60)

    async with bus, bus.serving():
        await bus.publish(seated(1))
        await finished(bus, 1)
    assert ran == 2


async def test_a_stop_gives_claims_back(memory: Broker) -> None:
    store = MemoryStore()
    began = asyncio.Event()
    bus = memory.bus(stop_timeout=0.1, dedupe=Dedupe(store, lease=600.0))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        began.set()
        await asyncio.sleep(60)

    async with bus, bus.serving():
        await bus.publish(seated(1))
        await began.wait()
    assert repr(store) == "<MemoryStore of 0 keys>"


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


# ---- refused at the start ------------------------------------------------------------------------------------


async def handle(event: object) -> None:
    """A handler for a bus that must have one."""


def plain(event: object) -> None:
    """One that runs in a thread."""


def routed(bus: Bus) -> None:
    """What `serving` does before the first claim, without a broker."""
    bus.runtime.routes(bus.handlers)


def test_without_an_id_there_is_nothing_to_tell_messages_by() -> None:
    def bus(**settings: Any) -> Bus:
        made = Bus("amqp://127.0.0.1:1", topic="t", group="g", format="evenbet", **settings)
        made.on("*")(handle)
        return made

    with pytest.raises(UnsupportedFeature, match=r"dedupe of .*handle by the message's id.*id_from"):
        routed(bus(dedupe="memory://"))
    routed(bus())
    routed(bus(dedupe="memory://", id_from="header:deal-id"))
    routed(bus(dedupe=Dedupe(MemoryStore(), key="id")))
    routed(bus(dedupe=Dedupe(MemoryStore(), key=lambda event: event.game_id)))


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    bus = Bus("memory://x", topic="t", broadcast=True, format="evenbet", dedupe="memory://")
    bus.on("*")(handle)
    with pytest.raises(ConfigError, match="with broadcast each process runs"):
        routed(bus)
    bus = Bus("memory://x", topic="t", group="g", format="evenbet", dedupe=f"sqlite+aiosqlite:///{tmp_path}/x.db")
    bus.on("*")(plain)
    with pytest.raises(ConfigError, match="plain is a plain function, and the session"):
        routed(bus)
    with pytest.raises(ConfigError, match=r"dedupe must be Dedupe\(store, ...\) or False"):
        Handlers().on("*", dedupe=MemoryStore())  # type: ignore[call-overload]


def test_settings_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "brokerkit.toml"
    file.write_text(
        '[bus]\nurl = "memory://x"\nformat = "evenbet"\ngroup = "g"\n'
        '[sources.a]\ntopic = "a"\ndedupe = { url = "redis://u:very-secret@h", keep = 3600 }\n'
        '[sources.b]\ntopic = "b"\n'
    )
    monkeypatch.setenv("BROKERKIT_SOURCES__B__DEDUPE", "redis://u:very-secret@other")
    bus = Bus.from_config(file)
    sources = bus.runtime.settings.sources
    assert sources["a"].dedupe is not None and sources["a"].dedupe.keep == 3600
    shown = f"{sources} {[one.model_dump_json() for one in sources.values()]} {bus!r}"
    assert "very-secret" not in shown and "RedisStore redis://***@other" in shown
    file.write_text(file.read_text().replace("redis:", "gopher:"))
    with pytest.raises(ConfigError, match=r"brokerkit.toml: sources.a: .*is not a dedupe store") as caught:
        Bus.from_config(file)
    assert "very-secret" not in str(caught.value)
