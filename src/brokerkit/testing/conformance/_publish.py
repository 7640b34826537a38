"""A: publish and receive."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from brokerkit._clock import wall_time
from brokerkit._errors import InvalidMessage, MessageTooLarge, NotFound, Unroutable
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Receipt
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import NAME, Recorder, accepted, numbered

case = section("Publish and receive")


@case(1)
async def unchanged(h: Harness) -> None:
    """Body, key, headers, event name and id of a message arrive as they were published."""
    recorder = Recorder()
    async with recorder.serving(h.bus()) as bus:
        receipt = await bus.publish(numbered(7, key="player/é", headers={"trace": 'é "x" \n', "empty": ""}, id="id-7"))
        await recorder.wait(1)
    [message] = recorder.messages
    assert receipt.id == message.id == "id-7"
    assert (message.name, message.key, message.topic, message.attempt) == (NAME, "player/é", h.topic(), 1)
    assert message.body == b'{"n": 7}'
    assert (message.headers["trace"], message.headers["empty"]) == ('é "x" \n', "")


@case(2)
async def all_once(h: Harness) -> None:
    """Many messages all arrive, and none arrives twice if nothing fails."""
    recorder = Recorder()
    async with recorder.serving(h.bus(lease=30.0)) as bus:
        accepted(await bus.publish_many([numbered(number) for number in range(h.many)]))
        await recorder.wait(h.many)
    assert sorted(recorder.numbers) == list(range(h.many))


@case(3)
async def kept_for_the_group(h: Harness) -> None:
    """Messages that are published while nobody reads wait for an existing group."""
    h.promised(h.capabilities.at_least_once, "at least once")
    await h.make_group()
    async with h.bus() as bus:
        await bus.publish(numbered(1))
    recorder = Recorder()
    async with recorder.serving(h.bus()):
        await recorder.wait(1)


@case(4)
async def topics_apart(h: Harness) -> None:
    """Readers of one topic do not see messages of another."""
    first, second = Recorder(), Recorder()
    async with first.serving(h.bus(h.topic("one"))) as one, second.serving(h.bus(h.topic("two"))) as two:
        await asyncio.gather(*(one.publish(numbered(number)) for number in range(0, 20, 2)))
        await asyncio.gather(*(two.publish(numbered(number)) for number in range(1, 20, 2)))
        await first.wait(10)
        await second.wait(10)
    assert sorted(first.numbers) == list(range(0, 20, 2))
    assert sorted(second.numbers) == list(range(1, 20, 2))


@case(5)
async def many_topics(h: Harness) -> None:
    """One source reads twenty topics that are published to at the same time."""
    topics = [h.topic(f"topic-{number}") for number in range(20)]
    each = max(h.many // 20, 1)
    async with h.adapter() as adapter:
        await adapter.ensure(topics, is_queue=False, create=True)
        async with h.reading(*topics, lease=30.0) as reader:
            batches = [[h.outgoing(number, topic=topic) for number in range(each)] for topic in topics]
            for results in await asyncio.gather(*map(adapter.send, batches)):
                accepted(results)
            got: list[Delivery] = []
            # Some brokers give nothing more to a reader that has not settled what it has.
            while missing := each * len(topics) - len(got):
                if some := await reader.source.receive(missing):
                    await reader.ack(*some)
                    got += some
    found = sorted((delivery.topic, int(delivery.body or b"")) for delivery in got)
    assert found == sorted((topic, number) for topic in topics for number in range(each))


@case(6)
async def confirmed(h: Harness) -> None:
    """A publish returns when the broker has the message, which stays even if the publisher dies right after."""
    h.promised(h.capabilities.confirmed_publish, "publish is confirmed")
    await h.make_group()
    await h.let_die("publisher")
    recorder = Recorder()
    async with recorder.serving(h.bus()):
        await recorder.wait(1)
    assert recorder.numbers == [6]


@case(7)
async def no_target(h: Harness) -> None:
    """Publishing to a topic that does not exist is an error."""
    h.promised(h.topics_must_exist, "topics must exist")
    with pytest.raises((NotFound, Unroutable)):
        async with h.bus(h.topic("nowhere"), provision="check", publish_timeout=5.0) as bus:
            await bus.publish(numbered(1))


@case(8)
async def no_source(h: Harness) -> None:
    """Reading a topic that does not exist is an error if nothing may be created."""
    h.promised(h.topics_must_exist, "topics must exist")
    with pytest.raises(NotFound, match=re.escape(h.topic("nowhere").removesuffix(h.suffix))):
        async with h.reading(h.topic("nowhere"), provision="check"):
            pass


@case(9)
async def one_result_each(h: Harness) -> None:
    """Publishing many messages gives a result for each: only those that cannot be sent fail."""
    recorder = Recorder()
    batch = [numbered(number) for number in range(20)]
    batch.insert(5, Message(NAME, b'{"n": -5}', headers={"lone": "\ud800"}))
    too_large: list[Message] = []
    if h.largest is not None:
        too_large.append(Message(NAME, b'{"n": -10, "x": "' + b"x" * h.largest + b'"}'))
        batch.insert(10, *too_large)
    async with recorder.serving(h.bus(lease=30.0)) as bus:
        # Some brokers tell their limit only by ending the channel, and what was under way there is sent again: not so later.
        assert all(isinstance(result, MessageTooLarge) for result in await bus.publish_many(too_large))
        results = await bus.publish_many(batch)
        await recorder.wait(20)
    assert isinstance(results[5], InvalidMessage)
    assert h.largest is None or isinstance(results[10], MessageTooLarge)
    assert sum(isinstance(result, Receipt) for result in results) == 20
    assert sorted(recorder.numbers) == list(range(20))


@case(10)
async def large_batches(h: Harness) -> None:
    """A batch that is too large for one request is sent in parts, in order for each key."""
    recorder, filling = Recorder(), "x" * 40_000
    batch = [Message(NAME, json.dumps({"n": number, "x": filling}).encode(), key="k") for number in range(40)]
    async with recorder.serving(h.bus(lease=30.0)) as bus:
        accepted(await bus.publish_many(batch))
        await recorder.wait(40)
    if h.capabilities.order == "none":
        assert sorted(recorder.numbers) == list(range(40))
    else:
        assert recorder.numbers == list(range(40))


@case("10b")
async def later(h: Harness) -> None:
    """What is published for later comes when it is due and not before, unchanged, also if nobody reads meanwhile."""
    h.promised(h.capabilities.delays, "publish later")
    await h.make_group()
    async with h.bus() as bus:
        due = wall_time() + 1.5
        await bus.publish(numbered(2, key="k", headers={"a": "b"}, id="id-2"), at=datetime.fromtimestamp(due, UTC))
        sooner = wall_time() + 1
        accepted(await bus.publish_many([numbered(3), numbered(4)], after=timedelta(seconds=1)))
        accepted(await bus.publish_many([numbered(0), numbered(1)]))
    recorder, times = Recorder(), dict[int, float]()
    async with recorder.serving(h.bus()) as bus:
        for count in range(1, 6):
            await recorder.wait(count)
            times.setdefault(recorder.numbers[count - 1], wall_time())
        with pytest.raises(InvalidMessage):
            await bus.publish(numbered(9), after=-1)
    assert sorted(recorder.numbers) == [0, 1, 2, 3, 4]
    # Clocks of broker and machine may differ by a little.
    assert times[2] >= due - 0.2
    assert min(times[3], times[4]) >= sooner - 0.2
    [message] = [message for message in recorder.messages if message.id == "id-2"]
    assert (message.body, message.key, message.headers["a"], message.attempt) == (b'{"n": 2}', "k", "b", 1)
