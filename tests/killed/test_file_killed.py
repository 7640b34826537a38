"""A process killed at any step on an SQLite file loses nothing, and repeats no more than at-least-once says."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from brokerkit.outbox import Outbox
from tests.killed.file import ORDERS, made, main, rows

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.killed.file"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


async def run(role: str, path: Path, kill_at: str = "") -> None:
    """Run a process. It ends by itself, or is killed at the step."""
    process = FORK.Process(target=main, args=(role, str(path), kill_at), daemon=True)
    process.start()
    await asyncio.to_thread(process.join, 60.0)
    assert process.exitcode == (-signal.SIGKILL if kill_at else 0)
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def end_leases(path: Path) -> None:
    """Let the leases of a process that was killed be over; they last for 30 seconds."""
    rows(path, "UPDATE bk_pending SET until = 0 WHERE owner IS NOT NULL")


def messages(path: Path, topic: str) -> Counter[str]:
    """How often each message is in a topic, by its id; a dead letter's begins with that of its message."""
    found = f"SELECT m.id FROM bk_messages m JOIN bk_topics t ON t.id = m.topic WHERE t.name = '{topic}'"
    return Counter(id.partition("~")[0] for (id,) in rows(path, found))


def attempts(path: Path) -> list[tuple[str, int]]:
    """The id and number of each attempt that was made, in order."""
    log = path.with_suffix(".log")
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.parametrize(("step", "there"), [("publish, open", []), ("publish, committed", ["plain"])])
async def test_a_publish(step: str, there: list[str], path: Path) -> None:
    await run("publish", path, step)
    assert list(messages(path, "orders")) == there
    await run("publish", path)
    # One that was not confirmed may be there all the same; both have one id.
    assert messages(path, "orders") == Counter([*ORDERS, *there])


ONCE = [("plain", 1), ("again", 1), ("again", 2), ("bad", 1)]
"""Each attempt that is made where no process dies."""
SERVED = {
    "take, open": [],
    "take, committed": [],
    "handler begins": [],
    "handler ends": [("plain", 1)],
    "acknowledge, open": [("plain", 1)],
    "acknowledge, committed": [],
    "put_off, open": [("again", 1)],
    "put_off, committed": [],
    "publish, open": [("bad", 1)],  # the dead letter
    "publish, committed": [("bad", 1)],
}
"""Each step, and what is done twice when it is the end."""


@pytest.mark.parametrize("step", SERVED)
async def test_a_member_of_a_group(step: str, path: Path) -> None:
    await run("publish", path)
    await run("serve", path, step)
    end_leases(path)
    await run("serve", path)
    assert Counter(attempts(path)) == Counter([*ONCE, *SERVED[step]])
    assert messages(path, "orders") == Counter()
    letters = made(path).adapter().derived("orders", "g", "dlq")
    assert messages(path, letters) == Counter({"bad": 2 if step == "publish, committed" else 1})
    assert rows(path, "SELECT n FROM bk_pending") == []


@pytest.mark.parametrize("step", ["row written", "row committed", "relay begins", "publish, open", "relay sent"])
async def test_an_outbox_in_the_same_file(step: str, path: Path) -> None:
    outbox = Outbox(create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool), made(path))
    await outbox.create_tables()
    rows(path, "CREATE TABLE bookings (number INTEGER PRIMARY KEY)")
    await run("relay", path, step)
    written = {f"booked-{number}" for (number,) in rows(path, "SELECT number FROM bookings")}
    found = {id for (id,) in rows(path, "SELECT id FROM brokerkit_outbox")} | set(messages(path, "orders"))
    assert found == written  # the booking and its event are there, or neither is
    assert step != "row written" or not written
    await run("relay", path)
    assert rows(path, "SELECT number FROM bookings") == [(1,), (2,)]
    assert rows(path, "SELECT id FROM brokerkit_outbox") == []
    sent = messages(path, "orders")
    assert set(sent) == {"booked-1", "booked-2"}
    assert sent.total() == 2 or step == "relay sent"
