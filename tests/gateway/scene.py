"""A gateway on a real broker, its clients, and events for them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from brokerkit import AccessDenied, Bus, Message
from brokerkit.gateway import Credentials, Gateway, Player

EVERYTHING = [{"source": "thrillgate", "event_type": "*"}, {"source": "thrillpots", "event_type": "*"}]
_numbers = itertools.count()


class Tokens:
    """Whom the tokens of a test belong to: ``player`` is the token of that player.

    Attributes:
        expires: Unix time at which the tokens of a player run out.
        lasts: seconds after which they run out, from when they are asked about.
        asked: the credentials that were asked about.
    """

    def __init__(self) -> None:
        self.expires: dict[str, float] = {}
        self.lasts: dict[str, float] = {}
        self.asked: list[Credentials] = []

    async def __call__(self, credentials: Credentials) -> Player | None:
        self.asked.append(credentials)
        token = credentials.token
        if token == "broken":
            raise RuntimeError("the token is broken")
        if token == "barred":
            raise AccessDenied("barred")
        if not token.startswith("pl-"):
            return None
        if token in self.lasts:
            self.expires.setdefault(token, time.time() + self.lasts[token])
        return Player(operator_id="northlight", brand_id="lumen", player_id=token, expires=self.expires.get(token))


def event(player: str | None, name: str = "PlayerBonusAdded", **more: Any) -> Message:
    """A message of ThrillConnect's; each has a number of its own."""
    source = "thrillgate" if name.startswith("Player") else "thrillpots"
    body = {
        "msg_type": "Event",
        "source": source,
        "msg_name": name,
        "operator_id": "northlight",
        "brand_id": "lumen",
        "player_id": player,
        "data": {"number": next(_numbers)},
        "timestamp": 1767040591759,
        **more,
    }
    return Message(name, json.dumps(body).encode())


def body(message: Message) -> Any:
    """What a client should get of a message."""
    return json.loads(message.body or b"")


@asynccontextmanager
async def gateway(bus: Bus, check: Any = None, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway for the block, on a port of its own."""
    defaults: dict[str, Any] = {"port": 0, "drain": 0.5}
    made = Gateway(bus, **{**defaults, "check": check or Tokens(), **settings})
    async with made:
        yield made


def url(gateway: Gateway, token: str, *, place: str = "northlight/lumen") -> str:
    """Where a client connects to."""
    return f"ws://127.0.0.1:{gateway.port}/v1/events/{place}?token={token}&currency=EUR"


@asynccontextmanager
async def client(gateway: Gateway, player: str, events: Any = EVERYTHING) -> AsyncIterator[ClientConnection]:
    """A client that has subscribed."""
    async with connect(url(gateway, player), compression=None, ping_interval=None, close_timeout=1) as connection:
        await subscribe(connection, events)
        yield connection


async def subscribe(connection: ClientConnection, events: Any = EVERYTHING) -> None:
    """Subscribe, and wait until the gateway has read that: it answers in order, and has no such request."""
    await connection.send(json.dumps({"SubscribeRequest": {"events": events}}))
    await connection.send(json.dumps({"Nothing": {}}))
    assert (await receive(connection))["msg_type"] == "Error"


async def receive(connection: ClientConnection) -> Any:
    """The next message."""
    async with asyncio.timeout(20):
        return json.loads(await connection.recv())


async def closed(connection: ClientConnection) -> tuple[int, str]:
    """Code and reason, once the other end has closed."""
    async with asyncio.timeout(20):
        await connection.wait_closed()
    assert connection.close_code is not None
    return connection.close_code, connection.close_reason or ""
