"""One point of a curve in one process: `python -m benchmarks.growth BROKER CURVE POINT COUNT`; the result is JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import in_another_process, peak_memory, testbed
from benchmarks.work import Meter, Testbed, Work, work
from brokerkit import Bus

NOTED: Final = 200
"""Messages after which a worker notes the time and its count. A rest at the end is not noted."""


async def names(point: int) -> dict[str, float]:
    """So many names are registered and arrive in turn, on the embedded broker: the core alone."""
    from benchmarks.dispatch import EMPTY, NAMES, idempotent

    figures = [await idempotent(NAMES[:point], NAMES[:point], EMPTY) for _ in range(5)]
    return {"cpu": round(statistics.median(figures), 3)}


async def consume(
    at: Testbed, job: Work, count: int, topics: list[str], wait: float = 0, **more: Any
) -> dict[str, float]:
    """One bus handles so many messages of these topics; its handler waits for so many seconds."""
    settings = {"format": "evenbet", "topic": topics, "group": "growth", **at.settings, **more}
    bus, meter = Bus(settings.pop("url"), **settings), Meter(count)

    @bus.on(job.model)
    async def handle(event: Any) -> None:
        if wait:
            await asyncio.sleep(wait)
        meter.tick(event)

    gc.collect()
    gc.freeze()
    async with bus.serving():
        await meter.done.wait()
    return {"rate": count / meter.seconds, "cpu": meter.cpu / count * 1e6, "memory": peak_memory()}


async def fill(at: Testbed, job: Work, count: int, topics: list[str], keys: int = 1000) -> None:
    """Put so many messages into these topics of Redis or Kafka, with so many keys."""
    if at.kind == "kafka":
        from benchmarks import raw_kafka

        await raw_kafka.create(at, "growth")
        await raw_kafka.fill(at, job, count)
        return
    import redis.asyncio

    async with redis.asyncio.from_url(at.address) as client:
        for first in range(0, count, 500):
            async with client.pipeline(transaction=False) as pipe:
                for number in range(first, min(first + 500, count)):
                    fields = {"data": job.body, "event": job.name, "key": str(number % keys)}
                    pipe.xadd(topics[number % len(topics)], fields)
                await pipe.execute()


async def drop(at: Testbed) -> None:
    """Give the memory of the large events back to Redis."""
    from benchmarks import raw_redis

    await raw_redis.drop(at, "growth")


def workers(at: Testbed, number: int, count: int) -> dict[str, float]:
    """`brokerkit run --workers`: what all of them handled a second, between the last one's start and the first one's end."""
    with tempfile.TemporaryDirectory() as folder:
        told = {"BENCHMARK_TOPIC": at.topic, "BENCHMARK_FOLDER": folder, "BENCHMARK_NOTED": str(NOTED)}
        program = Path(sys.executable).with_name("brokerkit")
        command = [program, "run", "benchmarks.served:bus", "--workers", str(number)]
        running = subprocess.Popen(command, env={**os.environ, **told}, stdout=sys.stderr)
        try:
            found = _seen(Path(folder))
            while sum(seen[-1][1] for seen in found) <= count - number * NOTED:
                if running.poll() is not None:
                    sys.exit("brokerkit run has ended")
                time.sleep(0.1)
                found = _seen(Path(folder))
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(60)
    begun, ended = max(seen[0][0] for seen in found), min(seen[-1][0] for seen in found)
    if len(found) < number or ended <= begun:
        sys.exit(f"{len(found)} of {number} workers took part at one time: it needs more messages")
    handled = sum(_at(seen, ended) - _at(seen, begun) for seen in found)
    return {"rate": handled / (ended - begun)}


def _seen(folder: Path) -> list[list[tuple[float, int]]]:
    """What each worker noted: the time and how many it had handled."""
    files = [[line.split() for line in file.read_text().splitlines()] for file in folder.iterdir()]
    return [[(float(at), int(handled)) for at, handled in lines] for lines in files if lines]


def _at(seen: list[tuple[float, int]], moment: float) -> int:
    return max(handled for at, handled in seen if at <= moment)


def main(kind: str, curve: str, point: int, count: int) -> dict[str, float]:
    """Fill the topics in a process of its own, then take the figures."""
    if curve == "names":
        return asyncio.run(names(point))
    at, job = testbed(kind), work("large" if curve == "workers" else "small")
    topics = [f"{at.topic}-{number}" for number in range(point)] if curve == "topics" else [at.topic]
    keys = point if curve == "keys" else 10_000 if curve == "waiting" else 1_000
    in_another_process(lambda: fill(at, job, count, topics, keys))
    if curve == "workers":
        figures = workers(at, point, count)
        in_another_process(lambda: drop(at))
        return figures
    more = {"wait": 0.01, "concurrency": point, "max_in_flight": max(500, 2 * point)} if curve == "waiting" else {}
    return asyncio.run(consume(at, job, count, topics, **more))


if __name__ == "__main__":
    _, kind, curve, point, count = sys.argv
    print(json.dumps({name: round(value, 3) for name, value in main(kind, curve, int(point), int(count)).items()}))
