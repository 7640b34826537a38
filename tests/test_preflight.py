"""A source that needs a group and has none is refused before anything connects, and so is a name that is none."""

from pathlib import Path

import pytest

from brokerkit import Bus, ConfigError
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.recording import Recorder
from tests.brokers._ports import free_port

NEED_ONE = ["kafka://127.0.0.1", "amqp://127.0.0.1", "redis://127.0.0.1", "sns://eu-west-1"]
NEED_NONE = ["memory://", "sqs://eu-west-1", "redis+list://127.0.0.1", "redis+pubsub://127.0.0.1"]


@pytest.mark.parametrize("group", ["", " ", "\t\n"])
@pytest.mark.parametrize("url", NEED_ONE)
def test_an_empty_group_is_refused_when_the_bus_is_made(url: str, group: str) -> None:
    with pytest.raises(ConfigError, match="needs a group, and this one is empty"):
        Bus(url, topic="events", group=group, format="evenbet")


@pytest.mark.parametrize("url", NEED_ONE)
def test_so_is_one_in_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERKIT_GROUP", "")
    with pytest.raises(ConfigError, match="BROKERKIT_GROUP"):
        Bus(url, topic="events", format="evenbet")


@pytest.mark.parametrize("url", NEED_ONE)
async def test_consuming_without_a_group_is_refused_before_anything_connects(url: str) -> None:
    bus = Bus(url.replace("127.0.0.1", f"127.0.0.1:{free_port()}"), topic="events", format="evenbet")

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None: ...

    with pytest.raises(ConfigError, match="needs a group"):
        await bus.serve()


@pytest.mark.parametrize("url", NEED_ONE)
def test_a_bridge_and_a_source_with_a_name_are_refused_when_they_are_made(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="source 'from'.*needs a group"):
        Bus.bridge(url, "memory://", topic="events")
    file = tmp_path / "brokerkit.toml"
    file.write_text(f'[sources.ours]\nurl = "{url}"\ntopic = "events"\n')
    with pytest.raises(ConfigError, match="source 'ours'.*needs a group"):
        Bus.from_config(file)


@pytest.mark.parametrize("url", NEED_ONE)
def test_an_empty_group_is_no_group_to_record_with(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="empty"):
        Recorder(tmp_path / "events.jsonl", url, topic="events", group="")


@pytest.mark.parametrize("url", NEED_NONE)
@pytest.mark.parametrize("group", [None, ""])
def test_where_no_group_is_needed_none_is_asked_for(url: str, group: str | None) -> None:
    Bus(url, topic="events", group=group, format="evenbet")
    Bus.bridge(url, "memory://", topic="events", to_topic="others", group=group)


@pytest.mark.parametrize("url", NEED_ONE)
def test_to_publish_takes_no_group_and_neither_does_a_broadcast(url: str) -> None:
    Bus(url, topic="events", format="evenbet")
    Bus.bridge(url, "memory://", topic="events", broadcast=True, to_topic="others")


@pytest.mark.parametrize("group", ["wal\0let", "\ud800", " wallet", "wallet\n"])
@pytest.mark.parametrize("url", [*NEED_ONE, *NEED_NONE])
def test_a_group_that_is_no_clean_text_is_refused(url: str, group: str) -> None:
    with pytest.raises(ConfigError, match="group"):
        Bus(url, topic="events", group=group, format="evenbet")


@pytest.mark.parametrize("topic", ["with space", "a" * 250, "..", "naïve", "a/b"])
def test_a_name_that_no_kafka_topic_can_have_is_refused_when_the_bus_is_made(topic: str) -> None:
    with pytest.raises(ConfigError, match="no topic called"):
        Bus("kafka://127.0.0.1", topic=["fine", topic], group="wallet", format="evenbet")


@pytest.mark.parametrize("group", [None, "", " ", "g" * 2_000])
def test_the_kafka_adapter_itself_subscribes_to_nothing_without_a_group(group: str | None) -> None:
    kafka = KafkaAdapter(Connection(url=Url.parse("kafka://127.0.0.1")))
    with pytest.raises(ConfigError, match="no group called"):
        kafka.subscribe(Subscription(topics=("events",), group=group), lost)


async def lost(*_: object, **__: object) -> None:
    """Nothing is ever read here."""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"client.id": "a\0b"}, "NUL"),
        ({"client.id": "\ud800"}, "half of a character"),
        ({"cli\ud800ent": "a"}, "half of a character"),
        ({"group.instance.id": ""}, "empty"),
        ({"group.instance.id": " "}, "empty"),
        ({"delivery.report.only.error": True}, "waits for each confirmation"),
        ({"test.mock.num.brokers": 1}, "the URL names the brokers"),
        ({"default.topic.config": 5}, "kafka://"),
        ({"linger.ms": -1}, "outside allowed range"),
    ],
)
def test_an_option_that_the_client_library_would_misread_or_die_of_is_refused(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        Bus("kafka://127.0.0.1", topic="events", group="wallet", options=options, format="evenbet")


@pytest.mark.parametrize("part", ["kafka://user%00:word@host", "kafka://user:secret%00@host"])
def test_a_url_that_the_client_library_would_cut_is_refused(part: str) -> None:
    with pytest.raises(ConfigError, match="NUL") as caught:
        Bus(part, topic="events", group="wallet", format="evenbet")
    assert "secret" not in str(caught.value)
