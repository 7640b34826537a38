"""Bodies in S3: SQS and SNS with pointers, on ElasticMQ and moto, beside AWS's own extended client."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import pytest
import sqs_extended_client  # type: ignore[import-untyped]  # noqa: F401 (it changes boto3's client)
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from tests.brokers.aws import AwsBroker
from tests.every_broker import until, until_async

from brokerkit import Bus, ConfigError, Message, RetryPolicy
from brokerkit._dead_letters._letter import DeadLetter
from brokerkit._errors import AccessDenied, BrokerkitError, NotFound
from brokerkit._messages._delivery import ACK, Delivery, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.aws import _source
from brokerkit.adapters.aws._pointers import Pointer
from brokerkit.adapters.aws._s3 import LargePayloads, PayloadStore
from brokerkit.adapters.aws.sns import group_queue
from brokerkit.adapters.aws.sqs import SqsAdapter
from brokerkit.testing import Proxy

NEW = "software.amazon.payloadoffloading.PayloadS3Pointer"
OLD = "com.amazon.sqs.javamessaging.MessageS3Pointer"
LARGE = 300_000
"""Bytes of a body that goes to S3 here: the bound is set to 256 KiB, AWS's own until 2025."""


class Bench:
    """A queue on one stand-in, a bucket on another, and plain clients of both."""

    def __init__(self, sqs: AwsBroker, s3: AwsBroker, clients: Mapping[str, Any]) -> None:
        self.bucket = f"b{uuid.uuid4().hex[:12]}"
        self.topic = f"t{uuid.uuid4().hex[:12]}"
        self.endpoint = sqs.url
        self.s3_endpoint = s3.url
        self.sqs, self.s3 = clients["sqs"], clients["s3"]
        self.handled: list[tuple[int, int]] = []

    def setting(self, *, endpoint: str | None = None, **query: str) -> str:
        query = {"above": "262144", "endpoint": endpoint or self.s3_endpoint, **query}
        return f"s3://{self.bucket}/money?" + "&".join(f"{name}={quote(value, '')}" for name, value in query.items())

    def bus(self, url: str = "sqs://us-east-1/", **settings: Any) -> Bus:
        usual: dict[str, Any] = {
            "endpoint": self.endpoint,
            "topic": self.topic,
            "group": "wallet",
            "provision": "all",
            "format": "json",
            "name_from": "header:event",
            "unknown": "ack",
            "lease": 4.0,
            "retry": RetryPolicy(attempts=1),
            "large_payloads": self.setting(),
        }
        return Bus(url, **{**usual, **settings})

    def handling(self, bus: Bus, fails: Callable[[], bool] = lambda: False) -> Bus:
        """Handle everything, and note cents and the length of the note."""

        @bus.on("*")
        async def _(event: Any, message: Message) -> None:
            if fails():
                raise RuntimeError("no")
            found = json.loads(message.body or b"")
            self.handled.append((found["cents"], len(found["note"])))

        return bus

    async def keys(self) -> list[str]:
        found = await self.s3.list_objects_v2(Bucket=self.bucket)
        return [entry["Key"] for entry in found.get("Contents", [])]

    async def url(self, queue: str = "") -> str:
        url: str = (await self.sqs.get_queue_url(QueueName=queue or self.topic))["QueueUrl"]
        return url

    async def receive(self, queue: str = "") -> dict[str, Any]:
        """A message as it lies in a queue."""
        answer = await self.sqs.receive_message(
            QueueUrl=await self.url(queue), MessageAttributeNames=["All"], WaitTimeSeconds=5, VisibilityTimeout=1
        )
        message: dict[str, Any] = answer["Messages"][0]
        return message

    async def put(self, key: str, note: str = "x" * LARGE, *, cents: int = 1) -> None:
        await self.s3.put_object(Bucket=self.bucket, Key=key, Body=body(cents, note))

    async def send_pointer(
        self, key: str, *, kind: str = NEW, attribute: str = "ExtendedPayloadSize", **more: Any
    ) -> None:
        """A message as a Java client sends it."""
        await self.sqs.send_message(
            QueueUrl=await self.url(),
            MessageBody=json.dumps([kind, {"s3BucketName": more.pop("bucket", self.bucket), "s3Key": key}]),
            MessageAttributes={
                attribute: {"DataType": "Number", "StringValue": str(LARGE)},
                "event": {"DataType": "String", "StringValue": "Paid"},
            },
            **more,
        )


def body(cents: int, note: str) -> bytes:
    return json.dumps({"cents": cents, "note": note}).encode()


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that closes waits for its poll; what is tested here does not depend on how long one lasts."""
    monkeypatch.setattr(_source, "_LONG_POLL", 1)


@pytest.fixture
async def bench(sqs_broker: AwsBroker, sns_broker: AwsBroker) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        session = get_session()
        options = {"sqs": sqs_broker.client_options, "s3": sns_broker.client_options}
        clients = {
            service: await stack.enter_async_context(session.create_client(service, **options[service]))
            for service in options
        }
        bench = Bench(sqs_broker, sns_broker, clients)
        await bench.s3.create_bucket(Bucket=bench.bucket)
        yield bench


async def nothing_lost(deliveries: Sequence[Delivery]) -> None:
    raise AssertionError(f"lost {deliveries}")


async def is_ready(bus: Bus) -> bool:
    return (await bus.health()).ready


async def waits_for_s3(bus: Bus) -> bool:
    health = await bus.health()
    return not health.ready and "S3" in repr(health)


def paid(cents: int, note: str = "x" * LARGE, **more: Any) -> Message:
    return Message("Paid", body(cents, note), headers={"event": "Paid"}, **more)


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


async def test_a_missing_object_is_a_dead_letter_that_keeps_the_pointer_until_it_is_back(bench: Bench) -> None:
    bus = bench.handling(bench.bus())
    async with bus, bus.serving():
        await bench.put("money/there")
        for key in ("money/there", "money/gone"):
            await bench.send_pointer(key, attribute="SQSLargePayloadSize", kind=OLD)
        await until(lambda: bool(bench.handled))
        dead = bus.dead_letters()
        async with asyncio.timeout(20):
            while not (found := [letter async for letter in dead]):
                await asyncio.sleep(0.05)
        assert "money/gone" in found[0].error and b"money/gone" in (found[0].message.body or b"")
        assert (await dead.replay()) == 1  # in vain: a dead letter again
        async with asyncio.timeout(20):
            while not [letter async for letter in dead]:
                await asyncio.sleep(0.05)
        await bench.put("money/gone", cents=2)
        assert await dead.replay() == 1
        await until(lambda: len(bench.handled) == 2)
    assert bench.handled == [(1, LARGE), (2, LARGE)]


async def test_an_outage_of_s3_makes_the_source_wait_and_loses_neither_message_nor_order(bench: Bench) -> None:
    bench.topic += ".fifo"
    where = urlsplit(bench.s3_endpoint)
    async with Proxy(str(where.hostname), int(where.port or 0)) as proxy:
        setting = bench.setting(endpoint=f"http://{proxy.address}")
        bus = bench.handling(bench.bus(large_payloads=setting, options={"retries.max_attempts": 0}))
        async with bus:
            sent = [paid(number, "x" * LARGE if number % 3 == 1 else "small", key="one") for number in range(9)]
            for message in sent:
                await bus.publish(message)
            proxy.refuse()
            proxy.cut()
            async with bus.serving():
                await until_async(lambda: waits_for_s3(bus))
                assert bench.handled == [(0, 5)]
                await proxy.accept()
                await until(lambda: len(bench.handled) == 9, seconds=60)
                await until_async(lambda: is_ready(bus))
    assert [cents for cents, _ in bench.handled] == list(range(9))


async def test_a_publish_without_s3_is_refused_and_nothing_is_sent(bench: Bench) -> None:
    bus = bench.bus(large_payloads=bench.setting(endpoint="http://127.0.0.1:1"), connect_timeout=5.0)
    with pytest.raises(BrokerkitError, match="S3"):
        async with bus:
            pass
    where = urlsplit(bench.s3_endpoint)
    async with Proxy(str(where.hostname), int(where.port or 0)) as proxy:
        setting = bench.setting(endpoint=f"http://{proxy.address}")
        settings: dict[str, Any] = {"options": {"retries.max_attempts": 0}, "publish_timeout": 4.0}
        async with bench.bus(large_payloads=setting, **settings) as bus:
            proxy.refuse()
            proxy.cut()
            with pytest.raises(BrokerkitError, match="S3"):
                await bus.publish(paid(1))
            await bus.publish(paid(2, "small"))
            assert json.loads((await bench.receive())["Body"])["cents"] == 2
            await proxy.accept()


async def letters(bus: Bus, count: int) -> list[DeadLetter]:
    """Wait until there are so many dead letters."""
    async with asyncio.timeout(30):
        while len(found := [letter async for letter in bus.dead_letters()]) < count:
            await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize("setting", [None, "its bucket"])
@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_a_forged_pointer_is_a_dead_letter_and_ends_no_source(
    bench: Bench, suffix: str, setting: str | None
) -> None:
    bench.topic += suffix
    bus = bench.handling(bench.bus(large_payloads=setting and bench.setting()))
    more = {"MessageGroupId": "one", "MessageDeduplicationId": "forged"} if suffix else {}
    async with bus:
        await bench.send_pointer("forged", bucket="nobodys", **more)
        async with bus.serving():
            forged = (await letters(bus, 1))[0]
            await bus.publish(paid(1, "small", key="one"))
            await until(lambda: bool(bench.handled))
            assert await is_ready(bus)
    assert bench.handled == [(1, 5)]
    assert ("reads only objects below" if setting else "set large_payloads = 's3://nobodys'") in forged.error
    assert b"nobodys" in (forged.message.body or b"")


async def test_pointers_that_were_read_without_the_setting_are_handled_when_they_are_replayed_with_it(
    bench: Bench,
) -> None:
    bus = bench.handling(bench.bus(large_payloads=None))
    async with bus:
        await bench.put("money/theirs")
        await bench.send_pointer("money/theirs")
        async with bus.serving():
            await letters(bus, 1)
    bus = bench.handling(bench.bus())
    async with bus, bus.serving():
        assert await bus.dead_letters().replay() == 1
        await until(lambda: bool(bench.handled))


async def test_a_first_body_that_may_not_be_read_waits_until_the_right_is_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = PayloadStore.get

    async def refuse(store: PayloadStore, pointer: Pointer) -> tuple[Pointer, bytes]:
        raise AccessDenied("S3 refused GetObject")

    monkeypatch.setattr(PayloadStore, "get", refuse)
    bus = bench.handling(bench.bus())
    async with bus:
        await bench.put("money/theirs")
        await bench.send_pointer("money/theirs")
        async with bus.serving():
            await until_async(lambda: waits_for_s3(bus))
            monkeypatch.setattr(PayloadStore, "get", get)
            await until(lambda: bool(bench.handled), seconds=60)
            await until_async(lambda: is_ready(bus))
            assert [letter async for letter in bus.dead_letters()] == []


async def test_a_pointer_to_elsewhere_is_not_followed(bench: Bench) -> None:
    other = f"{bench.bucket}-private"
    await bench.s3.create_bucket(Bucket=other)
    await bench.s3.put_object(Bucket=other, Key="money/secret", Body=body(9, "secret"))
    await bench.put("payroll/secret", cents=9)
    bus = bench.handling(bench.bus(large_payloads=bench.setting(delete="true")))
    async with bus, bus.serving():
        await bus.publish(paid(1))
        await until(lambda: bool(bench.handled))
        await bench.send_pointer("money/secret", bucket=other)
        await bench.send_pointer("payroll/secret")
        dead = bus.dead_letters()
        async with asyncio.timeout(20):
            while len(found := [letter async for letter in dead]) < 2:
                await asyncio.sleep(0.05)
    assert bench.handled == [(1, LARGE)]
    assert all("reads only objects below" in letter.error for letter in found)
    assert await bench.keys() == ["payroll/secret"]


async def test_an_object_above_the_largest_is_a_dead_letter(bench: Bench) -> None:
    bus = bench.handling(bench.bus(large_payloads=bench.setting(largest="1000000")))
    async with bus, bus.serving():
        await bench.put("money/huge", "x" * 2_000_000)
        await bench.send_pointer("money/huge")
        dead = bus.dead_letters()
        async with asyncio.timeout(20):
            while not (found := [letter async for letter in dead]):
                await asyncio.sleep(0.05)
    assert "reads at most 1,000,000" in found[0].error and bench.handled == []


async def test_a_missing_bucket_is_refused_at_the_start(bench: Bench) -> None:
    setting = f"s3://none-{bench.bucket}?endpoint={quote(bench.s3_endpoint, '')}"
    with pytest.raises(NotFound, match=f"none-{bench.bucket}"):
        async with bench.bus(large_payloads=setting):
            pass


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


@pytest.mark.parametrize(
    "setting",
    [
        "s3:///prefix",
        "http://bucket",
        "s3://user@bucket",
        "s3://bucket:9/",
        "s3://bucket?above=x",
        "s3://bucket?largest=0",
        "s3://bucket?delete=yes",
        "s3://bucket?colour=red",
    ],
)
def test_a_wrong_setting_is_a_config_error(setting: str) -> None:
    with pytest.raises(ConfigError, match="large_payloads"):
        Bus("sqs://us-east-1/", topic="t", large_payloads=setting)


def test_the_setting_belongs_to_sqs_and_sns_and_deletion_to_sqs() -> None:
    with pytest.raises(ConfigError, match="large_payloads is for SQS and SNS"):
        Bus("redis://localhost", topic="t", group="g", large_payloads="s3://bucket")
    with pytest.raises(ConfigError, match="every group"):
        Bus("sns://us-east-1/", topic="t", group="g", large_payloads="s3://bucket?delete=true")


def test_every_part_of_the_setting_is_read_and_its_secret_not_shown() -> None:
    text = "s3://bucket/a/b?above=1&largest=2&delete=true&old=true&endpoint=http://u:secret@h"
    assert LargePayloads.parse(text) == LargePayloads(
        bucket="bucket", prefix="a/b", above=1, largest=2, delete=True, old=True, endpoint="http://u:secret@h"
    )
    bus = Bus("sqs://us-east-1/", topic="t", large_payloads=text)
    assert "secret" not in repr(bus) + repr(bus.__dict__)
