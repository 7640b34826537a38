"""What a process remembers of messages that it is done with, case by case."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brokerkit._consuming._done_here import DoneHere
from brokerkit._messages._delivery import Delivery
from brokerkit.testing import virtual_time


def by_producer(body: bytes = b"{}", *, count: int = 2, **changes: Any) -> Delivery:
    """As RabbitMQ delivers it: it has no position, and the broker says that it comes again."""
    return Delivery(body=body, topic="t", **{"id": "m1", "count": count} | changes)


def by_broker(body: bytes = b"{}", **changes: Any) -> Delivery:
    return Delivery(body=body, topic="t", **{"position": (0, 7), "time": 1_700_000_000.0} | changes)


@pytest.fixture
async def done_here() -> DoneHere:
    return DoneHere(counted=True)


@pytest.mark.parametrize("make", [by_producer, by_broker])
async def test_what_was_lost_is_taken_when_it_comes_again_and_nothing_else_is(done_here: DoneHere, make: Any) -> None:
    assert not done_here
    done_here.lost(make())
    assert done_here
    assert not done_here.take(make(b"other"))
    assert not done_here.take(make(headers={"a": "b"}))
    assert not done_here.take(make(time=1_700_000_001.0))
    assert done_here.take(make())


async def test_a_first_delivery_is_new_whatever_id_its_producer_gives(done_here: DoneHere) -> None:
    done_here.lost(by_producer())
    assert not done_here.take(by_producer(count=1))
    assert not DoneHere(counted=False).take(by_producer())


async def test_of_two_twins_the_one_that_is_not_done_is_handled(done_here: DoneHere) -> None:
    done_here.lost(by_producer())
    assert done_here.take(by_producer())
    assert not done_here.take(by_producer())


async def test_one_that_is_lost_again_and_again_stays_one(done_here: DoneHere) -> None:
    delivery = by_producer()
    done_here.lost(delivery)
    for _ in range(3):
        delivery = by_producer()
        assert done_here.take(delivery)
        done_here.lost(delivery)
    assert done_here.take(by_producer())
    assert not done_here.take(by_producer())


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_letter_whose_acknowledgement_may_be_lost_is_taken_over_a_new_connection(
    done_here: DoneHere, is_answered: bool
) -> None:
    delivery = by_producer()
    done_here.stored(delivery)
    assert not done_here.take(by_producer())  # a twin: the acknowledgement of this one is under way
    if is_answered:
        done_here.lost(delivery)
    else:
        done_here.begin_anew()
    assert done_here.take(by_producer())
    assert not done_here.take(by_producer())


async def test_it_forgets_after_minutes_and_then_costs_nothing() -> None:
    with virtual_time():
        done_here = DoneHere(counted=True)
        done_here.lost(by_broker())
        await asyncio.sleep(299)
        assert done_here
        assert done_here.take(by_broker())
        await asyncio.sleep(2)
        assert not done_here
        assert not done_here.take(by_broker())
