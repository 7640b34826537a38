"""The SNS adapter at the seam, on moto."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from tests.brokers.aws import AwsBroker

from brokerkit._errors import ConfigError, ConnectionLost, MessageTooLarge, NotFound, UnsupportedFeature
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.aws import _source
from brokerkit.adapters.aws._source import SqsSource
from brokerkit.adapters.aws.sns import SnsAdapter, _QueueSubscription, group_queue

DONE = Settled.DONE


def connection(endpoint: str | None, url: str = "sns://us-east-1/", **fields: Any) -> Connection:
    return Connection(url=Url.parse(url), endpoint=endpoint, **fields)


def name(suffix: str = "") -> str:
    return f"test-{uuid.uuid4().hex[:12]}{suffix}"


def outgoing(topic: str, body: bytes | None = b'{"a":1}', **fields: Any) -> Outgoing:
    fields = {"id": uuid.uuid4().hex} | fields
    return Outgoing(topic=topic, body=body, name="OnGameDone", **fields)


async def nothing_lost(deliveries: Sequence[Delivery]) -> None:
    raise AssertionError(f"lost {deliveries}")


@pytest.fixture
async def adapter(sns_broker: AwsBroker) -> AsyncIterator[SnsAdapter]:
    adapter = SnsAdapter(connection(sns_broker.url))
    await adapter.open()
    yield adapter
    await adapter.close()


@pytest.fixture
async def sns(sns_broker: AwsBroker) -> AsyncIterator[Any]:
    """A client of the library itself."""
    async with get_session().create_client("sns", **sns_broker.client_options) as client:
        yield client


@pytest.fixture
async def sqs(sns_broker: AwsBroker) -> AsyncIterator[Any]:
    """The same for the queues."""
    async with get_session().create_client("sqs", **sns_broker.client_options) as client:
        yield client


@asynccontextmanager
async def reading(adapter: SnsAdapter, *topics: str, **fields: Any) -> AsyncIterator[SqsSource]:
    fields = {"provision": "all", "group": "wallet"} | fields
    source = adapter.subscribe(Subscription(topics=topics, **fields), nothing_lost)
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


async def send(adapter: SnsAdapter, *batch: Outgoing) -> None:
    results = await adapter.send(batch)
    assert all(isinstance(result, Receipt) for result in results), results


async def queue_arn(sqs: Any, queue: str) -> str:
    url = (await sqs.create_queue(QueueName=queue))["QueueUrl"]
    answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn: str = answer["Attributes"]["QueueArn"]
    return arn


@pytest.mark.parametrize("suffix", ["", ".fifo"])
@pytest.mark.parametrize("body", [b'{"a":1}', b"", bytes(range(256)), None])
async def test_a_message_goes_through_unchanged(adapter: SnsAdapter, body: bytes | None, suffix: str) -> None:
    topic = name(suffix)
    headers: dict[str, str | bytes] = {f"h {n}": f"☃{n}" for n in range(32)}
    headers["raw"] = b"\x00\xff"
    headers["event"] = headers[""] = ""
    async with reading(adapter, topic) as source:
        sent = outgoing(topic, body, key="table 7", headers=headers, content_type="application/json")
        [receipt] = await adapter.send([sent])
        assert isinstance(receipt, Receipt) and receipt.id == sent.id
        [found] = await take(source, 1)
        assert (found.body, found.topic, found.key, found.id) == (body, topic, "table 7", sent.id)
        assert found.headers == headers | {"content-type": "application/json"}
        assert await source.settle([(found, ACK)]) == [DONE]


async def test_each_group_gets_every_message_and_members_of_one_share_them(adapter: SnsAdapter) -> None:
    topic = name()
    async with (
        reading(adapter, topic, group="wallet") as wallet,
        reading(adapter, topic, group="crm") as one,
        reading(adapter, topic, group="crm") as other,
    ):
        await send(adapter, *(outgoing(topic, str(n).encode()) for n in range(24)))
        bodies = {str(n).encode() for n in range(24)}
        assert {found.body for found in await take(wallet, 24)} == bodies
        shared = [*await take(one, 12), *await take(other, 12)]
        assert {found.body for found in shared} == bodies


async def test_a_group_keeps_what_is_published_while_nobody_reads(adapter: SnsAdapter) -> None:
    topic = name()
    async with reading(adapter, topic):
        pass
    await send(adapter, outgoing(topic))
    async with reading(adapter, topic, provision="check") as source:
        [found] = await take(source, 1)
        assert await source.settle([(found, RELEASE)]) == [DONE]
    async with reading(adapter, topic, provision="off") as source:
        [again] = await take(source, 1)
        assert again.count == 2


async def test_two_topics_are_told_apart(adapter: SnsAdapter) -> None:
    topics = [name(), name()]
    async with reading(adapter, *topics) as source:
        await send(adapter, *(outgoing(topic, topic.encode()) for topic in topics))
        found = await take(source, 2)
        assert {(delivery.topic, delivery.body) for delivery in found} == {(topic, topic.encode()) for topic in topics}


async def test_a_topic_is_found_by_its_arn(adapter: SnsAdapter, sns: Any) -> None:
    arn = (await sns.create_topic(Name=name()))["TopicArn"]
    async with reading(adapter, arn, provision="group") as source:
        await send(adapter, outgoing(arn))
        [found] = await take(source, 1)
        assert found.topic == arn


async def test_fifo_order_holds_from_the_publisher_to_the_group(adapter: SnsAdapter) -> None:
    topic = name(".fifo")
    async with reading(adapter, topic) as source:
        await send(adapter, *(outgoing(topic, str(n).encode(), key="a") for n in range(25)))
        found: list[Delivery] = []
        while len(found) < 25:
            some = await source.receive(10)
            await source.settle([(delivery, ACK) for delivery in some])
            found += some
        assert [delivery.body for delivery in found] == [str(n).encode() for n in range(25)]


async def test_a_subscription_without_raw_delivery_stays_and_its_envelope_is_taken_off(
    adapter: SnsAdapter, sns: Any, sqs: Any
) -> None:
    topic = name()
    arn = (await sns.create_topic(Name=topic))["TopicArn"]
    queue = group_queue(topic, "wallet")
    endpoint = await queue_arn(sqs, queue)
    allow = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    url = (await sqs.get_queue_url(QueueName=queue))["QueueUrl"]
    await sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscribed = await sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=endpoint, ReturnSubscriptionArn=True)
    async with reading(adapter, topic, provision="group") as source:
        sent = outgoing(topic, bytes(range(256)), headers={"event": "a", "raw": b"\x00\xff"}, key="k")
        await send(adapter, sent)
        [found] = await take(source, 1)
        assert (found.body, found.id, found.key, found.headers) == (sent.body, sent.id, "k", sent.headers)
    kept = await sns.get_subscription_attributes(SubscriptionArn=subscribed["SubscriptionArn"])
    assert kept["Attributes"].get("RawMessageDelivery", "false") == "false"


async def test_a_body_that_looks_like_an_envelope_of_the_topic_stays(adapter: SnsAdapter, sns: Any) -> None:
    topic = name()
    arn = (await sns.create_topic(Name=topic))["TopicArn"]
    body = json.dumps({"Type": "Notification", "MessageId": "1", "TopicArn": arn, "Message": "hello"}).encode()
    async with reading(adapter, topic) as source:
        await send(adapter, outgoing(topic, body))
        [found] = await take(source, 1)
        assert found.body == body


async def test_a_plain_clients_message_needs_no_header_of_ours(adapter: SnsAdapter, sns: Any) -> None:
    topic = name()
    async with reading(adapter, topic) as source:
        arn = (await sns.create_topic(Name=topic))["TopicArn"]
        attributes = {"event": {"DataType": "String", "StringValue": "OnGameDone"}}
        await sns.publish(TopicArn=arn, Message="{}", MessageAttributes=attributes)
        [found] = await take(source, 1)
        assert (found.body, found.key, found.id, found.headers) == (b"{}", None, None, {"event": "OnGameDone"})


async def test_the_groups_queue_lets_only_its_topic_write(adapter: SnsAdapter, sns: Any, sqs: Any) -> None:
    topic = name()
    async with reading(adapter, topic):
        url = (await sqs.get_queue_url(QueueName=f"{topic}__wallet"))["QueueUrl"]
        found = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    [statement] = json.loads(found["Attributes"]["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"] == (await sns.create_topic(Name=topic))["TopicArn"]


async def test_an_existing_queue_that_sns_may_not_write_to_is_refused(adapter: SnsAdapter, sqs: Any) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    await sqs.create_queue(QueueName=f"{topic}__wallet")
    source = adapter.subscribe(Subscription(topics=(topic,), group="wallet"), nothing_lost)
    with pytest.raises(UnsupportedFeature, match="policy"):
        await source.open()


async def test_dead_letters_are_plain_queues(adapter: SnsAdapter) -> None:
    queue = adapter.derived(name(), "wallet", "dlq")
    await adapter.ensure([queue], is_queue=True, create=True)
    await send(adapter, outgoing(queue, is_queue=True))
    async with reading(adapter, queue, is_queue=True, provision="check") as source:
        [found] = await take(source, 1)
        assert (found.topic, found.body) == (queue, b'{"a":1}')


async def test_a_broadcast_has_a_queue_of_its_own_that_goes_with_it(adapter: SnsAdapter, sns: Any, sqs: Any) -> None:
    topic = name()
    async with (
        reading(adapter, topic, group=None, broadcast=True) as one,
        reading(adapter, topic, group=None, broadcast=True) as other,
    ):
        await send(adapter, outgoing(topic))
        assert [found.topic for found in [*await take(one, 1), *await take(other, 1)]] == [topic, topic]
        assert len((await sqs.list_queues(QueueNamePrefix=topic))["QueueUrls"]) == 2
    assert "QueueUrls" not in await sqs.list_queues(QueueNamePrefix=topic)
    arn = (await sns.create_topic(Name=topic))["TopicArn"]
    assert (await sns.list_subscriptions_by_topic(TopicArn=arn))["Subscriptions"] == []


@pytest.mark.parametrize("provision", ["group", "check"])
async def test_a_missing_topic_is_not_found_where_it_may_not_be_created(adapter: SnsAdapter, provision: Any) -> None:
    source = adapter.subscribe(Subscription(topics=(name(),), group="wallet", provision=provision), nothing_lost)
    with pytest.raises(NotFound):
        await source.open()


async def test_a_missing_queue_or_subscription_is_not_found_by_a_check(adapter: SnsAdapter, sqs: Any) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    source = adapter.subscribe(Subscription(topics=(topic,), group="wallet", provision="check"), nothing_lost)
    with pytest.raises(NotFound, match="does not exist"):
        await source.open()
    await sqs.create_queue(QueueName=f"{topic}__wallet")
    with pytest.raises(NotFound, match="not subscribed"):
        await source.open()


async def test_provisioning_twice_changes_nothing(adapter: SnsAdapter, sns: Any) -> None:
    topic = name(".fifo")
    for _ in range(2):
        async with reading(adapter, topic):
            pass
    arn = (await sns.create_topic(Name=topic, Attributes={"FifoTopic": "true"}))["TopicArn"]
    assert len((await sns.list_subscriptions_by_topic(TopicArn=arn))["Subscriptions"]) == 1


async def test_publishing_to_a_missing_topic_is_not_found(adapter: SnsAdapter, sns: Any) -> None:
    topic = name()
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, NotFound)
    arn = (await sns.create_topic(Name=topic))["TopicArn"]
    await send(adapter, outgoing(topic))
    await sns.delete_topic(TopicArn=arn)
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, NotFound)


async def test_a_message_above_the_limit_of_sns_is_refused_with_both_numbers(adapter: SnsAdapter) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    overhead = len("bk-id") + len("String") + len("id-1")
    largest = outgoing(topic, b"x" * (262_144 - overhead), id="id-1")
    too_large = outgoing(topic, b"x" * (262_144 - overhead + 1), id="id-1")
    good, bad = await adapter.send([largest, too_large])
    assert isinstance(good, Receipt)
    assert isinstance(bad, MessageTooLarge) and (bad.size, bad.limit) == (262_145, 262_144)


async def test_a_batch_is_cut_by_its_total_size(adapter: SnsAdapter) -> None:
    topic, sizes = name(), list[int]()
    async with reading(adapter, topic) as source:
        call = adapter._sns.call

        async def watched(operation: str, /, **parameters: Any) -> Any:
            if operation == "publish_batch":
                sizes.append(sum(len(entry["Message"]) for entry in parameters["PublishBatchRequestEntries"]))
            return await call(operation, **parameters)

        adapter._sns.call = watched  # type: ignore[method-assign]
        await send(adapter, *(outgoing(topic, b"x" * 100_000) for _ in range(5)))
        assert sorted(sizes) == [100_000, 200_000, 200_000]
        assert len(await take(source, 5)) == 5


async def test_a_queue_that_drops_messages_before_their_last_retry_is_warned_of(
    adapter: SnsAdapter, sqs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic = name()
    await sqs.create_queue(QueueName=topic, Attributes={"MessageRetentionPeriod": "60"})
    async with reading(adapter, topic, is_queue=True, longest_retry=50.0):
        assert "MessageRetentionPeriod" not in caplog.text
    async with reading(adapter, topic, is_queue=True, longest_retry=70.0):
        assert f"{topic} drops messages 60 s after" in caplog.text


async def test_a_dead_letter_queue_of_somebody_else_that_loses_letters_is_warned_of(
    adapter: SnsAdapter, sqs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    queue, ours = name(), name()
    found = await sqs.create_queue(QueueName=name())
    asked = await sqs.get_queue_attributes(QueueUrl=found["QueueUrl"], AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": 3}
    attributes = {"MessageRetentionPeriod": "3600", "RedrivePolicy": json.dumps(policy)}
    await sqs.create_queue(QueueName=queue, Attributes=attributes)
    for _ in range(2):
        await adapter.ensure([ours], is_queue=True, create=True)
    assert not [record for record in caplog.records if record.name.startswith("brokerkit")]
    await adapter.ensure([queue], is_queue=True, create=False)
    assert f"{queue} drops dead letters after 3600 s" in caplog.text and f"{queue} has a redrive policy" in caplog.text


def test_what_sns_cannot_do_is_refused() -> None:
    adapter = SnsAdapter(connection(None))
    with pytest.raises(ConfigError, match="group"):
        adapter.subscribe(Subscription(topics=("orders",)), nothing_lost)
    with pytest.raises(UnsupportedFeature, match="broadcast"):
        adapter.subscribe(Subscription(topics=("orders",), broadcast=True, provision="check"), nothing_lost)


async def test_a_name_that_no_topic_can_have_is_a_config_error(adapter: SnsAdapter) -> None:
    with pytest.raises(ConfigError, match="no dots"):
        await adapter.ensure(["evenbet.events"], is_queue=False, create=True)


async def test_nobody_at_the_endpoint_is_a_lost_connection_in_time(aws_environment: None) -> None:
    adapter = SnsAdapter(connection("http://127.0.0.1:1", connect_timeout=0.5))
    async with asyncio.timeout(8):
        with pytest.raises(ConnectionLost):
            await adapter.open()
    await adapter.close()


async def test_an_answer_in_html_is_a_lost_connection(aws_environment: None) -> None:
    """So answers a load balancer, or a proxy, while what is behind it is away."""
    page = b"<!doctype html><html><title>503</title><h1>Away</h1></html>"
    head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\nconnection: close\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"content-length: %d\r\n\r\n" % len(page) + page)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        adapter = SnsAdapter(connection(f"http://127.0.0.1:{port}", options={"retries.max_attempts": 0}))
        with pytest.raises(ConnectionLost, match="not of its protocol"):
            await adapter.open()
        await adapter.close()


def test_order_is_promised_on_fifo_alone() -> None:
    adapter = SnsAdapter(connection(None))
    assert adapter.capabilities("orders").order == "none"
    assert adapter.capabilities("orders.fifo").order == "group"
    assert adapter.capabilities().groups == "many"


names = st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True) | st.sampled_from(
    ["a", "a__b", "a_", "b", "dlq", "queue"]
)


@given(st.lists(st.tuples(names, st.booleans(), names | st.text(min_size=1)), min_size=2, unique=True))
def test_two_groups_never_share_a_queue(pairs: list[tuple[str, bool, str]]) -> None:
    queues = [group_queue(topic + ".fifo" * fifo, group) for topic, fifo, group in pairs]
    assert len(set(queues)) == len(queues)
    assert all(
        len(queue) <= 80 and queue.endswith(".fifo") == fifo for queue, (_, fifo, _) in zip(queues, pairs, strict=True)
    )


def test_a_groups_queue_is_never_a_dead_letter_queue() -> None:
    assert group_queue("orders", "wallet") == "orders__wallet"
    assert group_queue("orders.fifo", "wallet") == "orders__wallet.fifo"
    assert group_queue("orders__wallet", "dlq") != SnsAdapter(connection(None)).derived("orders", "wallet", "dlq")


async def unsubscribe(sns: Any, topic: str) -> None:
    """Remove every subscription of a topic."""
    [arn] = [one["TopicArn"] for one in (await sns.list_topics())["Topics"] if one["TopicArn"].endswith(f":{topic}")]
    for found in (await sns.list_subscriptions_by_topic(TopicArn=arn))["Subscriptions"]:
        await sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])


@pytest.mark.parametrize("settings", [{}, {"provision": "group"}, {"broadcast": True, "group": None}])
async def test_a_subscription_that_was_removed_is_made_again(
    adapter: SnsAdapter, sns: Any, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_source, "_CHECK_EVERY", 0.2)
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    async with reading(adapter, topic, **settings) as source:
        await unsubscribe(sns, topic)
        lost = [await adapter.send([outgoing(topic, b"lost")])]
        async with asyncio.timeout(20):
            while not (await sns.list_subscriptions_by_topic(TopicArn=await adapter._arn(topic)))["Subscriptions"]:
                await asyncio.sleep(0.05)
        assert isinstance(lost[0][0], Receipt)
        await adapter.send([outgoing(topic, b"heard")])
        [delivery] = await take(source, 1)
        assert delivery.body == b"heard"
        await source.settle([(delivery, ACK)])


async def test_a_source_whose_subscription_may_not_be_made_again_says_so_until_it_is_back(
    adapter: SnsAdapter, sns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_source, "_CHECK_EVERY", 0.2)
    topic = name()
    async with reading(adapter, topic):
        pass
    async with reading(adapter, topic, provision="check") as source:
        await unsubscribe(sns, topic)
        async with asyncio.timeout(20):
            with pytest.raises(ConnectionLost, match=f"is not subscribed to SNS topic {topic}"):
                while True:
                    assert await source.receive(10) == []
        async with reading(adapter, topic):
            async with asyncio.timeout(30):
                while True:
                    try:
                        assert await source.receive(10) == []
                        break
                    except ConnectionLost:
                        pass
        await adapter.send([outgoing(topic, b"heard")])
        [delivery] = await take(source, 1)
        await source.settle([(delivery, ACK)])


async def test_a_subscription_that_somebody_else_made_again_has_missed_nothing(
    adapter: SnsAdapter, sns: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic = name()
    async with reading(adapter, topic):
        [found] = (await sns.list_subscriptions_by_topic(TopicArn=await adapter._arn(topic)))["Subscriptions"]
        feed = _QueueSubscription(group_queue(topic, "wallet"), topic, subscription="of the topic that was deleted")
        await adapter._subscribe_again(feed, "group")
    assert feed.subscription == found["SubscriptionArn"]
    assert "did not get" not in caplog.text
