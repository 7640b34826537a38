"""A registry that is away, and wrong settings of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from brokerkit import Bus, ConfigError, ConnectionLost, Message
from brokerkit.formats._registry import as_registry
from brokerkit.testing import Proxy
from tests.conftest import MADE_BY
from tests.every_broker import Recorder, memory, until_async
from tests.formats.schema_registry.top_up import EVENT, TOP_UP, VALUE, TopUp, avro, noted

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
    recorder.handlers.on(TopUp)(noted(recorder))
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
        recorder.handlers.on(TopUp)(noted(recorder))
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
