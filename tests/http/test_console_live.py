"""Live messages, waiting retries, rate limits and charts in a headless Chromium."""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from typing import Any

import pytest
from playwright.async_api import Page, Response, expect

from brokerkit import Bus, Handlers, Message, Rate, RetryPolicy
from brokerkit._status import _samples
from brokerkit._status._history import STEP, History
from tests import every_broker
from tests.browser import WAIT, seen
from tests.every_broker import Broker, until, until_async
from tests.http.port import Port
from tests.http.test_letters import NAME

SECRET = "4111-1111-1111-1111"
EVIL = '<img src=x onerror="window.harmed = true">'


class Pays:
    """Handlers: one that takes what is for the house, and fails for everybody else; and one that may be limited."""

    def __init__(self, bus: Bus, rate: Rate | None = None) -> None:
        handlers = Handlers()
        handlers._on(NAME)(self.pay)
        handlers._on("OnUserLoggedIn", rate=rate)(self.greet)
        bus.include(handlers)

    async def pay(self, event: Any, message: Message) -> None:
        if event.player_id:
            raise LookupError(f"no account for {json.loads(message.body or b'')['card']}")

    async def greet(self, event: Any) -> None: ...


def paid(number: int, **given: Any) -> Message:
    body = json.dumps({"playerId": number, "card": SECRET, "note": EVIL})
    return Message(NAME, body.encode(), headers={"authorization": "Bearer abcdef"}, **given)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks is not forgotten while this machine does something else."""
    monkeypatch.setattr(_samples, "LASTS", 100.0)


@pytest.fixture
async def noted(monkeypatch: pytest.MonkeyPatch) -> list[History]:
    """The histories, which note what they are told to: a step takes ten seconds."""
    found = list[History]()

    async def keep(self: History) -> None:
        found.append(self)

    monkeypatch.setattr(History, "keep", keep)
    return found


async def test_what_is_live_waits_or_is_limited_is_seen_and_nothing_hidden_reaches_the_page(
    sqlite: Broker, port: Port, page: Page, noted: list[History]
) -> None:
    bus = sqlite.bus(retry=RetryPolicy(attempts=3, first=500, cap=500, jitter=False), hold=1.0)
    Pays(bus, Rate(0.01))
    answers = list[str]()
    reading = set[asyncio.Task[None]]()

    async def read(response: Response) -> None:
        answers.append(await response.text())

    page.on("response", lambda response: reading.add(asyncio.create_task(read(response))))
    await port.open(bus.http(console=True, control=True, mask=["card"]))
    async with asyncio.timeout(100), bus, bus.serving():
        await until(lambda: bool(noted))
        sent = 0
        for step in range(12):
            noted[0].note(1_796_000_000.0 + step * STEP)
            await bus.publish_many([paid(0) for _ in range(20 + 5 * (step % 4))])
            sent += 20 + 5 * (step % 4)
            await until(partial(is_handled, bus, sent))
        noted[0].note(1_796_000_000.0 + 12 * STEP)

        await page.goto(f"http://{port.name}/console")
        # Asked from here: the page's security policy lets it evaluate no text by itself.
        charts = "charts.rates.data[0].length === 12 && charts.durations.data[1].some((each) => each > 0)"
        await until_async(partial(page.evaluate, charts))
        assert await drawn(page, "#rates canvas")
        assert await drawn(page, "#durations canvas")

        await page.fill("#watch-key", "ann")
        await page.click("#watch-start")
        await seen(page, "#watch-note", "0 of 0 messages")
        await bus.publish_many([paid(1, id="id-1", key="ann"), paid(2, id="id-2", key="bob")])
        await bus.publish_many([Message("OnUserLoggedIn", b'{"playerId": 1}') for _ in range(3)])
        await seen(page, "#messages tr", "id-1")
        await seen(page, "#messages td", '"card": "•••"')
        await seen(page, "#messages td", "<img src=x onerror=")
        await seen(page, "#messages td", "authorization: •••")
        await seen(page, "#watch-note", "1 of 1 messages")
        await expect(page.locator("#messages tr")).to_have_count(1)

        await seen(page, "#sources td", "2")  # they wait for the limit
        await seen(page, "#handlers td", "2 (0.01/s)")
        await until(lambda: bus.stats["bus"].retried == 2)
        await page.click("#retry-show")
        await seen(page, "#retry-note", "2 at the broker")
        await seen(page, "#places tr", sqlite.topic())
        await seen(page, "#places td", "(in ")
        if path := os.environ.get("BROKERKIT_SCREENSHOT_LIVE"):
            await seen(page, "#sources tr", "/s")
            await page.screenshot(path=path, full_page=True)

        await page.click("#watch-stop")
        await page.click("#retry-hide")
        await expect(page.locator("#retries")).to_be_hidden(timeout=WAIT)
        assert not await page.evaluate("window.harmed")
        content = await page.content()
    await asyncio.wait(reading)
    assert any("id-1" in each for each in answers)
    for text in (content, *answers):
        assert SECRET not in text
        assert "abcdef" not in text


async def test_held_messages_are_seen_with_when_they_are_due_and_why(memory: Broker, port: Port, page: Page) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=3, first=500, cap=500, jitter=False), hold=1_000.0)
    Pays(bus)
    await port.open(bus.http(console=True, mask=["card"]))
    async with asyncio.timeout(100), bus, bus.serving():
        await bus.publish_many([paid(1, id="id-1", key="ann"), paid(2, id="id-2", key="bob")])
        await until(lambda: bus.stats["bus"].retried == 2)
        await page.goto(f"http://{port.name}/console")
        await seen(page, "#sources tr", "consuming")
        await page.click("#retry-show")
        await seen(page, "#retry-note", "the broker does not tell")
        await seen(page, "#held tr", "LookupError: no account for •••")
        row = page.locator("#held tr", has_text="id-2")
        await expect(row).to_contain_text("bob")
        await expect(row).to_contain_text("Z (in ")
        assert SECRET not in await page.content()


def is_handled(bus: Bus, count: int) -> bool:
    return bus.stats["bus"].handled == count


async def drawn(page: Page, canvas: str) -> bool:
    """Whether anything is drawn there."""
    found: bool = await page.locator(canvas).evaluate(
        "(it) => it.getContext('2d').getImageData(0, 0, it.width, it.height).data.some((each) => each > 0)"
    )
    return found


@pytest.fixture
def sqlite() -> Broker:
    return every_broker.sqlite()
