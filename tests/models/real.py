"""Real brokers, with a connection for each member that can be cut."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from brokerkit import adapters
from brokerkit._config._settings import ConnectionSettings
from brokerkit.adapters.api import Adapter, Capabilities, Outgoing
from brokerkit.testing import Proxy
from tests.every_broker import Broker


class RealWorld:
    """A broker of tests/every_broker.py.

    Args:
        broker: which one.
        listeners: for each connection, the port of the broker and that of the proxy before it, where the broker has to know.
    """

    def __init__(self, broker: Broker, listeners: Sequence[tuple[int, int]] = ()) -> None:
        self._broker = broker
        self._listeners = listeners
        self.topic = f"{broker.topic()}-{uuid.uuid4().hex[:8]}"
        self.lease = 2.0
        self.drain = 5.0
        self.is_abrupt = False
        self.fetches_ahead = broker.name in ("rabbitmq", "sqs", "sns")
        self.bury: Literal["at once", "last", "never"] = "last" if broker.name in ("memory", "sqlite") else "at once"
        self._runner = asyncio.Runner()
        self._settings = dict(broker.settings)
        self._publisher = self._adapter(self._settings)
        self._proxies: dict[int, Proxy] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def _adapter(settings: dict[str, Any]) -> Adapter:
        return adapters.make(ConnectionSettings.model_validate(settings).connection())

    @property
    def promises(self) -> Capabilities:
        return self._publisher.capabilities(self.topic)

    now: Callable[[], float] = staticmethod(time.monotonic)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._runner.run(coroutine)

    async def begin(self) -> None:
        await self._broker.create(self.topic)
        await self._publisher.open()
        await self._publisher.ensure([self.topic], is_queue=False, create=True)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[object]:
        return await self._publisher.send(batch)

    async def connect(self, slot: int) -> Adapter:
        adapter = self._adapter(await self._through(slot))
        await adapter.open()
        return adapter

    async def _through(self, slot: int) -> dict[str, Any]:
        """The settings that lead through a proxy, where there is a connection."""
        where = "endpoint" if "endpoint" in self._settings else "url"
        parts = urlsplit(self._settings[where])
        if self.bury == "last":
            return self._settings
        if slot not in self._proxies:
            host, port, listen = str(parts.hostname), int(parts.port or 0), 0
            if self._listeners:
                port, listen = self._listeners[slot]
            self._proxies[slot] = await Proxy(host, port, listen=listen).__aenter__()
        proxy = self._proxies[slot]
        await proxy.accept()
        netloc = f"{parts.netloc.rpartition('@')[0]}@{proxy.address}" if "@" in parts.netloc else proxy.address
        return {**self._settings, where: parts._replace(netloc=netloc).geturl()}

    async def cut(self, slot: int) -> None:
        if slot in self._proxies:
            self._proxies[slot].refuse()
        for task in [one for one in self._tasks if one.get_name() == str(slot)]:
            task.cancel()
            await asyncio.wait([task])

    def spawn(self, slot: int, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=str(slot))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        await self._publisher.close()
        for proxy in self._proxies.values():
            await proxy.__aexit__(None, None, None)

    def close(self) -> None:
        self._runner.close()
