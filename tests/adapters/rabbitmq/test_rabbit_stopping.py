"""Stopping and closing a source of RabbitMQ, at the seam, on a real broker."""

from __future__ import annotations

import asyncio
import gc

import pytest
from tests.adapters.rabbitmq.seam import TIMEOUT, Bench, bodies, outgoing, send, settle, take, waiting

from brokerkit._errors import ConnectionLost


@pytest.mark.parametrize("shared", [False, True])
async def test_stop_ends_a_receive_and_gives_back_what_was_not_handed_out(bench: Bench, shared: bool) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, *[outgoing(topic, body=str(i).encode()) for i in range(5)])
    found = await take(source, 1)
    await waiting(bench, f"{topic}.wallet", 0)
    if shared:
        other = await bench.source(adapter, topic)
    await source.stop()
    assert await source.receive(10) == []
    if not shared:  # Nobody waits for it: it goes back in order with what may follow.
        await settle(source, found)
        await source.close()
        await waiting(bench, f"{topic}.wallet", 4)
        other = await bench.source(adapter, topic)
    assert bodies(await take(other, 4)) == [b"1", b"2", b"3", b"4"]
    if shared:
        await settle(source, found)


async def test_stop_ends_a_receive_that_waits(bench: Bench) -> None:
    adapter = await bench.adapter()
    source = await bench.source(adapter, bench.topic())
    receiving = asyncio.create_task(source.receive(1))
    await asyncio.sleep(0)
    await source.stop()
    assert await asyncio.wait_for(receiving, TIMEOUT) == []


async def test_stop_ends_a_receive_that_reconnects(bench: Bench) -> None:
    proxy, url = await bench.proxy()
    source = await bench.source(await bench.adapter(url), bench.topic())
    proxy.cut()
    with pytest.raises(ConnectionLost):
        await source.receive(1)
    proxy.freeze()
    receiving = asyncio.create_task(source.receive(1))
    await asyncio.sleep(0)
    await source.stop()
    assert await asyncio.wait_for(receiving, 8) == []  # sooner than the connect timeout


async def test_close_frees_everything(bench: Bench) -> None:
    before = asyncio.all_tasks()
    adapter = await bench.adapter()
    source = await bench.source(adapter, bench.topic())
    assert ("reading" in repr(source), "connected" in repr(adapter)) == (True, True)
    for _ in range(2):
        await source.close()
        await adapter.close()
    assert ("stopped" in repr(source), "closed" in repr(adapter)) == (True, True)
    async with asyncio.timeout(TIMEOUT):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)
    gc.collect()
    assert not bench.lost.deliveries
