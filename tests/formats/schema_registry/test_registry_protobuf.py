"""Protobuf with a real registry."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from pydantic import BaseModel

from brokerkit import Message
from brokerkit.formats import Registry
from brokerkit.formats._schema_registry import SchemaRegistry
from tests.every_broker import Recorder, memory
from tests.formats.schema_registry.top_up import noted, read, topic_name


def generated(package: str) -> Any:
    """A class as protoc generates it, of a message inside the second message of its file."""
    text = FieldDescriptorProto.TYPE_STRING
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    file.message_type.add(name="Other")
    outer = file.message_type.add(name="Outer")
    outer.nested_type.add(name="First")
    message = outer.nested_type.add(name="Played")
    kind = message.enum_type.add(name="Kind")
    kind.value.add(name="UNKNOWN", number=0)
    kind.value.add(name="SLOT", number=1)
    single, repeated = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
    message.field.add(name="round_id", number=1, label=single, type=FieldDescriptorProto.TYPE_INT64)
    message.field.add(name="names", number=2, label=repeated, type=text)
    message.field.add(
        name="kind",
        number=3,
        label=single,
        type=FieldDescriptorProto.TYPE_ENUM,
        type_name=f".{package}.Outer.Played.Kind",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Outer.Played"))


PROTO = """
syntax = "proto3";
package %s; // the "message" here is none
/* message Nor { this } */
message Other {}
message Outer {
  message First {}
  message Played {
    enum Kind { UNKNOWN = 0; SLOT = 1; }
    int64 round_id = 1;
    repeated string names = 2;
    Kind kind = 3;
  }
}
"""


class Played(BaseModel):
    round_id: int
    names: list[str]
    kind: str


async def test_protobuf_is_read_by_the_text_of_its_file(
    url: str, client: SchemaRegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = topic_name()
    message = generated(package)
    monkeypatch.setitem(sys.modules, f"{package}_pb2", types.SimpleNamespace(Played=message))
    id = client.register_schema(f"{package}-value", Schema(PROTO % package, "PROTOBUF"))
    registry = SchemaRegistry(Registry(url=url, schemas={"Played": f"{package}_pb2:Played"}), "PROTOBUF")
    body = b"\0" + id.to_bytes(4, "big") + b"\x04\x02\x02" + message(round_id=5).SerializeToString()
    [delivery] = await read(registry, body)
    await registry.close()
    assert (delivery.parsed, delivery.schema) == ({"round_id": 5, "names": [], "kind": "UNKNOWN"}, "Played")


async def test_protobuf_is_what_confluent_writes_and_is_read_into_models(
    url: str, client: SchemaRegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = topic_name()
    message = generated(package)
    monkeypatch.setitem(sys.modules, f"{package}_pb2", types.SimpleNamespace(Played=message))
    broker = memory()
    registry = {"url": url, "schemas": {"Played": f"{package}_pb2:Played"}}
    event = Played(round_id=2**60, names=["a", "b"], kind="SLOT")
    recorder = Recorder()
    recorder.handlers.on(Played)(noted(recorder))
    async with recorder.serving(broker.bus(format="protobuf", registry={**registry, "auto_register": True})) as bus:
        await bus.publish(event)
        conf = {"subject.name.strategy.type": "TOPIC"}
        serializer = ProtobufSerializer(message, client, conf)
        body = serializer(
            message(round_id=2**60, names=["a", "b"], kind=1),
            SerializationContext(broker.topic(), MessageField.VALUE),
        )
        await bus.publish(Message("", body))
        await recorder.wait_for(2)
    assert [(name, got) for name, got, _ in recorder.got] == [("Played", event)] * 2
    [first, second] = [message.body for _, _, message in recorder.got]
    assert first == second
