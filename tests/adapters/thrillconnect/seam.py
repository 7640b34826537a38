"""What the tests of ThrillConnect's source share: a bus, what its handlers note, and its failures."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from tests.adapters.thrillconnect_server import ThrillConnectServer, sample
from tests.every_broker import until

from brokerkit import Bus, Handlers, Message
from brokerkit.events.thrillconnect import OptInChoice
from brokerkit.thrillconnect import Client, client_of

JACKPOT = sample("JackpotUpdate")
CHOICE = OptInChoice(instance_id="i-1", player_id="pl-7", brand_id="northlight:lumen", player_country="SE", opt_in=True)


class Noted:
    """What handlers of every name got."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.events: list[Any] = []
        self.handlers = Handlers()
        self.handlers.on("*")(self.note)

    async def note(self, event: Any, message: Message) -> None:
        self.events.append(event)
        self.messages.append(message)

    @property
    def names(self) -> list[str]:
        return [message.name for message in self.messages]


def make_bus(server: ThrillConnectServer, noted: Noted, /, **settings: Any) -> Bus:
    options = {"token": "good", "currency": "EUR", **settings.pop("options", {})}
    bus = Bus(server.url, **{"topic": "thrillpots", "format": "thrillconnect", "options": options, **settings})
    bus.include(noted.handlers)
    return bus


@contextlib.asynccontextmanager
async def consuming(
    bus: Bus, server: ThrillConnectServer, *, on_source_failure: Literal["raise", "log"] = "raise"
) -> AsyncIterator[Client]:
    """A bus that consumes, and whose subscription the server has."""
    async with asyncio.timeout(60), bus.serving(on_source_failure=on_source_failure):
        await until(lambda: bool(server.connections))
        yield client_of(bus)


async def failure_of(bus: Bus) -> BaseException:
    with pytest.raises(Exception) as caught:
        async with asyncio.timeout(60):
            await bus.serve()
    return caught.value


def shown(error: BaseException | None) -> str:
    """All that a traceback tells of an error."""
    return "" if error is None else "".join(traceback.format_exception(error)) + repr(error)
