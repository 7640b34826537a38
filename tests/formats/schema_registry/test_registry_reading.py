"""Avro and JSON Schema read with a real registry, on every broker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from brokerkit import DecodeError, Message
from brokerkit.formats import Registry
from brokerkit.formats._schema_registry import SchemaRegistry
from tests.every_broker import Broker, Recorder
from tests.formats.schema_registry.top_up import EVENT, TOP_UP, VALUE, TopUp, avro, noted, read, topic_name

Connect = Callable[[Registry], SchemaRegistry]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes what reads, and closes it."""
    made: list[SchemaRegistry] = []

    def make(settings: Registry) -> SchemaRegistry:
        made.append(SchemaRegistry(settings, "AVRO"))
        return made[-1]

    yield make
    for registry in made:
        await registry.close()


async def test_avro_goes_from_a_bus_to_typed_handlers_on_every_broker(
    broker: Broker, url: str, client: SchemaRegistryClient, schema_file: str
) -> None:
    registry = {"url": url, "auto_register": True, "schemas": {"TopUp": schema_file}}
    recorder = Recorder()
    recorder.handlers.on(TopUp)(noted(recorder))
    bus = broker.bus(format="avro", registry=registry)
    async with recorder.serving(bus):
        await bus.publish(EVENT)
        results = await bus.publish_many([EVENT.model_copy(update={"player": number}) for number in range(20)])
        assert not [result for result in results if isinstance(result, Exception)]
        await recorder.wait_for(21)
    assert [event.player for _, event, _ in recorder.got if event.player != 7 or event.note] != []
    assert EVENT in [event for _, event, _ in recorder.got]
    [body] = {message.body for _, event, message in recorder.got if event == EVENT}
    assert body == avro(client, broker.topic(), VALUE)


async def test_the_record_of_another_program_is_found_by_the_name_of_its_schema(
    broker: Broker, url: str, client: SchemaRegistryClient
) -> None:
    topic = broker.topic()
    await broker.create(topic)
    recorder = Recorder()
    recorder.handlers.on(TopUp)(noted(recorder))
    async with recorder.serving(broker.bus(format="avro", registry=url)) as bus:
        body = avro(client, topic, VALUE)
        if broker.name.startswith(("sqs", "sns")):
            await bus.publish(Message("", body))  # which have only text: nobody else could write these bytes there
        else:
            await broker.plain(topic, [("", body)], place="header:unknown")
        [(name, event, message)] = await recorder.wait_for(1)
    assert (name, event, message.body) == ("TopUp", EVENT, body)


# ---- reading -------------------------------------------------------------------------------------------------


async def test_an_older_record_is_read_with_the_schema_of_the_settings(
    connect: Connect, url: str, client: SchemaRegistryClient, tmp_path: Path
) -> None:
    topic = topic_name()
    newer = {**TOP_UP, "fields": [*TOP_UP["fields"], {"name": "currency", "type": "string", "default": "EUR"}]}
    newer["fields"][0] = {"name": "user", "aliases": ["player"], "type": "long"}
    (tmp_path / "newer.avsc").write_text(json.dumps(newer))
    registry = connect(Registry(url=url, schemas={"TopUp": str(tmp_path / "newer.avsc")}))
    [delivery] = await read(registry, avro(client, topic, VALUE))
    assert isinstance(delivery.parsed, dict)
    assert (delivery.parsed["user"], delivery.parsed["currency"]) == (7, "EUR")


async def test_a_schema_with_references_is_read(connect: Connect, url: str, client: SchemaRegistryClient) -> None:
    topic = topic_name()
    money = {
        "type": "record",
        "name": "Money",
        "namespace": "com.example",
        "fields": [{"name": "cents", "type": "int"}],
    }
    client.register_schema(f"{topic}-money", Schema(json.dumps(money), "AVRO"))
    paid = {
        "type": "record",
        "name": "Paid",
        "namespace": "com.example",
        "fields": [{"name": "sum", "type": "com.example.Money"}, {"name": "fee", "type": "com.example.Money"}],
    }
    reference = SchemaReference("com.example.Money", f"{topic}-money", 1)
    id = client.register_schema(f"{topic}-value", Schema(json.dumps(paid), "AVRO", [reference]))
    registry = connect(Registry(url=url))
    [delivery] = await read(registry, b"\0" + id.to_bytes(4, "big") + b"\x0a\x02")
    assert (delivery.parsed, delivery.schema) == ({"sum": {"cents": 5}, "fee": {"cents": 1}}, "Paid")


async def test_what_cannot_be_read_says_topic_and_schema(
    connect: Connect, url: str, client: SchemaRegistryClient
) -> None:
    topic = topic_name()
    good = avro(client, topic, VALUE)
    registry = connect(Registry(url=url))
    unknown = b"\0\x7f\xff\xff\xff" + good[5:]
    bodies = [b'{"player": 7}', b"", b"\0\0", unknown, good[:-1], good + b"x", good]
    deliveries = await read(registry, *bodies, topic=topic)
    texts = [str(delivery.parsed) for delivery in deliveries]
    assert all(isinstance(delivery.parsed, DecodeError) for delivery in deliveries[:-1])
    assert deliveries[-1].parsed == VALUE
    assert all(f"topic {topic}: not in the framing" in text for text in texts[:3])
    assert f"topic {topic}: schema id 2147483647: " in texts[3]
    assert all(f"topic {topic}: schema id {int.from_bytes(good[1:5], 'big')}: " in text for text in texts[4:6])
    assert "1 bytes are left" in texts[5]


async def test_a_schema_is_asked_for_once(connect: Connect, url: str, client: SchemaRegistryClient) -> None:
    registry = connect(Registry(url=url))
    body = avro(client, topic_name(), VALUE)
    await read(registry, body)
    await registry.close()  # a question would open it again
    [delivery] = await read(registry, body)
    assert delivery.parsed == VALUE
    assert registry._client is None


async def test_json_with_a_schema_is_read_whatever_the_format_writes(
    connect: Connect, url: str, client: SchemaRegistryClient
) -> None:
    topic = topic_name()
    schema = {"title": "Seen", "type": "object", "properties": {"who": {"type": "string"}}}
    conf = {"subject.name.strategy.type": "TOPIC"}
    body = JSONSerializer(json.dumps(schema), client, conf=conf)(
        {"who": "Zoë"}, SerializationContext(topic, MessageField.VALUE)
    )
    registry = connect(Registry(url=url))
    [delivery] = await read(registry, body or b"")
    assert (delivery.parsed, delivery.schema) == ({"who": "Zoë"}, "Seen")
