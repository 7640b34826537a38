"""A wallet that is killed at one step: run as a program by test_killed.py, and it ends itself where it is told to.

    python -m tests.killed.worker CONFIG DATABASE PREFIX

`KILL_AT` names the step at which the process sends itself SIGKILL; without it, it serves until it is ended. The steps are
wrapped here: the product knows nothing of them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncTransaction

from brokerkit import Bus, Message
from brokerkit._publishing._target import Target
from brokerkit.adapters.redis._stream_source import RedisStreamsSource
from brokerkit.dedupe import Dedupe, SqlStore, _sql
from brokerkit.outbox import Outbox

STEPS = (
    "claimed",
    "effect",
    "written",
    "returned",
    "flushed",
    "committed",
    "settled",
    "relay begins",
    "relay sent",
    "relay deleted",
)


def step(name: str) -> None:
    """Die here, if here is where."""
    if name and name == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)


def around(owner: type, method: str, *, before: str = "", after: str = "") -> None:
    """Make the beginning and the end of a method places to die at."""
    original: Callable[..., Awaitable[Any]] = getattr(owner, method)

    async def wrapped(*arguments: Any, **keywords: Any) -> Any:
        step(before)
        answer = await original(*arguments, **keywords)
        step(after)
        return answer

    setattr(owner, method, wrapped)


def parts(config: str, database: str, prefix: str) -> tuple[Bus, SqlStore, Outbox]:
    """What the wallet is made of; all its tables begin with the prefix."""
    bus = Bus.from_config(config)
    store = SqlStore(database, table=f"{prefix}_done")
    return bus, store, Outbox(store.engine, bus, table=f"{prefix}_outbox", poll=0.1, lease=1.0)


async def main(config: str, database: str, prefix: str) -> None:
    """Serve."""
    around(_sql._SqlClaim, "done", before="returned", after="committed")
    around(AsyncTransaction, "commit", before="flushed")
    around(RedisStreamsSource, "settle", after="settled")
    around(Outbox, "_send", before="relay begins", after="relay deleted")
    around(Target, "publish_many", after="relay sent")
    bus, store, outbox = parts(config, database, prefix)

    @bus.on("OnPlayerSeatedDown", dedupe=Dedupe(store, name="settle"))
    async def settle(event: Any, message: Message) -> None:
        step("claimed")
        row = {"player": event.player_id, "deal": message.id}
        await message.session.execute(text(f"INSERT INTO {prefix}_ledger VALUES (:player, :deal)"), row)
        step("effect")
        paid = {"playerId": event.player_id}
        await outbox.publish(message.session, "OnUserLoggedIn", paid, key=message.key, id=f"{message.id}-paid")
        step("written")

    async with bus, outbox:
        await bus.serve()


if __name__ == "__main__":
    import asyncio

    asyncio.run(main(*sys.argv[1:]))
