"""How long a message that failed waits, and where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import DecodeError, Reject, Retry, RetryPolicy
from brokerkit._consuming._patience import LEAST_WAIT, Patience

USUAL = Patience(strict=False, hold=10, durable=3600, longest_hold=1500)
STRICT = Patience(strict=True, hold=10, durable=3600, longest_hold=1500)
NOTHING_DURABLE = Patience(strict=False, hold=10, durable=0, longest_hold=None)


@pytest.mark.parametrize(
    ("error", "failures", "again"),
    [
        (ValueError(), 1, False),
        (Reject(), 1, False),
        (DecodeError("no JSON"), 1, False),
        (KeyError(), 2, True),
        (KeyError(), 3, False),
        (Retry(after=60), 3, False),
        (TimeoutError(), 3, True),
        (TimeoutError(), 9, False),
    ],
)
def test_the_policy_of_the_error_decides_whether_there_is_another_attempt(
    error: Exception, failures: int, again: bool
) -> None:
    policy = RetryPolicy(attempts=3, by_error={ValueError: None, TimeoutError: RetryPolicy(attempts=9)})
    assert (USUAL.wait(error, policy, failures) is not None) is again


@given(st.floats(0, 1e9), st.integers(1, 5))
def test_a_handler_gets_the_wait_it_asked_for_but_never_none_at_all(after: float, failures: int) -> None:
    assert USUAL.wait(Retry(after=after), RetryPolicy(attempts=6), failures) == max(after, LEAST_WAIT)
    assert USUAL.wait(OSError(), RetryPolicy(attempts=6, first=0), failures) == LEAST_WAIT


@pytest.mark.parametrize(
    ("patience", "wait", "crowded", "here"),
    [
        (USUAL, 10, False, True),
        (USUAL, 11, False, False),
        (USUAL, 1, True, False),
        (STRICT, 1e6, True, True),
        (NOTHING_DURABLE, 1e6, True, True),
    ],
)
def test_a_wait_is_spent_here_where_it_is_short_or_must_be(
    patience: Patience, wait: float, crowded: bool, here: bool
) -> None:
    assert patience.here(wait, crowded=crowded) is here


@given(st.floats(0, 1e9))
def test_only_a_strict_order_cuts_a_wait(wait: float) -> None:
    assert USUAL.cut(wait) == NOTHING_DURABLE.cut(wait) == wait
    assert STRICT.cut(wait) == min(wait, 1500)
