"""The console in a headless Chromium: a message fails, is seen, mended, replayed, handled and gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from brokerkit import RetryPolicy
from tests.browser import seen
from tests.every_broker import Broker, until
from tests.http.port import Port
from tests.http.test_letters import NAME, TOKEN, failed, listed, seated

EVIL = '<img src=x onerror="window.harmed = true">'
ROOT = Path(__file__).parent.parent.parent
SHORTEN = """(root) => {
    const traceback = document.getElementById("traceback");
    traceback.textContent = traceback.textContent.replaceAll(`${root}/`, "");
}"""
"""Takes this machine's folders out of what is shown."""


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq", "sqs", "redis-streams"], indirect=True)
async def test_a_message_fails_is_seen_mended_replayed_handled_and_gone(broker: Broker, port: Port, page: Page) -> None:
    bus = broker.bus(retry=RetryPolicy(attempts=1))
    messages = [seated(1, id="id-1", headers={"note": EVIL}), seated(2, id="id-2")]
    async with failed(bus, port, *messages) as seats:
        await page.goto(f"http://{port.name}/console")
        await seen(page, "#sources tr", "consuming")
        await seen(page, "#targets tr", "open")
        await seen(page, "#handlers tr", "LookupError: 2")
        await page.click("#group")
        await seen(page, "#groups tr", "LookupError")
        await page.click("text=List these")
        await seen(page, "#letters tr", "id-2")
        row = page.locator("#letters tr", has_text="id-1")
        await row.get_by_text("Show").click()
        await seen(page, "#facts", EVIL)
        assert await page.input_value("#body") == '{"playerId": 1}'
        if (path := os.environ.get("BROKERKIT_SCREENSHOT")) and broker.name == "kafka":
            await seen(page, "#sources tr", "/s")  # there is a rate
            await page.evaluate(SHORTEN, str(ROOT))
            await page.screenshot(path=path, full_page=True)

        await page.fill("#body", '{"playerId": 101}')
        await page.click("#replay-edited")
        await seen(page, "#outcome", "give your name first")
        await page.fill("#by", "Zoë")
        await page.click("#replay-edited")
        await seen(page, "#outcome", "1 replayed")
        await until(lambda: seats.seated == [101], seconds=60)
        await seen(page, "#handlers tr", "≤")  # how long it took
        await expect(row).to_have_count(0)
        assert [each["id"] for each in (await listed(port))["letters"]] == ["id-2"]

        await page.check("#choose")
        await page.click("#purge-chosen")
        await page.click("#sure-yes")
        await seen(page, "#outcome", "1 purged")
        assert not (await listed(port))["letters"]

        await page.click("#sources button")
        await seen(page, "#sources tr", "paused over HTTP")
        await page.click("#sources button")
        await seen(page, "#sources tr", "consuming")
        assert not await page.evaluate("window.harmed")


async def test_it_asks_for_the_token_and_without_control_it_only_shows(memory: Broker, port: Port, page: Page) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, seated(1, id="id-1"), token=TOKEN, control=False):
        await page.goto(f"http://{port.name}/console")
        await seen(page, "#problem", "Authorization")
        await page.fill("#token", TOKEN)
        await page.click("#who button")
        await seen(page, "#sources tr", "consuming")
        await page.click("#list")
        await seen(page, "#letters tr", "id-1")
        await page.click("#letters button")
        await seen(page, "#facts", NAME)
        assert await page.locator(".control:visible").count() == 0
        stored: Any = await page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]")
        assert stored == ["", 0, 0]


async def test_a_hundred_letters_are_turned_over_and_what_matches_is_replayed(
    memory: Broker, port: Port, page: Page
) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, *(seated(number, id=f"id-{number}") for number in range(100))) as seats:
        await page.goto(f"http://{port.name}/console")
        await seen(page, "#sources tr", "consuming")
        await page.click("#list")
        await seen(page, "#outcome", "1 to 50 of more")
        await page.click("#next")
        await seen(page, "#outcome", "51 to 100")
        await expect(page.locator("#next")).to_be_disabled()
        await page.fill("#text", '"playerId": 7}')
        await page.click("#list")
        await seen(page, "#outcome", "1 to 1")
        await expect(page.locator("#replay-all")).to_be_disabled()
        await page.fill("#text", "")
        await page.fill("#error", "LookupError")
        await page.click("#list")
        await seen(page, "#outcome", "1 to 50 of more")
        await page.click("#purge-all")
        await page.click("#sure-yes")
        await seen(page, "#outcome", "100 purged")
        assert not seats.seated
        assert not [each async for each in bus.dead_letters()]
