"""Where brokers are: several hosts of RabbitMQ, and IPv6 addresses wherever an address stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from tests import every_aws, every_broker, every_redis
from tests.brokers._ports import free_port
from tests.brokers.aws import AwsBroker
from tests.brokers.rabbitmq import RabbitBroker
from tests.brokers.redis import RedisBroker
from tests.every_broker import Broker, Recorder, until, until_async
from websockets.asyncio.client import connect

from brokerkit import Bus, ConnectionLost, Receipt
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.gateway import Gateway
from brokerkit.testing import Proxy

NAME: Final = "OnPlayerSeatedDown"


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


@asynccontextmanager
async def on_ipv6(url: str) -> AsyncIterator[int]:
    """A port on ``[::1]`` behind which the broker of a URL is."""
    target = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        tasks.add(asyncio.create_task(pump(reader, far_writer)))
        tasks.add(asyncio.create_task(pump(far_reader, writer)))

    server = await asyncio.start_server(serve, "::1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()


def _with(url: str, hosts: str) -> str:
    """A URL with other hosts."""
    found = urlsplit(url)
    return found._replace(netloc=f"{found.netloc.rpartition('@')[0]}@{hosts}").geturl()


REDIS: Final[dict[str, Callable[[RedisBroker], Broker]]] = {
    "redis-streams": every_redis.redis_streams,
    "redis-list": every_redis.redis_list,
    "redis-pubsub": every_redis.redis_pubsub,
}


async def _there_and_back(broker: Broker, **settings: Any) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(broker.bus(**settings)) as bus:
        assert isinstance(await bus.publish(seated(1)), Receipt)
        await recorder.wait_for(1)


async def test_rabbitmq_on_ipv6(rabbit_broker: RabbitBroker) -> None:
    async with on_ipv6(rabbit_broker.url) as port:
        await _there_and_back(every_broker.rabbitmq(rabbit_broker), url=_with(rabbit_broker.url, f"[::1]:{port}"))


@pytest.mark.parametrize("kind", list(REDIS))
async def test_redis_on_ipv6(redis_broker: RedisBroker, kind: str) -> None:
    broker = REDIS[kind](redis_broker)
    async with on_ipv6(redis_broker.url) as port:
        await _there_and_back(broker, url=_with(broker.settings["url"], f"[::1]:{port}"))


async def test_sqs_on_ipv6(sqs_broker: AwsBroker) -> None:
    async with on_ipv6(sqs_broker.url) as port:
        broker = every_aws.sqs(sqs_broker, fifo=False)
        await _there_and_back(broker, endpoint=f"http://[::1]:{port}")


async def test_sns_on_ipv6(sns_broker: AwsBroker) -> None:
    async with on_ipv6(sns_broker.url) as port:
        await _there_and_back(every_aws.sns(sns_broker), endpoint=f"http://[::1]:{port}")


async def test_rabbitmq_goes_on_with_another_host(rabbit_broker: RabbitBroker) -> None:
    broker, recorder = every_broker.rabbitmq(rabbit_broker), Recorder().record(NAME)
    where = urlsplit(rabbit_broker.url)
    assert where.hostname
    assert where.port
    async with Proxy(where.hostname, where.port) as first, Proxy(where.hostname, where.port) as second:
        # The first of the hosts does not listen.
        url = _with(rabbit_broker.url, f"127.0.0.1:1,{first.address},{second.address}")
        async with recorder.serving(broker.bus(url=url)) as bus:
            await bus.publish(seated(1))
            await recorder.wait_for(1)
            assert (first.connections > 0, second.connections) == (True, 0)
            first.refuse()
            first.cut()
            await until(lambda: second.connections >= 1, seconds=40)
            await bus.publish(seated(2))
            await recorder.wait_for(2)

            async def is_ready() -> bool:
                return (await bus.health()).ready

            await until_async(is_ready)


async def test_a_host_that_says_nothing_leaves_time_for_the_others(rabbit_broker: RabbitBroker) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    where = urlsplit(rabbit_broker.url)
    url = _with(rabbit_broker.url, f"127.0.0.1:{server.sockets[0].getsockname()[1]},{where.hostname}:{where.port}")
    try:
        await _there_and_back(every_broker.rabbitmq(rabbit_broker), url=url, connect_timeout=8.0)
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def test_where_no_host_answers_each_is_named() -> None:
    bus = Bus("amqp://u:secret@127.0.0.1:1,[::1]:1/", topic="t", format="evenbet", connect_timeout=5.0)
    with pytest.raises(ConnectionLost, match=r"any of 2 hosts: 127\.0\.0\.1:1: .*; .*::1.*:1: ") as caught:
        async with bus:
            pass
    assert "secret" not in str(caught.value)


async def test_a_gateway_on_ipv6() -> None:
    port = free_port()
    bus = Bus("memory://hosts", topic="t", format="thrillconnect", broadcast=True)

    async def check(_: object) -> None:
        return None

    async with Gateway(bus, check=check, host="::1", port=port):
        with pytest.raises(Exception, match=r"404|HTTP"):
            await connect(f"ws://[::1]:{port}/nowhere")
