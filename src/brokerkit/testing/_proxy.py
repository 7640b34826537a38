"""A TCP proxy between a program and its broker, which fails when a test says so."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 65_536


class Proxy:
    """Forwards connections on 127.0.0.1 to a broker, for the duration of the block.

    ```python
    async with Proxy("127.0.0.1", 6379) as proxy:
        bus = Bus(f"redis://{proxy.address}", topic="deals", group="wallet")
        ...
        proxy.cut()
    ```

    It runs on the event loop of the test, and never looks at what goes through. A broker that tells its clients where
    else to connect must name the proxy: Kafka in its ``advertised.listeners``.

    Args:
        host: the host of the broker.
        port: the port of the broker.
        listen: the port of the proxy; by default any free port.
    """

    def __init__(self, host: str, port: int, *, listen: int = 0) -> None:
        self._target = (host, port)
        self._socket = _bound(listen)
        self.port: Final[int] = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def __repr__(self) -> str:
        state = "refusing" if self._server is None else "open" if self._flowing.is_set() else "paused"
        return f"<Proxy {self.address} to {self._target[0]}:{self._target[1]}: {state}, {self.connections} connections>"

    @property
    def address(self) -> str:
        """`host:port` for a URL."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.refuse()
        self._socket.close()
        self.resume()
        await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        """Reset every connection; data in flight is lost. New connections are forwarded."""
        for writer in list(self._writers):
            _reset(writer)

    def redirect(self, host: str, port: int) -> None:
        """Forward new connections to another broker. Open connections stay: like an address that a fail-over moves,
        with the old primary still running.
        """
        self._target = (host, port)

    def pause(self) -> None:
        """Hold all bytes in both directions until `resume`, and leave the connections open, like a hanging network."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward everything that was held."""
        self._flowing.set()

    def refuse(self) -> None:
        """Reset every connection and refuse new ones until `accept`, like a broker that is down."""
        if self._server is not None:
            self._server.close()
            self._server = None
            # Bound, but not listening: connections are refused, and no other program gets the port.
            self._socket = _bound(self.port)
        self.cut()

    async def accept(self) -> None:
        """Forward connections again."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, sock=self._socket)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        ends = [writer]
        try:
            there, to = await asyncio.open_connection(*self._target)
            ends.append(to)
            self._writers.add(to)
            if writer.is_closing():
                _reset(to)  # It was cut meanwhile.
            await asyncio.gather(self._pump(reader, to), self._pump(there, writer))
        except OSError:
            for end in ends:
                _reset(end)
        finally:
            for end in ends:
                end.close()
                with suppress(OSError):
                    await end.wait_closed()
                self._writers.discard(end)
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
            await self._flowing.wait()
            writer.write_eof()
        except OSError:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once: the other side must see a failure, not an orderly end."""
    # Lingering for no time makes TCP send a reset.
    with suppress(OSError):  # It may be closed already.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made
