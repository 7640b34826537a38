"""A page in a browser, with the browser's own WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page
from tests import every_broker, every_redis
from tests.brokers.redis import RedisBroker
from tests.browser import empty_page
from tests.every_broker import until
from tests.gateway.scene import EVERYTHING, body, event, gateway, url

BUS: dict[str, Any] = {"group": "gateway", "broadcast": True, "format": "thrillconnect"}
LISTEN = """([url, events]) => new Promise((resolve) => {
    window.got = [];
    window.ended = null;
    const socket = new WebSocket(url);
    socket.onopen = () => {
        socket.send(JSON.stringify({SubscribeRequest: {events}}));
        socket.send(JSON.stringify({Nothing: {}}));
    };
    socket.onmessage = (message) => {
        const data = JSON.parse(message.data);
        if (data.msg_type === "Error") { resolve(); } else { window.got.push(data); }
    };
    socket.onclose = (close) => { window.ended = [close.code, close.reason]; resolve(); };
})"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """An empty page in a headless Chromium."""
    async with empty_page() as page:
        yield page


async def test_a_page_gets_its_players_events_and_none_of_anothers(page: Page, redis_broker: RedisBroker) -> None:
    bus = every_redis.redis_streams(redis_broker).bus(**BUS)
    async with bus, gateway(bus) as served:
        await page.evaluate(LISTEN, [url(served, "pl-1"), EVERYTHING])
        sent = [event("pl-1", data={"name": "Zoë 🎲"}), event(None, "JackpotUpdate"), event("pl-1")]
        for message in sent:
            await bus.publish(event("pl-2"), key="k")
            await bus.publish(message, key="k")
        await page.wait_for_function("window.got.length >= 3")
        assert await page.evaluate("window.got") == [body(message) for message in sent]
        await page.close()
        await until(lambda: served.stats.connected == 0)


async def test_a_page_can_read_why_it_is_refused(page: Page) -> None:
    bus = every_broker.memory().bus(**BUS)
    async with bus, gateway(bus) as served:
        await page.evaluate(LISTEN, [url(served, "nobody"), EVERYTHING])
        assert await page.evaluate("window.ended") == [4401, "the token is unknown or has expired"]
        await page.evaluate(LISTEN, [url(served, "pl-1", place="northlight/other"), EVERYTHING])
        assert await page.evaluate("window.ended") == [4403, "the token is not for this operator and brand"]
