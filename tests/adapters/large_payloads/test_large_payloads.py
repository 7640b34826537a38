"""Bodies in S3: SQS and SNS with pointers, on ElasticMQ and moto, beside AWS's own extended client."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import sqs_extended_client  # type: ignore[import-untyped]  # noqa: F401 (it changes boto3's client)
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from tests.adapters.large_payloads.bench import LARGE, NEW, OLD, Bench, body, paid
from tests.brokers.aws import AwsBroker
from tests.every_broker import until

from brokerkit import Bus, Message
from brokerkit._errors import BrokerkitError
from brokerkit._messages._delivery import ACK, Delivery, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.aws.sns import group_queue
from brokerkit.adapters.aws.sqs import SqsAdapter


async def nothing_lost(deliveries: Sequence[Delivery]) -> None:
    raise AssertionError(f"lost {deliveries}")


@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_a_body_above_the_bound_is_an_object_and_the_message_a_pointer(bench: Bench, suffix: str) -> None:
    bench.topic += suffix
    headers: dict[str, str | bytes] = {f"h{number}": str(number) for number in range(20)} | {"raw": b"\xff"}
    bodies = [b"x" * LARGE, ("\u2603" * LARGE).encode(), b"\x00\xff" * LARGE]
    sent = [
        Outgoing(topic=bench.topic, body=body, name="Paid", id=str(number), key=f"k{number}", headers=headers)
        for number, body in enumerate(bodies)
    ]
    url = Url.parse("sqs://us-east-1/")
    adapter = SqsAdapter(Connection(url=url, endpoint=bench.endpoint, large_payloads=bench.setting()))
    await adapter.open()
    await adapter.ensure([bench.topic], is_queue=False, create=True)
    assert isinstance((await adapter.send(sent[:1]))[0], Receipt)
    [key] = await bench.keys()
    assert key.startswith("money/")
    native = await bench.receive()
    assert json.loads(native["Body"]) == [NEW, {"s3BucketName": bench.bucket, "s3Key": key}]
    size = native["MessageAttributes"]["ExtendedPayloadSize"]
    assert (size["DataType"], size["StringValue"]) == ("Number", str(LARGE))
    assert len(native["MessageAttributes"]) <= 10
    assert all(isinstance(result, Receipt) for result in await adapter.send(sent[1:]))
    source = adapter.subscribe(Subscription(topics=(bench.topic,)), nothing_lost)
    await source.open()
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < 3:
            found += await source.receive(10)
    assert {delivery.id: delivery.body for delivery in found} == {outgoing.id: outgoing.body for outgoing in sent}
    assert all(delivery.headers == headers for delivery in found)
    assert {delivery.key for delivery in found} == {"k0", "k1", "k2"}
    assert await source.settle([(delivery, ACK) for delivery in found]) == [Settled.DONE] * 3
    await source.stop()
    await source.close()
    await adapter.close()
    assert len(await bench.keys()) == 3  # kept, unless deletion was asked for


async def test_without_a_bound_of_its_own_the_limit_of_the_queue_decides(bench: Bench) -> None:
    bus = bench.handling(bench.bus(large_payloads=f"s3://{bench.bucket}?endpoint={quote(bench.s3_endpoint, '')}"))
    async with bus, bus.serving():
        await bus.publish(paid(1))
        await bus.publish(paid(2, "x" * 1_100_000))
        await until(lambda: len(bench.handled) == 2)
    assert sorted(bench.handled) == [(1, LARGE), (2, 1_100_000)]
    assert len(await bench.keys()) == 1


async def test_a_batch_of_large_bodies_is_sent_whole_and_in_the_order_of_its_key(bench: Bench) -> None:
    bench.topic += ".fifo"
    bus = bench.handling(bench.bus())
    async with bus:
        results = await bus.publish_many([paid(number, key="one") for number in range(12)])
        assert not any(isinstance(result, BrokerkitError) for result in results)
        async with bus.serving():
            await until(lambda: len(bench.handled) == 12)
    assert [cents for cents, _ in bench.handled] == list(range(12))


@pytest.mark.parametrize("old", [False, True])
async def test_the_extended_client_for_python_reads_what_is_written_and_writes_what_is_read(
    bench: Bench, old: bool
) -> None:
    options = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    theirs: Any = boto3.client("sqs", endpoint_url=bench.endpoint, **options)
    theirs.s3_client = boto3.client("s3", endpoint_url=bench.s3_endpoint, **options)
    theirs.large_payload_support, theirs.use_legacy_attribute = bench.bucket, old
    setting = f"s3://{bench.bucket}?above=262144&old={str(old).lower()}&endpoint={quote(bench.s3_endpoint, '')}"
    bus = bench.handling(bench.bus(large_payloads=setting))
    async with bus:
        await bus.publish(paid(7))
        url = await bench.url()
        answer = await asyncio.to_thread(theirs.receive_message, QueueUrl=url, WaitTimeSeconds=5)
        [message] = answer["Messages"]
        assert message["Body"].encode() == body(7, "x" * LARGE)
        assert not {"ExtendedPayloadSize", "SQSLargePayloadSize"} & message.get("MessageAttributes", {}).keys()
        await bench.sqs.purge_queue(QueueUrl=url)
        event = {"event": {"DataType": "String", "StringValue": "Paid"}}
        sent = body(8, "z" * LARGE).decode()
        await asyncio.to_thread(theirs.send_message, QueueUrl=url, MessageBody=sent, MessageAttributes=event)
        async with bus.serving():
            await until(lambda: bool(bench.handled))
    assert bench.handled == [(8, LARGE)]


async def test_every_form_of_a_pointer_is_read(bench: Bench) -> None:
    """Java's version 2 writes the old attribute with the new class unless told otherwise, version 1 both old."""
    bus = bench.handling(bench.bus())
    forms = [(kind, size) for kind in (NEW, OLD) for size in ("ExtendedPayloadSize", "SQSLargePayloadSize")]
    async with bus, bus.serving():
        for number, (kind, size) in enumerate(forms):
            await bench.put(f"money/{number}", cents=number)
            await bench.send_pointer(f"money/{number}", kind=kind, attribute=size)
        await until(lambda: len(bench.handled) == 4)
    assert sorted(bench.handled) == [(number, LARGE) for number in range(4)]


async def test_a_body_that_only_looks_like_a_pointer_and_a_header_of_that_name_stay(bench: Bench) -> None:
    got: list[tuple[bytes | None, object]] = []
    bus = bench.bus()

    @bus.on("*")
    async def _(event: Any, message: Message) -> None:
        got.append((message.body, message.headers.get("ExtendedPayloadSize")))

    pointer = json.dumps([NEW, {"s3BucketName": bench.bucket, "s3Key": "money/none"}]).encode()
    async with bus, bus.serving():
        await bus.publish(Message("Note", pointer, headers={"event": "Note"}))
        await bus.publish(Message("Note", b"{}", headers={"event": "Note", "ExtendedPayloadSize": "12"}))
        await until(lambda: len(got) == 2)
    assert sorted(got, key=repr) == sorted([(pointer, None), (b"{}", "12")], key=repr)


async def test_a_dead_letter_has_the_pointer_and_its_replay_too(bench: Bench) -> None:
    bad = True
    bus = bench.handling(bench.bus(large_payloads=bench.setting(delete="true")), lambda: bad)
    letters = f"{bench.topic}__wallet__dlq"
    async with bus:
        await bus.publish(paid(3))
        [key] = await bench.keys()
        async with bus.serving():
            dead = bus.dead_letters()
            async with asyncio.timeout(20):
                while not [letter async for letter in dead]:
                    await asyncio.sleep(0.05)
            assert json.loads((await bench.receive(letters))["Body"])[1]["s3Key"] == key
            await asyncio.sleep(1.1)  # until that look at the queue is over
            [letter] = [letter async for letter in dead]
            assert letter.message.body == body(3, "x" * LARGE) and letter.error_type == "RuntimeError"
            assert await bench.keys() == [key]
            bad = False
            assert await dead.replay() == 1
            await until(lambda: bool(bench.handled))
    # After the acknowledgement, and not before, it is gone.
    assert bench.handled == [(3, LARGE)] and await bench.keys() == []


async def test_a_large_body_goes_through_sns_to_every_group_with_and_without_raw_delivery(
    sns_broker: AwsBroker, bench: Bench
) -> None:
    bench.endpoint = sns_broker.url
    handled: dict[str, list[int]] = {"wallet": [], "crm": []}
    async with AsyncExitStack() as stack:
        buses = [bench.bus("sns://us-east-1/", group=group) for group in handled]
        for bus, seen in zip(buses, handled.values(), strict=True):
            _note(bus, seen)
            await stack.enter_async_context(bus)
            await stack.enter_async_context(bus.serving())
        await _without_raw_delivery(sns_broker, bench.topic, "crm")
        await buses[0].publish(paid(1))
        await until(lambda: all(handled.values()))
    assert handled == {"wallet": [LARGE], "crm": [LARGE]} and len(await bench.keys()) == 1


def _note(bus: Bus, seen: list[int]) -> None:
    @bus.on("*")
    async def _(event: Any, message: Message) -> None:
        seen.append(len(json.loads(message.body or b"")["note"]))


async def _without_raw_delivery(broker: AwsBroker, topic: str, group: str) -> None:
    async with get_session().create_client("sns", **broker.client_options) as sns:
        arn = (await sns.create_topic(Name=topic))["TopicArn"]
        [found] = [
            subscription
            for subscription in (await sns.list_subscriptions_by_topic(TopicArn=arn))["Subscriptions"]
            if subscription["Endpoint"].endswith(f":{group_queue(topic, group)}")
        ]
        await sns.set_subscription_attributes(
            SubscriptionArn=found["SubscriptionArn"], AttributeName="RawMessageDelivery", AttributeValue="false"
        )
