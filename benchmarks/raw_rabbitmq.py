"""RabbitMQ by hand: aio-pika with a prefetch of 500 and an acknowledgement each, on a quorum queue as brokerkit uses."""

from __future__ import annotations

import asyncio
import time

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from benchmarks.work import PAUSE, Meter, Stopwatch, Testbed, Work

_QUORUM = {"x-queue-type": "quorum"}


async def create(at: Testbed, reader: str) -> None:
    """An exchange with one quorum queue, since each more costs the broker as much; brokerkit makes its own."""
    async with await aio_pika.connect(at.address) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(at.topic, aio_pika.ExchangeType.TOPIC, durable=True)
        if reader != "brokerkit":
            queue = await channel.declare_queue(f"{at.topic}.{reader}", durable=True, arguments=_QUORUM)
            await queue.bind(exchange, "#")


async def drop(at: Testbed, reader: str) -> None:
    """Delete the exchange and its queue."""
    async with await aio_pika.connect(at.address) as connection:
        channel = await connection.channel()
        await channel.exchange_delete(at.topic)
        await channel.queue_delete(f"{at.topic}.{reader}")


async def fill(at: Testbed, work: Work, count: int) -> None:
    """Put messages there."""
    await publish(at, work, count, Stopwatch())


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """A callback for each message parses, handles and acknowledges it."""
    read, tick = work.model.model_validate_json, meter.tick

    async def handle(message: AbstractIncomingMessage) -> None:
        if message.routing_key == work.name:
            tick(read(message.body))
        await message.ack()

    async with await aio_pika.connect(at.address) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=500)
        queue = await channel.get_queue(f"{at.topic}.raw", ensure=False)
        await queue.consume(handle)
        await meter.done.wait()


async def publish(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """Gathers of 500 confirmed publishes."""
    async with await aio_pika.connect(at.address) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(at.topic, ensure=False)

        async def one(number: int) -> None:
            message = aio_pika.Message(
                work.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, headers={"key": str(number % 1000)}
            )
            await exchange.publish(message, routing_key=work.name)

        with watch:
            for first in range(0, count, 500):
                await asyncio.gather(*(one(number) for number in range(first, min(first + 500, count))))


async def latency(at: Testbed, work: Work, count: int) -> list[float]:
    """One message at a time, from the call of publish to the parsed event."""
    figures: list[float] = []
    arrived: asyncio.Queue[float] = asyncio.Queue()

    async def handle(message: AbstractIncomingMessage) -> None:
        work.model.model_validate_json(message.body)
        arrived.put_nowait(time.perf_counter())
        await message.ack()

    async with await aio_pika.connect(at.address) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.set_qos(prefetch_count=500)
        exchange = await channel.get_exchange(at.topic, ensure=False)
        queue = await channel.get_queue(f"{at.topic}.raw", ensure=False)
        await queue.consume(handle)
        for _ in range(count):
            begun = time.perf_counter()
            message = aio_pika.Message(work.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await exchange.publish(message, routing_key=work.name)
            figures.append(await arrived.get() - begun)
            await asyncio.sleep(PAUSE)
    return figures
