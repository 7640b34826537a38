"""Hostile messages as somebody else's program sends them: through each client library, without brokerkit.

Each sender says for each message what must come out (see `fingerprint`), or None where the broker or its client refused
the message with an error.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import aio_pika
import aiormq
import redis.asyncio
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from confluent_kafka import KafkaException, Producer

from brokerkit._config._settings import ConnectionSettings
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.memory import MemoryAdapter
from brokerkit.adapters.redis import _wire
from brokerkit.adapters.sqlite import SqliteAdapter
from tests.endurance.hostile import Hostile, fingerprint
from tests.every_broker import Broker

Send = Callable[[str, Sequence[Hostile]], Awaitable[list[str | None]]]

_NO_SQS_TEXT: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SQS_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")


def sender(broker: Broker) -> Send:
    """The plain client of a broker."""
    url = broker.settings["url"]
    match broker.name:
        case "sqlite":
            return lambda topic, batch: _sqlite(url, topic, batch)
        case "kafka" | "kafka-share":
            return lambda topic, batch: _kafka(url.partition("://")[2], topic, batch)
        case "rabbitmq":
            return lambda topic, batch: _rabbitmq(url, topic, batch)
        case "sqs" | "sqs-fifo" | "sns":
            return lambda topic, batch: _aws(broker, topic, batch)
        case "redis-streams":
            return lambda topic, batch: _redis_streams(url, topic, batch)
        case "redis-list":
            return lambda topic, batch: _redis_bytes(url, "RPUSH", topic, batch)
        case _:
            return lambda topic, batch: _redis_bytes(url, "PUBLISH", topic, batch)


def _named(message: Hostile) -> list[tuple[str, bytes | None]]:
    return [*message.headers, *([("event", message.name)] if message.name is not None else [])]


def _came_out(message: Hostile, headers: Mapping[str, Any], key: bytes | str | None, body: bytes | None) -> str:
    """What is expected where ``bk-key`` and ``bk-null`` are the adapter's own way to write key and null."""
    key = headers.get("bk-key", key)
    if "bk-null" in headers and not body:
        body = None
    return fingerprint(body, key, headers.items())


async def memory(adapter: MemoryAdapter | SqliteAdapter, topic: str, batch: Sequence[Hostile]) -> list[str | None]:
    """The embedded broker has no client but ours; headers and key are put there as no bus would."""
    expected: list[str | None] = []
    for message in batch:
        headers = {name: value or b"" for name, value in _named(message)}
        [receipt] = await adapter.send(
            [Outgoing(topic=topic, body=message.body, name="", id=uuid.uuid4().hex, key=message.key, headers=headers)]
        )
        expected.append(
            None if isinstance(receipt, Exception) else fingerprint(message.body, message.key, headers.items())
        )
    return expected


async def _sqlite(url: str, topic: str, batch: Sequence[Hostile]) -> list[str | None]:
    adapter = SqliteAdapter(ConnectionSettings.model_validate({"url": url}).connection())
    await adapter.open()
    try:
        return await memory(adapter, topic, batch)
    finally:
        await adapter.close()


async def _kafka(address: str, topic: str, batch: Sequence[Hostile]) -> list[str | None]:
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "message.max.bytes": 2_000_000})
    expected: list[str | None] = [None] * len(batch)

    def produce() -> None:
        for index, message in enumerate(batch):
            # Kafka takes the same header twice; one name has one value for us, and the last one wins.
            headers = _named(message)

            def confirmed(error: object, _: object, index: int = index, message: Hostile = message) -> None:
                if error is None:
                    expected[index] = fingerprint(message.body, message.key, _named(message))

            with suppress(KafkaException):
                producer.produce(topic, message.body, message.key, headers=headers, on_delivery=confirmed)
            producer.poll(0)
        assert producer.flush(30) == 0

    await asyncio.to_thread(produce)
    return expected


_ODD: Final[dict[str, Any]] = {
    "odd-null": None,
    "odd-true": True,
    "odd-number": -(2**62),
    "odd-float": 1e30,
    "odd-decimal": Decimal("1.5"),
    "odd-time": datetime(2100, 1, 1, tzinfo=UTC),
    "odd-array": [1, [bytearray(b"\xff"), None], {"a": [-0.0]}],
    "x-death": [{"count": "many", "queue": 5}],
    "x-delivery-count": "seven",
}


def _nested(depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(depth):
        table = {"t": table}
    return table


async def _rabbitmq(url: str, topic: str, batch: Sequence[Hostile]) -> list[str | None]:
    expected: list[str | None] = []
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(topic, ensure=False)
        for index, message in enumerate(batch):
            headers: dict[str, Any] = {}
            for name, value in _named(message):
                if len(name.encode()) <= 128:
                    found = _as_text(value or b"")
                    headers[name] = bytearray(found) if isinstance(found, bytes) else found
            plain = {name: _as_bytes(value) for name, value in headers.items()}
            odd: dict[str, Any] = {}
            if index % 5 == 1:
                odd = dict([list(_ODD.items())[index // 5 % len(_ODD)]])
            if index % 40 == 3:
                odd = {"odd-table": _nested(40)}
            sent = aio_pika.Message(
                message.body or b"",
                headers=headers | odd,
                type=("t" * 255, "\x00", "", None)[index % 4],
                content_encoding=("gzip", "\x00", None)[index % 3],
                content_type=("text/plain", "é" * 100, None)[index % 3],
                correlation_id="c" * 255 if index % 7 == 0 else None,
                message_id=("", "é", "i" * 255, None)[index % 4],
                priority=255 if index % 6 == 0 else None,
                expiration=None,
            )
            key = (message.key or b"")[:200].decode(errors="replace")
            # Headers have to fit into one frame, or the broker closes the connection.
            if sum(len(name) + len(_as_bytes(value)) for name, value in headers.items()) > 120_000:
                expected.append(None)
                continue
            try:
                await exchange.publish(sent, routing_key=key)
            except aiormq.AMQPError:
                expected.append(None)
            else:
                expected.append(_came_out(message, plain, None, message.body or b""))
    return expected


def _as_text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _as_bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, (bytes, bytearray)) else str(value).encode()


async def _aws(broker: Broker, topic: str, batch: Sequence[Hostile]) -> list[str | None]:
    fifo, expected = broker.name == "sqs-fifo", list[str | None]()
    service = "sns" if broker.name == "sns" else "sqs"
    endpoint = broker.settings["endpoint"]
    async with get_session().create_client(service, endpoint_url=endpoint, region_name="us-east-1") as client:
        where: dict[str, Any]
        if service == "sns":
            where = {"TopicArn": (await client.create_topic(Name=topic))["TopicArn"]}
        else:
            where = {"QueueUrl": (await client.get_queue_url(QueueName=topic))["QueueUrl"]}
        limit = asyncio.Semaphore(8)

        async def one(message: Hostile) -> str | None:
            headers = _attributes(message, binary=service == "sqs")
            body = (message.body or b"").decode(errors="ignore")
            if not body or _NO_SQS_TEXT.search(body):
                body = "".join(f"{byte:02x}" for byte in message.body or b"-")
            more: dict[str, Any] = {"MessageAttributes": {name: _attribute(value) for name, value in headers.items()}}
            key: str | None = None
            if fifo:
                # Not all in one group: a queue gives out ten of a group, and waits for them.
                key = "".join(f"{byte:02x}" for byte in (message.key or b"none")[:50]) + random.choice(
                    "abcdefghijklmnop"
                )
                more |= {"MessageGroupId": key, "MessageDeduplicationId": uuid.uuid4().hex}
            async with limit:
                try:
                    if service == "sns":
                        await client.publish(**where, Message=body, **more)
                    else:
                        await client.send_message(**where, MessageBody=body, **more)
                except ClientError:
                    return None
            flag = headers.get("bk-body")
            if flag == b"base64":
                with suppress(ValueError):
                    return _came_out(message, headers, key, _strict_base64(body))
            return _came_out(message, headers, key, body.encode())

        expected += await asyncio.gather(*(one(message) for message in batch))
    return expected


def _strict_base64(body: str) -> bytes:
    return base64.b64decode(body, validate=True)


def _attributes(message: Hostile, *, binary: bool) -> dict[str, bytes]:
    """As many headers as there may be attributes; the identifying ones first."""
    found = {name: value for name, value in _named(message) if value and _SQS_NAME.fullmatch(name)}
    if not binary:
        # moto loses messages that have one on their way from SNS.
        found = {name: value for name, value in found.items() if "StringValue" in _attribute(value)}
    first = sorted(found, key=lambda name: name not in ("h-id", "event") and not name.startswith("bk-"))[:10]
    return {name: found[name] for name in first if len(found[name]) < 100_000}


def _attribute(value: bytes) -> dict[str, Any]:
    text = _as_text(value)
    if isinstance(text, bytes) or _NO_SQS_TEXT.search(text):
        return {"DataType": "Binary.odd", "BinaryValue": value}
    return {"DataType": "String.odd", "StringValue": text}


async def _redis_streams(url: str, topic: str, batch: Sequence[Hostile]) -> list[str | None]:
    expected: list[str | None] = []
    async with redis.asyncio.from_url(url) as client:
        for start in range(0, len(batch), 500):
            pipe = client.pipeline(transaction=False)
            for message in batch[start : start + 500]:
                # A field for each header, one of them no UTF-8; without a body there is no body field.
                headers = {name: value or b"" for name, value in _named(message)}
                fields: dict[Any, Any] = {**headers, b"odd-\xff": b"\x00"}
                if message.body is not None:
                    fields["data"] = message.body
                pipe.xadd(topic, fields)
                expected.append(_came_out(message, headers, None, message.body))
            await pipe.execute()
    return expected


async def _redis_bytes(url: str, command: str, topic: str, batch: Sequence[Hostile]) -> list[str | None]:
    """Half of them as the bytes they are, half in an envelope that a hostile producer made."""
    expected: list[str | None] = []
    async with redis.asyncio.from_url(url.replace("redis+list", "redis").replace("redis+pubsub", "redis")) as client:
        for start in range(0, len(batch), 100):
            pipe = client.pipeline(transaction=False)
            for index, message in enumerate(batch[start : start + 100]):
                data = message.body or b""
                headers: dict[str, Any] = {}
                key: Any = None
                if index % 2:
                    headers = {name: _as_text(value or b"") for name, value in _named(message)}
                    key = None if message.key is None else _as_text(message.key)
                    data = _envelope(data, headers, key)
                    body: bytes | None = message.body or b""
                else:
                    body = data
                pipe.execute_command(command, topic, data)
                expected.append(fingerprint(body, key, headers.items()))
            await pipe.execute()
            await asyncio.sleep(0)
    return expected


def _envelope(body: bytes, headers: Mapping[str, str | bytes], key: str | bytes | None) -> bytes:
    def value(raw: str | bytes) -> Any:
        return raw if isinstance(raw, str) else [base64.b64encode(raw).decode()]

    head: dict[str, Any] = {"headers": {name: value(raw) for name, raw in headers.items()}}
    if key is not None:
        head["key"] = value(key)
    text = json.dumps(head).encode()
    return _wire.MAGIC + len(text).to_bytes(4, "big") + text + body
