"""What becomes of a message that failed: the decision alone, as a table and by hypothesis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import DecodeError, Reject, Retry, RetryPolicy
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._failure import (
    LEAST_WAIT,
    DeadLetterIt,
    Decision,
    Hold,
    ReleaseIt,
    RetryAtBroker,
    RetryPlacement,
    Stopped,
    asked_wait,
    decide,
    is_failure,
)
from brokerkit._consuming._idempotent import Postponed
from brokerkit.adapters.memory import CAPABILITIES

USUAL = RetryPlacement(strict=False, hold=10, durable=3600, longest_hold=1500)
STRICT = RetryPlacement(strict=True, hold=10, durable=3600, longest_hold=1500)
NOTHING_DURABLE = RetryPlacement(strict=False, hold=10, durable=0, longest_hold=None)

TABLE: list[tuple[BaseException, int, RetryPlacement, bool, Decision]] = [
    # error, failures, placement, crowded, decision
    (Retry(after=5), 1, USUAL, False, Hold(5, 5)),
    (Retry(after=10), 1, USUAL, False, Hold(10, 10)),
    (Retry(after=10.1), 1, USUAL, False, RetryAtBroker(10.1)),
    (Retry(after=5), 1, USUAL, True, RetryAtBroker(5)),
    (Retry(after=0), 1, USUAL, False, Hold(LEAST_WAIT, LEAST_WAIT)),
    (Retry(after=3600), 1, NOTHING_DURABLE, True, Hold(3600, 3600)),
    (Retry(after=1000), 1, STRICT, True, Hold(1000, 1000)),
    (Retry(after=2000), 1, STRICT, False, Hold(1500, 2000)),
    (Retry(after=5), 5, USUAL, False, DeadLetterIt()),
    (OSError(), 5, USUAL, False, DeadLetterIt()),
    (Reject("no"), 1, USUAL, False, DeadLetterIt()),
    (DecodeError("no"), 1, STRICT, False, DeadLetterIt()),
    (Postponed(5), 9, USUAL, False, Hold(5, 5)),
    (Postponed(3600), 0, USUAL, False, Hold(10, 10)),
    (Postponed(3600), 0, USUAL, True, RetryAtBroker(10)),
    (Stopped(), 0, USUAL, True, ReleaseIt()),
    (asyncio.CancelledError(), 5, USUAL, True, DeadLetterIt()),
]


@pytest.mark.parametrize(("error", "failures", "placement", "crowded", "decision"), TABLE)
def test_what_becomes_of_a_message(
    error: BaseException, failures: int, placement: RetryPlacement, crowded: bool, decision: Decision
) -> None:
    assert decide(error, RetryPolicy(attempts=5), failures, placement, crowded=crowded) == decision


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (OSError(), True),
        (Reject("no"), True),
        (asyncio.CancelledError(), True),
        (Postponed(1), False),
        (Stopped(), False),
    ],
)
def test_a_stopped_or_postponed_handler_has_not_failed(error: BaseException, counts: bool) -> None:
    assert is_failure(error) is counts


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
    assert (asked_wait(error, policy, failures) is not None) is again


def test_a_policy_that_excludes_an_error_gives_up_at_once() -> None:
    policy = RetryPolicy(attempts=5, by_error={ValueError: None})
    assert decide(ValueError(), policy, 1, USUAL, crowded=False) == DeadLetterIt()
    assert isinstance(decide(OSError(), policy, 1, USUAL, crowded=False), Hold)


placements = st.builds(
    RetryPlacement,
    strict=st.booleans(),
    hold=st.floats(0, 100),
    durable=st.sampled_from([0.0, 900.0, 43_200.0]),
    longest_hold=st.sampled_from([None, 1.0, 1_500.0]),
)
errors = st.one_of(
    st.builds(OSError),
    st.builds(Reject, st.just("no")),
    st.builds(lambda after: Retry(after=after), st.floats(0, 10_000)),
    st.builds(Postponed, st.floats(0.001, 10_000)),
)


@given(errors, st.integers(1, 20), st.integers(1, 10), placements, st.booleans())
def test_every_decision_keeps_what_is_promised(
    error: BaseException, failures: int, attempts: int, placement: RetryPlacement, crowded: bool
) -> None:
    decision = decide(error, RetryPolicy(attempts=attempts), failures, placement, crowded=crowded)
    if is_failure(error):
        # The limit of attempts, and `Reject`, end a message; nothing else does.
        assert isinstance(decision, DeadLetterIt) == (failures >= attempts or isinstance(error, Reject))
    else:
        assert not isinstance(decision, DeadLetterIt)
    if isinstance(decision, RetryAtBroker):
        assert placement.durable
        assert not placement.strict
        assert crowded or decision.wait > placement.hold
    if isinstance(decision, Hold):
        assert decision.wait <= decision.asked
        assert decision.wait == decision.asked or (placement.strict and decision.wait == placement.longest_hold)
        assert placement.strict or not placement.durable or (decision.wait <= placement.hold and not crowded)


@given(st.floats(0, 10_000), st.integers(1, 5))
def test_no_attempt_comes_at_once(after: float, failures: int) -> None:
    assert asked_wait(Retry(after=after), RetryPolicy(attempts=6), failures) == max(after, LEAST_WAIT)
    assert asked_wait(OSError(), RetryPolicy(attempts=6, first=0), failures) == LEAST_WAIT


@given(st.floats(0.06, 10_000), st.booleans())
def test_a_hold_is_asked_for_again_only_where_it_was_cut(after: float, crowded: bool) -> None:
    decision = decide(Retry(after=after), RetryPolicy(), 1, STRICT, crowded=crowded)
    assert decision == Hold(min(after, 1500), after)


def test_the_placement_of_a_source_follows_settings_and_promises() -> None:
    settings: Any = {"url": "memory://", "topic": "t", "order": "strict", "hold": 3}
    found = RetryPlacement.of(SourceSettings.model_validate(settings), CAPABILITIES)
    assert found == RetryPlacement(strict=True, hold=3, durable=float("inf"), longest_hold=None)
