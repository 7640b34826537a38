"""What the cases share: handlers that note what they get, and ways to wait for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from brokerkit._bus import Bus
from brokerkit._errors import BrokerkitError
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Receipt

NAME = "Numbered"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""A valid one, with the ids of W3C Trace Context's own examples (section 3.2)."""


def numbered(number: int, **more: Any) -> Message:
    """A message whose body is a JSON object with a number."""
    return Message(NAME, json.dumps({"n": number}).encode(), **more)


def accepted(results: Iterable[Receipt | BrokerkitError]) -> list[Receipt]:
    """The receipts, where all of them are."""
    receipts = list[Receipt]()
    for result in results:
        assert isinstance(result, Receipt), result
        receipts.append(result)
    return receipts


def not_in(url: str, error: BaseException) -> bool:
    """Whether an error is silent about the password of a URL."""
    password = urlsplit(url).password
    return not password or password not in f"{error!r} {error}"


class Recorder:
    """Handles every event: notes it, then does what it is told to.

    Attributes:
        numbers: the numbers of all messages in the order in which handlers began, those that come again included.
        done: the numbers of those whose handler returned.
        messages: what the handlers saw.
    """

    def __init__(self, act: Callable[[int, Message], Any] | None = None) -> None:
        self.numbers: list[int] = []
        self.done: list[int] = []
        self.messages: list[Message] = []
        self._act = act

    async def handle(self, event: Any, message: Message) -> None:
        """The handler."""
        number: int = event["n"]
        self.numbers.append(number)
        self.messages.append(message)
        if self._act is not None:
            answer = self._act(number, message)
            if asyncio.iscoroutine(answer):
                await answer
        self.done.append(number)

    @asynccontextmanager
    async def serving(self, bus: Bus) -> AsyncGenerator[Bus]:
        """Serve a bus with this handler, once or again, for as long as the block lasts."""
        if not len(bus.handlers):
            bus.handlers.on("*")(self.handle)
        async with bus, bus.serving():
            yield bus

    async def wait(self, count: int) -> None:
        """Wait until this number of handlers have returned."""
        await until(lambda: len(self.done) >= count)

    async def wait_for(self, numbers: Iterable[int]) -> None:
        """Until each of these has been handled."""
        wanted = set(numbers)
        await until(lambda: wanted <= set(self.done))


async def until(true: Callable[[], object]) -> None:
    """Wait until something that no event tells is true; the case's limit ends it otherwise."""
    while not true():
        await asyncio.sleep(0.01)
