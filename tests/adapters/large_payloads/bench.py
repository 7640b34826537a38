"""A queue, a bucket and plain clients of both, for the tests of bodies in S3."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from tests.brokers.aws import AwsBroker

from brokerkit import Bus, Message, RetryPolicy
from brokerkit._dead_letters._letter import DeadLetter

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


def paid(cents: int, note: str = "x" * LARGE, **more: Any) -> Message:
    return Message("Paid", body(cents, note), headers={"event": "Paid"}, **more)


async def letters(bus: Bus, count: int) -> list[DeadLetter]:
    """Wait until there are so many dead letters."""
    async with asyncio.timeout(30):
        while len(found := [letter async for letter in bus.dead_letters()]) < count:
            await asyncio.sleep(0.05)
    return found
