"""A bus over HTTP, on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import ConsoleMessage, Error, Page

from tests.browser import empty_page
from tests.http.port import Port


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    made = Port()
    yield made
    await made.close()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page whose scripts raise no error, and that asks nothing that its policy forbids."""
    wrong = list[str]()

    def note(said: ConsoleMessage | Error) -> None:
        if isinstance(said, Error) or "Content Security Policy" in said.text:
            wrong.append(str(said) if isinstance(said, Error) else said.text)

    async with empty_page() as page:
        page.on("console", note)
        page.on("pageerror", note)
        yield page
    assert not wrong
