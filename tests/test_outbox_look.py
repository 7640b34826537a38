"""Which rows of the outbox are sent next, and that a look costs the same however many rows wait."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, inspect, literal, select, text, update
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool, StaticPool

from brokerkit import Bus
from brokerkit.outbox import Outbox, _look
from tests.stores import DATABASES, database_url

NOW = 1_800_000_000.0


def row(lane: str | None, *, attempts: int = 0, due: float = 0.0) -> dict[str, Any]:
    """A row of the outbox; what it sends does not matter here."""
    values = {"lane": lane, "attempts": attempts, "due": due}
    return {"id": "x", "target": "t", "message": "{}", "body": b"", "written": 0.0, **values}


async def outbox_on(url: str, rows: list[dict[str, Any]], **engine: Any) -> Outbox:
    outbox = Outbox(create_async_engine(url, **engine), Bus("memory://x", topic="t"), table=f"o{uuid.uuid4().hex[:10]}")
    await outbox.create_tables()
    if rows:
        async with outbox.engine.begin() as connection:
            await connection.execute(insert(outbox.table), rows)
    return outbox


def sendable(rows: dict[int, tuple[str | None, int, float]], now: float) -> set[int]:
    """What may be sent, said plainly: rows that are due, without a failed row before them in their lane."""
    return {
        n
        for n, (lane, attempts, due) in rows.items()
        if (due <= now or (attempts and due > now + _look.LONGEST_PAUSE))
        and (lane is None or not any(m < n and of == lane and tried for m, (of, tried, _) in rows.items()))
    }


def some_rows(chance: random.Random) -> list[dict[str, Any]]:
    """Rows as a relay leaves them: one that failed was the first of its lane."""
    rows = list[dict[str, Any]]()
    for _ in range(chance.randrange(50)):
        lane, due = chance.choice([None, *"abcde"]), chance.choice([0.0, 0.0, 0.0, 0.0, NOW - 1, NOW + 30, NOW + 1_000])
        first = lane is None or all(one["lane"] != lane for one in rows)
        rows.append(row(lane, due=due, attempts=int(due > 0 and first and chance.random() < 0.7)))
    return rows


@pytest.mark.parametrize("seed", range(12))
def test_all_that_may_be_sent_is_found_and_nothing_else_and_keys_keep_their_order(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    rows = some_rows(chance)

    async def run() -> None:
        outbox = await outbox_on("sqlite+aiosqlite://", rows, poolclass=StaticPool)
        try:
            await send_all(outbox)
        finally:
            await outbox.engine.dispose()

    async def send_all(outbox: Outbox) -> None:
        table = outbox.table
        look = _look.Look(outbox.engine, table, lambda: literal(NOW))
        for _ in range(len(rows) * 2 + 2):
            async with outbox.engine.connect() as connection:
                left = await connection.execute(select(table.c.n, table.c.lane, table.c.attempts, table.c.due))
                there = {n: (lane, attempts, due) for n, lane, attempts, due in left}
            may = sendable(there, NOW)
            found = (await look()).rows
            assert {one.n for one in found} <= may
            if not found:
                assert not may
                return
            # As the relay does: what is behind a failed row of its lane is not sent, and stays as it is.
            failed, sent, stuck = list[int](), list[int](), set[str | None]()
            for one in found:
                if one.lane is not None and one.lane in stuck:
                    continue
                if chance.random() < 0.2:
                    failed.append(one.n)
                    stuck.add(one.lane)
                    continue
                sent.append(one.n)
            for n in sent:
                lane = there[n][0]
                assert lane is None or {m for m in may if m < n and there[m][0] == lane} <= set(sent), "out of order"
            async with outbox.engine.begin() as connection:
                await connection.execute(delete(table).where(table.c.n.in_(sent)))
                tried = {"attempts": table.c.attempts + 1, "due": NOW + 10}
                await connection.execute(update(table).where(table.c.n.in_(failed)).values(tried))
        pytest.fail("rows that may be sent were not found")

    for name, value in (("_BATCH", 4), ("_RETRIES", 2), ("_WINDOW", 8), ("_JAMMED", 2)):
        monkeypatch.setattr(_look, name, value)
    asyncio.run(run())


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("waiting", ["behind a failed row", "for later", "after a failure, without a key"])
async def test_a_look_costs_the_same_however_many_rows_wait(
    kind: str, waiting: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = database_url(kind, request, tmp_path)
    costs: list[int] = []
    for count in (3_000, 15_000):
        failed = row("a" if waiting == "behind a failed row" else None, attempts=1, due=NOW * 2)
        many = {
            "behind a failed row": row("a"),
            "for later": row("a", due=NOW * 2),
            "after a failure, without a key": failed,
        }
        rows = [failed, *[many[waiting]] * count, row("b"), row(None)]
        outbox = await outbox_on(url, rows, poolclass=NullPool)
        # In the future as the test has it, no failed row waits for so long: that is the clock that was set back.
        look = _look.Look(outbox.engine, outbox.table, lambda: literal(NOW * 2 - 1))
        found = await look()
        assert [one.lane for one in found.rows] == ["b", None]
        assert found.due_in is not None and 0 < found.due_in <= 1
        costs.append(await cost_of(outbox, look))
    assert costs[1] < costs[0] * 1.5, costs


async def cost_of(outbox: Outbox, look: _look.Look) -> int:
    """Work of the database for a look: instructions of SQLite, or blocks that PostgreSQL reads."""
    if outbox.engine.dialect.name == "sqlite":
        # With statistics, SQLite has other plans than without.
        cost = await instructions(outbox, look)
        await execute(outbox, "ANALYZE")
        return cost + await instructions(outbox, look)
    await execute(outbox, f"VACUUM ANALYZE {outbox.table.name}")
    return await blocks(outbox, look)


async def execute(outbox: Outbox, statement: str) -> None:
    async with outbox.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(statement))


async def instructions(outbox: Outbox, look: _look.Look) -> int:
    cost = 0

    def step() -> None:
        nonlocal cost
        cost += 1

    def count(connection: Any, _: object) -> None:
        connection.driver_connection._conn.set_progress_handler(step, 10)

    event.listen(outbox.engine.sync_engine, "connect", count)
    await look()
    event.remove(outbox.engine.sync_engine, "connect", count)
    assert cost
    return cost


async def blocks(outbox: Outbox, look: _look.Look) -> int:
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(outbox.engine.sync_engine, "before_cursor_execute", note)
    await look()
    event.remove(outbox.engine.sync_engine, "before_cursor_execute", note)
    cost = 0
    async with outbox.engine.connect() as connection:
        for statement, parameters in statements:
            explained = await connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
            )
            plan = explained.scalar_one()
            [top] = json.loads(plan) if isinstance(plan, str) else plan
            cost += top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"]
    assert cost
    return cost


@pytest.mark.parametrize("kind", DATABASES)
async def test_a_table_of_an_older_version_gets_the_indexes_and_works_without_them(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    outbox = await outbox_on(database_url(kind, request, tmp_path), [row("a"), row("b")], poolclass=NullPool)
    names = {f"{outbox.table.name}_{name}" for name in ("keyed", "unkeyed", "failed", "retry", "later")}

    async def there() -> set[str | None]:
        async with outbox.engine.connect() as connection:
            found = await connection.run_sync(lambda sync: inspect(sync).get_indexes(outbox.table.name))
        return {index["name"] for index in found}

    async with outbox.engine.begin() as connection:
        for name in names:
            await connection.execute(text(f"DROP INDEX {name}"))
        await connection.execute(text(f"CREATE INDEX {outbox.table.name}_lane ON {outbox.table.name} (lane, n)"))
    assert not names & await there()
    assert [one.lane for one in (await outbox._look()).rows] == ["a", "b"]
    await outbox.create_tables()
    await outbox.create_tables()
    assert names < await there()
