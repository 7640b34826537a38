"""A program whose event loop begins tasks at once (``asyncio.eager_task_factory``, Python 3.12 and later)."""

from __future__ import annotations

import asyncio
import sys

import pytest

from brokerkit import Bus, Message
from tests.every_broker import Broker, Recorder

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python has no eager tasks")


async def test_publishes_follow_each_other_and_are_handled(broker: Broker) -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    recorder = Recorder().record("*")
    async with asyncio.timeout(100), recorder.serving(broker.bus(format="json")) as bus:
        for number in range(5):
            await bus.publish(Message("one", b'{"n": %d}' % number))
        await bus.publish_many([Message("many", b"{}") for _ in range(5)])
        await recorder.wait_for(10)


async def test_a_publisher_without_a_source() -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    async with asyncio.timeout(20), Bus("memory://", topic="t", format="json", publish_timeout=5.0) as bus:
        for _ in range(3):
            await bus.publish(Message("one", b"{}"))
