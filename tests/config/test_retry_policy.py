"""Retry policies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import ConfigError, Retry, RetryPolicy

POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 50),
    first=st.floats(0, 100),
    factor=st.floats(1, 10),
    cap=st.floats(0, 1000),
    jitter=st.booleans(),
)


@given(POLICIES, st.integers(1, 10_000))
def test_each_wait_is_between_half_and_the_whole_of_the_figure(policy: RetryPolicy, failures: int) -> None:
    longest = policy.longest_wait(failures)
    assert longest <= policy.cap
    assert longest / 2 <= policy.wait(failures) <= longest
    assert policy.longest_wait(failures + 1) >= longest


@given(POLICIES)
def test_the_longest_total_is_the_sum_of_the_longest_waits(policy: RetryPolicy) -> None:
    waits = [policy.longest_wait(failures) for failures in range(1, policy.attempts)]
    assert policy.longest_total == pytest.approx(sum(waits))


def test_waits_grow_by_the_factor_up_to_the_cap() -> None:
    policy = RetryPolicy(attempts=6, first=0.5, factor=2, cap=3, jitter=False)
    assert [policy.wait(failures) for failures in range(1, 6)] == [0.5, 1, 2, 3, 3]


def test_a_policy_without_end_is_reckoned_at_once() -> None:
    assert RetryPolicy(attempts=10**15, first=1, factor=1, cap=1).longest_total == pytest.approx(10**15)
    assert RetryPolicy(attempts=10**15, first=0).longest_total == 0
    assert RetryPolicy(attempts=10**15).longest_total == pytest.approx(60 * 10**15)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"attempts": 0}, "attempts"), ({"first": -1}, "first"), ({"cap": -1}, "cap"), ({"factor": 0.5}, "factor")],
)
def test_figures_that_make_no_sense_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        RetryPolicy(**wrong)


def test_a_retry_in_the_past_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Retry(after=-1)
    assert Retry("later", after=0).after == 0


class Slow(TimeoutError):
    """An error of a class that no policy names."""


@pytest.mark.parametrize(
    ("error", "attempts"), [(Slow(), 20), (TimeoutError(), 20), (OSError(), 2), (ValueError(), None), (KeyError(), 5)]
)
def test_the_class_nearest_to_the_error_decides(error: BaseException, attempts: int | None) -> None:
    by_error = {OSError: RetryPolicy(attempts=2), TimeoutError: RetryPolicy(attempts=20), ValueError: None}
    found = RetryPolicy(by_error=by_error).for_error(error)
    assert (found and found.attempts) == attempts


@given(POLICIES, POLICIES)
def test_the_longest_total_is_that_of_the_worst_mixture_of_errors(one: RetryPolicy, other: RetryPolicy) -> None:
    policy = replace(one, by_error={OSError: other, ValueError: None})
    worst = sum(
        max(each.longest_wait(failures) for each in (one, other) if failures < each.attempts)
        for failures in range(1, max(one.attempts, other.attempts))
    )
    assert policy.longest_total == pytest.approx(worst)


def test_endless_attempts_have_a_total_that_is_told_at_once() -> None:
    policy = RetryPolicy(attempts=10**12, cap=2, by_error={OSError: RetryPolicy(attempts=10**9, cap=3)})
    assert policy.longest_total == pytest.approx(1e9 * 3 + (1e12 - 1e9) * 2, rel=1e-6)


@pytest.mark.parametrize(
    ("by_error", "words"),
    [
        ({int: None}, "not a class of errors"),
        ({OSError: RetryPolicy(by_error={OSError: None})}, "OSError has its own by_error"),
    ],
)
def test_a_policy_by_error_that_makes_no_sense_is_refused(by_error: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RetryPolicy(by_error=by_error)
