"""What is written with the schemas of a real registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from brokerkit import InvalidMessage
from brokerkit.formats import Registry
from brokerkit.formats._schema_registry import SchemaRegistry
from tests.formats.schema_registry.top_up import EVENT, TOP_UP, VALUE, avro, topic_name, written


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("topic", "{topic}-value"),
        ("record", "com.example.wallet.TopUp"),
        ("topic-record", "{topic}-com.example.wallet.TopUp"),
    ],
)
async def test_a_schema_is_registered_under_the_subject_of_the_strategy(
    url: str, client: SchemaRegistryClient, schema_file: str, subject: Any, expected: str
) -> None:
    topic = topic_name()
    settings = Registry(url=url, auto_register=True, subject=subject, schemas={"TopUp": schema_file})
    body = await written(SchemaRegistry(settings, "AVRO"), topic, "TopUp", EVENT.model_dump(mode="json"))
    strategy = subject.upper().replace("-", "_")
    assert body == avro(client, topic, VALUE, **{"subject.name.strategy.type": strategy})
    assert expected.format(topic=topic) in client.get_subjects()


async def test_without_registration_a_schema_must_be_there(
    url: str, client: SchemaRegistryClient, schema_file: str
) -> None:
    topic = topic_name()
    settings = Registry(url=url, schemas={"TopUp": schema_file})
    with pytest.raises(InvalidMessage, match=f"topic {topic}: subject {topic}-value: "):
        await written(SchemaRegistry(settings, "AVRO"), topic, "TopUp", EVENT.model_dump(mode="json"))
    assert f"{topic}-value" not in client.get_subjects()
    body = avro(client, topic, VALUE)
    assert body == await written(SchemaRegistry(settings, "AVRO"), topic, "TopUp", EVENT.model_dump(mode="json"))
    newest = SchemaRegistry(Registry(url=url), "AVRO")
    assert body == await written(newest, topic, "TopUp", EVENT.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("change", "says"),
    [({"player": "x"}, "does not fit"), ({"player": None}, "does not fit"), ({"bonus": 5}, "has no field bonus")],
)
async def test_an_event_that_does_not_fit_its_schema_is_refused(
    url: str, client: SchemaRegistryClient, change: dict[str, Any], says: str
) -> None:
    topic = topic_name()
    avro(client, topic, VALUE)
    with pytest.raises(InvalidMessage, match=f"topic {topic}: event TopUp.*{says}"):
        await written(SchemaRegistry(Registry(url=url), "AVRO"), topic, "TopUp", EVENT.model_dump(mode="json") | change)


async def test_an_incompatible_schema_is_not_registered(url: str, client: SchemaRegistryClient, tmp_path: Path) -> None:
    topic = topic_name()
    avro(client, topic, VALUE)
    client.set_compatibility(f"{topic}-value", "BACKWARD")
    fields = [*TOP_UP["fields"], {"name": "must", "type": "string"}]
    (tmp_path / "other.avsc").write_text(json.dumps({**TOP_UP, "fields": fields}))
    settings = Registry(url=url, auto_register=True, schemas={"TopUp": str(tmp_path / "other.avsc")})
    with pytest.raises(InvalidMessage, match=f"topic {topic}: subject {topic}-value: "):
        await written(SchemaRegistry(settings, "AVRO"), topic, "TopUp", {"must": "x"})


async def test_json_with_a_schema_is_what_confluent_writes(
    url: str, client: SchemaRegistryClient, tmp_path: Path
) -> None:
    topic = topic_name()
    schema = json.dumps({"title": "Seen", "type": "object", "properties": {"who": {"type": "string"}}})
    (tmp_path / "seen.json").write_text(schema)
    settings = Registry(url=url, auto_register=True, schemas={"Seen": str(tmp_path / "seen.json")})
    body = await written(SchemaRegistry(settings, "JSON"), topic, "Seen", {"who": "x"})
    conf = {"subject.name.strategy.type": "TOPIC"}
    serializer = JSONSerializer(schema, client, conf=conf)
    assert body == serializer({"who": "x"}, SerializationContext(topic, MessageField.VALUE))
