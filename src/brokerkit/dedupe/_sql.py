"""A store in the handler's own database: the mark is a row of the handler's own transaction.

There is no lease here. A claim is a transaction that is open: when its process dies, the database ends it, and with it go
the mark and everything that the handler wrote.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import Column, Double, MetaData, String, Table, delete, func, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, AsyncTransaction, create_async_engine

from brokerkit import _clock
from brokerkit._errors import BrokerkitError, ConfigError, ConnectionLost, MissingExtra, NotFound
from brokerkit._url import mask
from brokerkit.dedupe._store import DONE, Done, Taken

logger = logging.getLogger("brokerkit")

_ASK_AGAIN: Final = 0.5
"""Seconds after which a key is asked for again: no database tells when a transaction of somebody else will end."""
_SWEEP_SECONDS: Final = 600.0
_SWEEP_ROWS: Final = 1_000
_LONGEST_KEY: Final = 500

_USERS: Final = WeakKeyDictionary[AsyncEngine, int]()
"""The engines that were made here, and how many use them."""
AFTER_COMMIT: Final = "brokerkit.after_commit"
"""Entry of a session's ``info``: what to call when the transaction of its message has been committed."""


class SqlStore:
    """Remembers in a table, in the transaction that the handler writes in: effect and mark are committed, or neither.

    The handler gets the transaction's session as ``message.session``. What it writes with any other connection is not
    part of it. The transaction commits when the handler returns, whatever the handler commits before, and is rolled back
    when it fails. Works on PostgreSQL and on SQLite.

    Args:
        engine: an engine of SQLAlchemy, or the URL of one of its own: ``postgresql+asyncpg://…``,
            ``sqlite+aiosqlite:///file``. It needs a connection for each handler that runs at once.
        table: name of the table.
        schema: of the table; by default the database's own default.
        metadata: what the table is added to, so that Alembic finds it; by default one of its own.

    Raises:
        ConfigError: the URL is none, or its database is neither PostgreSQL nor SQLite.
        MissingExtra: the driver is not installed.
    """

    transactional: bool = True

    def __init__(
        self,
        engine: AsyncEngine | str,
        *,
        table: str = "brokerkit_done",
        schema: str | None = None,
        metadata: MetaData | None = None,
    ) -> None:
        self.engine = engine_of(engine)
        self.table = Table(
            table,
            metadata if metadata is not None else MetaData(),
            Column("key", String(_LONGEST_KEY), primary_key=True),
            Column("done_at", Double, nullable=False, comment="Unix time in seconds"),
            Column("expires", Double, nullable=False, index=True, comment="Unix time in seconds"),
            schema=schema,
        )
        self._locks = self.engine.dialect.name == "postgresql"
        insert = postgresql.insert if self._locks else sqlite.insert
        row = insert(self.table)
        self._mark = row.on_conflict_do_update(
            index_elements=[self.table.c.key],
            set_={"done_at": row.excluded.done_at, "expires": row.excluded.expires},
            where=self.table.c.expires <= row.excluded.done_at,
        ).returning(self.table.c.key)
        self._turn = _NoTurn() if self._locks else asyncio.Lock()
        self._sweep_at = _clock.now() + _SWEEP_SECONDS

    def __repr__(self) -> str:
        return f"<SqlStore {self.engine.url.render_as_string()} {self.table.fullname}>"

    async def create_tables(self) -> None:
        """Create the table where it is missing."""
        async with self.engine.begin() as connection:
            await connection.run_sync(self.table.create, checkfirst=True)

    async def open(self) -> None:
        """See `Store.open`."""
        await check_table(self.engine, self.table, create="SqlStore.create_tables()")
        join(self.engine)

    async def close(self) -> None:
        """See `Store.close`; an engine that was given stays open."""
        await leave(self.engine)

    async def claim(self, key: str, *, lease: float, keep: float) -> _SqlClaim | Taken | Done:
        """See `Store.claim`; the lease is the database's own: as long as the connection lives."""
        # SQLite has one writer: the tasks of this process take turns here instead of at a lock that they must poll.
        await self._turn.acquire()
        connection: AsyncConnection | None = None
        try:
            connection = await self.engine.connect()
            transaction = await connection.begin()
            now = _clock.now()
            if self._locks and not await connection.scalar(select(func.pg_try_advisory_xact_lock(self._number(key)))):
                answer: Taken | Done = Taken(_ASK_AGAIN)
            elif (await connection.execute(self._mark, {"key": key, "done_at": now, "expires": now + keep})).first():
                return _SqlClaim(self, connection, transaction)
            else:
                answer = DONE
        except (SQLAlchemyError, OSError) as error:
            await self.give_back(connection)
            raise lost(self, error) from error
        except BaseException:
            await self.give_back(connection)
            raise
        await self.give_back(connection)
        return answer

    async def give_back(self, connection: AsyncConnection | None) -> None:
        """Roll back what is not committed, and let the next one have its turn."""
        try:
            if connection is not None:
                await _close(connection)
        finally:
            self._turn.release()

    async def sweep(self) -> None:
        """Forget what has expired, now and then."""
        if (now := _clock.now()) < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_SECONDS
        old = select(self.table.c.key).where(self.table.c.expires <= now).limit(_SWEEP_ROWS)
        try:
            async with self.engine.begin() as connection:
                await connection.execute(
                    delete(self.table).where(self.table.c.key.in_(old.with_for_update(skip_locked=True)))
                )
        except (SQLAlchemyError, OSError) as error:
            logger.warning("%r: what has expired stays for now: %s", self, type(error).__name__)

    def _number(self, key: str) -> int:
        """The number of a key's lock. Two keys of one number wait for each other, which does no harm."""
        digest = hashlib.sha256(f"{self.table.fullname} {key}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


class _SqlClaim:
    __slots__ = ("_after_commit", "_connection", "_ended", "_store", "_transaction", "session")

    def __init__(self, store: SqlStore, connection: AsyncConnection, transaction: AsyncTransaction) -> None:
        self._store = store
        self._connection = connection
        self._transaction = transaction
        self._after_commit: list[Callable[[], None]] = []
        self._ended = False
        # What the handler commits or rolls back is a savepoint: the transaction ends here and nowhere else.
        self.session = AsyncSession(
            connection,
            join_transaction_mode="create_savepoint",
            expire_on_commit=False,
            info={AFTER_COMMIT: self._after_commit},
        )

    async def extend(self) -> bool:
        return True

    async def done(self) -> bool:
        try:
            await self.session.commit()
            await self._transaction.commit()
        except (DBAPIError, OSError) as error:
            if isinstance(error, OSError) or error.connection_invalidated:
                raise lost(self._store, error) from error
            raise
        for call in self._after_commit:
            call()
        await self._end()
        await self._store.sweep()
        return True

    async def release(self) -> None:
        await self._end()

    async def _end(self) -> None:
        # Who is cancelled just after the commit gives the claim back once more: the turn is somebody else's by then.
        if self._ended:
            return
        self._ended = True
        try:
            with suppress(SQLAlchemyError, OSError):
                await self.session.close()
        finally:
            await self._store.give_back(self._connection)


class _NoTurn:
    """Where many can write at once."""

    async def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


async def _close(connection: AsyncConnection) -> None:
    try:
        await connection.close()
    except (SQLAlchemyError, OSError):
        # The transaction is gone with the connection; the pool must not give this one out again.
        with suppress(SQLAlchemyError, OSError):
            await connection.invalidate()


def engine_of(engine: AsyncEngine | str) -> AsyncEngine:
    """The engine of a URL, or the one that was given.

    Raises:
        ConfigError: the URL is none, or its database is neither PostgreSQL nor SQLite. It shows no password.
        MissingExtra: the driver is not installed.
    """
    if isinstance(engine, str):
        shown = mask(engine)
        try:
            url = make_url(engine)
            # As many connections as a source has workers where nobody says how many; an SQLite in memory has one.
            pool = {"pool_size": 10, "max_overflow": 90} if url.get_backend_name() == "postgresql" else {}
            engine = create_async_engine(url, **pool)
            _USERS[engine] = 0
        except (ArgumentError, InvalidRequestError, TypeError, ValueError):
            raise ConfigError(
                f"{shown!r} is not the URL of an async engine; one looks like postgresql+asyncpg://host/database"
            ) from None
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"{shown!r} needs {error.name}, which is not installed: pip install {error.name}"
            ) from error
    if engine.dialect.name not in ("postgresql", "sqlite"):
        raise ConfigError(f"the database must be PostgreSQL or SQLite, not {engine.dialect.name}")
    return engine


def join(engine: AsyncEngine) -> None:
    """Say that an engine is in use, until `leave`."""
    if engine in _USERS:
        _USERS[engine] += 1


async def leave(engine: AsyncEngine) -> None:
    """End the use of an engine. One that was made here is disposed of by the last who leaves it: a store and an outbox
    may share it, and a connection that is out while the engine is disposed of would never be closed.
    """
    if engine in _USERS:
        _USERS[engine] -= 1
        if _USERS[engine] == 0:
            await engine.dispose()


async def check_table(engine: AsyncEngine, table: Table, *, create: str) -> None:
    """See that a table is there.

    Raises:
        ConnectionLost: the database does not answer.
        NotFound: the table is missing.
    """
    try:
        async with engine.connect() as connection:
            there: bool = await connection.run_sync(
                lambda sync: inspect(sync).has_table(table.name, schema=table.schema)
            )
    except (SQLAlchemyError, OSError) as error:
        raise lost(engine.url.render_as_string(), error) from error
    if not there:
        raise NotFound(f"table {table.fullname} is missing: create it with {create}, or with a migration")


def lost(who: object, error: BaseException) -> BrokerkitError:
    """A database error as one that may go away. Its text stays in ``__cause__``: it may hold what was written."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return ConnectionLost(f"{who} cannot be asked now: {type(cause).__name__}")
