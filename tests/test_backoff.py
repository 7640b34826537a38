"""Waits that grow with each failure, wherever something is tried again."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import RetryPolicy
from brokerkit._backoff import backoff, longest_backoff

SOURCES = Path(__file__).parent.parent / "src" / "brokerkit"


def test_waits_double_up_to_the_cap() -> None:
    assert [longest_backoff(failures, first=0.2, cap=1.0) for failures in range(1, 5)] == [0.2, 0.4, 0.8, 1.0]


@given(st.integers(1, 10**9), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e3))
def test_a_wait_is_between_half_and_the_whole_of_the_longest(
    failures: int, first: float, cap: float, factor: float
) -> None:
    longest = longest_backoff(failures, first=first, cap=cap, factor=factor)
    assert longest <= cap
    assert longest / 2 <= backoff(failures, first=first, cap=cap, factor=factor) <= longest


@pytest.mark.parametrize("failures", [1_024, 1_100, 10**9])
def test_a_broker_that_is_away_for_hours_does_not_overflow_the_wait(failures: int) -> None:
    assert 5.0 <= backoff(failures, first=0.2, cap=10.0) <= 10.0


def test_a_retry_policy_waits_so_too() -> None:
    policy = RetryPolicy(first=0.5, factor=3.0, cap=2.0, jitter=False)
    assert [policy.wait(failures) for failures in (1, 2, 3)] == [0.5, 1.5, 2.0]
    spread = RetryPolicy(first=1.0, cap=1.0)
    assert all(0.5 <= spread.wait(1) <= 1.0 for _ in range(100))


def test_nothing_else_grows_a_wait() -> None:
    """One backoff: a power of two in seconds is made in one module. ``64 * 2**20`` bytes are something else."""
    others: list[str] = []
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.BinOp(op=ast.Pow(), right=right) if not isinstance(right, ast.Constant):
                    others.append(str(path.relative_to(SOURCES)))
    assert sorted(set(others)) == ["_backoff.py"]
