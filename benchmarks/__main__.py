"""Measure side by side, print the tables and keep them in docs/: `python -m benchmarks [BROKER ...]`.

`python -m benchmarks curves [CURVE ...]` measures how brokerkit alone grows (`benchmarks.curves`).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks import curves, report, results
from benchmarks.plan import PLAN, lines_of
from benchmarks.results import Line, Turn
from benchmarks.servers import measured, started


def main() -> int:
    """Measure, print, keep, and return the exit status: 1 if a measurement failed."""
    given = _arguments()
    begun = report.machine()
    failures = 0
    for name in given.names:
        if given.part == "curves":
            found, failed = curves.take(name, given.rounds, given.scale)
        else:
            found, failed = compare(name, given.rounds, given.scale, uvloop=given.uvloop)
        failures += failed
        report.show(given.part, name, found)
        if given.keep and not given.uvloop:
            report.write(
                results.keep(given.part, {name: {**begun, "rounds": given.rounds, "scale": given.scale, **found}})
            )
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="BROKER | curves CURVE", help=f"of {', '.join(PLAN)}; or curves")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer messages (default 1)")
    parser.add_argument("--no-docs", dest="keep", action="store_false", help="only print: leave docs/ as it is")
    parser.add_argument("--uvloop", action="store_true", help="only print brokerkit on uvloop beside itself without")
    given = parser.parse_args()
    given.part = "curves" if given.words[:1] == ["curves"] else "brokers"
    known = list(curves.CURVES) if given.part == "curves" else list(PLAN)
    given.names = [name for name in given.words if name != "curves"] or known
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return given


def compare(broker: str, rounds: int, scale: float, *, uvloop: bool) -> tuple[dict[str, Any], int]:
    """All lines of one broker; also how many measurements failed.

    Every round measures all lines. Within a line the contenders take turns, and each round begins with another one.
    """
    plan = lines_of(broker, uvloop=uvloop)
    lines = [Line(broker, what, size, list(counts), []) for (what, size), counts in plan.items()]
    failed = 0
    with started(broker) as environment:
        for number in range(rounds):
            for line, counts in zip(lines, plan.values(), strict=True):
                print(f"{broker}: {line.what}, {line.size}, turn {number + 1} of {rounds}", flush=True)
                turn: Turn = {}
                first = number % len(line.contenders)
                for contender in (*line.contenders[first:], *line.contenders[:first]):
                    most = counts[contender] if broker == "redis-list" else max(counts.values())
                    filled = most if line.what.startswith("consume") else 0
                    numbers = (int(counts[contender] * scale), int(filled * scale))
                    figures = measured("measure", broker, line.what, contender, line.size, *numbers, at=environment)
                    if figures is None:
                        failed += 1
                    else:
                        turn[contender] = figures
                line.turns.append(turn)
    shown = [
        {"what": line.what, "size": line.size, "contenders": line.contenders, "turns": line.turns} for line in lines
    ]
    return {"lines": shown}, failed


if __name__ == "__main__":
    sys.exit(main())
