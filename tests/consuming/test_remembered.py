"""What is remembered of messages that come again themselves."""

from __future__ import annotations

from brokerkit._consuming._remembered import RetryStates
from brokerkit._messages._delivery import Delivery


def delivery() -> Delivery:
    return Delivery(body=b"{}", topic="deals", position="7")


def test_what_comes_again_while_it_waits_here_too_counts_its_failures_by_itself() -> None:
    states, first, second = RetryStates(), delivery(), delivery()
    first.need_retry_state().failures = 1
    states.keep(first)
    second.retry_state = states.take(second)
    assert second.retry_state == first.retry_state
    first.need_retry_state().failures += 1
    assert second.retry_state is not None
    assert second.retry_state.failures == 1
    assert states.take(delivery()) is None
