"""The proxy forwards, and fails as it is told to; against a plain echo server, since it knows no protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from brokerkit.testing import Proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except OSError:
            pass
        finally:
            await closed(writer)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with Proxy(host, port) as proxy:
        yield proxy
    server.close()
    await server.wait_closed()


async def opened(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def said(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> bytes:
    reader, writer = connection
    writer.write(data)
    return await reader.readexactly(len(data))


async def test_bytes_go_both_ways(proxy: Proxy) -> None:
    large = bytes(range(256)) * 2_000
    connection = await opened(proxy)
    assert await said(connection, large) == large
    assert proxy.connections == 1
    await closed(connection[1])


async def test_an_end_is_passed_on(proxy: Proxy) -> None:
    reader, writer = await opened(proxy)
    writer.write(b"last words")
    writer.write_eof()
    assert await reader.read() == b"last words"
    await closed(writer)


async def test_cut_connections_fail_and_new_ones_work(proxy: Proxy) -> None:
    connection = await opened(proxy)
    await said(connection, b"1")
    proxy.cut()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await said(connection, b"2")
    await closed(connection[1])
    again = await opened(proxy)
    assert await said(again, b"3") == b"3"
    await closed(again[1])


async def test_nothing_comes_through_while_paused_and_all_of_it_afterwards(proxy: Proxy) -> None:
    connection = await opened(proxy)
    await said(connection, b"1")
    proxy.pause()
    waiting = asyncio.create_task(said(connection, b"2"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.1)
    proxy.resume()
    assert await waiting == b"2"
    await closed(connection[1])


async def test_connections_are_refused_until_they_are_accepted(proxy: Proxy) -> None:
    connection = await opened(proxy)
    await said(connection, b"1")
    proxy.refuse()
    await closed(connection[1])
    with pytest.raises(ConnectionRefusedError):
        await opened(proxy)
    await proxy.accept()
    again = await opened(proxy)
    assert await said(again, b"2") == b"2"
    await closed(again[1])


async def test_a_broker_that_is_not_there_resets_the_client() -> None:
    async with Proxy("127.0.0.1", 1) as proxy:
        reader, writer = await opened(proxy)
        with pytest.raises(ConnectionError):
            await reader.read()
        await closed(writer)
