"""A service whose messages need a schema registry is tested with one: `TestBus` replaces brokers, and no registry."""

from __future__ import annotations

from typing import Any

import pytest

from brokerkit import Bus, ConnectionLost
from brokerkit.testing import TestBus
from tests.formats.schema_registry.top_up import EVENT, TopUp, topic_name


def wallet(registry: dict[str, Any]) -> tuple[Bus, list[TopUp]]:
    bus = Bus("kafka://kafka.example.org:9092", topic=topic_name(), group="wallet", format="avro", registry=registry)
    handled: list[TopUp] = []

    @bus.on(TopUp)
    async def handle(event: TopUp) -> None:
        handled.append(event)
        if len(handled) == 1:
            await bus.publish(event)

    return bus, handled


async def test_what_is_delivered_and_published_is_in_the_framing_of_the_registry(url: str, schema_file: str) -> None:
    bus, handled = wallet({"url": url, "auto_register": True, "schemas": {"TopUp": schema_file}})
    async with TestBus(bus) as test:
        await test.deliver(EVENT)
        await test.settled()
        [published, *_] = test.published
    assert handled[0] == EVENT
    assert published.body is not None
    assert published.body[:1] == b"\0"


async def test_without_a_registry_a_delivery_says_so(schema_file: str) -> None:
    bus, handled = wallet({"url": "http://127.0.0.1:1", "schemas": {"TopUp": schema_file}})
    async with TestBus(bus) as test:
        with pytest.raises(ConnectionLost, match="registry"):
            await test.deliver(EVENT)
    assert handled == []
