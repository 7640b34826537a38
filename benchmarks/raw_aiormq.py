"""RabbitMQ by hand, below aio-pika: aiormq's own consumer, the fastest loop of Python here with the same safety."""

from __future__ import annotations

import asyncio
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

from benchmarks.work import Meter, Testbed, Work


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """Parse and handle each message; acknowledge together what arrived together."""
    read, tick, loop = work.model.model_validate_json, meter.tick, asyncio.get_running_loop()
    connection = await aiormq.connect(at.address)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=500)
    last, acknowledging = 0, False

    async def handle(message: DeliveredMessage) -> None:
        nonlocal last, acknowledging
        if message.routing_key == work.name:
            tick(read(message.body))
        last = message.delivery_tag or 0
        if not acknowledging:
            acknowledging = True
            loop.call_soon(lambda: loop.create_task(acknowledge()))

    async def acknowledge() -> None:
        nonlocal acknowledging
        acknowledging = False
        await channel.basic_ack(last, multiple=True, wait=False)

    await channel.basic_consume(f"{at.topic}.aiormq", handle)
    await meter.done.wait()
    await connection.close()


async def consume_batch(at: Testbed, work: Work, meter: Meter) -> None:
    """Parse each message; handle and acknowledge together what arrived together."""
    read, loop = work.model.model_validate_json, asyncio.get_running_loop()
    connection = await aiormq.connect(at.address)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=500)
    last, events = 0, list[Any]()

    async def handle(message: DeliveredMessage) -> None:
        nonlocal last
        last = message.delivery_tag or 0
        if message.routing_key == work.name:
            events.append(read(message.body))
        if len(events) == 1:
            loop.call_soon(lambda: loop.create_task(handle_all()))

    async def handle_all() -> None:
        nonlocal events
        arrived, events = events, []
        meter.tick_all(arrived)
        await channel.basic_ack(last, multiple=True, wait=False)

    await channel.basic_consume(f"{at.topic}.aiormq", handle)
    await meter.done.wait()
    await connection.close()
