"""What a mapping of headers cannot hold, several of one name and null values, stays with a message all the same."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until

from brokerkit import Bus, Message, RetryPolicy
from brokerkit.adapters.api import Outgoing
from brokerkit.adapters.kafka._wire import encode_headers, lost_in_mapping
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME = "OnPlayerSeatedDown"
PAIRS: list[tuple[str, bytes | None]] = [
    ("event", NAME.encode()),
    ("route", b"first"),
    ("none", None),
    ("route", b"\xff\xfe"),
    ("route", b"last"),
    ("some", b"x"),
    ("some", None),
]


def by_name(message: Message) -> dict[str, list[bytes | None]]:
    """All headers of the record that are not brokerkit's, as the client library has them."""
    found: dict[str, list[bytes | None]] = {}
    for name, value in message.native.headers():
        if not name.startswith("bk-"):
            found.setdefault(name, []).append(value)
    return found


SENT: dict[str, list[bytes | None]] = {
    "event": [NAME.encode()],
    "route": [b"first", b"\xff\xfe", b"last"],
    "none": [None],
    "some": [b"x", None],
}


def write(broker: KafkaBroker, topic: str) -> None:
    producer = broker.producer()
    producer.produce(topic, json.dumps({"playerId": 1, "tableId": 1}).encode(), "k", headers=PAIRS)
    assert producer.flush(30) == 0


@pytest.mark.parametrize("where", ["beside the topic", "in a file"])
async def test_they_come_with_each_retry_the_dead_letter_and_its_replay(
    kafka_broker: KafkaBroker, where: str, tmp_path: Path
) -> None:
    topic, seen, fails = f"headers-{uuid.uuid4().hex[:10]}", list[Message](), True
    store = {} if where == "beside the topic" else {"dead_letter": f"file://{tmp_path}/dead.jsonl"}
    bus = Bus(
        kafka_broker.url, topic=topic, group="wallet", provision="all", name_from="header:event", hold=0.0,
        retry=RetryPolicy(attempts=2, first=1.0, jitter=False), **store,
    )  # fmt: skip

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        seen.append(message)
        if fails:
            raise RuntimeError("not yet")

    async with bus, bus.serving():
        write(kafka_broker, topic)
        await until(lambda: bus.stats["bus"].dead_lettered == 1, seconds=60)
        [letter] = [one async for one in bus.dead_letters()]
        fails = False
        assert await bus.dead_letters().replay() == 1
        await until(lambda: bus.stats["bus"].handled == 1, seconds=60)
    assert [message.attempt for message in seen] == [1, 2, 1]
    assert [by_name(message) for message in seen] == [SENT] * 3
    last = {"event": NAME, "route": "last", "none": "", "some": ""}
    assert [dict(message.headers) for message in (*seen, letter.message)] == [last] * 4


async def test_they_pass_a_bridge(kafka_broker: KafkaBroker) -> None:
    topic, seen = f"headers-{uuid.uuid4().hex[:10]}", list[Message]()
    url = f"{kafka_broker.url}?provision=all"
    reader = Bus(url, topic=f"{topic}-to", group="wallet", name_from="header:event")

    @reader.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        seen.append(message)

    bridge = Bus.bridge(url, url, topic=topic, to_topic=f"{topic}-to", group="bridge")
    async with bridge, bridge.serving(), reader, reader.serving():
        write(kafka_broker, topic)
        await until(lambda: bool(seen), seconds=60)
    assert [by_name(message) for message in seen] == [SENT]


@pytest.mark.parametrize(
    "kept", ["", "[]", "7", '{"route": 7}', '{"route": [7]}', '{"route": ["!"]}', '{"route": ["YQ=="]}', "[" * 10_000]
)
def test_what_somebody_else_wrote_changes_no_header(kept: Any) -> None:
    outgoing = Outgoing(topic="t", body=b"", name="", id="1", headers={"route": "last", "bk-property-headers": kept})
    assert dict(encode_headers(outgoing)) == {"route": b"last", "bk-id": b"1"}


def test_plain_headers_keep_nothing_more() -> None:
    assert lost_in_mapping([("a", b"1"), ("b", b""), ("bk-id", b"1"), ("bk-id", b"2")]) == {}
    assert lost_in_mapping(None) == {}
