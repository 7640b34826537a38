"""A service that reads and publishes with `exactly_once = true`, and whoever reads its results."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from brokerkit import Bus, Message, adapters
from brokerkit._config._settings import ConnectionSettings
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until_async

SEATED, PAID = "OnPlayerSeatedDown", "OnUserLoggedIn"


class Scene:
    """A bus that reads deals and publishes what it pays for them, and whoever reads that."""

    def __init__(
        self, broker: Broker, folder: Path, *, options: Mapping[str, Any] | None = None, **source: Any
    ) -> None:
        self.broker = broker
        self.folder = folder
        self.source = {"exactly_once": True, "retry": {"attempts": 3, "first": 0.01, "cap": 0.02}, **source}
        self.here = dict(broker.settings)
        if options is not None:
            self.here["options"] = {**self.here["options"], **options}
        self.bus = self.make()

    def make(self, **targets: Mapping[str, Any]) -> Bus:
        """A bus, with more targets beside ``paid``."""
        tables: dict[str, Any] = {
            "bus": {"format": "evenbet", "provision": "all", "stop_timeout": 10.0},
            "sources.deals": {"topic": self.broker.topic("deals"), "group": "wallet", **self.here, **self.source},
            "targets.paid": {"topic": self.broker.topic("paid"), **self.here},
            **{f"targets.{name}": target for name, target in targets.items()},
        }
        path = self.folder / f"{uuid.uuid4().hex}.toml"
        path.write_text("".join(f"[{name}]\n{lines(table)}" for name, table in tables.items()))
        return Bus.from_config(path)

    async def deal(self, *numbers: int, key: str | None = "k") -> None:
        async with self.broker.bus(topic=self.broker.topic("deals")) as bus:
            for number in numbers:
                await bus.publish(OnPlayerSeatedDown(player_id=number), key=key, id=f"deal-{number}")

    async def read(self, topic: str) -> list[Any]:
        """Everything that somebody who reads what is committed finds in a topic now."""
        adapter = adapters.make(ConnectionSettings.model_validate(dict(self.broker.settings)).connection())
        await adapter.open()
        try:
            async with aclosing(adapter.browse([topic])) as found:
                return [one async for one in found]
        finally:
            await adapter.close()

    async def paid(self) -> list[str]:
        """The ids of all results."""
        return [str(one.id) for one in await self.read(self.broker.topic("paid"))]

    async def letters(self) -> list[str]:
        adapter = self.bus.adapter()
        return [str(one.id) for one in await self.read(adapter.derived(self.broker.topic("deals"), "wallet", "dlq"))]

    async def nothing_waits(self) -> bool:
        health = (await self.bus.health(lag=True)).sources["deals"]
        return health.lag == 0 and health.in_flight == 0

    async def over(self) -> None:
        """Wait until everything is settled."""
        await until_async(self.nothing_waits)

    def pay(self, message: Message, what: str = "paid") -> Any:
        return self.bus.publish(PAID, {"playerId": 1}, to="paid", key=message.key, id=f"{message.id}-{what}")


def lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {toml(value)}\n" for name, value in table.items())


def toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{name}" = {toml(inner)}' for name, inner in value.items()) + "}"
    return json.dumps(value)
