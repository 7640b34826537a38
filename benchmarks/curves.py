"""How brokerkit grows: the curves, and how their points are taken in turns (`python -m benchmarks curves`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from benchmarks.servers import measured, started


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve.

    Attributes:
        broker: as `benchmarks.plan` names it.
        axis: what grows.
        figure: what the chart shows of it: rate, cpu or memory.
        counts: how many messages are handled, by point.
    """

    broker: str
    axis: str
    figure: str
    counts: dict[int, int]


CURVES: Final = {
    "names": Curve("memory", "registered event names", "cpu", dict.fromkeys((1, 10, 100, 500), 10_000)),
    "topics": Curve("redis", "topics of one bus", "rate", dict.fromkeys((1, 4, 16, 64), 40_000)),
    "keys": Curve("redis", "keys", "rate", dict.fromkeys((1, 10, 100, 1_000, 10_000), 40_000)),
    "messages": Curve(
        "kafka", "messages", "memory", {count: count for count in (1_000, 10_000, 100_000, 300_000, 1_000_000)}
    ),
    "workers": Curve("redis", "worker processes", "rate", dict.fromkeys((1, 2, 3, 4), 50_000)),
    "waiting": Curve("redis", "handlers at once, 10 ms each", "rate", {1: 100, 10: 1_000, 100: 10_000, 1_000: 40_000}),
}


def take(name: str, rounds: int, scale: float) -> tuple[dict[str, Any], int]:
    """The turns of a curve, each with the figures of every point; also how many measurements failed."""
    curve = CURVES[name]
    turns: list[dict[str, dict[str, float]]] = []
    failed = 0
    with started(curve.broker) as environment:
        for number in range(rounds):
            print(f"{name}: turn {number + 1} of {rounds}", flush=True)
            turn: dict[str, dict[str, float]] = {}
            for point, count in curve.counts.items():
                figures = measured("growth", curve.broker, name, point, max(100, int(count * scale)), at=environment)
                if figures is None:
                    failed += 1
                else:
                    turn[str(point)] = figures
            turns.append(turn)
    return {"axis": curve.axis, "figure": curve.figure, "points": list(map(str, curve.counts)), "turns": turns}, failed
