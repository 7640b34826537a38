"""Which rows of the outbox can be sent now. The cost of a look does not grow with the rows that wait.

A row is *fresh* while it was not tried and no time is set (``due`` is 0). A *failed* row waits for its next attempt, and
holds back the fresh rows of its key that were written after it. A row *for later* becomes fresh when it is due.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Index,
    ScalarSelect,
    Select,
    Table,
    and_,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

LONGEST_PAUSE: Final = 60.0
"""Seconds that a failed row waits at most."""
_BATCH: Final = 500
_RETRIES: Final = _BATCH // 2
"""Failed rows in a batch at most: the others must not wait until none is left."""
_WINDOW: Final = 2 * _BATCH
_JAMMED: Final = _WINDOW // 4

_ZERO: Final[ColumnElement[Any]] = literal_column("0")
"""As text: with a parameter, a database cannot see that a partial index has all rows of a condition."""


def add_indexes(table: Table) -> None:
    """Add the indexes that a look needs. While all goes well, only the first two have entries.

    Each gives an order that no other index gives. So a database whose statistics are old cannot prefer another one.
    """
    for name, columns, rows in (
        ("keyed", ("lane", "n"), _keyed(table)),
        ("unkeyed", ("written",), _unkeyed(table)),
        ("failed", ("lane",), and_(_failed(table), table.c.lane.is_not(None))),
        ("retry", ("due",), _failed(table)),
        ("later", ("due",), _later(table)),
    ):
        Index(f"{table.name}_{name}", *(table.c[one] for one in columns), postgresql_where=rows, sqlite_where=rows)


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found: rows in the order in which they are to be sent, and the seconds until a waiting one is due."""

    rows: Sequence[Row[Any]]
    due_in: float | None


class Look:
    """Looks for the rows that can be sent: failed ones that are due, and the oldest fresh ones.

    Where most of the oldest are held back, it goes through the keys instead, and passes over the rest of a key that is held
    back. The next time, it goes on behind the key where it stopped, so that each key has its turn.

    Args:
        engine: of the database.
        table: of the events.
        now: makes an expression for the time where the rows are.
    """

    def __init__(self, engine: AsyncEngine, table: Table, now: Callable[[], ColumnElement[float]]) -> None:
        self._engine = engine
        self._table = table
        self._now = now
        self._stopped: str | None = None
        earlier = table.alias()
        # The sum keeps databases from walking through all earlier rows. At most a few of a lane have failed.
        self._held = exists().where(earlier.c.lane == table.c.lane, earlier.c.n + _ZERO < table.c.n, _failed(earlier))

    async def __call__(self) -> Found:
        """Return what can be sent now. Of each key, these are the first rows, without a gap."""
        table = self._table
        glance = select(
            self._now().label("now"),
            _one(select(func.min(table.c.due)).where(_failed(table))).label("retry"),
            _one(select(func.max(table.c.due)).where(_failed(table))).label("last_retry"),
            _one(select(func.min(table.c.due)).where(_later(table))).label("later"),
            _one(select(table.c.n).order_by(table.c.n).offset(_WINDOW - 1).limit(1)).label("end"),
        )
        async with self._engine.connect() as connection:
            seen = (await connection.execute(glance)).one()
        now: float = seen.now
        if seen.later is not None and seen.later <= now:
            await self._freshen(now)
        set_back = seen.last_retry is not None and seen.last_retry > now + LONGEST_PAUSE
        if set_back:
            await self._correct(now)
        async with self._engine.connect() as connection:
            rows = await self._retries(connection, now) if set_back or (seen.retry or now + 1) <= now else []
            rows += await self._fresh_rows(connection, seen.end, _BATCH - len(rows))
        rows.sort(key=lambda row: row.n)
        return Found(
            rows, min((at - now for at in (seen.retry, seen.later) if at is not None and at > now), default=None)
        )

    async def _freshen(self, now: float) -> None:
        """Make fresh what was for later and is due, some rows in each transaction."""
        table = self._table
        due = select(table.c.n).where(_later(table), table.c.due <= now).order_by(table.c.due).limit(_BATCH)
        while True:
            async with self._engine.begin() as connection:
                changed = await connection.execute(update(table).where(table.c.n.in_(due)).values(due=0.0))
            if changed.rowcount < _BATCH:
                return

    async def _correct(self, now: float) -> None:
        """Make due what failed and waits for longer than anything does: the clock was set back since."""
        table = self._table
        wrong = and_(_failed(table), table.c.due > now + LONGEST_PAUSE)
        async with self._engine.begin() as connection:
            await connection.execute(update(table).where(wrong).values(due=now))

    async def _retries(self, connection: AsyncConnection, now: float) -> list[Row[Any]]:
        table = self._table
        due = select(table).where(_failed(table), table.c.due <= now, ~self._held)
        return list((await connection.execute(due.order_by(table.c.due).limit(_RETRIES))).all())

    async def _fresh_rows(self, connection: AsyncConnection, end: int | None, wanted: int) -> Sequence[Row[Any]]:
        """Fresh rows that are not held back: of the oldest up to ``end``, or of any keys where these are held back."""
        table = self._table
        oldest = select(table, self._held.label("held")).where(_fresh(table))
        if end is not None:
            oldest = oldest.where(table.c.n <= end)
        window = oldest.order_by(table.c.n).limit(_WINDOW).subquery()
        free = select(*(window.c[one.name] for one in table.c)).where(~window.c.held)
        rows = (await connection.execute(free.order_by(window.c.n).limit(wanted))).all()
        if end is None or len(rows) >= _JAMMED:
            return rows
        went_on = self._stopped is not None
        numbers = await self._through_keys(connection, wanted)
        if went_on and not numbers:
            numbers = await self._through_keys(connection, wanted)
        return (await connection.execute(select(table).where(table.c.n.in_(numbers)))).all()

    async def _through_keys(self, connection: AsyncConnection, wanted: int) -> list[int]:
        """Numbers of rows in the order of keys, from where this stopped before, to the last key or until it has enough.

        It goes on with the next key even if it did not take all of this one: the rows that it has may not be sent, and then
        those behind them must not be next.
        """
        table, found = self._table, list[tuple[int, str]]()
        if self._stopped is None:
            unkeyed = select(table.c.n).where(_unkeyed(table)).order_by(table.c.written)
            numbers = await connection.scalars(unkeyed.limit(wanted))
            found = [(n, "") for n in numbers]
        lane, n = self._stopped or "", None
        while len(found) < wanted:
            behind = table.c.lane > lane if n is None else and_(table.c.lane == lane, table.c.n > n)
            page = select(table.c.n, table.c.lane, self._held.label("held")).where(_keyed(table), behind)
            rows = (await connection.execute(page.order_by(table.c.lane, table.c.n).limit(_BATCH))).all()
            found += [(row.n, row.lane) for row in rows if not row.held]
            if len(rows) == _BATCH:
                lane, n = rows[-1].lane, None if rows[-1].held else rows[-1].n
            elif n is not None:
                n = None
            else:
                break
        if len(found) >= wanted:
            self._stopped = found[wanted - 1][1]
        else:
            self._stopped = None
        return [number for number, _ in found[:wanted]]


def _fresh(table: FromClause) -> ColumnElement[bool]:
    return table.c.due == _ZERO


def _keyed(table: FromClause) -> ColumnElement[bool]:
    return and_(_fresh(table), table.c.lane.is_not(None))


def _unkeyed(table: FromClause) -> ColumnElement[bool]:
    return and_(_fresh(table), table.c.lane.is_(None))


def _failed(table: FromClause) -> ColumnElement[bool]:
    return table.c.attempts > _ZERO


def _later(table: FromClause) -> ColumnElement[bool]:
    return and_(table.c.attempts == _ZERO, table.c.due > _ZERO)


def _one(value: Select[tuple[Any]]) -> ScalarSelect[Any]:
    return value.scalar_subquery()
