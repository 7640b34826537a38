"""FastStream, as its own documentation writes a subscriber with a pydantic model."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.work import Meter, Stopwatch, Work


def _broker(kind: str, address: str) -> Any:
    if kind == "kafka":
        from faststream.confluent import KafkaBroker

        return KafkaBroker(address, logger=None)
    if kind == "redis":
        from faststream.redis import RedisBroker

        return RedisBroker(address, logger=None)
    from faststream.rabbit import RabbitBroker

    return RabbitBroker(address, logger=None)


def _subscriber(kind: str, broker: Any, topic: str) -> Any:
    if kind == "kafka":
        from faststream import AckPolicy

        return broker.subscriber(
            topic, group_id="faststream", auto_offset_reset="earliest", ack_policy=AckPolicy.REJECT_ON_ERROR
        )
    if kind == "redis":
        from faststream.redis import StreamSub

        return broker.subscriber(stream=StreamSub(topic, group="faststream", consumer="one", last_id=">"))
    from faststream.rabbit import Channel, RabbitQueue

    queue = RabbitQueue(f"{topic}.faststream", durable=True, declare=False)
    return broker.subscriber(queue, channel=Channel(prefetch_count=500))


async def consume(kind: str, address: str, topic: str, work: Work, meter: Meter) -> None:
    """One handler with the model as its parameter."""
    broker = _broker(kind, address)

    async def handle(event: Any) -> None:
        meter.tick(event)

    handle.__annotations__["event"] = work.model
    _subscriber(kind, broker, topic)(handle)
    async with broker:
        await broker.start()
        await meter.done.wait()


async def publish_each(kind: str, address: str, topic: str, work: Work, count: int, watch: Stopwatch) -> None:
    """100 concurrent calls of `publish`, again and again: FastStream's Redis takes no more."""
    event = work.model.model_validate_json(work.body)
    async with _broker(kind, address) as broker:
        await broker.start()
        if kind == "kafka":

            async def one(number: int) -> None:
                await broker.publish(event, topic, key=str(number).encode(), headers={"event": work.name})

        elif kind == "redis":

            async def one(number: int) -> None:
                await broker.publish(event, stream=topic, headers={"event": work.name, "key": str(number)})

        else:
            from faststream.rabbit import ExchangeType, RabbitExchange

            exchange = RabbitExchange(topic, type=ExchangeType.TOPIC, durable=True, declare=False)

            async def one(number: int) -> None:
                await broker.publish(event, exchange=exchange, routing_key=work.name, persist=True)

        with watch:
            for first in range(0, count, 100):
                await asyncio.gather(*(one(number) for number in range(min(100, count - first))))
