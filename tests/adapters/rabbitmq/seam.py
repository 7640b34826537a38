"""What the tests of the RabbitMQ adapter at the seam share: adapters, sources, a proxy before the broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import aio_pika

from brokerkit._errors import ConnectionLost
from brokerkit._messages._delivery import ACK, Delivery, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.rabbitmq import RabbitAdapter
from brokerkit.adapters.rabbitmq._link import GIVES_BACK_FREELY, server_version
from brokerkit.adapters.rabbitmq._source import RabbitSource

TIMEOUT = 30.0


class Lost:
    """Stands for the core: notes what it loses."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.called = asyncio.Event()

    async def __call__(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        self.deliveries.extend(deliveries)
        self.called.set()


class Proxy:
    """Stands between client and broker, and can cut the connections or let nothing through."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        credentials = self._target.netloc.rpartition("@")[0]
        return urlunsplit(self._target._replace(netloc=f"{credentials}@127.0.0.1:{port}"))

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        self._open.clear()

    async def close(self) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


class Bench:
    """Adapters and sources of one test, and the broker seen without them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lost = Lost()
        self._closing: list[Callable[[], Awaitable[object]]] = []

    def topic(self) -> str:
        return f"test.{uuid4().hex}"

    async def adapter(self, url: str | None = None, **options: object) -> RabbitAdapter:
        adapter = RabbitAdapter(Connection(url=Url.parse(url or self.url), options=options))
        self._closing.append(adapter.close)
        await adapter.open()
        return adapter

    async def source(self, adapter: RabbitAdapter, *topics: str, open: bool = True, **changes: Any) -> RabbitSource:
        settings = {"group": "wallet", "provision": "all"} | changes
        source = adapter.subscribe(Subscription(topics=topics, **settings), self.lost)
        self._closing.append(source.close)
        if open:
            await source.open()
        return source

    async def proxy(self) -> tuple[Proxy, str]:
        proxy = Proxy(self.url)
        self._closing.append(proxy.close)
        return proxy, await proxy.start()

    async def raw(self) -> aio_pika.abc.AbstractChannel:
        connection = await aio_pika.connect(self.url)
        self._closing.append(connection.close)
        return await connection.channel(on_return_raises=True)

    async def close(self) -> None:
        for close in reversed(self._closing):
            await close()


def outgoing(topic: str, **changes: Any) -> Outgoing:
    return Outgoing(**({"topic": topic, "body": b"{}", "name": "Paid", "id": uuid4().hex} | changes))


async def send(adapter: RabbitAdapter, *messages: Outgoing) -> None:
    for result in await adapter.send(messages):
        assert isinstance(result, Receipt), result


async def take(source: RabbitSource, count: int) -> list[Delivery]:
    """Receive exactly so many."""
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT):
        while len(found) < count:
            found += await source.receive(count - len(found))
    return found


async def reconnected(source: RabbitSource, count: int) -> list[Delivery]:
    """Receive like the core does: again, after a lost connection."""
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT):
        while len(found) < count:
            try:
                found += await source.receive(count - len(found))
            except ConnectionLost:
                await asyncio.sleep(0.05)
    return found


async def settle(source: RabbitSource, deliveries: Iterable[Delivery], outcome: Any = ACK) -> None:
    deliveries = list(deliveries)
    assert await source.settle([(one, outcome) for one in deliveries]) == [Settled.DONE] * len(deliveries)


async def waiting(bench: Bench, queue: str, count: int) -> None:
    """Return when so many messages lie ready in a queue."""
    channel = await bench.raw()
    async with asyncio.timeout(TIMEOUT):
        while (await channel.declare_queue(queue, passive=True)).declaration_result.message_count != count:
            await asyncio.sleep(0.02)


def gives_back_freely(one: Delivery) -> bool:
    """Whether the broker that gave a message does not count what is only given back."""
    return server_version(one.native.channel) >= GIVES_BACK_FREELY


def bodies(deliveries: Iterable[Delivery]) -> list[bytes | None]:
    return [one.body for one in deliveries]
