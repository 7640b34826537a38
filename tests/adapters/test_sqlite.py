"""The embedded durable broker: what only a file and several processes can show. What all brokers keep is in the suites."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import sys
import textwrap
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.every_broker import until, until_async

from brokerkit import Bus, ConfigError, ConnectionLost, Message, PublishError, Retry
from brokerkit._clock import wall_time
from brokerkit.adapters.sqlite._wake import folder_of

ROOT = Path(__file__).parents[2]
MANY = 600
KILLS = 8

MEMBER = textwrap.dedent(
    """
    import asyncio, glob, os, sys
    from brokerkit import Bus

    url, log, lease, members = sys.argv[1:5]
    bus = Bus(url, topic="t", group="g", format="json", lease=float(lease), max_in_flight=40, concurrency=8)

    @bus.on("*")
    async def handle(event, message):
        open(f"{log}-begun-{os.getpid()}", "a").close()
        while len(glob.glob(f"{log}-begun-*")) < int(members):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.002)
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {message.key} {message.id}\\n")

    bus.run()
    """
)

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/broker.db"


def bus_on(url: str, **settings: Any) -> Bus:
    given: dict[str, Any] = {"topic": "t", "group": "g", "format": "json", "provision": "all", **settings}
    return Bus(url, **given)


@pytest.fixture
async def start(url: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts members of a group as processes of their own; those that are left are killed."""
    running: list[Process] = []

    async def member(log: Path, *, lease: float = 1.0, members: int = 1) -> Process:
        """One of so many: the first handlers of each wait until all have begun."""
        given = (url, str(log), str(lease), str(members))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MEMBER, *given, cwd=ROOT, env={**os.environ}, stderr=PIPE
        )
        running.append(process)
        return process

    yield member
    for process in running:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def handled(log: Path) -> list[tuple[str, str, str]]:
    """Process, key and id of each message that was handled, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(line.split()[0], line.split()[1], line.split()[2]) for line in lines]


async def publish_numbered(url: str, count: int, *, keys: int) -> list[str]:
    ids = [f"m{number:05}" for number in range(count)]
    async with bus_on(url) as bus:
        await bus.publish_many([Message("E", b"{}", id=id, key=f"k{n % keys}") for n, id in enumerate(ids)])
    return ids


async def test_nothing_is_lost_by_members_that_are_killed_again_and_again(
    url: str, start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "handled"
    ids = await publish_numbered(url, MANY, keys=7)
    for kill in range(KILLS):
        member = await start(log)
        wanted = (kill + 1) * 40
        await until(lambda wanted=wanted: len(handled(log)) >= wanted, seconds=60)
        member.send_signal(signal.SIGKILL)
        await member.wait()
    await start(log)
    await until(lambda: len({id for _, _, id in handled(log)}) == MANY, seconds=60)
    twice = sum(Counter(id for _, _, id in handled(log)).values()) - MANY
    assert {id for _, _, id in handled(log)} == set(ids)
    assert twice <= KILLS * 40  # what was in flight when a member was killed


async def test_order_by_key_holds_across_processes(url: str, start: Start, tmp_path: Path) -> None:
    log = tmp_path / "handled"
    async with bus_on(url):
        pass  # the topic is there
    for _ in range(2):
        await start(log, lease=30.0, members=2)
    readers = folder_of(tmp_path / "broker.db")
    await until(lambda: readers.exists() and len(list(readers.iterdir())) == 2, seconds=60)
    await publish_numbered(url, MANY, keys=150)
    await until(lambda: len(handled(log)) >= MANY, seconds=60)
    found = handled(log)
    assert len({process for process, _, _ in found}) == 2
    for key in {key for _, key, _ in found}:
        assert [id for _, k, id in found if k == key] == sorted(id for _, k, id in found if k == key)


async def test_a_reader_is_woken_by_a_publish_of_another_process(url: str, tmp_path: Path) -> None:
    bus, arrived = bus_on(url), asyncio.Event()

    @bus.on("*")
    async def handle(event: Any, message: Message) -> None:
        arrived.set()

    async with bus, bus.serving():
        [ear] = folder_of(tmp_path / "broker.db").iterdir()
        assert ear.is_socket()
        code = f"""
            import asyncio
            from brokerkit import Bus, Message
            async def main():
                async with Bus({url!r}, topic="t", format="json") as bus:
                    await bus.publish(Message("E", b"{{}}"))
            asyncio.run(main())
        """
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(code), cwd=ROOT)
        async with asyncio.timeout(30):
            await arrived.wait()
        assert await process.wait() == 0
    assert list(folder_of(tmp_path / "broker.db").iterdir()) == []


async def test_a_socket_whose_process_was_killed_is_removed_by_the_next_publish(url: str, tmp_path: Path) -> None:
    async with bus_on(url) as bus:
        folder = folder_of(tmp_path / "broker.db")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        left.bind(str(folder / "4711-left"))
        left.close()
        await bus.publish(Message("E", b"{}"))
        assert list(folder.iterdir()) == []


async def test_a_full_disk_is_an_error_that_says_so_and_nothing_is_half_written(url: str, tmp_path: Path) -> None:
    async with bus_on(url, publish_timeout=3.0) as bus:
        await bus.publish(Message("E", b"{}", id="before"))
        await _limit_pages(bus)
        with pytest.raises((ConnectionLost, PublishError), match="full"):
            await bus.publish(Message("E", b"x" * 2_000_000, id="too many"))
        await bus.publish(Message("E", b"{}", id="after"))
    with sqlite3.connect(tmp_path / "broker.db") as db:
        assert [id for (id,) in db.execute("SELECT id FROM bk_messages ORDER BY n")] == ["before", "after"]


async def test_consuming_waits_while_the_disk_is_full_and_goes_on_when_there_is_room(url: str) -> None:
    counts, sent = Counter[str | None](), list[str]()
    bus = bus_on(url, publish_timeout=3.0)

    @bus.on("*")
    async def handle(event: Any, message: Message) -> None:
        counts[message.id] += 1

    async with bus:
        async with bus.serving():
            pass  # the group is there
        await _limit_pages(bus)
        for start in range(0, 10_000, 50):
            ids = [f"m{number}" for number in range(start, start + 50)]
            results = await bus.publish_many([Message("E", b"{}", id=id, key=id) for id in ids])
            if isinstance(results[0], Exception):
                break
            sent += ids
        with pytest.raises(ConnectionLost, match=r"full; make room where .*broker\.db is"):
            raise results[0]
        async with bus.serving():

            async def waits() -> bool:
                found = (await bus.health()).sources["bus"]
                return found.state == "reconnecting" and "full" in str(found.error)

            await until_async(waits)
            assert not counts
            await _limit_pages(bus, 1_000_000)
            await until(lambda: len(counts) == len(sent), seconds=60)
            await bus.publish(Message("E", b"{}", id="later"))
            await until(lambda: "later" in counts)
    assert counts == Counter([*sent, "later"])


async def _limit_pages(bus: Bus, pages: int = 60) -> None:
    """Have the file be as large as the disk: SQLite says the same of both."""
    adapter: Any = bus.adapter()
    await adapter._database.run(
        lambda database: database._opened().execute(f"PRAGMA max_page_count = {pages}").fetchall()
    )


async def test_what_is_settled_by_every_group_leaves_the_file(url: str, tmp_path: Path) -> None:
    counts = Counter[str]()
    async with bus_on(url) as publisher:
        for group in ("one", "two"):
            bus = bus_on(url, group=group)

            @bus.on("*")
            async def handle(event: Any, message: Message) -> None:
                counts[group] += 1  # noqa: B023 (the bus of a group ends with its turn of the loop)

            async with bus, bus.serving():
                if group == "one":
                    async with bus_on(url, group="two") as other, _reading(other):
                        pass
                    await publisher.publish_many([Message("E", b"{}") for _ in range(20)])
                await until(lambda group=group: counts[group] == 20)
            with sqlite3.connect(tmp_path / "broker.db") as db:
                left = 20 if group == "one" else 0
                assert db.execute("SELECT count(*) FROM bk_messages").fetchone() == (left,)


def _reading(bus: Bus) -> Any:
    @bus.on("OnGameDone")
    async def handle(event: Any) -> None: ...

    return bus.serving()


async def test_leases_of_before_a_restart_of_the_machine_are_over(url: str, tmp_path: Path) -> None:
    await publish_numbered(url, 1, keys=1)
    async with bus_on(url) as bus, _reading(bus):
        pass  # the group is there
    with sqlite3.connect(tmp_path / "broker.db") as db:
        [(group,)] = db.execute("SELECT id FROM bk_groups WHERE name = 'g'")
        [(n,)] = db.execute("SELECT n FROM bk_messages")
        db.execute("DELETE FROM bk_pending")
        db.execute(
            "INSERT INTO bk_pending (grp, n, owner, until, due, deliveries) VALUES (?, ?, 'killed', 1e12, 0, 1)",
            (group, n),
        )
        db.execute("UPDATE bk_groups SET next = ?", (n + 1,))
        db.execute("UPDATE bk_boot SET id = 'another'")
    got = asyncio.Event()
    bus = bus_on(url)

    @bus.on("*")
    async def handle(event: Any, message: Message) -> None:
        got.set()

    async with asyncio.timeout(20), bus, bus.serving():
        await got.wait()


async def test_a_retry_is_kept_with_its_failures_while_no_process_runs(url: str, tmp_path: Path) -> None:
    attempts = list[int]()
    ended = asyncio.Event()

    def made() -> Bus:
        bus = bus_on(url, hold=0.01)

        @bus.on("*")
        async def handle(event: Any, message: Message) -> None:
            attempts.append(message.attempt)
            if message.attempt == 1:
                raise Retry(after=1.0)
            ended.set()

        return bus

    await publish_numbered(url, 1, keys=1)
    async with made() as bus, bus.serving():
        await until(lambda: bus.stats["bus"].retried == 1)
    begun = wall_time()
    async with asyncio.timeout(20), made() as bus, bus.serving():
        await ended.wait()
    assert attempts == [1, 2]
    assert wall_time() - begun < 20


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://host/file.db", "a file has no host"),
        ("sqlite://", "the file is missing"),
        ("sqlite:///file.db?synchronous=off", "full or normal"),
        ("sqlite:///file.db?journal=off", "'journal' is not known"),
    ],
)
def test_a_wrong_url_is_refused_before_anything_is_opened(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Bus(url, topic="t")


async def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are no tables " * 100)
    with pytest.raises(ConfigError, match=r"notes.txt is not an SQLite database"):
        async with Bus(f"sqlite:///{path}", topic="t"):
            pass
