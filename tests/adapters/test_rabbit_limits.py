"""RabbitMQ takes messages away by itself that came back too often: brokerkit keeps them before that, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aio_pika
import pytest
from tests.adapters.crashing import KILLED
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import until

from brokerkit import Bus, Message, RetryPolicy, UnsupportedFeature
from brokerkit._messages._delivery import ACK, Delivery
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Source, Subscription
from brokerkit.adapters.rabbitmq import RabbitAdapter
from brokerkit.adapters.rabbitmq._link import server_version
from brokerkit.events.evenbet import OnPlayerSeatedDown

PATIENCE: Final = 30.0


class Queue:
    """A quorum queue of somebody else."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = f"test.{uuid4().hex}"
        self.letters = f"{self.name}-dlq"

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        async with await aio_pika.connect(self.url) as connection:
            yield await connection.channel()

    async def declare(self, limit: int | None, **arguments: Any) -> None:
        """Make it, with a limit; None for what the broker does by default, which RabbitMQ 3 has to be told."""
        async with self.channel() as channel:
            if limit is not None or server_version(await channel.get_underlay_channel()) < (4,):  # type: ignore[arg-type]
                arguments["x-delivery-limit"] = 20 if limit is None else limit
            await channel.declare_queue(self.name, durable=True, arguments={"x-queue-type": "quorum", **arguments})

    async def fill(self, numbers: Sequence[int], priority: int | None = None) -> None:
        async with self.channel() as channel:
            for number in numbers:
                message = aio_pika.Message(
                    json.dumps({"playerId": number}).encode(),
                    headers={"event": "OnPlayerSeatedDown", "key": f"k{number % 3}"},
                    priority=priority,
                    message_id=f"m{number}",
                    delivery_mode=2,
                )
                await channel.default_exchange.publish(message, routing_key=self.name)

    async def crash(self, times: int, messages: int) -> None:
        """Let processes fetch so many messages, so many times, and be gone."""
        for _ in range(times):
            async with self.channel() as channel, asyncio.timeout(PATIENCE):
                await channel.set_qos(messages)
                arrived = asyncio.Queue[object]()
                await (await channel.get_queue(self.name)).consume(arrived.put)
                for _ in range(messages):
                    await arrived.get()

    async def count(self, queue: str = "") -> int:
        async with self.channel() as channel:
            declared = await channel.declare_queue(queue or self.name, passive=True)
            return declared.declaration_result.message_count or 0


@pytest.fixture
def queue(rabbit_broker: RabbitBroker) -> Queue:
    return Queue(rabbit_broker.url)


def bus_of(queue: Queue, done: list[int], **changes: Any) -> Bus:
    settings = {"name_from": "header:event", "key_from": "header:key"} | changes
    bus = Bus(queue.url, queue=queue.name, **settings)

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        done.append(event.player_id or 0)

    return bus


@asynccontextmanager
async def reading(queue: Queue, **changes: Any) -> AsyncIterator[Source]:
    adapter = RabbitAdapter(Connection(url=Url.parse(queue.url)))
    await adapter.open()
    source = adapter.subscribe(
        Subscription(**{"topics": (queue.name,), "is_queue": True, "max_deliveries": 25} | changes), _lost
    )
    try:
        await source.open()
        yield source
        await source.stop()
    finally:
        await source.close()
        await adapter.close()


async def _lost(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
    """Lost with its process."""


@pytest.mark.timeout(300)
async def test_nothing_is_lost_around_messages_that_end_every_process(queue: Queue, tmp_path: Path) -> None:
    """With the defaults of brokerkit, 25 deliveries and five lone starts would come too late."""
    await queue.declare(6)
    numbers, killers, log = range(20), [3, 11], tmp_path / "log"
    await queue.fill(numbers)
    given = {
        "url": queue.url,
        "queue": queue.name,
        "name_from": "header:event",
        "key_from": "header:key",
        "log": str(log),
        "killers": killers,
        "messages": len(numbers),
    }
    kills = 0
    async with asyncio.timeout(240):
        while await crashes(given):
            kills += 1
    lines = log.read_text().splitlines()
    assert {line for line in lines if line.startswith("done")} == {f"done {n}" for n in numbers if n not in killers}
    assert {line for line in lines if line.startswith("letter")} == {f"letter m{number}" for number in killers}
    assert (await queue.count(), await queue.count(queue.letters)) == (0, 2)
    assert kills <= 10


async def crashes(given: dict[str, Any]) -> bool:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.adapters.crashing", json.dumps(given), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await worker.communicate()
    assert worker.returncode in (0, KILLED), errors.decode()
    return worker.returncode == KILLED


async def test_what_would_be_lost_if_it_came_back_is_kept_before_it_runs(queue: Queue) -> None:
    await queue.declare(None)
    await queue.fill(range(3))
    await queue.crash(20, 2)
    done = list[int]()
    bus = bus_of(queue, done, retry=RetryPolicy(attempts=30))
    async with bus, bus.serving():
        await until(lambda: done == [2] and bus.stats["bus"].dead_lettered == 2)
        letters = [letter async for letter in bus.dead_letters().browse()]
    assert {letter.message.id for letter in letters} == {"m0", "m1"}
    assert {letter.message.name for letter in letters} == {"OnPlayerSeatedDown"}
    assert await queue.count() == 0


async def test_a_source_with_wrong_settings_keeps_them_too(queue: Queue) -> None:
    await queue.declare(3)
    await queue.fill(range(2))
    await queue.crash(3, 2)
    bus = bus_of(queue, [], name_from="header:nothing")
    async with bus, bus.serving():
        await until(lambda: bus.stats["bus"].dead_lettered == 2)
    assert (await queue.count(), await queue.count(queue.letters)) == (0, 2)


async def test_a_queue_whose_messages_came_often_is_read_one_by_one_until_one_did_not(queue: Queue) -> None:
    await queue.declare(12)
    await queue.fill(range(4))
    await queue.crash(4, 4)
    await queue.fill(range(4, 40))
    async with reading(queue) as source, asyncio.timeout(PATIENCE):
        for number in range(4):
            [one] = await source.receive(100)
            assert (one.id, one.count) == (f"m{number}", 5)
            await source.settle([(one, ACK)])
        got = list[Delivery]()
        while len(got) < 36:
            got += await source.receive(100)
        assert [one.id for one in got] == [f"m{number}" for number in range(4, 40)]


@pytest.mark.parametrize("limit", [2, 12])
async def test_with_a_single_active_consumer_the_order_is_kept_meanwhile(queue: Queue, limit: int) -> None:
    await queue.declare(limit, **{"x-single-active-consumer": True})
    await queue.fill(range(30))
    async with reading(queue) as first, reading(queue) as second, asyncio.timeout(PATIENCE):
        found = list[int]()

        async def read(source: Source) -> None:
            while len(found) < 30:
                for one in await source.receive(100):
                    found.append(int(one.id[1:]))  # type: ignore[index]
                    await source.settle([(one, ACK)])

        tasks = [asyncio.create_task(read(first)), asyncio.create_task(read(second))]
        await until(lambda: len(found) >= 30)
        await first.stop()
        await second.stop()
        await asyncio.gather(*tasks)
    assert found == list(range(30))
    assert await queue.count() == 0


async def test_an_active_consumer_that_asks_for_more_stays_the_active_one(queue: Queue) -> None:
    await queue.declare(1_000, **{"x-single-active-consumer": True})
    await queue.fill(range(60))
    async with reading(queue, max_in_flight=10) as first, reading(queue) as second, asyncio.timeout(PATIENCE):
        waiting = asyncio.create_task(second.receive(100))
        held = list[Delivery]()
        while len(held) < 40:
            held += await first.receive(100)
        more = asyncio.create_task(first.receive(100))
        await asyncio.sleep(0)
        await first.settle([(one, ACK) for one in held])
        held += await more
        while len(held) < 60:
            held += await first.receive(100)
        assert [one.id for one in held] == [f"m{number}" for number in range(60)]
        assert not waiting.done()
        await second.stop()
        assert await waiting == []


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_priorities_are_kept_by_retries_and_dead_letters(queue: Queue, kind: str) -> None:
    """A classic queue orders by them; a quorum queue from 4.0 on does, in two levels."""
    priority = {"x-max-priority": 5} if kind == "classic" else {}
    async with queue.channel() as channel:
        await channel.declare_queue(queue.name, durable=True, arguments={"x-queue-type": kind, **priority})
    await queue.fill(range(10), priority=5)
    await queue.fill(range(10, 20), priority=1)
    seen = list[tuple[int, int, int]]()
    bus = bus_of(queue, [], hold=0.0, retry=RetryPolicy(attempts=2, first=1.0, jitter=0.0))

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        seen.append((event.player_id or 0, message.attempt, message.native.header.properties.priority))
        if event.player_id in (3, 13):
            raise RuntimeError("it fails every time")

    async with bus, bus.serving():
        await until(lambda: bus.stats["bus"].dead_lettered == 2)
        await until(lambda: len(seen) == 22)
        letters = {letter.message.id: letter.message async for letter in bus.dead_letters().browse()}
    assert Counter(seen) == Counter(
        (number, attempt, 5 if number < 10 else 1)
        for number in range(20)
        for attempt in ((1, 2) if number in (3, 13) else (1,))
    )
    assert {id: message.native.header.properties.priority for id, message in letters.items()} == {"m3": 5, "m13": 1}


async def test_a_queue_that_gives_no_message_twice_is_refused(queue: Queue) -> None:
    await queue.declare(0)
    with pytest.raises(UnsupportedFeature, match="x-delivery-limit is 0"):
        async with reading(queue):
            pass
