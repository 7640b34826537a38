"""The SQS adapter at the seam, on ElasticMQ."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from tests.brokers.aws import AwsBroker

from brokerkit import Bus, Message
from brokerkit._errors import (
    AccessDenied,
    Closed,
    ConfigError,
    ConnectionLost,
    InvalidMessage,
    MessageTooLarge,
    NotFound,
    UnsupportedFeature,
)
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, RetryLater, Settled, State
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Lost, Subscription
from brokerkit.adapters.aws import _queues
from brokerkit.adapters.aws._queues import Queues, Reading
from brokerkit.adapters.aws._source import _LONG_POLL, SqsSource
from brokerkit.adapters.aws._starts import Starts
from brokerkit.adapters.aws.sqs import SqsAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown

DONE, LOST = Settled.DONE, Settled.LOST
WEIRD = {
    "": "",
    " ": " ",
    "data": "d",
    "key": "k",
    'quo"te': "it's",
    "ünïcode ☃": "☃ 🂡",
    "n" * 300: "long",
    "AWS.x": "y",
    "empty": "",
    "newline": "a\nb",
    "control": "\x00\x01",
    "bytes": b"\x00\xff",
}


def connection(endpoint: str | None, url: str = "sqs://us-east-1/", **fields: Any) -> Connection:
    return Connection(url=Url.parse(url), endpoint=endpoint, **fields)


def name(suffix: str = "") -> str:
    return f"test-{uuid.uuid4().hex}{suffix}"


def outgoing(topic: str, body: bytes | None = b'{"a":1}', **fields: Any) -> Outgoing:
    fields = {"id": uuid.uuid4().hex} | fields
    return Outgoing(topic=topic, body=body, name="OnGameDone", **fields)


async def nothing_lost(deliveries: Sequence[Delivery]) -> None:
    raise AssertionError(f"lost {deliveries}")


@pytest.fixture
async def adapter(sqs_broker: AwsBroker) -> AsyncIterator[SqsAdapter]:
    adapter = SqsAdapter(connection(sqs_broker.url))
    await adapter.open()
    yield adapter
    await adapter.close()


@pytest.fixture
async def plain(sqs_broker: AwsBroker) -> AsyncIterator[Any]:
    """A client of the library itself."""
    async with get_session().create_client("sqs", **sqs_broker.client_options) as client:
        yield client


@asynccontextmanager
async def reading(
    adapter: SqsAdapter, *topics: str, lost: Lost = nothing_lost, **fields: Any
) -> AsyncIterator[SqsSource]:
    fields = {"provision": "all"} | fields
    source = adapter.subscribe(Subscription(topics=topics, **fields), lost)
    await source.open()
    try:
        yield source
    finally:
        await source.stop()
        await source.close()


async def take(source: SqsSource, count: int, *, seconds: float = 15) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            found += await source.receive(count - len(found))
    return found


async def send(adapter: SqsAdapter, *batch: Outgoing) -> None:
    results = await adapter.send(batch)
    assert all(isinstance(result, Receipt) for result in results), results


# Sending and receiving


@pytest.mark.parametrize("suffix", ["", ".fifo"])
@pytest.mark.parametrize("body", [b'{"a":1}', b"", bytes(range(256)), None, b'{"Type":"Notification","MessageId":"1"}'])
async def test_a_message_goes_through_unchanged(adapter: SqsAdapter, body: bytes | None, suffix: str) -> None:
    topic = name(suffix)
    await adapter.ensure([topic], is_queue=False, create=True)
    sent = outgoing(topic, body, key="table 7", headers=WEIRD, content_type="application/json")
    [receipt] = await adapter.send([sent])
    async with reading(adapter, topic) as source:
        [found] = await take(source, 1)
        assert isinstance(receipt, Receipt)
        assert (receipt.topic, receipt.id, receipt.position) == (topic, sent.id, found.position)
        assert (found.body, found.topic, found.key, found.id) == (body, topic, "table 7", sent.id)
        assert found.headers == WEIRD | {"content-type": "application/json"}
        assert found.count == 1
        assert found.time is not None and found.native["MessageId"] == found.position
        assert await source.settle([(found, ACK)]) == [DONE]


@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_all_of_many_messages_arrive_with_forty_headers_each(adapter: SqsAdapter, suffix: str) -> None:
    topic = name(suffix)
    await adapter.ensure([topic], is_queue=False, create=True)
    headers: dict[str, str | bytes] = {f"h{n}": str(n) for n in range(40)}
    batch = [outgoing(topic, str(n).encode(), key=str(n % 7), headers=headers) for n in range(100)]
    await send(adapter, *batch)
    async with reading(adapter, topic) as source:
        found: list[Delivery] = []
        while len(found) < 100:
            some = await take(source, 1)
            found += some
            await source.settle([(delivery, ACK) for delivery in some])
        assert {delivery.body for delivery in found} == {message.body for message in batch}
        assert all(delivery.headers == headers for delivery in found)
        if suffix:
            for key in range(7):
                order = [int(delivery.body or b"") for delivery in found if delivery.key == str(key)]
                assert order == sorted(order)


@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_a_plain_clients_message_needs_no_header_of_ours(adapter: SqsAdapter, plain: Any, suffix: str) -> None:
    topic = name(suffix)
    async with reading(adapter, topic) as source:
        url = (await plain.get_queue_url(QueueName=topic))["QueueUrl"]
        fifo = {"MessageGroupId": "g", "MessageDeduplicationId": "d"} if suffix else {}
        attributes = {
            "event": {"DataType": "String", "StringValue": "OnGameDone"},
            "n": {"DataType": "Number", "StringValue": "7"},
        }
        await plain.send_message(QueueUrl=url, MessageBody="{}", MessageAttributes=attributes, **fifo)
        [found] = await take(source, 1)
        assert (found.body, found.key, found.id) == (b"{}", "g" if suffix else None, None)
        assert found.headers == {"event": "OnGameDone", "n": "7"}
        assert found.stable_id == f"{topic}/{found.native['MessageId']}"


async def test_the_event_name_is_an_attribute_that_others_see(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    await send(adapter, outgoing(topic, headers={"event": "OnGameDone"}))
    url = (await plain.get_queue_url(QueueName=topic))["QueueUrl"]
    answer = await plain.receive_message(QueueUrl=url, MessageAttributeNames=["All"])
    assert answer["Messages"][0]["MessageAttributes"]["event"]["StringValue"] == "OnGameDone"


async def test_a_queue_is_found_by_its_url_and_its_arn(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    url = (await plain.create_queue(QueueName=topic))["QueueUrl"]
    await send(adapter, outgoing(url))
    await adapter.ensure([url, f"arn:aws:sqs:us-east-1:000000000000:{topic}"], is_queue=False, create=False)
    async with reading(adapter, url, provision="check") as source:
        [found] = await take(source, 1)
        assert found.topic == url


async def test_a_fifo_id_sent_twice_arrives_once(adapter: SqsAdapter) -> None:
    topic = name(".fifo")
    async with reading(adapter, topic) as source:
        twice = outgoing(topic, key="k", id="same id")
        await send(adapter, twice, twice, outgoing(topic, key="k", body=b"last"))
        assert [found.body for found in await take(source, 2)] == [twice.body, b"last"]


# aiohttp warns of every request above 1 MiB, and has no other way to take one.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_the_largest_message_passes_and_one_byte_more_is_refused_with_both_numbers(adapter: SqsAdapter) -> None:
    topic = name()
    limit = _queues.MAX_BYTES
    overhead = len("bk-id") + len("String") + len("id-1")
    await adapter.ensure([topic], is_queue=False, create=True)
    largest = outgoing(topic, b"x" * (limit - overhead), id="id-1")
    small = outgoing(topic)
    too_large = replace(largest, body=b"x" * (limit - overhead + 1))
    results = await adapter.send([small, too_large, largest, small])
    assert [type(result) for result in results] == [Receipt, MessageTooLarge, Receipt, Receipt]
    error = results[1]
    assert isinstance(error, MessageTooLarge)
    assert (error.size, error.limit) == (limit + 1, limit)


async def test_an_invalid_header_fails_alone(adapter: SqsAdapter) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    results = await adapter.send([outgoing(topic, headers={"a": "\ud800"}), outgoing(topic)])
    assert [type(result) for result in results] == [InvalidMessage, Receipt]


async def test_sending_to_a_missing_queue_is_not_found_until_it_is_there(adapter: SqsAdapter) -> None:
    topic = name()
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, NotFound)
    await adapter.ensure([topic], is_queue=True, create=True)
    await send(adapter, outgoing(topic))


async def test_sending_to_a_queue_that_was_deleted_is_not_found(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    url = (await plain.create_queue(QueueName=topic))["QueueUrl"]
    await send(adapter, outgoing(topic))
    await plain.delete_queue(QueueUrl=url)
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, NotFound)


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


# Stopping and sharing


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


# Provisioning


@pytest.mark.parametrize("provision", ["group", "check"])
async def test_a_missing_queue_is_not_found_where_it_may_not_be_created(adapter: SqsAdapter, provision: Any) -> None:
    source = adapter.subscribe(Subscription(topics=(name(),), provision=provision), nothing_lost)
    with pytest.raises(NotFound, match="provision='all'"):
        await source.open()
    await source.close()


async def test_ensure_creates_once_and_alters_nothing(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    url = (await plain.create_queue(QueueName=topic, Attributes={"DelaySeconds": "7"}))["QueueUrl"]
    for _ in range(2):
        await adapter.ensure([topic], is_queue=True, create=True)
    found = await plain.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds"])
    assert found["Attributes"]["DelaySeconds"] == "7"


async def test_a_queue_that_is_deleted_under_its_reader_is_said_to_be_gone(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    async with reading(adapter, topic) as source:
        await plain.delete_queue(QueueUrl=(await plain.get_queue_url(QueueName=topic))["QueueUrl"])
        with pytest.raises(NotFound, match=topic):
            await source.receive(1)


async def test_derived_names_are_queues(adapter: SqsAdapter) -> None:
    for topic in ("orders", "orders.fifo", "a.b", "x" * 80, "arn:aws:sqs:us-east-1:1:orders.fifo"):
        derived = adapter.derived(topic, "wallet", "dlq")
        assert derived.endswith(".fifo") == topic.endswith(".fifo")
        await adapter.ensure([derived], is_queue=True, create=True)
    assert adapter.derived("orders", "wallet", "dlq") == "orders__wallet__dlq"
    assert adapter.derived("orders.fifo", None, "dlq") == "orders-dlq.fifo"


# What is refused


def test_a_second_group_on_a_queue_is_refused_with_a_pointer_to_sns() -> None:
    adapter = SqsAdapter(connection(None))
    for _ in range(2):
        adapter.subscribe(Subscription(topics=("orders",), group="wallet"), nothing_lost)
    with pytest.raises(UnsupportedFeature, match="sns://"):
        adapter.subscribe(Subscription(topics=("orders",), group="crm"), nothing_lost)


@pytest.mark.parametrize("fields", [{"broadcast": True}, {"start": "latest"}])
def test_what_a_queue_cannot_do_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFeature):
        SqsAdapter(connection(None)).subscribe(Subscription(topics=("orders",), **fields), nothing_lost)


async def test_a_name_that_no_queue_can_have_is_a_config_error(adapter: SqsAdapter) -> None:
    with pytest.raises(ConfigError, match="no dots"):
        await adapter.ensure(["evenbet.events"], is_queue=False, create=True)
    with pytest.raises(ConfigError, match="another region"):
        await adapter.ensure(["arn:aws:sqs:eu-north-1:000000000000:orders"], is_queue=False, create=True)


@pytest.mark.parametrize(
    ("url", "options", "endpoint"),
    [
        ("sqs://us-east-1/queue", {}, None),
        ("sqs://localhost:9324/", {}, None),
        ("sqs://a,b/", {}, None),
        ("sqs://key@us-east-1/", {}, None),
        ("sqs://us-east-1/", {}, "localhost:9324"),
        ("sqs://us-east-1/", {"linger.ms": 1}, None),
        ("sqs://us-east-1/", {"retries.modus": "standard"}, None),
        ("sqs://us-east-1/", {"region_name": "x"}, None),
        ("sqs://us-east-1/", {"read_timeout": "soon"}, None),
        ("sqs://us-east-1/", {"tcp_keepalive": "maybe"}, None),
        ("sqs://us-east-1/", {"proxies": "http://x"}, None),
        ("sqs://us-east-1/", {"retries.mode": "often"}, None),
        ("sqs://us-east-1/", {"retries": {}, "retries.mode": "standard"}, None),
    ],
)
def test_a_wrong_url_or_option_is_a_config_error(url: str, options: dict[str, object], endpoint: str | None) -> None:
    with pytest.raises(ConfigError):
        SqsAdapter(connection(endpoint, url, options=options))


async def test_options_given_as_text_reach_the_client(sqs_broker: AwsBroker) -> None:
    options = {"read_timeout": "30", "tcp_keepalive": "true", "retries.max_attempts": "2", "verify": "false"}
    adapter = SqsAdapter(connection(sqs_broker.url, options=options))
    await adapter.open()
    assert adapter._client._session is not None
    config = adapter._client._session.client.meta.config
    assert (config.read_timeout, config.tcp_keepalive) == (30.0, True)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}
    assert config.max_pool_connections >= adapter.capabilities().pollers + 10
    await adapter.close()


# Errors


async def test_an_emulator_needs_no_credentials(
    sqs_broker: AwsBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    adapter = SqsAdapter(connection(sqs_broker.url, "sqs:///"))
    await adapter.open()
    await adapter.close()
    with pytest.raises(ConfigError, match="region"):
        await SqsAdapter(connection(None, "sqs:///")).open()
    with pytest.raises(AccessDenied, match="credentials"):
        await SqsAdapter(connection(None)).open()


async def test_nobody_at_the_endpoint_is_a_lost_connection_in_time(aws_environment: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never answers
        port = server.getsockname()[1]
        silent = SqsAdapter(connection(f"http://127.0.0.1:{port}", connect_timeout=0.5))
        async with asyncio.timeout(8):
            with pytest.raises(ConnectionLost, match=str(port)):
                await silent.open()
    refusing = SqsAdapter(connection(f"http://127.0.0.1:{port}", connect_timeout=0.5))
    async with asyncio.timeout(8):
        with pytest.raises(ConnectionLost, match=str(port)):
            await refusing.open()


def test_no_secret_shows() -> None:
    options = {"aws_session_token": "TOKEN"}
    adapter = SqsAdapter(connection("http://127.0.0.1:1", "sqs://KEY:a%2Fsecret@us-east-1/", options=options))
    for shown in (repr(adapter), repr(adapter._client), repr(adapter._queues), str(adapter._client._url)):
        assert "secret" not in shown and "TOKEN" not in shown
    assert adapter._client._url.password == "a/secret"
    guarded = SqsAdapter(connection("https://user:secret@127.0.0.1:1", "sqs://us-east-1/"))
    assert "https://***@127.0.0.1:1" in repr(guarded) and "secret" not in repr(guarded)
    with pytest.raises(ConfigError) as caught:
        SqsAdapter(connection("user:secret@127.0.0.1:1", "sqs://us-east-1/"))
    assert "secret" not in str(caught.value)


async def test_a_closed_adapter_says_so(adapter: SqsAdapter) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    await adapter.close()
    await adapter.close()
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, Closed)


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


async def test_a_redrive_policy_that_takes_messages_away_too_early_is_refused(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    dead = await plain.create_queue(QueueName=f"{topic}-redriven")
    asked = await plain.get_queue_attributes(QueueUrl=dead["QueueUrl"], AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": 3}
    await plain.create_queue(QueueName=topic, Attributes={"RedrivePolicy": json.dumps(policy)})
    with pytest.raises(UnsupportedFeature, match=r"after 3 deliveries.*raise maxReceiveCount to 150"):
        async with reading(adapter, topic, max_deliveries=15):
            pass
    async with reading(adapter, topic, max_deliveries=3):
        pass
    async with reading(adapter, topic, max_deliveries=15, provision="off"):
        pass


async def test_a_fifo_queue_that_is_created_has_high_throughput(adapter: SqsAdapter) -> None:
    asked: list[dict[str, Any]] = []
    call = adapter._client.call

    async def watched(operation: str, /, **parameters: Any) -> Any:
        asked.append({"operation": operation, **parameters})
        return await call(operation, **parameters)

    adapter._client.call = watched  # type: ignore[method-assign]
    topic = name(".fifo")
    await adapter.ensure([topic], is_queue=False, create=True)
    [created] = [each["Attributes"] for each in asked if each["operation"] == "create_queue"]
    assert created == {
        "FifoQueue": "true",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
    }
    await send(adapter, outgoing(topic, b"1", key="a", id="same"), outgoing(topic, b"2", key="a", id="same"))
    async with reading(adapter, topic, provision="check") as source:
        assert [found.body for found in await take(source, 1)] == [b"1"]


@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_a_batch_is_cut_by_its_total_size(adapter: SqsAdapter, suffix: str) -> None:
    topic, sizes = name(suffix), list[int]()
    await adapter.ensure([topic], is_queue=False, create=True)
    call = adapter._client.call

    async def watched(operation: str, /, **parameters: Any) -> Any:
        if operation == "send_message_batch":
            sizes.append(sum(len(entry["MessageBody"]) for entry in parameters["Entries"]))
        return await call(operation, **parameters)

    adapter._client.call = watched  # type: ignore[method-assign]
    await send(adapter, *(outgoing(topic, b"x" * 300_000, key=f"{number}") for number in range(7)))
    assert sorted(sizes) == [300_000, 900_000, 900_000]
    async with reading(adapter, topic) as source:
        assert len(await take(source, 7)) == 7


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
