"""How the Redis adapters wait for answers, against a server that answers as a test has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest
from tests.adapters.redis_seam import connection, outgoing

from brokerkit._errors import ConnectionLost
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.redis.streams import RedisStreamsAdapter

Answer = Callable[[int], float | None]
"""Seconds after which the server answers its n-th XADD; None where it never does."""


@asynccontextmanager
async def server(answer: Answer) -> AsyncGenerator[str, None]:
    """A server that takes whatever comes; its URL."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands, number = hiredis.Reader(), 0
        while data := await reader.read(65_536):
            commands.feed(data)
            while command := commands.gets():
                if command[0] != b"XADD":
                    writer.write(b"+PONG\r\n" if command[0] == b"PING" else b"+OK\r\n")
                    continue
                if (after := answer(number)) is None:
                    await over.wait()
                    break
                await asyncio.sleep(after)
                entry = b"%d-0" % number
                writer.write(b"$%d\r\n%b\r\n" % (len(entry), entry))
                number += 1
        writer.close()

    served = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{served.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        served.close()
        await served.wait_closed()


async def sent(url: str, number: int, timeout: float | None, **options: object) -> list[object]:
    adapter = RedisStreamsAdapter(connection(url, socket_timeout=timeout, **options))
    try:
        async with asyncio.timeout(20):
            return list(await adapter.send([outgoing("t", each) for each in range(number)]))
    finally:
        await adapter.close()


async def test_what_a_server_answered_before_it_fell_silent_is_confirmed_and_the_rest_is_lost() -> None:
    async with server(lambda number: 0 if number < 3 else None) as url:
        results = await sent(url, 5, timeout=1.5)
    assert results[:3] == [Receipt("t", f"id-{number}", f"{number}-0") for number in range(3)]
    for lost in results[3:]:
        assert isinstance(lost, ConnectionLost)
        assert str(lost) == f"{url}: publishing to 't': Timeout reading from {url.removeprefix('redis://')}"


async def test_a_server_may_take_the_socket_timeout_for_each_answer() -> None:
    async with server(lambda _: 0.3) as url:
        results = await sent(url, 8, timeout=2)
    assert all(isinstance(result, Receipt) for result in results), results


async def test_without_a_socket_timeout_an_answer_may_come_at_any_time() -> None:
    async with server(lambda _: 0.1) as url:
        results = await sent(url, 3, timeout=None)
    assert all(isinstance(result, Receipt) for result in results), results


async def test_a_server_that_reads_nothing_is_given_up_after_the_socket_timeout() -> None:
    async def read_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK\r\n" * 2)  # for the name and the version that redis-py tells
        await over.wait()
        writer.close()

    over = asyncio.Event()
    served = await asyncio.start_server(read_nothing, "127.0.0.1", 0, limit=1024)
    adapter = RedisStreamsAdapter(
        connection(f"redis://127.0.0.1:{served.sockets[0].getsockname()[1]}", socket_timeout=0.3)
    )
    try:
        async with asyncio.timeout(20):
            (result,) = await adapter.send([outgoing("t", body=bytes(32 * 1024 * 1024))])
    finally:
        await adapter.close()
        over.set()
        served.close()
        await served.wait_closed()
    assert isinstance(result, ConnectionLost)
    assert str(result).endswith("publishing to 't': Timeout writing to socket")


async def test_nothing_is_sent_after_what_a_broken_connection_lost() -> None:
    asked = list[int]()

    def answer(number: int) -> float | None:
        asked.append(number)
        return 0 if number < 600 else None

    async with server(answer) as url:
        results = await sent(url, 1_600, timeout=1.5)
    assert all(isinstance(result, Receipt) for result in results[:600])
    assert all(isinstance(result, ConnectionLost) for result in results[600:])
    assert asked == list(range(601))


async def test_a_health_check_does_not_take_an_answer_of_a_batch_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is due with each of the three parts, and only with the first nothing else is to be read."""

    def pack_slowly(command: tuple[Any, ...]) -> bytes:
        time.sleep(0.004)
        return hiredis.pack_command(command)

    monkeypatch.setattr("brokerkit.adapters.redis._client._pack", pack_slowly)
    async with server(lambda _: 0) as url:
        results = await sent(url, 120, timeout=5, health_check_interval=0.1)
    assert all(isinstance(result, Receipt) for result in results), results
