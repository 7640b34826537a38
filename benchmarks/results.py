"""What a run collected, and what the tables and charts say of it. Nothing here measures or prints.

A run is kept in docs/benchmarks.json: for each broker its lines, for each line the turns, for each turn the figures of each
contender (nothing where a measurement failed). Ratios are taken within one turn, and the median is taken of the ratios. A
machine whose speed changes from minute to minute is equally fast for all contenders of one turn.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.plan import NAMES

FILE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.json"

Turn = dict[str, dict[str, float]]
"""Of one turn: the figures of each contender that was measured."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures, with the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread | None:
        """The spread of the figures; None where there are none."""
        found = sorted(figures)
        return cls(statistics.median(found), found[0], found[-1]) if found else None

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def ratio(turns: Iterable[Turn], one: str, other: str, figure: str) -> Spread | None:
    """A figure of one contender ÷ that of the other, over the turns that have both."""
    return Spread.of(turn[one][figure] / turn[other][figure] for turn in turns if one in turn and other in turn)


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of work at one broker, in several turns.

    Attributes:
        broker: as `benchmarks.plan` names it.
        what: as `benchmarks.plan` names it.
        size: small or large.
        contenders: brokerkit first.
        turns: what each turn measured.
    """

    broker: str
    what: str
    size: str
    contenders: list[str]
    turns: list[Turn]

    @property
    def figure(self) -> str:
        """The name of the figure that is compared."""
        return "p50" if self.what == "latency" else "rate"

    def median(self, contender: str, figure: str) -> float | None:
        """The median of a contender's figure."""
        spread = Spread.of(turn[contender][figure] for turn in self.turns if contender in turn)
        return None if spread is None else spread.median

    def ratio(self, other: str) -> Spread | None:
        """Our figure ÷ the other's, over the turns that have both."""
        return ratio(self.turns, self.contenders[0], other, self.figure)

    def cpu(self, other: str) -> Spread | None:
        """The other's CPU ÷ ours: what part of our work the other gets by with."""
        return None if self.what == "latency" else ratio(self.turns, other, self.contenders[0], "cpu")

    def name(self, contender: str) -> str:
        """How the tables call a contender."""
        return NAMES.get((self.broker, contender), NAMES.get(contender, contender))


def lines(broker: str, found: dict[str, Any]) -> list[Line]:
    """The lines of a broker's run."""
    return [Line(broker=broker, **line) for line in found["lines"]]


def title(what: str) -> str:
    """How the tables call a kind of work."""
    return {
        "consume_batch": "consume in batches",
        "publish": "publish_many",
        "publish_each": "publish, 100 at once",
    }.get(what, what)


FIGURES: Final = {"rate": "messages a second", "cpu": "µs of CPU for each", "memory": "peak memory, MiB"}
"""What can be taken of a curve's point."""


def point(curve: dict[str, Any], at: str, figure: str | None = None) -> Spread | None:
    """The spread of a figure at a point of a curve, by default of the one that says most."""
    taken = figure or curve["figure"]
    return Spread.of(turn[at][taken] for turn in curve["turns"] if at in turn and taken in turn[at])


def table(part: str, name: str, found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of one broker (``part`` is brokers) or curve (curves)."""
    return _curve(found) if part == "curves" else _broker(lines(name, found))


def _broker(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    head = [
        "what",
        "size",
        "contender",
        "a second, or p50 and p99 in ms",
        f"{lines[0].contenders[0]} ÷ it",
        "CPU, µs",
        f"its CPU ÷ {lines[0].contenders[0]}'s",
        "peak, MiB",
    ]
    rows: list[list[str]] = []
    for line in lines:
        for contender in line.contenders:
            figures = ("p50", "p99") if line.what == "latency" else ("rate", "cpu", "memory")
            speed, *more = (_shown(line.median(contender, one), _FORMS[one]) for one in figures)
            speed, (cpu, peak) = (f"{speed} and {more[0]}", ("", "")) if line.what == "latency" else (speed, more)
            ratios = ("", "")
            if contender != line.contenders[0]:
                ratios = (shown(line.ratio(contender)), shown(line.cpu(contender)))
            rows.append([title(line.what), line.size, line.name(contender), speed, ratios[0], cpu, ratios[1], peak])
    return head, rows


def shown(ratio: Spread | None) -> str:
    """A ratio in a table; nothing where it could not be taken."""
    return f"{ratio:.2f}" if ratio else ""


def _curve(curve: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row for each point; the last column is the main figure ÷ that of the first point, within one turn."""
    points, main = curve["points"], curve["figure"]
    figures = [one for one in FIGURES if any(point(curve, at, one) for at in points)]
    rows: list[list[str]] = []
    for at in points:
        spreads = [point(curve, at, one) for one in figures]
        to_first = shown(ratio(curve["turns"], at, points[0], main))
        cells = [
            f"{spread:{_FORMS[one]}}" if spread else "failed" for one, spread in zip(figures, spreads, strict=True)
        ]
        rows.append([f"{int(at):,}", *cells, to_first])
    return [curve["axis"], *(FIGURES[one] for one in figures), "÷ the first"], rows


_FORMS: Final = {"rate": ",.0f", "cpu": ".1f", "memory": ".0f", "p50": ".2f", "p99": ".2f"}


def _shown(figure: float | None, form: str) -> str:
    return "failed" if figure is None else f"{figure:{form}}"


def read(file: Path = FILE) -> dict[str, Any]:
    """The kept runs: the brokers under ``brokers``, the curves under ``curves``; empty ones where there was no run."""
    kept: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return {"brokers": {}, "curves": {}, **kept}


def keep(part: str, found: dict[str, Any], file: Path = FILE) -> dict[str, Any]:
    """Replace what is kept of these brokers or curves (``part``), and leave the others; gives all that is kept now."""
    kept = read(file)
    kept[part] = dict(sorted({**kept[part], **found}.items()))
    text = json.dumps(kept, indent=1)
    # One turn a line: a change of the figures shows in few lines.
    file.write_text(_compact(text) + "\n", "utf-8")
    return kept


def _compact(text: str) -> str:
    """Lists and objects without others inside on one line."""
    out, held = [], list[str]()
    for line in text.splitlines():
        opens, closes = line.rstrip().endswith(("[", "{")), line.strip().rstrip(",") in ("]", "}")
        if opens:
            out += held
            held = [line]
        elif closes and held:
            out.append(held[0] + " ".join(one.strip() for one in held[1:]) + line.strip())
            held = []
        elif held:
            held.append(line)
        else:
            out.append(line)
    return "\n".join(out)
