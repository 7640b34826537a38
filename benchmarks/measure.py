"""One figure in one process: `python -m benchmarks.measure BROKER WHAT CONTENDER SIZE COUNT FILLED`; the result is JSON.

The driver sets ``BENCHMARK_ADDRESS`` and ``BENCHMARK_SETTINGS``, what brokerkit needs to reach the broker.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import statistics
import sys
import uuid
from collections.abc import Callable, Coroutine
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.plan import MODULES, Size
from benchmarks.work import Meter, Stopwatch, Testbed, Work, work
from brokerkit._signals import loop_factory


def module(at: Testbed, contender: str) -> ModuleType:
    """The module of a contender. The others are not loaded, because they would count as its memory."""
    raw = f"raw_{at.kind.removesuffix('-list').replace('-', '_')}"
    return import_module(f"benchmarks.{MODULES.get(contender, raw)}")


async def prepare(at: Testbed, contender: str, job: Work, filled: int) -> None:
    """Make the topic with the contender's group, and fill it."""
    if at.kind == "redis-list":  # each contender reads what it writes itself
        await module(at, contender).fill(at, job, filled)
        return
    raw = module(at, "raw")
    await raw.create(at, contender)
    if contender == "brokerkit" and at.kind == "rabbitmq":
        await module(at, contender).prepare(at)
    if filled:
        await raw.fill(at, job, filled)


async def measure(at: Testbed, what: str, contender: str, job: Work, count: int) -> dict[str, float]:
    """The figures of one contender: rate, CPU per message, peak memory; or the percentiles of the latency."""
    run = getattr(module(at, contender), what)
    # As `Bus.run` has it, and the same for everybody: it is the process of a service and of nothing else.
    gc.collect()
    gc.freeze()
    if what == "latency":
        figures = sorted(await run(at, job, count))
        return {"p50": statistics.median(figures) * 1e3, "p99": figures[int(count * 0.99)] * 1e3}
    if what.startswith("consume"):
        clock: Meter | Stopwatch = Meter(count)
        await run(at, job, clock)
    else:
        clock = Stopwatch()
        await run(at, job, count, clock)
    return {"rate": count / clock.seconds, "cpu": clock.cpu / count * 1e6, "memory": peak_memory()}


def peak_memory() -> float:
    """Peak resident memory of this process in MiB, on Linux; ``ru_maxrss`` would begin with that of the parent."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def testbed(kind: str) -> Testbed:
    """A topic of its own at the broker that the environment names."""
    return Testbed(
        kind,
        os.environ["BENCHMARK_ADDRESS"],
        json.loads(os.environ["BENCHMARK_SETTINGS"]),
        f"bench-{uuid.uuid4().hex[:10]}",
    )


def in_another_process(what: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it to its end in a process of its own, so that its memory is freed."""
    child = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(what()))
    child.start()
    child.join()
    if child.exitcode:
        sys.exit("the topic could not be prepared")


def main(kind: str, what: str, contender: str, size: Size, count: int, filled: int) -> None:
    """Prepare, measure, print."""
    at, job = testbed(kind), work(size)
    contender, _, loop = contender.partition("+")
    in_another_process(lambda: prepare(at, contender, job, filled))
    with asyncio.Runner(loop_factory=loop_factory(uvloop=loop == "uvloop")) as runner:
        figures = runner.run(measure(at, what, contender, job, count))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    # Most brokers keep what is left in memory, which would disturb the next turns.
    asyncio.run(module(at, "raw").drop(at, contender))


if __name__ == "__main__":
    _, kind, what, contender, size, count, filled = sys.argv
    main(kind, what, contender, size, int(count), int(filled))  # type: ignore[arg-type]
