"""The recipe of docs/bridge.md, step by step on two real brokers, while a service and its producer run."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from brokerkit import Bus, Message
from brokerkit._tools._bridge import FROM
from brokerkit.dedupe import Dedupe, MemoryStore
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.bridge.pair import Pair
from tests.every_broker import until


class Service:
    """Handles each message once, wherever it comes from; its store outlives the change."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._store = MemoryStore()
        self.done: Counter[str] = Counter()

    def on(self, broker: str) -> Bus:
        """The service as it runs on one of the brokers."""
        pair = self._pair
        here, topic = (pair.old, pair.topic) if broker == "old" else (pair.new, pair.to_topic)
        bus = here.bus(topic=topic, group="wallet", format="evenbet")

        @bus.on("OnPlayerSeatedDown", dedupe=Dedupe(self._store, name="settle", key="id"))
        async def settle(event: OnPlayerSeatedDown, message: Message) -> None:
            assert message.id is not None
            self.done[message.id] += 1

        return bus


class Producer:
    """Publishes without an end, to one broker and then to the other."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.published: list[str] = []

    @asynccontextmanager
    async def publishing(self, bus: Bus) -> AsyncIterator[None]:
        """Publish for as long as the block lasts."""
        stop = asyncio.Event()

        async def publish() -> None:
            while not stop.is_set():
                number = next(self.numbers)
                await bus.publish(OnPlayerSeatedDown(player_id=number), id=f"m{number}", key=f"table-{number % 7}")
                self.published.append(f"m{number}")

        async with bus:
            task = asyncio.create_task(publish())
            try:
                yield
            finally:
                stop.set()
                await task

    async def more(self, count: int = 100) -> None:
        """Wait until so many more were published."""
        enough = len(self.published) + count
        await until(lambda: len(self.published) >= enough, seconds=60)


@asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[Bus]:
    async with bus, bus.serving():
        yield bus


async def nothing_waits(bus: Bus, source: str) -> None:
    """Wait until the source of a bus has handled all that there is."""
    async with asyncio.timeout(30):
        while True:
            health = (await bus.health(lag=True)).sources[source]
            if health.lag == 0 and not health.in_flight:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("pair", [("rabbitmq", "kafka")], indirect=True, ids="-to-".join)
async def test_change_brokers_under_a_running_service(pair: Pair) -> None:
    service, producer = Service(pair), Producer()
    async with AsyncExitStack() as bridging:
        async with AsyncExitStack() as on_old:
            await on_old.enter_async_context(running(service.on("old")))
            async with producer.publishing(pair.old.bus(topic=pair.topic, format="evenbet")):
                await producer.more()
                # 1. The bridge mirrors the old broker to the new one.
                bridge = await bridging.enter_async_context(running(pair.bridge(format="evenbet")))
                begun = len(producer.published)
                await producer.more()
                await until(lambda: {*producer.published[:begun]} <= service.done.keys(), seconds=60)
                # 2. The consumers move: first the new ones come, then the old ones go.
                on_new = await bridging.enter_async_context(running(service.on("new")))
                await producer.more()
                await on_old.aclose()
                await producer.more()
        # 3. The producers move, when the bridge has handed on what they published before.
        await nothing_waits(bridge, FROM)
        async with producer.publishing(pair.new.bus(topic=pair.to_topic, format="evenbet")):
            await producer.more()
        # 4. The rest is drained, and 5. the bridge stops.
        await nothing_waits(bridge, FROM)
        await until(lambda: {*producer.published} <= service.done.keys(), seconds=60)
        assert on_new.stats["bus"].dead_lettered == 0
    assert service.done == Counter(producer.published)
