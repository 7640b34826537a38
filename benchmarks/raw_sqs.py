"""SQS by hand: eight receivers of ten with batch deletes, eight senders of ten."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from benchmarks.work import PAUSE, Meter, Stopwatch, Testbed, Work


def _client(address: str) -> AbstractAsyncContextManager[Any]:
    config = AioConfig(max_pool_connections=30, parameter_validation=False)
    return get_session().create_client("sqs", endpoint_url=address, config=config)


async def create(at: Testbed, _reader: str) -> None:
    """A standard queue."""
    async with _client(at.address) as client:
        await client.create_queue(QueueName=at.topic)


async def drop(at: Testbed, _reader: str) -> None:
    """Delete the queue."""
    async with _client(at.address) as client:
        await client.delete_queue(QueueUrl=(await client.get_queue_url(QueueName=at.topic))["QueueUrl"])


async def fill(at: Testbed, work: Work, count: int) -> None:
    """Put messages there."""
    await publish(at, work, count, Stopwatch())


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """Eight tasks receive ten, parse and handle them, delete ten."""
    read, tick = work.model.model_validate_json, meter.tick
    async with _client(at.address) as client:
        url = (await client.get_queue_url(QueueName=at.topic))["QueueUrl"]

        async def receive() -> None:
            while meter.left > 0:
                answer = await client.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
                )
                if not (messages := answer.get("Messages", [])):
                    continue
                for message in messages:
                    if message["MessageAttributes"]["event"]["StringValue"] == work.name:
                        tick(read(message["Body"]))
                entries = [
                    {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                    for index, message in enumerate(messages)
                ]
                await client.delete_message_batch(QueueUrl=url, Entries=entries)

        await asyncio.gather(*(receive() for _ in range(8)))


async def publish(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """Eight tasks send ten at a time."""
    async with _client(at.address) as client:
        url = (await client.get_queue_url(QueueName=at.topic))["QueueUrl"]
        body, event = work.body.decode(), {"DataType": "String", "StringValue": work.name}
        batches = iter(range(0, count, 10))

        async def send() -> None:
            for first in batches:
                entries = [
                    {
                        "Id": str(number - first),
                        "MessageBody": body,
                        "MessageAttributes": {
                            "event": event,
                            "key": {"DataType": "String", "StringValue": str(number % 1000)},
                        },
                    }
                    for number in range(first, min(first + 10, count))
                ]
                answer = await client.send_message_batch(QueueUrl=url, Entries=entries)
                assert not answer.get("Failed")

        with watch:
            await asyncio.gather(*(send() for _ in range(8)))


async def latency(at: Testbed, work: Work, count: int) -> list[float]:
    """One message at a time, from the call of send to the parsed event."""
    figures: list[float] = []
    async with _client(at.address) as client:
        url = (await client.get_queue_url(QueueName=at.topic))["QueueUrl"]
        for _ in range(count):
            receiving = asyncio.ensure_future(
                client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
            )
            await asyncio.sleep(PAUSE)  # until the receive waits at the server
            begun = time.perf_counter()
            await client.send_message(QueueUrl=url, MessageBody=work.body.decode())
            [message] = (await receiving)["Messages"]
            work.model.model_validate_json(message["Body"])
            figures.append(time.perf_counter() - begun)
            await client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return figures
