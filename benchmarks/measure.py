"""One figure in one process: `python -m benchmarks.measure BROKER WHAT CONTENDER SIZE COUNT`; the result is JSON.

The driver sets ``BENCHMARK_ADDRESS`` and ``BENCHMARK_SETTINGS``, what brokerkit needs to reach the broker.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import statistics
import sys
import uuid
from typing import Any

from benchmarks import raw_kafka, raw_rabbitmq, raw_redis, raw_sqs, with_brokerkit
from benchmarks.work import Meter, Size, Stopwatch, work
from brokerkit._signals import loop_factory

RAW = {"kafka": raw_kafka, "redis": raw_redis, "rabbitmq": raw_rabbitmq, "sqs": raw_sqs}


async def measure(broker: str, what: str, contender: str, size: Size, count: int) -> dict[str, float]:
    """The figures of one contender: rate, CPU per message, peak memory; or the percentiles of the latency."""
    raw, job, topic = RAW[broker], work(size), f"bench-{uuid.uuid4().hex[:10]}"
    address: str = os.environ["BENCHMARK_ADDRESS"]
    settings: dict[str, Any] = json.loads(os.environ["BENCHMARK_SETTINGS"])
    await raw.create(address, topic, contender)
    if contender == "brokerkit":
        await with_brokerkit.prepare(settings, topic)
    # As `Bus.run` has it, and the same for everybody: it is the process of a service and of nothing else.
    gc.collect()
    gc.freeze()
    if what == "latency":
        where = (settings, topic) if contender == "brokerkit" else (address, topic)
        figures = sorted(await (with_brokerkit if contender == "brokerkit" else raw).latency(*where, job, count))
        return {"p50": statistics.median(figures) * 1e3, "p99": figures[int(count * 0.99)] * 1e3}
    if what == "consume":
        await raw.fill(address, topic, job, count)
        before, meter = _memory(), Meter(count)
        if contender == "brokerkit":
            await with_brokerkit.consume(settings, topic, job, meter)
        elif contender == "faststream":
            from benchmarks import with_faststream

            await with_faststream.consume(broker, address, topic, job, meter)
        else:
            await raw.consume(address, topic, job, meter)
        seconds, cpu = meter.seconds, meter.cpu
    else:
        before, watch = _memory(), Stopwatch()
        if contender == "brokerkit":
            await getattr(with_brokerkit, what)(settings, topic, job, count, watch)
        elif contender == "faststream":
            from benchmarks import with_faststream

            await with_faststream.publish_each(broker, address, topic, job, count, watch)
        else:
            await raw.publish(address, topic, job, count, watch)
        seconds, cpu = watch.seconds, watch.cpu
    return {"rate": count / seconds, "cpu": cpu / count * 1e6, "memory": _memory() - before}


def _memory() -> float:
    """Peak resident memory in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    _, broker, what, contender, size, count = sys.argv
    contender, _, loop = contender.partition("+")
    with asyncio.Runner(loop_factory=loop_factory(uvloop=loop == "uvloop")) as runner:
        print(json.dumps(runner.run(measure(broker, what, contender, size, int(count)))))  # type: ignore[arg-type]
