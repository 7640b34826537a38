"""Redis Streams by hand: reads, acknowledgements and pipelines of 500."""

from __future__ import annotations

import asyncio
import time

import redis.asyncio

from benchmarks.work import PAUSE, Meter, Stopwatch, Testbed, Work

BATCH = 500


async def create(at: Testbed, reader: str) -> None:
    """The stream with the group that will read it."""
    async with redis.asyncio.from_url(at.address) as client:
        await client.xgroup_create(at.topic, reader, id="0", mkstream=True)


async def drop(at: Testbed, reader: str) -> None:
    """Delete the stream, or the list of a contender that has named it itself."""
    async with redis.asyncio.from_url(at.address) as client:
        await client.delete(at.topic, f"{at.topic}.{reader}")


async def fill(at: Testbed, work: Work, count: int) -> None:
    """Put messages there."""
    await publish(at, work, count, Stopwatch())


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """Read 500, parse and handle each, acknowledge 500."""
    read, tick, name = work.model.model_validate_json, meter.tick, work.name.encode()
    async with redis.asyncio.from_url(at.address, socket_timeout=None) as client:
        while meter.left > 0:
            answer = await client.xreadgroup("raw", "one", {at.topic: ">"}, count=BATCH, block=1000)
            for _, entries in answer:
                for _, fields in entries:
                    if fields[b"event"] == name:
                        tick(read(fields[b"data"]))
                await client.xack(at.topic, "raw", *(number for number, _ in entries))


async def consume_batch(at: Testbed, work: Work, meter: Meter) -> None:
    """Read 500, parse each, handle all in one call, acknowledge 500."""
    read, tick_all, name = work.model.model_validate_json, meter.tick_all, work.name.encode()
    async with redis.asyncio.from_url(at.address, socket_timeout=None) as client:
        while meter.left > 0:
            answer = await client.xreadgroup("raw", "one", {at.topic: ">"}, count=BATCH, block=1000)
            for _, entries in answer:
                tick_all([read(fields[b"data"]) for _, fields in entries if fields[b"event"] == name])
                await client.xack(at.topic, "raw", *(number for number, _ in entries))


async def publish(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """Pipelines of 500 XADD."""
    async with redis.asyncio.from_url(at.address) as client:
        await client.ping()
        with watch:
            for first in range(0, count, BATCH):
                async with client.pipeline(transaction=False) as pipe:
                    for number in range(first, min(first + BATCH, count)):
                        pipe.xadd(at.topic, {"data": work.body, "event": work.name, "key": str(number % 1000)})
                    await pipe.execute()


async def latency(at: Testbed, work: Work, count: int) -> list[float]:
    """One message at a time, from the call of XADD to the parsed event."""
    figures: list[float] = []
    async with redis.asyncio.from_url(at.address) as writer, redis.asyncio.from_url(at.address) as reader:
        for _ in range(count):
            reading = asyncio.ensure_future(reader.xreadgroup("raw", "one", {at.topic: ">"}, count=1, block=2000))
            await asyncio.sleep(PAUSE)  # until the read waits at the server
            begun = time.perf_counter()
            await writer.xadd(at.topic, {"data": work.body, "event": work.name})
            [[_, [[number, fields]]]] = await reading
            work.model.model_validate_json(fields[b"data"])
            figures.append(time.perf_counter() - begun)
            await reader.xack(at.topic, "raw", number)
    return figures
