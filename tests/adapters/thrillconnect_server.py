"""A real WebSocket server on loopback that plays ThrillConnect, well or badly, from the catalogue's samples."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

SAMPLES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "events" / "thrillconnect_samples.jsonl").read_text("utf-8").splitlines()
]
PUSHED: list[dict[str, Any]] = [one["wire"] for one in SAMPLES if "msg_name" in one["wire"]]
"""Everything in the samples that a server sends over the WebSocket."""

PATH = "/v1/events/northlight/lumen"


def sample(event: str) -> dict[str, Any]:
    """The first sample of an event on the WebSocket, or of a request."""
    wire: dict[str, Any] = next(
        one["wire"] for one in SAMPLES if (one["event"], one["channel"]) == (event, "thrillconnect-ws")
    )
    return wire


class ThrillConnectServer:
    """Attributes that tests set say how it behaves; those that it sets say what came.

    Attributes:
        tokens: those that are accepted.
        status: answered to an upgrade with a wrong token, or None: then the socket opens first.
        closes_with: code and reason for a wrong token after the socket has opened; a code that is illegal goes out raw.
        answers: whether requests are answered.
        headers: answered to a refused upgrade.
        upgrades: the query of each upgrade.
        asked_with: the headers of the last one.
        requests: what clients sent.
        connections: those that live, and subscribed.
    """

    def __init__(self) -> None:
        self.tokens = {"good"}
        self.status: int | None = 401
        self.closes_with = (4401, "")
        self.answers = True
        self.headers: dict[str, str] = {}
        self.paths: list[str] = []
        self.upgrades: list[dict[str, str]] = []
        self.asked_with: Mapping[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self.connections: list[ServerConnection] = []
        self.closed: list[int | None] = []
        self.secure = False
        self.port = 0
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"thrillconnect+{'wss' if self.secure else 'ws'}://127.0.0.1:{self.port}{PATH}"

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self.secure = tls is not None
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            ssl=tls,
            process_request=self._upgrade,
            compression=None,
            close_timeout=0.5,
            ping_interval=None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self.cut()
            self._server.close()
            await self._server.wait_closed()

    async def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        self.paths.append(parts.path)
        self.asked_with = request.headers
        self.upgrades.append({name: values[0] for name, values in parse_qs(parts.query).items()})
        if self.upgrades[-1].get("token") in self.tokens or self.status is None:
            return None
        response = connection.respond(self.status, "no\n")
        response.headers.update(self.headers)
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        if parse_qs(urlsplit(connection.request.path).query).get("token", [""])[0] not in self.tokens:
            code, reason = self.closes_with
            if code < 1000:
                connection.transport.write(b"\x88\x02" + code.to_bytes(2, "big"))
                await connection.wait_closed()
            else:
                await connection.close(code, reason)
            return
        try:
            async for text in connection:
                assert isinstance(text, str)
                request = json.loads(text)
                self.requests.append(request)
                if "SubscribeRequest" in request and connection not in self.connections:
                    self.connections.append(connection)
                elif self.answers:
                    await self._answer(connection, request)
        except ConnectionClosed:
            pass
        finally:
            self.closed.append(connection.close_code)
            if connection in self.connections:
                self.connections.remove(connection)

    async def _answer(self, connection: ServerConnection, request: Mapping[str, Any]) -> None:
        [(name, asked)] = request.items()
        if name == "PlayerRaffleTicketsRequest":
            answer = sample("PlayerRaffleTicketResponse")
            data = {**answer["data"], "instance_id": asked["instance_id"]}
        elif name == "PlayerOptInRequest":
            answer = sample("OptInEvent")
            data = {**answer["data"], "instance_id": asked["instance_id"], "opted_in": asked["opt_in"]}
        else:
            return
        await connection.send(json.dumps({**answer, "player_id": asked["player_id"], "data": data}))

    async def push(self, *messages: Mapping[str, Any] | str | bytes) -> None:
        """Send frames to everybody who is connected."""
        for message in messages:
            for connection in self.connections:
                await connection.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    def cut(self) -> None:
        """End all connections without a word."""
        for connection in list(self.connections):
            connection.transport.abort()


@asynccontextmanager
async def playing(tls: ssl.SSLContext | None = None) -> AsyncGenerator[ThrillConnectServer]:
    """A server for the block."""
    server = ThrillConnectServer()
    await server.start(tls)
    try:
        yield server
    finally:
        await server.stop()
        await asyncio.sleep(0)
