"""A headless Chromium for tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page, async_playwright, expect

WAIT = 60_000
"""Milliseconds for what the page is waited for."""


@asynccontextmanager
async def empty_page() -> AsyncIterator[Page]:
    """An empty page, with a minute for whatever is waited for."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program is not None, "there is no Chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=WAIT)
        try:
            page = await browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(WAIT)
            yield page
        finally:
            await browser.close()


async def seen(page: Page, selector: str, text: str) -> None:
    """Wait until an element with this text is visible."""
    await expect(page.locator(selector).filter(has_text=text).first).to_be_visible(timeout=WAIT)
