"""What is connected and gets no further is not ready, says why, and is ready again when it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aio_pika
import pytest

import brokerkit.adapters
from brokerkit import Bus, Message, MessageTooLarge, Receipt, RetryPolicy
from brokerkit._consuming import _source_state
from brokerkit._errors import BrokerkitError
from brokerkit._messages._delivery import Delivery, Outcome, Settled
from brokerkit._messages._outgoing import Outgoing
from brokerkit._tools._bridge import FROM
from brokerkit.adapters.api import Connection, Lost, Subscription
from brokerkit.adapters.memory import MemoryAdapter, MemorySource
from brokerkit.testing import Proxy
from tests import every_aws, every_broker, every_redis
from tests.bridge.pair import Pair
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import Broker, until, until_async

NAME: Final = "OnPlayerSeatedDown"


async def reasons(bus: Bus) -> str:
    health = await bus.health()
    assert health.ready == (not health.reasons)
    return "; ".join(health.reasons)


class _Source(MemorySource):
    refuses = False
    hangs: asyncio.Event | None = None

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        if self.hangs is not None:
            await self.hangs.wait()
        return [Settled.FAILED for _ in pairs] if self.refuses else await super().settle(pairs)


class _Adapter(MemoryAdapter):
    """Refuses acknowledgements, and letters of any size, as it is told to."""

    source: _Source
    letters_fit = True
    hangs: asyncio.Event | None = None

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        if batch[0].is_queue and self.hangs is not None:
            await self.hangs.wait()
        if batch[0].is_queue and not self.letters_fit:
            return [MessageTooLarge(size=2, limit=1, what="it") for _ in batch]
        return await super().send(batch)

    def subscribe(self, subscription: Subscription, lost: Lost) -> MemorySource:
        self.source = _Source(self, self._broker, subscription, lost)
        return self.source


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[_Adapter]:
    adapters: list[_Adapter] = []

    def make(connection: Connection) -> _Adapter:
        adapters.append(_Adapter(connection))
        return adapters[-1]

    monkeypatch.setattr(brokerkit.adapters, "make", make)
    return adapters


async def _nothing(_: object) -> None: ...


async def _fail(_: object) -> None:
    raise RuntimeError("broken")


async def test_acknowledgements_that_are_refused(memory: Broker, made: list[_Adapter]) -> None:
    bus = memory.bus()
    bus.on("*")(_nothing)
    async with bus, bus.serving():
        made[0].source.refuses = True
        await bus.publish(Message(NAME, b"{}"))

        async def is_blocked() -> bool:
            return "source bus: blocked: settling: 1 messages could not be acknowledged" in await reasons(bus)

        await until_async(is_blocked)
        made[0].source.refuses = False

        async def is_ready() -> bool:
            return not await reasons(bus)

        await until_async(is_ready)
        assert bus.stats["bus"].handled == 1


async def test_acknowledgements_that_are_never_answered(
    memory: Broker, made: list[_Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_source_state, "_SILENT", 0.05)
    bus = memory.bus()
    bus.on("*")(_nothing)
    async with bus, bus.serving():
        hangs = made[0].source.hangs = asyncio.Event()
        await bus.publish(Message(NAME, b"{}"))

        async def is_blocked() -> bool:
            return "source bus: blocked: settling: no confirmation for " in await reasons(bus)

        await until_async(is_blocked)
        hangs.set()

        async def is_ready() -> bool:
            return not await reasons(bus)

        await until_async(is_ready)
        assert bus.stats["bus"].handled == 1


async def test_dead_letters_that_are_never_answered(
    memory: Broker, made: list[_Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_source_state, "_SILENT", 0.05)
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    bus.on("*")(_fail)
    async with bus, bus.serving():
        hangs = made[0].hangs = asyncio.Event()
        await bus.publish(Message(NAME, b"{}"))

        async def is_blocked() -> bool:
            return "source bus: blocked: dead letters: no confirmation for " in await reasons(bus)

        await until_async(is_blocked)
        hangs.set()
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        assert await reasons(bus) == ""


@pytest.mark.parametrize(
    ("fixture", "view", "address"),
    [
        ("redis_broker", every_redis.redis_streams, "url"),
        ("redis_broker", every_redis.redis_list, "url"),
        ("sqs_broker", partial(every_aws.sqs, fifo=False), "endpoint"),
    ],
    ids=["redis-streams", "redis-list", "sqs"],
)
async def test_a_broker_that_hangs_while_messages_are_acknowledged(
    fixture: str,
    view: Callable[[Any], Broker],
    address: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_source_state, "_SILENT", 0.05)
    begun, free = asyncio.Event(), asyncio.Event()
    running = request.getfixturevalue(fixture)
    broker, found = view(running), urlsplit(running.url)
    async with Proxy(str(found.hostname), int(found.port or 0)) as proxy:
        through = broker.settings[address].replace(f"{found.hostname}:{found.port}", proxy.address)
        bus = broker.bus(**{address: through}, name_from="field:event")

        @bus.on("*")
        async def wait(_: object) -> None:
            begun.set()
            await free.wait()

        async with bus, bus.serving():
            await broker.plain(broker.topic(), [(NAME, b'{"event": "%b", "playerId": 1}' % NAME.encode())], place="")
            await begun.wait()
            proxy.pause()
            free.set()

            async def is_blocked() -> bool:
                return "source bus: blocked: settling: no confirmation for " in await reasons(bus)

            await until_async(is_blocked)
            proxy.resume()
            await until(lambda: bus.stats["bus"].handled == 1)

            async def is_ready() -> bool:
                return not await reasons(bus)

            await until_async(is_ready)


async def test_an_overflow_file_that_cannot_be_written(memory: Broker, made: list[_Adapter], tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("no folder")
    bus = memory.bus(overflow=str(folder / "overflow.jsonl"), retry=RetryPolicy(attempts=1))
    bus.on("*")(_fail)
    async with bus, bus.serving():
        made[0].letters_fit = False
        await bus.publish(Message(NAME, b"{}"))

        async def is_blocked() -> bool:
            return "source bus: blocked: dead letters" in await reasons(bus)

        await until_async(is_blocked)
        assert bus.stats["bus"].dead_lettered == 0
        folder.unlink()
        folder.mkdir()
        await until(lambda: bus.stats["bus"].dead_lettered == 1, seconds=30)
        assert await reasons(bus) == ""


async def test_a_bridge_whose_target_refuses(rabbit_broker: RabbitBroker) -> None:
    pair = Pair(every_broker.memory(), every_broker.rabbitmq(rabbit_broker))
    count = 5
    async with pair.bridge() as bridge, bridge.serving(), pair.producer() as producer:
        # No queue is bound to the target's exchange, so RabbitMQ returns every message.
        for number in range(count):
            assert isinstance(await producer.publish(Message(NAME, b"{}", key=str(number))), Receipt)

        async def is_blocked() -> bool:
            return "target to: blocked: publishing: " in await reasons(bridge)

        await until_async(is_blocked)
        source = (await bridge.health(lag=True)).sources[FROM]
        assert (source.in_flight, source.waiting) == (count, count)
        async with await aio_pika.connect(rabbit_broker.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(pair.to_topic, "#")
            await until(lambda: bridge.stats[FROM].handled == count, seconds=40)
        assert await reasons(bridge) == ""


async def test_an_exchange_that_is_deleted_and_made_anew(rabbit_broker: RabbitBroker) -> None:
    broker, handled = every_broker.rabbitmq(rabbit_broker), list[bytes | None]()
    topic = broker.topic()
    bus = broker.bus(provision="group")

    @bus.on("*")
    async def note(_: object, message: Message) -> None:
        handled.append(message.body)

    async with await aio_pika.connect(rabbit_broker.url) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.declare_exchange(topic, aio_pika.ExchangeType.TOPIC, durable=True)
        async with bus, bus.serving():
            await broker.plain(topic, [(NAME, b'{"playerId": 1}')], place="routing_key")
            await until(lambda: len(handled) == 1)
            await channel.exchange_delete(topic)

            async def is_told() -> bool:
                return f"no exchange '{topic}'" in await reasons(bus)

            await until_async(is_told)
            await channel.declare_exchange(topic, aio_pika.ExchangeType.TOPIC, durable=True)

            async def is_ready() -> bool:
                return not await reasons(bus)

            await until_async(is_ready)
            # The exchange that was there, and its binding, are gone in one go.
            await channel.exchange_delete(topic)
            await channel.declare_exchange(topic, aio_pika.ExchangeType.TOPIC, durable=True)

            async def is_bound() -> bool:
                try:
                    await broker.plain(topic, [(NAME, b'{"playerId": 2}')], place="routing_key")
                except aio_pika.exceptions.DeliveryError:
                    return False
                return True

            await until_async(is_bound)
            await until(lambda: len(handled) == 2)
        assert handled == [b'{"playerId": 1}', b'{"playerId": 2}']


async def test_a_bus_says_why_it_is_not_ready(memory: Broker) -> None:
    bus: Any = memory.bus()
    assert (await bus.health()).reasons == ("the bus is not open",)
    async with bus:
        assert (await bus.health()).reasons == ()
    await asyncio.sleep(0)
