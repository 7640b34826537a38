"""Which topics, queues and subscriptions the SNS adapter makes, checks and refuses, at the seam, on moto."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.sns.seam import connection, name, reading
from tests.adapters.sqs.seam import nothing_lost, outgoing, send, take

from brokerkit._errors import ConnectionLost, NotFound, UnsupportedFeature
from brokerkit._messages._delivery import ACK
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.aws import _source
from brokerkit.adapters.aws.sns import SnsAdapter, _QueueSubscription, group_queue


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
    # AWS leaves an empty list out; some stand-ins send it.
    assert not (await sqs.list_queues(QueueNamePrefix=topic)).get("QueueUrls")
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
