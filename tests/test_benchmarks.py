"""What the benchmarks make of what they measured, on made-up turns; no figure of a real run is looked at."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from benchmarks import against, results
from benchmarks.curves import CURVES
from benchmarks.plan import MODULES, PLAN
from benchmarks.results import Line, Spread, Turn
from hypothesis import given
from hypothesis import strategies as st


def _line(what: str, *turns: Turn) -> Line:
    return Line("rabbitmq", what, "small", ["brokerkit", "raw", "kombu"], list(turns))


def _rate(rate: float, cpu: float = 10, memory: float = 60) -> dict[str, float]:
    return {"rate": rate, "cpu": cpu, "memory": memory}


def test_the_ratio_is_taken_within_a_turn_and_then_its_median() -> None:
    # The machine is ten times as slow in the second turn: the ratio of the medians would be 10 or 0.1.
    line = _line(
        "consume",
        {"brokerkit": _rate(2_000), "raw": _rate(1_000)},
        {"brokerkit": _rate(300), "raw": _rate(100)},
        {"brokerkit": _rate(1_000), "raw": _rate(1_000)},
    )
    assert line.ratio("raw") == Spread(2, 1, 3)


def test_a_failed_measurement_leaves_its_turn_out_and_no_other() -> None:
    line = _line("consume", {"brokerkit": _rate(50)}, {"brokerkit": _rate(400), "raw": _rate(100)}, {"raw": _rate(7)})
    assert line.ratio("raw") == Spread(4, 4, 4)
    assert line.ratio("kombu") is None
    _, rows = results.table("brokers", "rabbitmq", _found(line))
    assert rows[2] == ["consume", "small", "kombu", "failed", "", "failed", "", "failed"]


def _found(line: Line) -> dict[str, object]:
    return {
        "lines": [{"what": line.what, "size": line.size, "contenders": line.contenders, "turns": line.turns}],
        "day": "2026-01-01",
    }


def test_the_table_of_a_broker_has_a_row_for_each_contender() -> None:
    turn = {"brokerkit": _rate(12_345.6, 8, 61.6), "raw": _rate(6_172.8, 20, 50), "kombu": _rate(24_691.2)}
    head, rows = results.table("brokers", "rabbitmq", _found(_line("publish_each", turn)))
    assert len(head) == 8
    assert rows == [
        ["publish, 100 at once", "small", "brokerkit", "12,346", "", "8.0", "", "62"],
        [
            "publish, 100 at once",
            "small",
            "aio-pika",
            "6,173",
            "2.00 (2.00 to 2.00)",
            "20.0",
            "2.50 (2.50 to 2.50)",
            "50",
        ],
        [
            "publish, 100 at once",
            "small",
            "kombu",
            "24,691",
            "0.50 (0.50 to 0.50)",
            "10.0",
            "1.25 (1.25 to 1.25)",
            "60",
        ],
    ]


def test_an_earlier_commit_is_compared_within_a_turn_by_its_cpu() -> None:
    turns = [
        {"today": _rate(1, 6), "again": _rate(1, 6.6), "earlier": _rate(1, 8)},
        {"today": _rate(9, 60), "again": _rate(9, 54), "earlier": _rate(9, 60)},
        {"today": _rate(1, 9), "again": _rate(1, 9), "earlier": _rate(1, 10)},
    ]
    ratios = ["0.90 (0.75 to 1.00)", "1.00 (0.90 to 1.10)"]
    assert against.row("consume", "small", turns) == ["consume", "small", "CPU, µs", "9.00", "10.00", *ratios]
    assert against.holds("consume", turns, most=0.9)
    assert not against.holds("consume", turns, most=0.89)
    failed = [*turns, {"today": _rate(1), "again": _rate(1)}]
    assert not against.holds("consume", failed, most=2)
    nothing: list[Turn] = [{"today": _rate(1, 7)}]
    assert against.row("publish", "large", nothing) == ["publish_many", "large", "CPU, µs", "7.00", "failed", "", ""]


def test_a_latency_shows_its_percentiles_and_compares_the_median_one() -> None:
    line = _line("latency", {"brokerkit": {"p50": 0.6, "p99": 2}, "raw": {"p50": 0.5, "p99": 4}})
    _, rows = results.table("brokers", "rabbitmq", _found(line))
    assert rows[:2] == [
        ["latency", "small", "brokerkit", "0.60 and 2.00", "", "", "", ""],
        ["latency", "small", "aio-pika", "0.50 and 4.00", "1.20 (1.20 to 1.20)", "", "", ""],
    ]


def test_the_table_of_a_curve_compares_each_point_with_the_first_of_its_turn() -> None:
    curve = {
        "axis": "keys",
        "figure": "rate",
        "points": ["1", "1000", "10000"],
        "turns": [
            {"1": {"rate": 100, "cpu": 5}, "1000": {"rate": 50, "cpu": 5}},
            {"1": {"rate": 10, "cpu": 7}, "1000": {"rate": 20, "cpu": 9}},
        ],
    }
    head, rows = results.table("curves", "keys", curve)
    assert head == ["keys", "messages a second", "µs of CPU for each", "÷ the first"]
    assert rows == [
        ["1", "55 (10 to 100)", "6.0 (5.0 to 7.0)", "1.00 (1.00 to 1.00)"],
        ["1,000", "35 (20 to 50)", "7.0 (5.0 to 9.0)", "1.25 (0.50 to 2.00)"],
        ["10,000", "failed", "failed", ""],
    ]


@given(st.lists(st.floats(0.001, 1e9), min_size=1))
def test_a_spread_holds_its_figures(figures: list[float]) -> None:
    spread = Spread.of(iter(figures))
    assert spread == Spread(statistics.median(figures), min(figures), max(figures))


def test_what_is_kept_is_read_again_and_replaces_only_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks.json"
    kafka, redis = (_found(_line("consume", {"brokerkit": _rate(rate), "raw": _rate(1)})) for rate in (1, 2))
    results.keep("brokers", {"kafka": kafka, "redis": kafka}, file)
    results.keep("curves", {"keys": {"turns": []}}, file)
    kept = results.keep("brokers", {"redis": redis}, file)
    assert results.read(file) == kept
    assert kept == {"brokers": {"kafka": kafka, "redis": redis}, "curves": {"keys": {"turns": []}}}
    assert file.read_text("utf-8").count('"rate"') == 4


@pytest.mark.parametrize("broker", PLAN)
def test_every_contender_of_the_plan_is_written_down(broker: str) -> None:
    folder = Path(results.__file__).parent
    for (what, _), counts in PLAN[broker].items():
        assert next(iter(counts)) == "brokerkit"
        for contender in counts:
            raw = f"raw_{broker.replace('-', '_')}"
            source = (folder / f"{MODULES.get(contender, raw)}.py").read_text("utf-8")
            assert f"async def {what}(" in source, contender


def test_the_page_has_a_place_for_every_table_and_chart() -> None:
    page = (results.FILE.parent / "performance.md").read_text("utf-8")
    wanted = [*(f"comparison {broker}" for broker in PLAN), *(f"curve {curve}" for curve in CURVES)]
    charts = ["chart benchmarks.svg", "chart benchmarks-curves.svg"]
    assert [made for made in (*wanted, *charts) if f"<!-- made: {made} -->" not in page] == []
