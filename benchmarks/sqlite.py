"""The embedded durable broker: rates, what it costs at rest, and how soon another process is woken.

python -m benchmarks.sqlite [MESSAGES]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from brokerkit import Bus, Message

BATCH = 5_000
BODY = b'{"gameId": 1, "text": "' + b"a" * 150 + b'"}'
REST = 5.0
"""Seconds of rest that are measured."""

PUBLISHER = """
import asyncio, sys, time
from brokerkit import Bus, Message
async def main():
    async with Bus(sys.argv[1], topic="rest", format="json") as bus:
        for _ in range(50):
            await bus.publish(Message("E", b'{"at": %r}' % time.time()))
            await asyncio.sleep(0.02)
asyncio.run(main())
"""


def bus_on(url: str, topic: str) -> Bus:
    """A bus on one topic of the file."""
    settings: dict[str, Any] = {"group": "g", "format": "json", "provision": "all", "max_in_flight": 2_000}
    return Bus(url, topic=topic, **settings)


async def rates(url: str, count: int) -> None:
    """Messages a second, published in batches and then handled, and the CPU of both."""
    bus, done, handled = bus_on(url, "rates"), asyncio.Event(), 0

    @bus.on("*")
    async def handle(event: Any, message: Message) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()

    async with bus:
        begun, cpu = time.perf_counter(), time.process_time()
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            await bus.publish_many([Message("E", BODY, key=str(number % 100)) for number in numbers])
        published, cpu_published = time.perf_counter(), time.process_time()
        async with bus.serving():
            await done.wait()
        ended, cpu_ended = time.perf_counter(), time.process_time()
    print(f"publish  {count / (published - begun):9,.0f}/s  {(cpu_published - cpu) / count * 1e6:5.1f} us CPU")
    print(f"consume  {count / (ended - published):9,.0f}/s  {(cpu_ended - cpu_published) / count * 1e6:5.1f} us CPU")


async def rest(url: str) -> None:
    """CPU of a reader that waits, and the time until a message of another process is with its handler."""
    bus, waits = bus_on(url, "rest"), list[float]()

    @bus.on("*")
    async def handle(event: Any, message: Message) -> None:
        waits.append(time.time() - float(event["at"]))

    async with bus, bus.serving():
        cpu = time.process_time()
        await asyncio.sleep(REST)
        print(f"at rest  {(time.process_time() - cpu) / REST * 100:9.2f} % of a core")
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PUBLISHER, url)
        await process.wait()
        await asyncio.sleep(0.2)
    print(
        f"wake-up  {statistics.median(waits) * 1e3:9.2f} ms median, {max(waits) * 1e3:.2f} ms at most of {len(waits)}"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'broker.db'}"
        asyncio.run(rates(url, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
        asyncio.run(rest(url))
