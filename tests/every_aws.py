"""SQS and SNS, as `every_broker` sees a broker."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from aiobotocore.session import get_session

from tests.brokers.aws import AwsBroker
from tests.every_broker import NONE, Broker, with_name


def sqs(broker: AwsBroker, *, fifo: bool) -> Broker:
    suffix = ".fifo" if fifo else ""

    async def create(topic: str) -> None:
        async with get_session().create_client("sqs", **broker.client_options) as client:
            await client.create_queue(QueueName=topic, Attributes={"FifoQueue": "true"} if fifo else {})

    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        async with get_session().create_client("sqs", **broker.client_options) as client:
            url = (await client.get_queue_url(QueueName=topic))["QueueUrl"]
            for name, body in messages:
                more = _attributes(with_name(name, place, headers))
                if fifo:
                    more |= {"MessageGroupId": uuid.uuid4().hex, "MessageDeduplicationId": uuid.uuid4().hex}
                await client.send_message(QueueUrl=url, MessageBody=body.decode(), **more)

    return Broker(
        name="sqs-fifo" if fifo else "sqs",
        settings={"url": "sqs://us-east-1/", "endpoint": broker.url},
        places=("header:event", "topic", "field:event"),
        plain=plain,
        create=create,
        unreachable={"url": "sqs://us-east-1/", "endpoint": "http://127.0.0.1:1"},
        bad_option={"url": "sqs://us-east-1/?no_such_option=1", "endpoint": broker.url},
        suffix=suffix,
        largest=1_048_576,
    )


def _attributes(headers: Mapping[str, str]) -> dict[str, Any]:
    if not headers:
        return {}
    return {
        "MessageAttributes": {header: {"DataType": "String", "StringValue": value} for header, value in headers.items()}
    }


def sns(broker: AwsBroker) -> Broker:
    async def create(topic: str) -> None:
        async with get_session().create_client("sns", **broker.client_options) as client:
            await client.create_topic(Name=topic)

    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        async with get_session().create_client("sns", **broker.client_options) as client:
            arn = (await client.create_topic(Name=topic))["TopicArn"]
            for name, body in messages:
                await client.publish(
                    TopicArn=arn, Message=body.decode(), **_attributes(with_name(name, place, headers))
                )

    return Broker(
        name="sns",
        settings={"url": "sns://us-east-1/", "endpoint": broker.url},
        places=("header:event", "topic", "field:event"),
        plain=plain,
        create=create,
        unreachable={"url": "sns://us-east-1/", "endpoint": "http://127.0.0.1:1"},
        bad_option={"url": "sns://us-east-1/?no_such_option=1", "endpoint": broker.url},
        largest=262_144,
    )
