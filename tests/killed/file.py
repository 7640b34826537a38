"""Processes on one SQLite file that is broker and database at once. Each kills itself at one step.

test_file_killed.py runs them. The steps are wrapped here: the product knows nothing of them. The name of a step is that of a
function on the tables, and says whether its transaction is still ``open``, or ``committed`` without its caller knowing it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from brokerkit import Bus, Message, Reject, Retry
from brokerkit._publishing._target import Target
from brokerkit.adapters.sqlite import _statements
from brokerkit.adapters.sqlite._database import Database
from brokerkit.outbox import Outbox

ORDERS = ("plain", "again", "bad")
"""The ids of what is published: one is handled, one is put off once, one becomes a dead letter."""


def step(name: str, kill_at: str) -> None:
    """Die here, if here is where."""
    if name == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)


def wrap(kill_at: str) -> None:
    """Make the functions on the tables places to die at, in their transaction and after it."""
    ran = list[str]()

    def around(name: str) -> None:
        original: Callable[..., Any] = getattr(_statements, name)

        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            answer = original(*arguments, **keywords)
            if answer != []:  # nothing was there to take
                ran.append(name)
                step(f"{name}, open", kill_at)
            return answer

        setattr(_statements, name, wrapped)

    for name in ("publish", "take", "acknowledge", "put_off"):
        around(name)
    transaction = Database._transaction

    def committed(database: Database, work: Callable[[sqlite3.Connection], Any]) -> Any:
        answer = transaction(database, work)
        for name in ran:
            step(f"{name}, committed", kill_at)
        ran.clear()
        return answer

    setattr(Database, "_transaction", committed)  # noqa: B010 (a class's method)


def made(path: Path, **settings: Any) -> Bus:
    """A bus on the file."""
    return Bus(f"sqlite:///{path}", topic="orders", group="g", format="json", provision="all", **settings)


async def publish(path: Path, kill_at: str) -> None:
    """Publish all orders, one after another."""
    async with made(path) as bus:
        for order in ORDERS:
            await bus.publish(Message("Order", b"{}", id=order))


async def serve(path: Path, kill_at: str) -> None:
    """Handle the orders, one after another, until nothing is left to do; write a line for each attempt that was made."""
    log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    bus = made(path, max_in_flight=1, concurrency=1, hold=0.01, retry=3)

    @bus.on("*")
    async def handle(event: object, message: Message) -> None:
        step("handler begins", kill_at)
        os.write(log, json.dumps([message.id, message.attempt]).encode() + b"\n")
        step("handler ends", kill_at)
        if message.id == "bad":
            raise Reject("it is bad")
        if message.id == "again" and message.attempt == 1:
            raise Retry(after=0.05)

    async with bus, bus.serving():
        while rows(path, "SELECT 1 FROM bk_messages JOIN bk_topics t ON t.id = topic WHERE t.name = 'orders'"):
            await asyncio.sleep(0.01)


def rows(path: Path, statement: str) -> list[Any]:
    """Run a statement past brokerkit, and return its rows."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement).fetchall()


async def relay(path: Path, kill_at: str) -> None:
    """Write two bookings, each with its event, in a transaction for each, and relay what was committed."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
    bus = made(path)
    outbox = Outbox(engine, bus, poll=0.05, lease=0.2)
    original = Target.publish_many

    async def sent(target: Target, batch: Sequence[Any]) -> Any:
        step("relay begins", kill_at)
        answer = await original(target, batch)
        step("relay sent", kill_at)
        return answer

    setattr(Target, "publish_many", sent)  # noqa: B010 (a class's method)
    async with bus, outbox:
        for number in (1, 2):
            async with AsyncSession(engine) as session, session.begin():
                new = text(f"INSERT INTO bookings VALUES ({number}) ON CONFLICT DO NOTHING RETURNING number")
                if (await session.execute(new)).first() is not None:
                    await outbox.publish(session, Message("Booked", b"{}", id=f"booked-{number}"))
                step("row written", kill_at)
            step("row committed", kill_at)
        while rows(path, "SELECT 1 FROM brokerkit_outbox"):
            await asyncio.sleep(0.01)


ROLES = {"publish": publish, "serve": serve, "relay": relay}


def main(role: str, path: str, kill_at: str) -> None:
    """Do one thing on the file, and die at the step that is given, if any."""
    wrap(kill_at)
    asyncio.run(ROLES[role](Path(path), kill_at))
