"""What the tests of the schema registry share: an event, its schema, and what Confluent's own client makes of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from pydantic import BaseModel

from brokerkit import Message
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing, Unencoded
from brokerkit.formats._schema_registry import SchemaRegistry
from tests.every_broker import Recorder

TOP_UP: dict[str, Any] = {
    "type": "record",
    "name": "TopUp",
    "namespace": "com.example.wallet",
    "fields": [
        {"name": "player", "type": "long"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
    ],
}
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


class TopUp(BaseModel):
    player: int
    amount: Decimal
    at: datetime
    note: str | None = None
    tags: list[str] = []


EVENT = TopUp(player=7, amount=Decimal("10.50"), at=AT, note="first", tags=["a", "b"])
VALUE = {"player": 7, "amount": Decimal("10.50"), "at": AT, "note": "first", "tags": ["a", "b"]}


def topic_name() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def avro(client: SchemaRegistryClient, topic: str, value: Any, schema: Any = TOP_UP, **settings: Any) -> bytes:
    """What a program with Confluent's serializer sends."""
    conf = {"subject.name.strategy.type": "TOPIC", **settings}
    written = AvroSerializer(client, json.dumps(schema), conf=conf)(
        value, SerializationContext(topic, MessageField.VALUE)
    )
    assert written is not None
    return written


async def read(registry: SchemaRegistry, *bodies: bytes, topic: str = "t") -> Sequence[Delivery]:
    batch = [Delivery(body=body, topic=topic) for body in bodies]
    await registry.read(batch)
    return batch


def noted(recorder: Recorder) -> Any:
    async def handle(event: Any, message: Message) -> None:
        recorder.note(message.name, event, message)

    return handle


async def written(registry: SchemaRegistry, topic: str, name: str, value: Any) -> bytes:
    outgoing = Outgoing(
        topic=topic, body=Unencoded(json.dumps(value, separators=(",", ":")).encode()), name=name, id="1"
    )
    try:
        await registry.write(outgoing)
    finally:
        await registry.close()
    assert outgoing.body is not None
    return outgoing.body
