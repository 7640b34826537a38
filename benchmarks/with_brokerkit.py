"""brokerkit with its default guarantees, the same code for every broker."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.work import PAUSE, Meter, Stopwatch, Testbed, Work
from brokerkit import Bus, Message, Receipt


def _bus(at: Testbed) -> Bus:
    # As an integrator reads EvenBet: where a broker has a routing key, the name is there.
    given = {"format": "evenbet", "topic": at.topic, "group": "brokerkit", **at.settings}
    if at.kind == "redis-list":
        del given["group"]  # the list is its only one
    return Bus(given.pop("url"), **given)


async def fill(at: Testbed, work: Work, count: int) -> None:
    """Put messages there, as brokerkit writes them."""
    await publish(at, work, count, Stopwatch())


async def prepare(at: Testbed) -> None:
    """Make the group, which must be there before the messages on RabbitMQ."""
    bus = _bus(at)
    bus.on("*")(_nothing)
    async with bus, bus.serving():
        pass


async def _nothing(_event: object) -> None: ...


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """One handler."""
    bus, tick = _bus(at), meter.tick

    @bus.on(work.model)
    async def handle(event: Any) -> None:
        tick(event)

    async with bus.serving():
        await meter.done.wait()


async def consume_batch(at: Testbed, work: Work, meter: Meter) -> None:
    """One handler of batches."""
    bus, tick_all = _bus(at), meter.tick_all

    @bus.on_batch(work.model, size=500, within=0.1)
    async def handle(events: list[Any]) -> None:
        tick_all(events)

    async with bus.serving():
        await meter.done.wait()


async def publish(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """`publish_many` of ready messages, 500 at a time; the raw client has its bytes ready as well."""
    async with _bus(at) as bus:
        with watch:
            for first in range(0, count, 5_000):
                batch = [
                    Message(work.name, work.body, key=str(number % 1000), headers={"event": work.name})
                    for number in range(first, min(first + 5_000, count))
                ]
                results = await bus.publish_many(batch)
                assert all(isinstance(result, Receipt) for result in results), results[0]


async def publish_each(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """100 concurrent calls of `publish`, again and again: FastStream's Redis takes no more."""
    event = work.model.model_validate_json(work.body)
    async with _bus(at) as bus:
        with watch:
            for first in range(0, count, 100):
                await asyncio.gather(*(bus.publish(event, key=str(n)) for n in range(min(100, count - first))))


async def latency(at: Testbed, work: Work, count: int) -> list[float]:
    """One message at a time, from the call of publish to the handler."""
    bus, figures = _bus(at), list[float]()
    arrived: asyncio.Queue[float] = asyncio.Queue()

    @bus.on(work.model)
    async def handle(_event: Any) -> None:
        arrived.put_nowait(time.perf_counter())

    async with bus, bus.serving():
        message = Message(work.name, work.body, headers={"event": work.name})
        while arrived.empty():  # until the group has its partitions
            await bus.publish(message)
            await asyncio.sleep(0.2)
        await asyncio.sleep(2.0)
        while not arrived.empty():
            arrived.get_nowait()
        for _ in range(count):
            begun = time.perf_counter()
            await bus.publish(message)
            figures.append(await arrived.get() - begun)
            await asyncio.sleep(PAUSE)
    return figures
