"""Avro, JSON Schema and Protobuf with a real registry, on every broker."""

from __future__ import annotations

import json
import sys
import types
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from pydantic import BaseModel

from brokerkit import Bus, ConfigError, ConnectionLost, DecodeError, InvalidMessage, Message
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing, Unencoded
from brokerkit.formats import Registry
from brokerkit.formats._registry import as_registry
from brokerkit.formats._schema_registry import SchemaRegistry
from brokerkit.testing import Proxy
from tests.brokers import registry as registries
from tests.conftest import MADE_BY
from tests.every_broker import Broker, Recorder, memory, until_async

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


@pytest.fixture
def url(schema_registry: registries.SchemaRegistry) -> str:
    return schema_registry.url


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    """Confluent's own client, which other programs use."""
    with SchemaRegistryClient({"url": url}) as client:
        yield client


@pytest.fixture
def schema_file(tmp_path: Path) -> str:
    path = tmp_path / "top_up.avsc"
    path.write_text(json.dumps(TOP_UP))
    return str(path)


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


async def test_avro_goes_from_a_bus_to_typed_handlers_on_every_broker(
    broker: Broker, url: str, client: SchemaRegistryClient, schema_file: str
) -> None:
    registry = {"url": url, "auto_register": True, "schemas": {"TopUp": schema_file}}
    recorder = Recorder()
    recorder.handlers.on(TopUp)(_noted(recorder))
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


def _noted(recorder: Recorder) -> Any:
    async def handle(event: Any, message: Message) -> None:
        recorder.note(message.name, event, message)

    return handle


async def test_the_record_of_another_program_is_found_by_the_name_of_its_schema(
    broker: Broker, url: str, client: SchemaRegistryClient
) -> None:
    topic = broker.topic()
    await broker.create(topic)
    recorder = Recorder()
    recorder.handlers.on(TopUp)(_noted(recorder))
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


# ---- writing -------------------------------------------------------------------------------------------------


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


# ---- Protobuf ------------------------------------------------------------------------------------------------


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
    recorder.handlers.on(Played)(_noted(recorder))
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


# ---- outages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["memory", "kafka", "rabbitmq", "redis-streams"])
async def test_an_outage_of_the_registry_delays_messages_and_makes_no_dead_letter(
    request: pytest.FixtureRequest, name: str, url: str, client: SchemaRegistryClient
) -> None:
    broker = MADE_BY[name](request)
    topic = broker.topic()
    await broker.create(topic)
    where = urlsplit(url)
    recorder = Recorder()
    recorder.handlers.on(TopUp)(_noted(recorder))
    other = {**TOP_UP, "doc": "another version"}
    bodies = [avro(client, topic, VALUE | {"player": number}, other if number % 3 else TOP_UP) for number in range(30)]
    async with Proxy(str(where.hostname), int(where.port or 0)) as proxy:
        proxy.refuse()
        settings: dict[str, Any] = {"retry": {"attempts": 1}, "order": "key", "max_in_flight": 10}
        bus = broker.bus(format="avro", registry=f"http://{proxy.address}{where.path}", **settings)
        async with recorder.serving(bus):
            await bus.publish_many([Message("", body, key="k") for body in bodies])

            async def is_blocked() -> bool:
                [source] = (await bus.health()).sources.values()
                return source.state == "blocked" and "schema registry" in source.error

            await until_async(is_blocked)
            assert recorder.got == []
            await proxy.accept()
            await recorder.wait_for(30)
            assert (await bus.health()).ready
            [stats] = bus.stats.values()
            assert (stats.dead_lettered, stats.retried) == (0, 0)
    assert [event.player for _, event, _ in recorder.got] == list(range(30))


async def test_a_source_that_stops_in_an_outage_gives_its_messages_back(url: str, client: SchemaRegistryClient) -> None:
    broker = memory()
    body = avro(client, broker.topic(), VALUE)
    down = Recorder().record()
    async with Bus(**{**broker.settings, "topic": broker.topic(), "format": "json"}) as raw:
        lost = broker.bus(format="avro", registry="http://127.0.0.1:1")
        async with down.serving(lost):
            await raw.publish(Message("", body))

            async def is_blocked() -> bool:
                return next(iter((await lost.health()).sources.values())).state == "blocked"

            await until_async(is_blocked)
        recorder = Recorder()
        recorder.handlers.on(TopUp)(_noted(recorder))
        async with recorder.serving(broker.bus(format="avro", registry=url)):
            [(_, event, _)] = await recorder.wait_for(1)
    assert (down.got, event) == ([], EVENT)


async def test_a_publish_waits_for_the_registry_and_fails_in_time(
    url: str, client: SchemaRegistryClient, schema_file: str
) -> None:
    broker = memory()
    settings = {"url": "http://127.0.0.1:1", "schemas": {"TopUp": schema_file}}
    async with broker.bus(format="avro", registry=settings, publish_timeout=0.5) as bus:
        with pytest.raises(ConnectionLost, match=f"topic {broker.topic()}: subject {broker.topic()}-value: schema reg"):
            await bus.publish(EVENT)


# ---- settings ------------------------------------------------------------------------------------------------


def test_a_format_with_schemas_needs_a_registry() -> None:
    with pytest.raises(ConfigError, match="format 'avro' needs a schema registry: set registry"):
        Bus("memory://x", topic="t", format="avro")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "registry.url"),
        ({"url": "ftp://x"}, "registry.url must begin with http"),
        ({"url": "http://x", "usr": "a"}, "registry.usr.*allowed are url, user"),
        ({"url": "http://x", "user": "a"}, "user and password belong together"),
        ({"url": "http://x", "user": "a", "password": "b", "token": "c"}, "not both"),
        ({"url": "http://x", "subject": "brand"}, "registry.subject"),
        ({"url": "http://x", "ca": "/no/such.pem"}, "registry.ca: there is no"),
    ],
)
def test_wrong_settings_of_a_registry_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        as_registry(given)


def test_a_file_has_the_registry_in_a_table_and_nothing_shows_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "bus.toml"
    file.write_text(
        '[bus]\nurl = "memory://x"\ntopic = "t"\nformat = "avro"\n'
        '[registry]\nurl = "http://me:secret-1@127.0.0.1:8081"\ntoken = "secret-2"\nsubject = "record"\n'
    )
    bus = Bus.from_config(file)
    [source] = bus.runtime.settings.sources.values()
    assert source.registry is not None
    assert (source.registry.subject, str(source.registry)) == ("record", "127.0.0.1:8081")
    assert "secret" not in f"{source!r} {source} {source.model_dump()} {bus!r} {bus.runtime.settings!r}"


def test_a_schema_that_cannot_be_loaded_is_one_error_when_the_bus_is_made(tmp_path: Path) -> None:
    (tmp_path / "x.avsc").write_text('{"type": "record"}')
    settings = {"url": "http://127.0.0.1:1", "schemas": {"X": str(tmp_path / "x.avsc")}}
    with pytest.raises(ConfigError, match=r"registry\.schemas\.X: .*x\.avsc' cannot be loaded"):
        Bus("memory://x", topic="t", format="avro", registry=settings)
