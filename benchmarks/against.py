"""Compare with an earlier commit: `python -m benchmarks.against REVISION [BROKER ...]`, or `make bench-against REV=HEAD~1`.

The package of that commit is measured by today's benchmarks, in turns with today's package. Today's takes a turn more, which
shows the noise. CPU is that of the whole process, with all its threads. It only prints.

Exit status: 0; 1 if a measurement failed, or if today's median is more than `--most` times the earlier one.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.plan import PLAN, Size, What
from benchmarks.results import Spread, Turn, ratio, shown, title
from benchmarks.servers import measured, started

_ROOT: Final = Path(__file__).parent.parent
_CONTENDERS: Final = ("today", "again", "earlier")


def main() -> int:
    """Measure, print, and return the exit status."""
    given = _arguments()
    status = 0
    with tempfile.TemporaryDirectory(prefix="brokerkit-against-") as folder:
        _unpack(given.revision, Path(folder))
        for broker in given.brokers or PLAN:
            found = _turns(broker, Path(folder), given)
            report.draw(broker, HEAD, [row(*line, turns) for line, turns in found.items()], left=3)
            if not all(holds(line[0], turns, given.most) for line, turns in found.items()):
                status = 1
    return status


HEAD: Final = ("what", "size", "figure", "today", "earlier", "today ÷ earlier", "again ÷ today")


def row(what: What, size: Size, turns: Sequence[Turn]) -> list[str]:
    """One line of the table."""
    figure = _figure(what)
    spreads = [Spread.of(turn[one][figure] for turn in turns if one in turn) for one in ("today", "earlier")]
    costs = [f"{spread.median:.2f}" if spread else "failed" for spread in spreads]
    ratios = [shown(ratio(turns, *pair, figure)) for pair in (("today", "earlier"), ("again", "today"))]
    return [title(what), size, "p50, ms" if figure == "p50" else "CPU, µs", *costs, *ratios]


def holds(what: What, turns: Sequence[Turn], most: float) -> bool:
    """Whether all was measured, and today's figure is at most so many times the earlier one."""
    changed = ratio(turns, "today", "earlier", _figure(what))
    return all(len(turn) == len(_CONTENDERS) for turn in turns) and changed is not None and changed.median <= most


def _figure(what: What) -> str:
    return "p50" if what == "latency" else "cpu"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revision", help="a commit of this repository, as git names it")
    parser.add_argument(
        "brokers", nargs="*", metavar="BROKER", help=f"of {', '.join(PLAN)}; all of them if none is named"
    )
    parser.add_argument("--what", nargs="*", help="only these: consume, consume_batch, publish, publish_each, latency")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender (default 7)")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer messages (default 1)")
    parser.add_argument("--most", type=float, default=float("inf"), help="the largest ratio that is no failure")
    given = parser.parse_args()
    if unknown := [name for name in given.brokers if name not in PLAN]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(PLAN)}")
    return given


def _unpack(revision: str, folder: Path) -> None:
    packed = subprocess.run(["git", "-C", _ROOT, "archive", revision, "src"], capture_output=True, check=False)
    if packed.returncode:
        sys.exit(f"git cannot give {revision}: {packed.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")


def _turns(broker: str, folder: Path, given: argparse.Namespace) -> dict[tuple[What, Size], list[Turn]]:
    """All turns of a broker. Each begins with another contender."""
    wanted = {
        line: counts["brokerkit"] for line, counts in PLAN[broker].items() if not given.what or line[0] in given.what
    }
    found: dict[tuple[What, Size], list[Turn]] = {line: [] for line in wanted}
    with started(broker) as environment:
        for number in range(given.rounds):
            first = number % len(_CONTENDERS)
            order = (*_CONTENDERS[first:], *_CONTENDERS[:first])
            for line, count in wanted.items():
                print(f"{broker}: {', '.join(line)}, turn {number + 1} of {given.rounds}", flush=True)
                found[line].append(_turn(broker, *line, int(count * given.scale), order, folder, environment))
    return found


def _turn(
    broker: str,
    what: What,
    size: Size,
    count: int,
    contenders: Sequence[str],
    folder: Path,
    environment: dict[str, str],
) -> Turn:
    filled = count if what.startswith("consume") else 0
    turn: Turn = {}
    for contender in contenders:
        # It comes before the installed package, and what the benchmarks need of it must be there already.
        package = {"PYTHONPATH": str(folder / "src")} if contender == "earlier" else {}
        figures = measured("measure", broker, what, "brokerkit", size, count, filled, at={**environment, **package})
        if figures is not None:
            turn[contender] = figures
    return turn


if __name__ == "__main__":
    sys.exit(main())
