"""kombu on RabbitMQ, and on Redis, where it uses lists. It is synchronous: its own loop, in a thread beside asyncio."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kombu import Connection, Consumer, Exchange, Queue
from kombu.pools import get_limit, producers

from benchmarks.work import Meter, Stopwatch, Testbed, Work


def _connection(at: Testbed) -> Connection:
    return Connection(at.address, transport_options={"confirm_publish": True} if at.kind == "rabbitmq" else {})


def _queue(at: Testbed) -> Queue:
    # The quorum queue of RabbitMQ is there already; a queue of Redis is known once it has been declared.
    exchange = Exchange(at.topic, type="topic", no_declare=at.kind == "rabbitmq")
    return Queue(f"{at.topic}.kombu", exchange, routing_key="#", no_declare=at.kind == "rabbitmq")


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """A callback parses, handles and acknowledges each message, of which 500 may be on their way."""
    read, tick = work.model.model_validate_json, meter.tick

    def handle(message: Any) -> None:
        if message.delivery_info["routing_key"] == work.name:
            tick(read(message.body))
        message.ack()

    def loop() -> None:
        with _connection(at) as connection:
            channel = connection.channel()
            with Consumer(channel, _queue(at), on_message=handle) as consumer:
                consumer.qos(prefetch_count=500)
                while meter.left > 0:
                    connection.drain_events(timeout=10)

    await asyncio.to_thread(loop)


async def fill(at: Testbed, work: Work, count: int) -> None:
    """Put messages there, as kombu writes them."""
    await publish_each(at, work, count, Stopwatch())


async def publish_each(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """As many threads as its pool has producers (10), since each call waits for the broker."""
    event, pool = work.model.model_validate_json(work.body), producers[_connection(at)]
    declare = [_queue(at)] if at.kind == "redis-list" else []

    def one(_number: int) -> None:
        with pool.acquire(block=True) as producer:
            producer.publish(
                event.model_dump_json(by_alias=True).encode(),
                exchange=at.topic,
                routing_key=work.name,
                content_type="application/json",
                content_encoding="binary",
                delivery_mode="persistent",
                mandatory=at.kind == "rabbitmq",
                declare=declare,
            )

    def loop() -> None:
        with ThreadPoolExecutor(get_limit()) as threads:
            list(threads.map(one, range(get_limit())))  # connect, and wait for it
            with watch:
                for first in range(0, count, 100):
                    list(threads.map(one, range(min(100, count - first))))

    await asyncio.to_thread(loop)
