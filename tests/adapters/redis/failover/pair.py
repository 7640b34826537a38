"""Two servers, of which one replicates the other, and a bus on whichever is the primary."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.adapters.redis_seam import raw_client, unique
from tests.brokers._ports import free_port
from tests.brokers._server import LocalServer, Program
from tests.brokers.redis import program

from brokerkit import Bus, Message, RetryPolicy
from brokerkit.adapters.redis.list import RedisListAdapter
from brokerkit.adapters.redis.streams import RedisStreamsAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.testing import Proxy

ADAPTERS = {"redis": RedisStreamsAdapter, "redis+list": RedisListAdapter}
NAME = "OnPlayerSeatedDown"


class Pair:
    """Two servers, the second one a replica of the first, and the address of whichever is the primary."""

    def __init__(self, ports: list[int], proxy: Proxy) -> None:
        self.ports = ports
        self.proxy = proxy
        self.address = f"redis://{proxy.address}/0"

    def url(self, number: int) -> str:
        return f"redis://127.0.0.1:{self.ports[number]}/0"

    async def replicated(self) -> None:
        """Wait until the second server has what the first one has."""
        async with raw_client(self.url(0)) as first:
            await first.set("mark", unique())
            async with asyncio.timeout(30):
                while await first.wait(1, 1000) < 1:
                    pass

    async def fail_over(self, *, move: bool = True) -> None:
        """The second server becomes the primary and the first one its replica, with all its clients."""
        await self.replicated()
        async with raw_client(self.url(0)) as first, raw_client(self.url(1)) as second:
            await second.replicaof("NO", "ONE")
            if move:
                self.move()
            await first.replicaof("127.0.0.1", self.ports[1])

    def move(self) -> None:
        self.proxy.redirect("127.0.0.1", self.ports[1])


def _is_up(url: str) -> Callable[[], None]:
    import redis

    def ask() -> None:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            client.ping()

    return ask


@contextmanager
def servers(folder: Path) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        ports = [free_port(), free_port()]
        for port in ports:
            home = folder / str(port)
            home.mkdir()
            settings = home / "redis.conf"
            settings.write_text(
                f'bind 127.0.0.1\nport {port}\ndir {home}\nsave ""\nappendonly no\nrepl-diskless-sync-delay 0\n'
            )
            server = LocalServer(
                "redis",
                programs=[Program(command=[*program(), str(settings)])],
                ready=_is_up(f"redis://127.0.0.1:{port}/0"),
                log=home / "redis.log",
            )
            server.start()
            stack.callback(server.close)
        yield ports


async def soon(condition: Callable[[], object], *, bounded: float = 30) -> None:
    async with asyncio.timeout(bounded):
        while not condition():
            await asyncio.sleep(0.02)


class Wallet:
    """A bus whose handler notes every player, and fails once for those from 100 on."""

    def __init__(self, url: str, scheme: str, **settings: Any) -> None:
        self.handled: list[int] = []
        usual: dict[str, Any] = {
            "topic": unique(),
            "group": "wallet",
            "provision": "all",
            "format": "evenbet",
            "lease": 3,
            "retry": RetryPolicy(attempts=2, first=1.0, jitter=False),
        }
        if scheme == "redis+list":
            usual["envelope"] = "brokerkit"
        self.bus = Bus(url.replace("redis", scheme, 1), **usual | settings)

        @self.bus.on(NAME)
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            if message.attempt == 1 and event.player_id >= 100:
                raise RuntimeError("not yet")
            self.handled.append(event.player_id)

    async def publish(self, *players: int) -> None:
        for player in players:
            await self.bus.publish(OnPlayerSeatedDown(player_id=player))

    async def has_handled(self, *players: int) -> None:
        """Wait for them, each of them once."""
        try:
            await soon(lambda: len(self.handled) >= len(players))
        except TimeoutError:
            assert sorted(self.handled) == sorted(players)
            raise
        assert sorted(self.handled) == sorted(players)

    async def is_ready(self, ready: bool = True) -> None:
        async with asyncio.timeout(30):
            while (await self.bus.health()).ready is not ready:
                await asyncio.sleep(0.05)
