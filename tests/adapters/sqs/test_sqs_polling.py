"""Stopping, polling and sharing queues of SQS, at the seam, on ElasticMQ."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from tests.adapters.sqs.seam import DONE, connection, name, nothing_lost, outgoing, reading, send, take
from tests.brokers.aws import AwsBroker

from brokerkit._errors import ConnectionLost
from brokerkit._messages._delivery import ACK, Delivery
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.aws._queues import Queues, Reading
from brokerkit.adapters.aws._source import _LONG_POLL, SqsSource
from brokerkit.adapters.aws._starts import Starts
from brokerkit.adapters.aws.sqs import SqsAdapter


async def test_stop_returns_every_receive_and_what_comes_afterwards_goes_back(adapter: SqsAdapter) -> None:
    topic = name()
    source = adapter.subscribe(Subscription(topics=(topic,), provision="all"), nothing_lost)
    await source.open()
    receives = [asyncio.create_task(source.receive(10)) for _ in range(8)]
    async with asyncio.timeout(20):
        while ", 1 polls" not in repr(source):
            await asyncio.sleep(0)
    async with asyncio.timeout(0.9 * _LONG_POLL):
        await source.stop()
        assert await asyncio.gather(*receives) == [[]] * 8
        assert await source.receive(10) == []
    await send(adapter, outgoing(topic))  # wakes the poll that is still under way
    await source.close()
    await source.close()
    assert repr(source) == f"<SqsSource {topic}: stopped, 0 polls, 0 held>"
    async with reading(adapter, topic) as other:
        assert len(await take(other, 1)) == 1


async def test_a_receive_that_is_cancelled_loses_nothing(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic) as source:
        receive = asyncio.create_task(source.receive(10))
        await asyncio.sleep(0)
        receive.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receive
        await send(adapter, outgoing(topic))  # ends in the poll that was left behind
        [found] = await take(source, 1)
        assert await source.settle([(found, ACK)]) == [DONE]


async def test_an_idle_queue_is_polled_once_and_a_full_one_by_more(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic) as source:
        receives = {asyncio.create_task(source.receive(10)) for _ in range(8)}
        async with asyncio.timeout(20):
            while "1 polls" not in repr(source):
                await asyncio.sleep(0)
        await send(adapter, *(outgoing(topic) for _ in range(200)))
        found: list[Delivery] = []
        widest = 0
        async with asyncio.timeout(20):
            while len(found) < 200:
                done, receives = await asyncio.wait(receives, return_when=asyncio.FIRST_COMPLETED)
                for receive in done:
                    found += receive.result()
                    receives.add(asyncio.create_task(source.receive(10)))
                await asyncio.sleep(0)
                widest = max(widest, source._turns.queues[0].polling)
        assert widest > 1
        await source.stop()
        await asyncio.gather(*receives)


async def test_a_busy_queue_among_many_idle_ones_is_polled_again_at_once(adapter: SqsAdapter) -> None:
    """What 200 messages would wait for otherwise: twenty rounds through all queues."""
    busy, *idle = topics = [name() for _ in range(40)]
    async with reading(adapter, *topics) as source:
        await send(adapter, *(outgoing(busy) for _ in range(200)))
        polled: list[str] = []
        call = source._client.call

        async def watched(operation: str, /, **parameters: Any) -> Any:
            if operation == "receive_message":
                polled.append(parameters["QueueUrl"])
            return await call(operation, **parameters)

        source._client.call = watched  # type: ignore[method-assign]
        found: list[Delivery] = []
        receives = {asyncio.create_task(source.receive(10)) for _ in range(adapter.capabilities().pollers)}
        async with asyncio.timeout(60):
            while len(found) < 200:
                done, receives = await asyncio.wait(receives, return_when=asyncio.FIRST_COMPLETED)
                for receive in done:
                    found += receive.result()
                    receives.add(asyncio.create_task(source.receive(10)))
        assert sum(not url.endswith(busy) for url in polled) <= 2 * len(idle)
        await source.stop()
        await asyncio.gather(*receives)


async def test_what_a_poll_brought_is_returned_before_the_next_one_begins() -> None:
    events: list[str] = []

    class Client:
        """SQS with a message for the first poll, and nothing for those that follow."""

        async def call(self, operation: str, /, **parameters: object) -> dict[str, Any]:
            events.append("poll")
            if len(events) > 1:
                await asyncio.Event().wait()
            return {"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "{}"}]}

    async def prepare() -> list[Reading]:
        return [Reading("t", "url", fifo=False)]

    client: Any = Client()
    subscription = Subscription(topics=("t",))
    starts = Starts(client, Queues(client), subscription)
    source = SqsSource(client, subscription, nothing_lost, starts=starts, payloads=None, prepare=prepare)
    await source.open()

    async def receive() -> None:
        while await source.receive(10):
            asyncio.get_running_loop().call_soon(events.append, "handler")  # as a worker begins that is woken

    receives = [asyncio.create_task(receive()) for _ in range(8)]
    async with asyncio.timeout(20):
        while len(events) < 3:
            await asyncio.sleep(0)
    assert events == ["poll", "handler", "poll"]
    await source.stop()
    await asyncio.gather(*receives)
    for poll in source._polls:
        poll.cancel()


async def test_two_members_share_the_messages_of_a_queue(adapter: SqsAdapter, sqs_broker: AwsBroker) -> None:
    topic = name()
    second = SqsAdapter(connection(sqs_broker.url))
    await second.open()
    async with reading(adapter, topic) as one, reading(second, topic) as other:
        await send(adapter, *(outgoing(topic, str(n).encode()) for n in range(40)))
        found: list[Delivery] = []
        while len(found) < 40:
            for source in (one, other):
                some = list(await source.receive(5))
                await source.settle([(delivery, ACK) for delivery in some])
                found += some
        assert {delivery.body for delivery in found} == {str(n).encode() for n in range(40)}
        assert len(found) == 40
    await second.close()


async def test_more_queues_than_pollers_are_all_read(adapter: SqsAdapter) -> None:
    topics = [name() for _ in range(12)]
    async with reading(adapter, *topics) as source:
        await send(adapter, *(outgoing(topic) for topic in topics))
        found: list[Delivery] = []

        async def poll() -> None:
            while len(found) < 12:
                found.extend(await source.receive(10))

        async with asyncio.timeout(20):
            await asyncio.gather(*(poll() for _ in range(8)))
        assert {delivery.topic for delivery in found} == set(topics)


async def test_lag_counts_what_waits(adapter: SqsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic) as source:
        await send(adapter, *(outgoing(topic) for _ in range(12)))
        assert await source.lag() == 12
        await take(source, 2)
        assert await source.lag() == 10


async def test_a_restarted_broker_is_read_again(sqs_broker: AwsBroker) -> None:
    topic = name()
    adapter = SqsAdapter(connection(sqs_broker.url, options={"retries.max_attempts": 0}))
    await adapter.open()
    async with reading(adapter, topic) as source:
        receive = asyncio.create_task(source.receive(1))
        await asyncio.to_thread(sqs_broker.stop)
        with suppress(ConnectionLost):  # the stop may answer the poll that is under way
            assert await receive == []
        with pytest.raises(ConnectionLost):
            await source.receive(1)
        assert isinstance((await adapter.send([outgoing(topic)]))[0], ConnectionLost)
        await asyncio.to_thread(sqs_broker.start)
        await adapter.ensure([topic], is_queue=False, create=True)
        await send(adapter, outgoing(topic))
        assert len(await take(source, 1)) == 1
    await adapter.close()
