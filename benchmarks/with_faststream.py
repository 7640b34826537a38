"""FastStream, as its own documentation writes a subscriber with a pydantic model."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.work import Meter, Stopwatch, Testbed, Work


def _broker(at: Testbed) -> Any:
    if at.kind == "kafka":
        from faststream.confluent import KafkaBroker

        return KafkaBroker(at.address, logger=None)
    if at.kind == "redis":
        from faststream.redis import RedisBroker

        return RedisBroker(at.address, logger=None)
    from faststream.rabbit import RabbitBroker

    return RabbitBroker(at.address, logger=None)


def _subscriber(at: Testbed, broker: Any) -> Any:
    if at.kind == "kafka":
        from faststream import AckPolicy

        return broker.subscriber(
            at.topic, group_id="faststream", auto_offset_reset="earliest", ack_policy=AckPolicy.REJECT_ON_ERROR
        )
    if at.kind == "redis":
        from faststream.redis import StreamSub

        return broker.subscriber(stream=StreamSub(at.topic, group="faststream", consumer="one", last_id=">"))
    from faststream.rabbit import Channel, RabbitQueue

    queue = RabbitQueue(f"{at.topic}.faststream", durable=True, declare=False)
    return broker.subscriber(queue, channel=Channel(prefetch_count=500))


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """One handler with the model as its parameter."""
    broker = _broker(at)

    async def handle(event: Any) -> None:
        meter.tick(event)

    handle.__annotations__["event"] = work.model
    _subscriber(at, broker)(handle)
    async with broker:
        await broker.start()
        await meter.done.wait()


async def publish_each(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """100 concurrent calls of `publish`, again and again: FastStream's Redis takes no more."""
    event = work.model.model_validate_json(work.body)
    async with _broker(at) as broker:
        await broker.start()
        if at.kind == "kafka":

            async def one(number: int) -> None:
                await broker.publish(event, at.topic, key=str(number).encode(), headers={"event": work.name})

        elif at.kind == "redis":

            async def one(number: int) -> None:
                await broker.publish(event, stream=at.topic, headers={"event": work.name, "key": str(number)})

        else:
            from faststream.rabbit import ExchangeType, RabbitExchange

            exchange = RabbitExchange(at.topic, type=ExchangeType.TOPIC, durable=True, declare=False)

            async def one(number: int) -> None:
                await broker.publish(event, exchange=exchange, routing_key=work.name, persist=True)

        with watch:
            for first in range(0, count, 100):
                await asyncio.gather(*(one(number) for number in range(min(100, count - first))))
