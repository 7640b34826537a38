"""Which queues of SQS the adapter creates, checks and refuses, at the seam, on ElasticMQ."""

import json
from typing import Any

import pytest
from tests.adapters.sqs.seam import name, nothing_lost, outgoing, reading, send, take

from brokerkit._errors import NotFound, UnsupportedFeature
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.aws.sqs import SqsAdapter


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
