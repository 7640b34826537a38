"""One hot key among a thousand others: `python -m benchmarks.hot_key BROKER PERCENT COUNT`.

PERCENT of the waiting messages have one key. A handler takes a millisecond. It prints for each second how many messages of
the hot key and of the others were handled, and how many are in flight.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.measure import testbed
from benchmarks.servers import started
from benchmarks.work import Testbed, work
from brokerkit import Bus, Message

_BATCH = 5_000


def _bus(at: Testbed) -> Bus:
    given = {"format": "evenbet", "topic": at.topic, "group": "hot", "provision": "all", "name_from": "header:event"}
    if at.kind == "redis-list":
        del given["group"]  # the list is its only one
    settings: dict[str, Any] = {**given, **at.settings}
    return Bus(settings.pop("url"), **settings)


async def _fill(at: Testbed, percent: int, count: int) -> None:
    """Make the group, then put messages there."""
    job = work("small")
    if at.kind == "kafka":
        from benchmarks import raw_kafka

        await raw_kafka.create(at, "hot")
    bus = _bus(at)
    bus.on("*")(_nothing)
    async with bus, bus.serving():
        pass
    async with _bus(at) as bus:
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            keys = ["hot" if number % 100 < percent else str(number % 1000) for number in numbers]
            await bus.publish_many([Message(job.name, job.body, key=key, headers={"event": job.name}) for key in keys])


async def _nothing(_event: object) -> None: ...


async def main(at: Testbed, percent: int, count: int) -> None:
    """Fill the topic, then handle what is there."""
    await _fill(at, percent, count)
    bus, handled = _bus(at), Counter[bool]()

    @bus.on(work("small").model)
    async def handle(_event: Any, message: Message) -> None:
        await asyncio.sleep(0.001)
        handled[message.key == "hot"] += 1

    print("second  hot key  others  in flight")
    async with bus.serving():
        while not handled:
            await asyncio.sleep(0.01)
        second = 0
        while handled.total() < count:
            before, begun = handled.copy(), time.perf_counter()
            await asyncio.sleep(1)
            second, took = second + 1, time.perf_counter() - begun
            hot, others = ((handled[is_hot] - before[is_hot]) / took for is_hot in (True, False))
            in_flight = (await bus.health()).sources["bus"].in_flight
            print(f"{second:6} {hot:8.0f} {others:7.0f} {in_flight:10}", flush=True)


if __name__ == "__main__":
    _, kind, percent, count = sys.argv
    with started(kind) as environment:
        os.environ.update(environment)
        asyncio.run(main(testbed(kind), int(percent), int(count)))
