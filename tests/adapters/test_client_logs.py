"""Where what the client libraries log goes: what floods goes to our loggers at level debug, and nobody else's does."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from urllib.parse import urlsplit

import aio_pika
import pytest
from confluent_kafka import KafkaError
from tests.brokers.kafka import KafkaBroker
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import until

from brokerkit import Bus, Message
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.testing import Proxy


async def test_aiormq_floods_no_log_and_other_programs_keep_theirs(
    rabbit_broker: RabbitBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    parts = urlsplit(rabbit_broker.url)
    assert parts.hostname is not None
    got = list[str]()
    async with Proxy(parts.hostname, parts.port or 5672) as proxy:
        url = rabbit_broker.url.replace(f"{parts.hostname}:{parts.port}", proxy.address)
        bus = Bus(url, topic="client-logs", group="g", format="json", provision="all")

        @bus.on("*")
        async def handle(event: object, message: Message) -> None:
            got.append(message.name)

        async with bus, bus.serving():
            proxy.refuse()
            proxy.cut()
            await until(lambda: any("cannot connect" in each.getMessage() for each in caplog.records), seconds=30)
            await until(lambda: sum("Connect call failed" in each.getMessage() for each in caplog.records) > 3)
            await proxy.accept()
            publishing = asyncio.create_task(bus.publish(Message("back", b"{}")))
            await until(lambda: got == ["back"], seconds=30)
            await publishing
        theirs = [each for each in caplog.records if each.name.startswith(("aiormq", "aio_pika"))]
        assert [each for each in theirs if each.levelno >= logging.INFO] == []
        ours = [each for each in caplog.records if each.name == "brokerkit.adapters.rabbitmq.aiormq"]
        assert ours
        assert {each.levelno for each in ours} == {logging.DEBUG}
        proxy.refuse()
        with suppress(*aio_pika.exceptions.CONNECTION_EXCEPTIONS):
            await aio_pika.connect(url)
    assert [each for each in caplog.records if each.name == "aiormq.connection" and each.levelno >= logging.ERROR]


async def test_the_news_of_a_kafka_producer_is_logged_once_for_an_outage(
    kafka_broker: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """librdkafka reports each failed try of each connection, twenty times a second."""
    caplog.set_level(logging.INFO)
    adapter = KafkaAdapter(Connection(url=Url.parse(kafka_broker.url), options={}, connect_timeout=10))
    await adapter.open()
    caplog.clear()
    for _ in range(100):
        adapter._on_error(KafkaError(KafkaError._TRANSPORT))  # pyright: ignore[reportPrivateUsage]
    await adapter.close()
    said = [
        each
        for each in caplog.records
        if each.name.startswith("brokerkit.adapters.kafka") and each.levelno >= logging.INFO
    ]
    assert len(said) == 1
