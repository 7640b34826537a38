"""What metrics cost: `python -m benchmarks.metrics [kafka] [redis] [--rounds 15]`.

One process handles, and publishes, the same small messages again and again: without metrics, with those for Prometheus, and
with those for OpenTelemetry, with and without durations. The turns alternate, and each round begins with another one. It
prints CPU time for each message, and its ratio to that without metrics within a round: the median, with quartiles, and
the ratio of the least turns.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks.measure import in_another_process, module, testbed
from benchmarks.servers import started
from benchmarks.work import Meter, Stopwatch, Testbed, Work, work
from brokerkit import Bus
from brokerkit.metrics import PrometheusCollector, instrument


def _opentelemetry(bus: Bus, *, durations: bool) -> None:
    instrument(bus, meter_provider=MeterProvider(metric_readers=[InMemoryMetricReader()]), durations=durations)


METRICS: Final[dict[str, Callable[[Bus], object]]] = {
    "off": lambda bus: None,
    "Prometheus": PrometheusCollector,
    "OpenTelemetry without durations": lambda bus: _opentelemetry(bus, durations=False),
    "OpenTelemetry": lambda bus: _opentelemetry(bus, durations=True),
}


def _bus(at: Testbed, name: str) -> Bus:
    group = f"metrics-{list(METRICS).index(name)}"
    given = {"format": "evenbet", "topic": at.topic, "group": group, "start": "earliest", **at.settings}
    bus = Bus(given.pop("url"), **given)
    METRICS[name](bus)
    return bus


async def consume(at: Testbed, job: Work, name: str, count: int) -> float:
    """CPU in microseconds for each message that is handled."""
    bus, meter = _bus(at, name), Meter(count)

    @bus.on(job.model)
    async def handle(event: Any) -> None:
        meter.tick(event)

    async with bus.serving():
        await meter.done.wait()
    return meter.cpu / count * 1e6


async def publish(at: Testbed, job: Work, name: str, count: int) -> float:
    """CPU in microseconds for each message that is published, 100 at once."""
    event, watch = job.model.model_validate_json(job.body), Stopwatch()
    async with _bus(at, name) as bus:
        await bus.publish(event)  # connects
        with watch:
            for _ in range(count // 100):
                await asyncio.gather(*(bus.publish(event, key=str(number)) for number in range(100)))
    return watch.cpu / count * 1e6


def _round(kind: str, what: str, names: Sequence[str], job: Work, count: int) -> dict[str, float]:
    """One turn each, on one topic; a group each has all its messages."""
    at = testbed(kind)
    raw = module(at, "raw")

    async def prepare() -> None:
        await raw.create(at, "raw")
        if what == "consume":
            await raw.fill(at, job, count)

    in_another_process(prepare)
    costs: dict[str, float] = {}
    for name in names:
        gc.collect()
        costs[name] = asyncio.run((consume if what == "consume" else publish)(at, job, name, count))
    asyncio.run(raw.drop(at, "raw"))
    return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("brokers", nargs="*", default=["kafka", "redis"])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--count", type=int, default=10_000, help="messages of each turn (default 10,000)")
    given = parser.parse_args()
    job, names = work("small"), list(METRICS)
    for kind in given.brokers:
        with started(kind) as environment:
            os.environ |= environment
            for what in ("consume", "publish"):
                found: list[dict[str, float]] = []
                for number in range(given.rounds):
                    first = number % len(names)
                    found.append(_round(kind, what, (*names[first:], *names[:first]), job, given.count))
                _show(kind, what, found)


def _show(kind: str, what: str, found: Sequence[dict[str, float]]) -> None:
    for name in METRICS:
        ratios = [costs[name] / costs["off"] for costs in found]
        low, middle, high = statistics.quantiles(ratios, n=4)
        # On a busy machine the least of many turns is the one that others have disturbed least.
        least = min(costs[name] for costs in found) / min(costs["off"] for costs in found)
        cost = statistics.median(costs[name] for costs in found)
        ratio = f"x {middle:.3f} ({low:.3f} to {high:.3f}), least turns x {least:.3f}"
        print(f"{kind:6} {what:8} {name:32} {cost:6.2f} µs  {ratio}", flush=True)


if __name__ == "__main__":
    gc.freeze()
    main()
