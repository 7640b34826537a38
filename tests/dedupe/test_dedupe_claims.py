"""Claims of `dedupe=`: how long they are kept, who gives them back, and stores that are away."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from brokerkit import Bus, ConnectionLost, Message, RetryPolicy
from brokerkit._consuming._idempotent import key_text
from brokerkit.dedupe import Claim, Dedupe, Done, MemoryStore, Taken
from brokerkit.events.evenbet import OnPlayerLeaveTable, OnPlayerSeatedDown
from brokerkit.testing import virtual_time
from tests.dedupe.seated import FAST, NAME, finished, seated
from tests.every_broker import Broker, until
from tests.stores import make_store


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


class Silent(MemoryStore):
    """It keeps its connection, and does not answer for ten minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.until = asyncio.get_running_loop().time() + 600.0

    async def claim(self, key: str, *, lease: float, keep: float) -> Claim | Taken | Done:
        await asyncio.sleep(max(self.until - asyncio.get_running_loop().time(), 0.0))
        return await super().claim(key, lease=lease, keep=keep)


async def test_a_store_that_keeps_silent_fails_nothing_either(memory: Broker) -> None:
    ran = list[int]()
    with virtual_time():
        bus = memory.bus(retry=FAST, timeout=5.0, dedupe=Dedupe(Silent()))

        @bus.on(NAME)
        async def handle(event: OnPlayerSeatedDown) -> None:
            ran.append(event.player_id or 0)

        @bus.on_batch("OnPlayerLeaveTable", size=2, within=0.1)
        async def store(messages: list[Message]) -> None:
            ran.extend(10 for _ in messages)

        async with bus, bus.serving():
            await bus.publish_many([seated(1), OnPlayerLeaveTable(player_id=2), OnPlayerLeaveTable(player_id=3)])
            await asyncio.sleep(300)
            assert "no answer for 2.5 s" in (await bus.health()).sources["bus"].error
            await asyncio.sleep(300)
            await finished(bus, 3)
        assert sorted(ran) == [1, 10, 10]
        assert bus.stats["bus"].failed == 0


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
