"""Publishing to SNS and what each group gets, at the seam, on moto."""

import json
from typing import Any

import pytest
from tests.adapters.sns.seam import name, reading
from tests.adapters.sqs.seam import outgoing, send, take

from brokerkit._errors import MessageTooLarge, NotFound
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.aws.sns import SnsAdapter, group_queue

DONE = Settled.DONE


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
