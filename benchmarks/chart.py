"""The two charts of docs/, drawn with matplotlib."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

from benchmarks import results
from benchmarks.plan import PLAN
from benchmarks.results import Spread

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "brokerkit",
        "svg.fonttype": "none",
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

from matplotlib import pyplot  # noqa: E402 - after the backend was chosen
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402


def comparison(kept: dict[str, Any]) -> None:
    """For each broker, brokerkit ÷ each contender: a bar from 1 to the median, with the smallest and the largest as
    whiskers.
    """
    brokers = [broker for broker in PLAN if broker in kept["brokers"]]
    if not brokers:
        return
    bars = {broker: _bars(broker, kept) for broker in brokers}
    heights = [len(one) + 2 for one in bars.values()]
    figure, axes = pyplot.subplots(
        len(brokers),
        squeeze=False,
        sharex=True,
        figsize=(8, sum(heights) * 0.2),
        height_ratios=heights,
        layout="constrained",
    )
    for axis, broker in zip(axes.flat, brokers, strict=True):
        labels = [label for label, _ in bars[broker]]
        spreads = [spread for _, spread in bars[broker]]
        axis.barh(
            labels,
            [spread.median - 1 for spread in spreads],
            left=1,
            xerr=_whiskers(spreads),
            color=["#c66" if label.startswith("latency") else "#69b" for label in labels],
            error_kw={"linewidth": 0.8},
        )
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_xscale("log")
        axis.invert_yaxis()
        axis.set_title(broker, loc="left")
        _plain(axis, "x")
    axes.flat[-1].set_xlabel("brokerkit ÷ the other. Rates (blue): more is better; latency (red): less is better")
    _save(figure, "benchmarks.svg")


def _bars(broker: str, kept: dict[str, Any]) -> list[tuple[str, Spread]]:
    return [
        (f"{results.title(line.what)}, {line.size} ÷ {line.name(other)}", ratio)
        for line in results.lines(broker, kept["brokers"][broker])
        for other in line.contenders[1:]
        if (ratio := line.ratio(other))
    ]


def curves(kept: dict[str, Any]) -> None:
    """For each curve its most telling figure, with the smallest and the largest."""
    found = kept["curves"]
    if not found:
        return
    rows = (len(found) + 1) // 2
    figure, axes = pyplot.subplots(rows, 2, squeeze=False, figsize=(8, 2.4 * rows), layout="constrained")
    for axis in axes.flat[len(found) :]:
        axis.remove()
    for axis, curve in zip(axes.flat, found.values(), strict=False):
        spreads = {int(point): spread for point in curve["points"] if (spread := results.point(curve, point))}
        axis.errorbar(
            list(spreads),
            [spread.median for spread in spreads.values()],
            yerr=_whiskers(list(spreads.values())),
            marker="o",
            capsize=2,
        )
        if curve["axis"] != "worker processes":
            axis.set_xscale("log")
        axis.set_xticks(list(spreads), minor=False)
        axis.set_xticks([], minor=True)
        if max(tops := [spread.high for spread in spreads.values()]) > 20 * min(tops):
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, max(tops) * 1.1)
        axis.tick_params(axis="x", rotation=30 if len(spreads) > 4 else 0)
        axis.set_xlabel(curve["axis"])
        axis.set_ylabel(results.FIGURES[curve["figure"]])
        _plain(axis, "x")
        _plain(axis, "y")
    _save(figure, "benchmarks-curves.svg")


def _whiskers(spreads: list[Spread]) -> list[list[float]]:
    return [[one.median - one.low for one in spreads], [one.high - one.median for one in spreads]]


def _plain(axis: Axes, which: str) -> None:
    getattr(axis, f"{which}axis").set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _save(figure: Any, name: str) -> None:
    figure.savefig(results.FILE.parent / name, metadata={"Date": None})
    pyplot.close(figure)
