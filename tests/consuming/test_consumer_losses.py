"""Starts and stops of the consumer, settlements that fail and messages that are lost, seen on the embedded broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

import brokerkit.adapters
from brokerkit import BrokerkitError, Bus, ConfigError, ConnectionLost, Message, Receipt, Reject, Retry
from brokerkit._messages._delivery import RELEASE, Delivery, Outcome, Settled
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.api import Connection, Lost, Subscription
from brokerkit.adapters.memory import MemoryAdapter, MemorySource
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.consuming.embedded import FAST, NAME, over, seated
from tests.every_broker import Broker, Recorder, until, until_async

pytestmark = pytest.mark.usefixtures("on_virtual_time")


@pytest.mark.parametrize(("order", "waits"), [("strict", True), ("key", False)])
async def test_under_a_strict_order_the_key_waits_until_a_dead_letter_is_stored(
    memory: Broker, adapters: list[_Adapter], order: Any, waits: bool
) -> None:
    runs = list[tuple[str, int]]()
    bus = memory.bus(order=order, retry=FAST)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        runs.append((str(message.key), event.player_id or 0))
        if event.player_id == 1:
            raise Reject("not this one")

    async with asyncio.timeout(8), bus, bus.serving():
        adapters[0].stores = False
        await bus.publish_many([seated(1), seated(2)], key="k")
        await until(lambda: adapters[0].refused > 0)
        await bus.publish(seated(3), key="other")
        await until(lambda: ("other", 3) in runs)
        assert (("k", 2) not in runs) is waits
        adapters[0].stores = True
        await over(bus, 3)
    assert ("k", 2) in runs


async def test_a_private_group_for_each_process_gets_everything_from_now_on(memory: Broker) -> None:
    first, second = Recorder().record(NAME), Recorder().record(NAME)
    private: dict[str, Any] = {"broadcast": True, "group": None}
    async with memory.bus() as bus:
        await bus.publish(seated(0))
    async with first.serving(memory.bus(**private)) as bus, second.serving(memory.bus(**private)):
        await bus.publish(seated(1))
        await first.wait_for(1, seconds=5)
        await second.wait_for(1, seconds=5)
    assert [event.player_id for _, event, _ in first.got + second.got] == [1, 1]


async def test_serving_without_a_source_or_handlers_or_twice_is_refused(memory: Broker) -> None:
    with pytest.raises(ConfigError, match="no source"):
        await Bus(memory.settings["url"]).serve()
    with pytest.raises(ConfigError, match="no handlers"):
        await memory.bus().serve()
    async with Recorder().record(NAME).serving(memory.bus()) as bus:
        with pytest.raises(ConfigError, match="already"):
            await bus.serve()


async def test_a_start_that_failed_can_be_tried_again(memory: Broker) -> None:
    """The second error must be the first one again, not that the bus consumes already."""
    bus = memory.bus(format="json")
    bus.include(Recorder().record("thrillpots:OptInEvent").handlers)
    bus.include(Recorder().record("thrillconnect:OptInEvent").handlers)
    async with bus:
        for _ in range(2):
            with pytest.raises(ConfigError, match="cannot tell"):
                await bus.serve()


class _Source(MemorySource):
    """The memory source, with settlements that may fail and deliveries that may be taken away."""

    failures = 0
    released: tuple[Delivery, ...] = ()

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        if self.failures > 0:
            self.failures -= 1
            return [Settled.FAILED] * len(pairs)
        self.released += tuple(delivery for delivery, outcome in pairs if outcome is RELEASE)
        return await super().settle(pairs)

    async def take_away(self) -> None:
        """As after a rebalance: everything unsettled is somebody else's."""
        lost = [delivery for delivery, _ in self._held.values()]
        self._held.clear()
        await self._lost(lost)


class _Adapter(MemoryAdapter):
    source: _Source
    stores = True
    refused = 0

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        if not self.stores and batch[0].is_queue:
            self.refused += 1
            return [ConnectionLost("no letters now") for _ in batch]
        return await super().send(batch)

    def subscribe(self, subscription: Subscription, lost: Lost) -> MemorySource:
        self.source = _Source(self, self._broker, subscription, lost)
        return self.source


@pytest.fixture
def adapters(monkeypatch: pytest.MonkeyPatch) -> list[_Adapter]:
    made: list[_Adapter] = []

    def make(connection: Connection) -> _Adapter:
        made.append(_Adapter(connection))
        return made[-1]

    monkeypatch.setattr(brokerkit.adapters, "make", make)
    return made


async def test_a_settlement_that_fails_is_tried_again(memory: Broker, adapters: list[_Adapter]) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(stop_timeout=2)) as bus:
        source = adapters[0].source
        source.failures = 2
        await bus.publish(seated(1))
        await until(lambda: len(recorder.got) == 1 and not source._held, seconds=5)
    assert len(recorder.got) == 1


async def test_a_broker_that_is_away_for_long_gets_every_settlement_in_the_end(
    memory: Broker, adapters: list[_Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokerkit._consuming._settlement._LONGEST_PAUSE", 0.01)
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(stop_timeout=2)) as bus:
        source = adapters[0].source
        source.failures = 30
        await bus.publish(seated(1))
        await until(lambda: len(recorder.got) == 1 and not source._held, seconds=5)
    assert source.failures == 0
    assert len(recorder.got) == 1


@pytest.mark.parametrize("keys", [1, 2])
async def test_a_stop_with_full_lanes_ends_in_peace_and_the_rest_comes_in_order(
    memory: Broker, caplog: pytest.LogCaptureFixture, keys: int
) -> None:
    ran, started, gate = list[int](), asyncio.Event(), asyncio.Event()
    bus = memory.bus(concurrency=2)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        started.set()
        await gate.wait()

    async with asyncio.timeout(5), bus:
        for number in range(8):
            await bus.publish(seated(number), key=str(number % keys))
        async with bus.serving():
            stats = bus.stats["bus"]
            await until(lambda: stats.received == 8 and len(ran) == keys)
            asyncio.get_running_loop().call_later(0.2, gate.set)  # the released ones are settled before
    assert (stats.handled, stats.released) == (keys, 8 - keys)
    assert "ends" not in caplog.text
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus()):
        got = await recorder.wait_for(8 - keys, seconds=5)
    for key in range(keys):
        assert [event.player_id for _, event, _ in got if event.player_id % keys == key] == list(
            range(keys + key, 8, keys)
        )


async def test_a_stop_gives_back_the_messages_of_a_key_in_order(memory: Broker, adapters: list[_Adapter]) -> None:
    ran, gate = list[int](), asyncio.Event()
    bus = memory.bus(concurrency=2)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        if ran[-1] == 1:
            raise Retry(after=0.1)
        await gate.wait()

    async def is_its_turn() -> bool:
        health = (await bus.health()).sources["bus"]
        return ran == [1, 4, 5] and health.held == 0

    async with asyncio.timeout(5), bus:
        for number, key in enumerate("aaabca", 1):
            await bus.publish(seated(number), key=key)
        async with bus.serving():
            # It is the turn of 1 in its lane again, 2, 3 and 6 wait behind it, and both workers are at others.
            await until_async(is_its_turn)
            asyncio.get_running_loop().call_later(0.1, gate.set)
    released = [json.loads(delivery.body or b"")["params"]["playerId"] for delivery in adapters[0].source.released]
    assert released == [1, 2, 3, 6]


async def test_what_is_lost_before_it_began_is_not_handled_and_its_key_goes_on(
    memory: Broker, adapters: list[_Adapter]
) -> None:
    ran, gate = list[int](), asyncio.Event()
    bus = memory.bus(concurrency=1, max_in_flight=3)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        await gate.wait()

    async with asyncio.timeout(5), bus, bus.serving():
        stats = bus.stats["bus"]
        await bus.publish_many([seated(1), seated(2)], key="k")
        await bus.publish(seated(3), key="other")
        await until(lambda: stats.received == 3 and ran == [1])
        taking = asyncio.ensure_future(adapters[0].source.take_away())
        await until(lambda: stats.lost == 2)
        assert not taking.done()  # one is being handled: whoever takes over must not overtake it
        gate.set()
        await taking
        await bus.publish(seated(4), key="k")
        await bus.publish_many([seated(5), seated(6), seated(7)])  # all three slots are free again
        await until(lambda: len(ran) == 5)
    assert sorted(ran) == [1, 4, 5, 6, 7]
    assert stats.lost == 3


async def test_what_is_lost_while_it_is_held_lets_its_key_go_on(memory: Broker, adapters: list[_Adapter]) -> None:
    ran = list[int]()
    bus = memory.bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        if event.player_id == 1:
            raise Retry(after=5)

    async with asyncio.timeout(4), bus, bus.serving():
        stats = bus.stats["bus"]
        await bus.publish(seated(1), key="k")
        await until(lambda: stats.retried == 1)
        await adapters[0].source.take_away()
        await bus.publish(seated(2), key="k")
        await over(bus, 1)
    assert ran == [1, 2]
