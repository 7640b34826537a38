"""What becomes of SQS messages that are acknowledged, released or retried, and FIFO order, at the seam, on ElasticMQ."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from tests.adapters.sqs.seam import DONE, LOST, connection, name, nothing_lost, outgoing, reading, send, take
from tests.brokers.aws import AwsBroker

from brokerkit import Bus, Message
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, RetryLater, Settled, State
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.aws.sqs import SqsAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown

# Settling


async def test_an_acknowledged_message_is_gone_and_a_released_one_comes_back_at_once(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic) as source:
        await send(adapter, outgoing(topic, b"ack"), outgoing(topic, b"release"))
        first = await take(source, 2)
        outcomes = [(found, ACK if found.body == b"ack" else RELEASE) for found in first]
        assert await source.settle(outcomes) == [DONE, DONE]
        [again] = await take(source, 1)
        assert (again.body, again.count) == (b"release", 2)
        assert await source.settle([(again, ACK)]) == [DONE]
        assert await source.lag() == 0


async def test_a_retry_comes_back_after_its_time_and_not_before(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic, lease=30) as source:
        sent = outgoing(topic)
        await send(adapter, sent)
        [found] = await take(source, 1)
        started = asyncio.get_running_loop().time()
        assert await source.settle([(found, RetryLater(1.2, sent))]) == [DONE]
        [again] = await take(source, 1)
        assert 1.9 <= asyncio.get_running_loop().time() - started < 12  # far below the lease
        assert again.count == 2


async def test_a_message_whose_lease_ran_out_is_lost_to_settle_and_extend(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic, lease=1) as one, reading(adapter, topic, lease=30) as other:
        await send(adapter, outgoing(topic))
        [found] = await take(one, 1)
        [settings_of_url] = await take(other, 1)
        assert settings_of_url.position == found.position
        assert await one.extend([found]) == [LOST]
        assert await one.settle([(found, ACK)]) == [LOST]
        assert await other.settle([(settings_of_url, ACK)]) == [DONE]


async def test_an_extended_lease_keeps_a_message_here(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic, lease=4) as one, reading(adapter, topic) as other:
        await send(adapter, outgoing(topic))
        [found] = await take(one, 1)
        for _ in range(2):  # together they wait for longer than the lease
            poll = asyncio.create_task(other.receive(1))
            while not poll.done():
                assert await one.extend([found]) == [DONE]
                await asyncio.wait([poll], timeout=0.7)
            assert poll.result() == []
        assert await one.settle([(found, ACK)]) == [DONE]


async def test_a_message_that_comes_again_while_it_is_held_is_settled_under_its_newer_receipt(
    adapter: SqsAdapter,
) -> None:
    topic = name()
    async with reading(adapter, topic, lease=1) as source:
        await send(adapter, outgoing(topic))
        [found] = await take(source, 1)
        receipt = found.token.receipt
        async with asyncio.timeout(20):
            while found.token.receipt == receipt:
                assert await source.receive(10) == []
        assert await source.settle([(found, ACK)]) == [DONE]
        assert await source.lag() == 0


async def test_a_message_that_could_not_be_settled_comes_as_a_new_delivery(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic, lease=1) as source:
        await send(adapter, outgoing(topic))
        [found] = await take(source, 1)
        found.state = State.SETTLED  # and its settle never reached SQS
        [again] = await take(source, 1)
        assert again is not found and again.count == 2
        assert await source.settle([(found, ACK)]) == [LOST]
        assert await source.settle([(again, ACK)]) == [DONE]


async def test_settling_twice_is_harmless(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic) as source:
        await send(adapter, outgoing(topic))
        [found] = await take(source, 1)
        assert await source.settle([(found, ACK)]) == [DONE]
        assert await source.settle([(found, ACK)]) == [LOST]


async def test_more_than_one_batch_is_settled_at_once_with_an_answer_each(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic) as source:
        await send(adapter, *(outgoing(topic) for _ in range(35)))
        found = await take(source, 35)
        assert await source.extend(found) == [DONE] * 35
        assert await source.settle([(delivery, ACK) for delivery in found]) == [DONE] * 35


async def test_settling_while_sqs_is_away_fails_and_does_not_raise(adapter: SqsAdapter) -> None:
    topic = name()
    source = adapter.subscribe(Subscription(topics=(topic,), provision="all"), nothing_lost)
    await source.open()
    await send(adapter, outgoing(topic))
    [found] = await take(source, 1)
    await adapter.close()
    assert await source.settle([(found, ACK)]) == [Settled.FAILED]
    assert await source.extend([found]) == [Settled.FAILED]
    assert await source.lag() is None
    await source.close()


# FIFO order


@pytest.mark.parametrize("retry", [True, False])
async def test_what_waits_behind_a_fifo_message_goes_back_with_it(adapter: SqsAdapter, retry: bool) -> None:
    topic = name(".fifo")
    told: list[Delivery] = []

    async def lost(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        for delivery in deliveries:
            delivery.state = State.LOST
        told.extend(deliveries)

    batch = [outgoing(topic, str(n).encode(), key="a") for n in range(4)]
    async with reading(adapter, topic, lost=lost) as source:
        await send(adapter, *batch, outgoing(topic, b"other", key="b"))
        found = {delivery.body: delivery for delivery in await take(source, 5)}
        pairs = [(found[b"0"], ACK), (found[b"1"], RetryLater(1, batch[1]) if retry else RELEASE)]
        assert await source.settle(pairs) == [DONE, DONE]
        assert [delivery.body for delivery in told] == [b"2", b"3"]
        assert await source.settle([(found[b"2"], ACK), (found[b"other"], ACK)]) == [LOST, DONE]
        again: list[Delivery] = []
        while len(again) < 3:
            again += await take(source, 1)
            await source.settle([(again[-1], ACK)])
        assert [delivery.body for delivery in again] == [b"1", b"2", b"3"]
        assert [delivery.count for delivery in again] == [2, 1, 1]  # going back with another is no delivery of its own


async def test_a_successor_that_runs_already_is_not_taken_back(adapter: SqsAdapter) -> None:
    topic = name(".fifo")
    async with reading(adapter, topic) as source:
        await send(adapter, outgoing(topic, b"0", key="a"), outgoing(topic, b"1", key="a"))
        first, second = await take(source, 2)
        second.state = State.RUNNING
        assert await source.settle([(first, RELEASE)]) == [DONE]
        assert await source.settle([(second, ACK)]) == [DONE]


async def test_without_order_successors_stay(adapter: SqsAdapter) -> None:
    topic = name(".fifo")
    async with reading(adapter, topic, order="none") as source:
        await send(adapter, outgoing(topic, b"0", key="a"), outgoing(topic, b"1", key="a"))
        first, second = await take(source, 2)
        assert await source.settle([(first, RELEASE)]) == [DONE]
        assert await source.settle([(second, ACK)]) == [DONE]


async def test_the_message_group_of_a_standard_queue_orders_nothing_unless_it_is_asked_for(
    sqs_broker: AwsBroker, plain: Any
) -> None:
    topic, running, most = name(), 0, 0
    url = (await plain.create_queue(QueueName=topic))["QueueUrl"]

    async def run(count: int, **settings: Any) -> list[tuple[str | bytes | None, str | bytes | None]]:
        nonlocal most
        most, seen = 0, list[tuple[str | bytes | None, str | bytes | None]]()
        both = asyncio.Event()
        bus = Bus("sqs://us-east-1/", endpoint=sqs_broker.url, topic=topic, format="evenbet", lease=30, **settings)

        @bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 2:
                both.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.5 if settings else 30):
                    await both.wait()
            running -= 1
            seen.append((message.key, message.headers.get("MessageGroupId")))

        async with bus, bus.serving():
            for number in range(count):
                await bus.publish(
                    OnPlayerSeatedDown(player_id=number), headers={"MessageGroupId": "tenant-1"}, id=f"id-{number}"
                )
            async with asyncio.timeout(30):
                while len(seen) < count:
                    await asyncio.sleep(0.02)
        return seen

    assert await run(2) == [(None, "tenant-1")] * 2
    assert most == 2
    assert await run(2, key_from="header:MessageGroupId") == [("tenant-1", "tenant-1")] * 2
    assert most == 1
    # A foreign producer's group is read alike, and ours is the attribute of SQS itself.
    await plain.send_message(QueueUrl=url, MessageBody="theirs", MessageGroupId="tenant-2")
    adapter = SqsAdapter(connection(sqs_broker.url))
    await adapter.open()
    await send(adapter, outgoing(topic, b"ours", headers={"MessageGroupId": "tenant-3"}))
    await send(adapter, outgoing(topic, b"none", headers={"MessageGroupId": "no group"}, key="k"))
    async with reading(adapter, topic) as source:
        found = {one.body: one for one in await take(source, 3)}
        assert {body: (one.key, one.headers["MessageGroupId"]) for body, one in found.items()} == {
            b"theirs": (None, "tenant-2"),
            b"ours": (None, "tenant-3"),
            b"none": ("k", "no group"),
        }
        assert found[b"ours"].native["Attributes"]["MessageGroupId"] == "tenant-3"
        await source.settle([(one, ACK) for one in found.values()])
    await adapter.close()
