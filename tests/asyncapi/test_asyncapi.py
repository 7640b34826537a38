"""The AsyncAPI document of a bus: true to its settings, valid to AsyncAPI's own parser, and shown by its own page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from tests.asyncapi.conftest import FORMATS, SECRET, URLS, Script, make_bus
from tests.cli.program import Cli

from brokerkit import Bus
from brokerkit.cli._app import run
from brokerkit.events import get_family


def messages(document: dict[str, Any], channel: str = "poker.events") -> dict[str, Any]:
    there: dict[str, Any] = document["channels"][channel]["messages"]
    return there


@pytest.mark.timeout(300)  # one process parses all documents for the first of these tests
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("broker", URLS)
def test_the_official_parser_finds_no_fault(parsed: dict[tuple[str, str], Any], broker: str, format: str) -> None:
    said = parsed[broker, format]
    assert said["faults"] == []
    assert FORMATS[format].rpartition(":")[2] in said["messages"]


@pytest.mark.timeout(300)
def test_the_official_page_shows_every_event(script: Script, tmp_path: Path) -> None:
    file = tmp_path / "asyncapi.json"
    file.write_text(json.dumps(make_bus("kafka", "thrillpots", "*").asyncapi(title="Jackpots")))
    script("render.mjs", [str(file), str(tmp_path / "page")])
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert "<title>Jackpots" in page
    for name in get_family("thrillpots").models:
        assert f">{name}<" in page


def test_the_lock_names_no_registry() -> None:
    text = (Path(__file__).parent / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in text


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("broker", URLS)
def test_no_secret_is_in_a_document(broker: str, format: str) -> None:
    assert SECRET not in json.dumps(make_bus(broker, format).asyncapi())


def test_servers_are_the_hosts_with_their_protocol() -> None:
    assert make_bus("kafka", "evenbet").asyncapi()["servers"] == {
        "kafka-secure": {"host": "h1:9092", "protocol": "kafka-secure"},
        "kafka-secure_2": {"host": "h2:9092", "protocol": "kafka-secure"},
    }
    assert make_bus("rabbitmq", "evenbet").asyncapi()["servers"] == {
        "amqp": {
            "host": "host:5672",
            "protocol": "amqp",
            "pathname": "/poker",
            "security": [{"type": "userPassword"}],
        }
    }
    assert make_bus("sqs", "evenbet").asyncapi()["servers"] == {
        "sqs": {"host": "sqs.eu-west-1.amazonaws.com", "protocol": "sqs"}
    }
    assert make_bus("thrillconnect", "thrillconnect").asyncapi()["servers"] == {
        "wss": {
            "host": "host",
            "protocol": "wss",
            "pathname": "/v1/events/northlight/lumen",
            "security": [{"type": "httpApiKey", "name": "token", "in": "query"}],
        }
    }


def test_where_nothing_can_be_published_nothing_is_sent() -> None:
    assert list(make_bus("thrillconnect", "thrillconnect").asyncapi()["operations"]) == ["receive.bus"]


def test_a_source_receives_what_its_handlers_want_and_a_target_sends_its_family() -> None:
    document = make_bus("kafka", "evenbet", "OnGameDone", "OnUserLoggedIn").asyncapi()
    received = document["operations"]["receive.bus"]
    assert received["action"] == "receive"
    assert [one["$ref"].rpartition("/")[2] for one in received["messages"]] == ["OnGameDone", "OnUserLoggedIn"]
    sent = document["operations"]["send.bus"]
    assert sent["action"] == "send"
    assert len(sent["messages"]) == len(get_family("evenbet").models)


def test_a_source_without_handlers_receives_nothing() -> None:
    bus = Bus("memory://asyncapi", topic="poker.events", format="evenbet")
    assert list(bus.asyncapi()["operations"]) == ["send.bus"]


def test_handlers_of_every_name_receive_the_whole_family_or_any_event() -> None:
    whole = make_bus("memory", "thrillpots", "*").asyncapi()["operations"]["receive.bus"]["messages"]
    assert len(whole) == len(get_family("thrillpots").models)
    open_ended = make_bus("memory", "json", "*").asyncapi()["operations"]["receive.bus"]["messages"]
    assert open_ended == [{"$ref": "#/channels/poker.events/messages/AnyEvent"}]


def test_a_wrapped_event_is_described_as_it_is_written() -> None:
    family = get_family("evenbet")
    wrapped = min(family.wrapped)
    payload = messages(make_bus("kafka", "evenbet", "*").asyncapi())[wrapped]["payload"]
    assert payload["required"] == ["params"]
    assert payload["properties"]["params"]["$ref"].startswith("#/components/schemas/")


def test_the_name_is_where_the_rules_have_it() -> None:
    header = messages(make_bus("kafka", "json", name_from="header:what").asyncapi())["OnUserLoggedIn"]
    assert header["headers"]["required"] == ["what"]
    assert header["headers"]["properties"]["what"] == {"type": "string", "const": "OnUserLoggedIn"}
    field = messages(make_bus("kafka", "json", name_from="field:kind").asyncapi())["OnUserLoggedIn"]
    assert field["payload"]["allOf"][1] == {
        "type": "object",
        "properties": {"kind": {"type": "string", "const": "OnUserLoggedIn"}},
        "required": ["kind"],
    }
    assert field["examples"][0]["payload"]["kind"] == "OnUserLoggedIn"
    renamed = make_bus("kafka", "json", name_from="header:what", names={"login": "OnUserLoggedIn"})
    assert messages(renamed.asyncapi())["OnUserLoggedIn"]["headers"]["properties"]["what"]["const"] == "login"


def test_cloudevents_attributes_and_id_are_described() -> None:
    binary = messages(make_bus("kafka", "cloudevents").asyncapi())["OnGameDone"]
    assert binary["headers"]["properties"]["ce_type"]["const"] == "OnGameDone"
    assert binary["correlationId"]["location"] == "$message.header#/ce_id"
    structured = messages(make_bus("kafka", "cloudevents-structured").asyncapi())["OnGameDone"]
    assert structured["payload"]["properties"]["data"] == {"$ref": "#/components/schemas/OnGameDone"}
    assert structured["correlationId"]["location"] == "$message.payload#/id"
    assert structured["examples"][0]["payload"]["type"] == "OnGameDone"


@pytest.mark.parametrize("format", FORMATS)
def test_every_example_is_what_its_schema_promises(format: str) -> None:
    document = make_bus("kafka", format, "*", FORMATS[format]).asyncapi()
    seen = 0
    for message in messages(document).values():
        for shown in message.get("examples", ()):
            for part in ("headers", "payload"):
                if part in shown:
                    # What the schema refers to is looked up from its own root.
                    schema = {**message[part], "components": document["components"]}
                    Draft7Validator(schema).validate(shown[part])
                    seen += 1
    assert seen


def test_bindings_name_topic_group_exchange_and_queue() -> None:
    kafka = make_bus("kafka", "evenbet").asyncapi()
    assert kafka["channels"]["poker.events"]["bindings"]["kafka"]["topic"] == "poker.events"
    assert kafka["operations"]["receive.bus"]["bindings"]["kafka"]["groupId"]["enum"] == ["wallet"]
    rabbit = make_bus("rabbitmq", "evenbet").asyncapi()["channels"]["poker.events"]["bindings"]["amqp"]
    assert rabbit["exchange"] == {"name": "poker.events", "type": "topic", "durable": True, "vhost": "poker"}
    sns = make_bus("sns", "evenbet").asyncapi()["operations"]["receive.bus"]["bindings"]["sns"]
    assert sns["consumers"][0]["endpoint"]["name"].startswith("poker__wallet")
    sqs = make_bus("sqs", "evenbet").asyncapi()["channels"]["poker.fifo"]["bindings"]["sqs"]
    assert sqs["queue"] == {"name": "poker.fifo", "fifoQueue": True}
    assert make_bus("redis-streams", "evenbet").asyncapi()["channels"]["poker.events"]["bindings"] == {"redis": {}}


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run one command line in this process."""
    from tests.cli.program import Result

    def call(*arguments: str) -> Result:
        code = run(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that makes a bus, and a configuration."""
    (tmp_path / "lobby_bus.py").write_text(
        "from brokerkit import Bus\n"
        "bus = Bus('memory://asyncapi', topic='poker.events', format='evenbet')\n"
        "@bus.on('OnGameDone')\n"
        "async def settle(event): ...\n"
    )
    (tmp_path / "brokerkit.toml").write_text('[bus]\nurl = "memory://asyncapi"\ntopic = "other"\nformat = "evenbet"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_command_writes_yaml_or_json(cli: Cli, module: Path) -> None:
    shown = cli("asyncapi", "lobby_bus:bus", "--title", "Lobby", "--release", "2.1.0")
    assert shown.code == 0, shown.err
    document = yaml.safe_load(shown.out)
    assert document["info"] == {"title": "Lobby", "version": "2.1.0"}
    assert "OnGameDone" in messages(document)
    assert (
        cli("asyncapi", "lobby_bus:bus", "--output", "lobby.json", "--title", "Lobby", "--release", "2.1.0").out == ""
    )
    assert json.loads((module / "lobby.json").read_text("utf-8")) == document


def test_the_command_takes_a_configuration(cli: Cli, module: Path) -> None:
    with_handlers = cli("asyncapi", "lobby_bus:bus", "--config", "brokerkit.toml", "--format", "json")
    assert list(json.loads(with_handlers.out)["channels"]) == ["other"]
    alone = cli("asyncapi", "--config", "brokerkit.toml", "--format", "json")
    assert list(json.loads(alone.out)["operations"]) == ["send.bus"]
    assert cli("asyncapi").code == 2
