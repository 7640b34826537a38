"""What a message has beside body and headers goes through durable retries, dead letters and replays, wherever they lie."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiormq
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from pamqp.commands import Basic

from brokerkit import Handlers, Message, RetryPolicy
from brokerkit._messages._copies import kept_headers
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import PROPERTY_PREFIX, TIME_HEADER
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.rabbitmq._wire import address_message
from tests import every_broker
from tests.brokers.kafka import KafkaBroker
from tests.brokers.rabbitmq import RabbitBroker
from tests.conftest import FULL, SELDOM
from tests.dead_letters.test_replay import NAME, seated
from tests.every_broker import Broker, until

PROPERTIES: dict[str, Any] = {
    "app_id": "psp",
    "content_encoding": "utf-8",
    "correlation_id": "c-1",
    "priority": 7,
    "reply_to": "answers",
}
SENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Failing:
    """Handlers that fail until they are told not to, and note what they see."""

    def __init__(self) -> None:
        self.seen: list[Message] = []
        self.fails = True
        self.handlers = Handlers()
        self.handlers.on(NAME)(self._handle)

    async def _handle(self, event: Any, message: Message) -> None:
        self.seen.append(message)
        if self.fails:
            raise RuntimeError("no")


def properties_of(message: Message) -> dict[str, Any]:
    found: Basic.Properties = message.native.header.properties
    return {name: getattr(found, name) for name in PROPERTIES}


@pytest.mark.parametrize("where", ["beside", "file", "kafka"])
async def test_properties_of_rabbitmq_outlive_a_durable_retry_a_dead_letter_elsewhere_and_its_replay(
    rabbit_broker: RabbitBroker, kafka_broker: KafkaBroker, tmp_path: Path, where: str
) -> None:
    broker = every_broker.rabbitmq(rabbit_broker)
    places = {"file": f"file://{tmp_path}/dead.jsonl", "kafka": f"kafka://{kafka_broker.address}"}
    failing = Failing()
    bus = broker.bus(
        **({"dead_letter": places[where]} if where in places else {}),
        hold=0.0,
        retry=RetryPolicy(attempts=2, first=1.0, jitter=False),
        name_from="header:event",
    )
    bus.include(failing.handlers)
    async with asyncio.timeout(60), bus, bus.serving():
        connection = await aiormq.connect(broker.settings["url"])
        channel = await connection.channel()
        await channel.basic_publish(
            b'{"playerId": 1}',
            exchange=broker.topic(),
            routing_key="seats.one",
            properties=Basic.Properties(
                **PROPERTIES,
                headers={"event": NAME},
                content_type="application/json",
                expiration="600000",
                message_id="m-1",
                message_type="seat",
                timestamp=SENT,
            ),
        )
        await connection.close()
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        [dead] = [one async for one in bus.dead_letters()]
        assert dead.message.time == SENT.timestamp()
        failing.fails = False
        assert await bus.dead_letters().replay() == 1
        await until(lambda: len(failing.seen) == 3)
    for message in failing.seen:
        assert properties_of(message) == PROPERTIES
        assert (message.id, message.time) == ("m-1", SENT.timestamp())
    replayed = failing.seen[2].native
    assert replayed.header.properties.message_type == "seat"
    assert replayed.header.properties.timestamp == SENT
    assert replayed.header.properties.content_type == "application/json"
    assert replayed.header.properties.headers["bk-routing-key"] == "seats.one"
    # It would vanish if it waited for longer than it was to live when it was new.
    assert replayed.header.properties.expiration is None


async def test_the_time_of_the_original_is_that_of_every_copy(broker: Broker, tmp_path: Path) -> None:
    if broker.at_most_once or broker.name == "sns":
        return
    failing = Failing()
    bus = broker.bus(hold=0.0, retry=RetryPolicy(attempts=2, first=1.0, jitter=False))
    bus.include(failing.handlers)
    async with asyncio.timeout(60), bus, bus.serving():
        await bus.publish(seated(1))
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        [dead] = [one async for one in bus.dead_letters()]
        failing.fails = False
        assert await bus.dead_letters().replay() == 1
        await until(lambda: len(failing.seen) == 3)
    first = failing.seen[0].time
    if first is not None:
        assert [round(message.time or 0.0, 3) for message in failing.seen] == [round(first, 3)] * 3
        assert round(dead.message.time or 0.0, 3) == round(first, 3)


@pytest.mark.parametrize("broker", ["kafka", *(SELDOM if FULL else ())], indirect=True)
async def test_a_message_at_the_offset_that_a_buried_copy_had_in_its_retry_topic_is_handled(broker: Broker) -> None:
    failing = Failing()
    admin = AdminClient({"bootstrap.servers": broker.settings["url"].partition("://")[2]})
    [created] = admin.create_topics([NewTopic(broker.topic(), 1)]).values()
    await asyncio.wrap_future(created)
    # The copy of the second attempt is at offset 0 of a retry topic, that of the third one at offset 1.
    bus = broker.bus(hold=0.0, retry=RetryPolicy(attempts=3, first=1.0, cap=1.0, jitter=False))
    bus.include(failing.handlers)
    async with asyncio.timeout(60), bus, bus.serving():
        await bus.publish(seated(1))
        await until(lambda: bus.stats["bus"].dead_lettered == 1, seconds=30)
        failing.fails = False
        receipt = await bus.publish(seated(2))
        assert receipt.position == "0@1"
        await until(lambda: len(failing.seen) == 4)


def test_what_makes_no_sense_in_the_headers_of_a_copy_is_left_out() -> None:
    headers = {
        f"{PROPERTY_PREFIX}priority": "high",
        f"{PROPERTY_PREFIX}reply_to": "x" * 300,
        f"{PROPERTY_PREFIX}app_id": b"psp",
        TIME_HEADER: "1e400",
        f"{PROPERTY_PREFIX}expiration": "1",
    }
    delivery = Delivery(body=b"", topic="t", headers=headers, id="1")
    assert kept_headers(delivery).keys() == headers.keys() - {TIME_HEADER}
    made = address_message(
        Outgoing(topic="t", body=b"", name="N", id="1", headers=headers), datetime.now(UTC)
    ).properties
    assert (made.priority, made.reply_to, made.app_id, made.expiration) == (None, None, "psp", None)
    assert set(made.headers or {}) == {TIME_HEADER, f"{PROPERTY_PREFIX}expiration"}
