"""The feed keeps the order and the pace, says how far it came, and stops when asked."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterator

import pytest

from brokerkit import Bus, Message, MessageTooLarge
from brokerkit._publishing._paced import PacedPublisher
from brokerkit.testing import virtual_time
from tests.every_broker import Recorder, until


def bus() -> Bus:
    return Bus(f"memory://{uuid.uuid4().hex}", topic="t", group="g", format="evenbet")


def numbered(intervals: Iterator[float]) -> Iterator[tuple[float, Message]]:
    for number, due in enumerate(intervals):
        yield due, Message("OnUserLoggedIn", b'{"playerId": %d}' % number, key="all")


async def test_each_message_leaves_when_it_is_due_and_in_its_order() -> None:
    left: list[float] = []
    with virtual_time() as clock:
        async with bus() as opened:
            publish = opened.publish_many

            async def noted(batch: list[Message]) -> object:
                left.extend([clock.elapsed] * len(batch))
                return await publish(batch)

            opened.publish_many = noted  # type: ignore[assignment,method-assign]
            feed = PacedPublisher(opened)
            await feed.run(numbered(iter([0.0, 0.0, 5.0, 5.002, 60.0])))
    assert feed.done == 5
    assert [round(time, 1) for time in left] == [0, 0, 5, 5, 60]


async def test_more_than_a_batch_arrives_in_order() -> None:
    recorder = Recorder().record("OnUserLoggedIn")
    async with recorder.serving(bus()) as opened:
        feed = PacedPublisher(opened)
        await feed.run(numbered(itertools.repeat(0.0, 1_203)))
        got = await recorder.wait_for(1_203)
    assert feed.done == 1_203
    assert [event.player_id for _, event, _ in got] == list(range(1_203))


async def test_after_a_long_delay_the_pace_goes_on_without_a_flood() -> None:
    with virtual_time() as clock:
        async with bus() as opened:
            publish, delays = opened.publish_many, iter([30.0])

            async def slow_once(batch: list[Message]) -> object:
                await asyncio.sleep(next(delays, 0.0))
                return await publish(batch)

            opened.publish_many = slow_once  # type: ignore[assignment,method-assign]
            await PacedPublisher(opened).run(numbered(iter([0.0, 1.0, 2.0, 3.0])))
            assert 32 <= clock.elapsed < 33


async def test_the_first_failure_ends_it_and_it_says_what_went_out_all_the_same() -> None:
    messages = list(numbered(itertools.repeat(0.0, 5)))
    messages[2] = (0.0, Message("OnUserLoggedIn", b'"' + b"x" * 2_000_000 + b'"'))
    async with bus() as opened:
        feed = PacedPublisher(opened)
        with pytest.raises(MessageTooLarge):
            await feed.run(messages)
    assert (feed.done, feed.also) == (2, 2)


async def test_a_stop_ends_a_long_pause() -> None:
    async with bus() as opened:
        feed = PacedPublisher(opened)
        running = asyncio.create_task(feed.run(numbered(iter([0.0, 3_600.0]))))
        await until(lambda: feed.done == 1)
        feed.stop()
        await running
    assert feed.done == 1
