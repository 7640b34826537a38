"""Run everything side by side and print ratios: `python -m benchmarks [BROKER ...] [--rounds N] [--scale X]`."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from tests.brokers import aws, kafka, rabbitmq, redis
from tests.brokers.fixtures import running


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the table: contenders that take turns, the second one being what the first is measured by."""

    broker: str
    what: str
    size: str
    count: int
    contenders: tuple[str, str]


_COUNTS = {"kafka": 200_000, "redis": 100_000, "rabbitmq": 30_000, "sqs": 6_000}


def comparisons(brokers: list[str], scale: float, *, uvloop: bool) -> Iterator[Comparison]:
    """What is compared, broker by broker."""
    for broker in brokers:
        count = int(_COUNTS[broker] * scale)
        if uvloop:
            loops = ("brokerkit+uvloop", "brokerkit")
            yield Comparison(broker, "consume", "small", count, loops)
            yield Comparison(broker, "publish", "small", count // 2, loops)
            yield Comparison(broker, "publish_each", "small", count // 5, loops)
            yield Comparison(broker, "latency", "small", 300, loops)
            continue
        yield Comparison(broker, "consume", "small", count, ("brokerkit", "raw"))
        yield Comparison(broker, "consume", "large", count // 4, ("brokerkit", "raw"))
        yield Comparison(broker, "publish", "small", count // 2, ("brokerkit", "raw"))
        yield Comparison(broker, "latency", "small", 300, ("brokerkit", "raw"))
        if broker != "sqs":
            yield Comparison(broker, "consume", "small", count // 10, ("brokerkit", "faststream"))
            yield Comparison(broker, "publish_each", "small", count // 10, ("brokerkit", "faststream"))


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("brokers", nargs="*", metavar="BROKER", default=[], help=f"of {', '.join(_COUNTS)}")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer messages (default 1)")
    parser.add_argument("--uvloop", action="store_true", help="compare brokerkit on uvloop with itself, nothing else")
    given = parser.parse_args()
    if unknown := set(given.brokers) - set(_COUNTS):
        parser.error(f"no broker {', '.join(sorted(unknown))}; there are {', '.join(_COUNTS)}")
    console, table = Console(), Table(title="brokerkit ÷ the other, median of ratios (smallest to largest)")
    for head in ("broker", "what", "size", "against", "brokerkit", "the other", "ratio", "µs of CPU", "MiB"):
        table.add_column(head, justify="right" if head not in ("broker", "what", "size", "against") else "left")
    with ExitStack() as stack:
        for broker in given.brokers or list(_COUNTS):
            environment = _start(broker, stack)
            for line in comparisons([broker], given.scale, uvloop=given.uvloop):
                console.print(f"{line.broker}: {line.what}, {line.size}, against {line.contenders[1]} …")
                turns = [[_measure(line, one, environment) for one in line.contenders] for _ in range(given.rounds)]
                table.add_row(line.broker, line.what, line.size, line.contenders[1], *_cells(line, turns))
    console.print(table)
    return 0


def _start(broker: str, stack: ExitStack) -> dict[str, str]:
    """Start a broker; the environment in which measurements find it."""
    if broker == "sqs":
        for name, value in (("ACCESS_KEY_ID", aws.ACCESS_KEY), ("SECRET_ACCESS_KEY", aws.SECRET_KEY)):
            os.environ[f"AWS_{name}"] = value
        os.environ["AWS_DEFAULT_REGION"] = aws.REGION
        address = stack.enter_context(running(aws.elasticmq())).url
        settings: dict[str, object] = {"url": f"sqs://{aws.REGION}/", "endpoint": address}
    elif broker == "kafka":
        address = stack.enter_context(running(kafka.broker())).address
        settings = {"url": f"kafka://{address}"}
    elif broker == "redis":
        address = stack.enter_context(running(redis.broker())).url
        settings = {"url": address}
    else:
        address = stack.enter_context(running(rabbitmq.broker())).url
        settings = {"url": address}
    return {**os.environ, "BENCHMARK_ADDRESS": address, "BENCHMARK_SETTINGS": json.dumps(settings)}


def _measure(line: Comparison, contender: str, environment: dict[str, str]) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.measure",
        line.broker,
        line.what,
        contender,
        line.size,
        str(line.count),
    ]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command[2:])} failed:\n{ended.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def _cells(line: Comparison, turns: list[list[dict[str, float]]]) -> list[str]:
    what, form = ("p50", "{:.2f} ms") if line.what == "latency" else ("rate", "{:,.0f}/s")
    ratios = [ours[what] / theirs[what] for ours, theirs in turns]
    shown = [form.format(statistics.median(turn[side][what] for turn in turns)) for side in (0, 1)]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    if line.what == "latency":
        p99 = " / ".join(f"{statistics.median(turn[side]['p99'] for turn in turns):.1f}" for side in (0, 1))
        return [*shown, ratio, f"p99 {p99} ms", ""]
    cpu, memory = (
        " / ".join(f"{statistics.median(turn[side][figure] for turn in turns):.0f}" for side in (0, 1))
        for figure in ("cpu", "memory")
    )
    return [*shown, ratio, cpu, memory]


if __name__ == "__main__":
    sys.exit(main())
