"""A store in the handler's own database: the mark is a row of the handler's own transaction.

There is no lease here. A claim is an open transaction. When its process dies, the database rolls it back, with the mark
and everything that the handler wrote.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    MetaData,
    String,
    Table,
    bindparam,
    cast,
    delete,
    extract,
    func,
    inspect,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, AsyncTransaction, create_async_engine
from sqlalchemy.types import TypeEngine

from brokerkit import _clock
from brokerkit._errors import BrokerkitError, ConfigError, ConnectionLost, MissingExtra, NotFound
from brokerkit._guard import start
from brokerkit._logging import get_logger
from brokerkit._url import mask
from brokerkit.dedupe._store import DONE, Claim, Done, Taken

logger = get_logger(__name__)

_ASK_AGAIN: Final = 0.5
"""Seconds until a key is asked for again. No database tells when somebody else's transaction will end."""
_SWEEP_SECONDS: Final = 60.0
"""Between two searches for expired rows."""
_SWEEP_ROWS: Final = 1_000
"""Deleted in one transaction, so that none takes long."""
_LONGEST_KEY: Final = 500
SECONDS: Final[TypeEngine[float]] = Double()

_USERS: Final = WeakKeyDictionary[AsyncEngine, int]()
"""The engines that were made here, and how many objects use each."""
AFTER_COMMIT: Final = "brokerkit.after_commit"
"""Entry of a session's ``info``: functions to call after the transaction of its message was committed."""


class SqlStore:
    """Remembers in a table, in the transaction in which the handler writes. Effect and mark are committed together, or
    neither is.

    The handler gets the transaction's session as ``message.session``. What it writes with another connection is not part of
    that transaction. The transaction commits when the handler returns, whatever the handler commits before, and is rolled
    back if the handler fails. It works on PostgreSQL and on SQLite.

    Args:
        engine: an engine of SQLAlchemy, or a URL to make one from: ``postgresql+asyncpg://…``,
            ``sqlite+aiosqlite:///file``. It needs a connection for each handler that runs at once.
        table: name of the table.
        schema: of the table; by default the database's own default.
        metadata: the table is added to it, so that Alembic finds the table; by default a new one.

    Raises:
        ConfigError: the URL is not valid, or its database is neither PostgreSQL nor SQLite.
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
        now: ColumnElement[float] = server_now() if self._locks else bindparam("now", type_=SECONDS)
        row = insert(self.table).values(
            key=bindparam("of"), done_at=now, expires=now + bindparam("keep", type_=SECONDS)
        )
        self._mark = row.on_conflict_do_update(
            index_elements=[self.table.c.key],
            set_={"done_at": row.excluded.done_at, "expires": row.excluded.expires},
            where=self.table.c.expires <= row.excluded.done_at,
        ).returning(self.table.c.key)
        self._turn = _NoTurn() if self._locks else asyncio.Lock()
        self._users = 0
        self._sweeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<SqlStore {self.engine.url.render_as_string()} {self.table.fullname}>"

    async def create_tables(self) -> None:
        """Create the table where it is missing."""
        async with self.engine.begin() as connection:
            await connection.run_sync(self.table.create, checkfirst=True)

    async def open(self) -> None:
        """See `Store.open`. Until `close`, rows leave the table within a minute or so of their end."""
        await check_table(self.engine, self.table, create="SqlStore.create_tables()")
        join(self.engine)
        self._users += 1
        if self._sweeping is None:
            self._sweeping = start(self._sweep_again_and_again(), self._not_swept, name=f"brokerkit-sweep-{self.table}")

    async def close(self) -> None:
        """See `Store.close`; an engine that was given stays open."""
        self._users -= 1
        sweeping = self._sweeping
        if self._users == 0 and sweeping is not None:
            self._sweeping = None
            sweeping.cancel()
            await asyncio.wait([sweeping])
        await leave(self.engine)

    async def claim(self, key: str, *, lease: float, keep: float) -> Claim | Taken | Done:
        """See `Store.claim`; the lease is the database's own: as long as the connection lives."""
        # SQLite has one writer. The tasks of this process take turns here, because the database's own lock must be polled.
        await self._turn.acquire()
        connection: AsyncConnection | None = None
        try:
            connection = await self.engine.connect()
            transaction = await connection.begin()
            mark: dict[str, Any] = {"of": key, "keep": keep}
            if not self._locks:
                mark["now"] = _clock.wall_time()
            if self._locks and not await connection.scalar(select(func.pg_try_advisory_xact_lock(self._number(key)))):
                answer: Taken | Done = Taken(_ASK_AGAIN)
            elif (await connection.execute(self._mark, mark)).first():
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

    async def sweep(self) -> int:
        """Forget all that has expired, some rows at a time, and return how many there were. Each of several processes
        deletes other rows.

        Raises:
            ConnectionLost: the database cannot be asked now.
        """
        now: ColumnElement[float] = server_now() if self._locks else literal(_clock.wall_time(), SECONDS)
        old = select(self.table.c.key).where(self.table.c.expires <= now).limit(_SWEEP_ROWS)
        swept = 0
        while True:
            await self._turn.acquire()
            try:
                begun = time.monotonic()
                async with self.engine.begin() as connection:
                    result = await connection.execute(
                        delete(self.table).where(self.table.c.key.in_(old.with_for_update(skip_locked=True)))
                    )
            except (SQLAlchemyError, OSError) as error:
                raise lost(self, error) from error
            finally:
                self._turn.release()
            swept += result.rowcount
            if result.rowcount < _SWEEP_ROWS:
                return swept
            # Leave half of the time to tasks that wait for the database.
            await asyncio.sleep(time.monotonic() - begun)

    async def _sweep_again_and_again(self) -> None:
        while True:
            try:
                await self.sweep()
            except BrokerkitError as error:
                logger.warning("%r: expired rows stay for now: %s", self, error)
            await asyncio.sleep(_SWEEP_SECONDS)

    def _not_swept(self, error: BaseException) -> None:
        logger.error("%r: expired rows stay, because deleting them failed", self, exc_info=error)

    def _number(self, key: str) -> int:
        """The number of a key's lock. Two keys with one number wait for each other, which does no harm."""
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
        return True

    async def release(self) -> None:
        await self._end()

    async def _end(self) -> None:
        # A task that is cancelled just after the commit gives the claim back a second time. Then the turn belongs to
        # another.
        if self._ended:
            return
        self._ended = True
        try:
            with suppress(SQLAlchemyError, OSError):
                await self.session.close()
        finally:
            await self._store.give_back(self._connection)


class _NoTurn:
    """A lock that is always free, for databases with many writers."""

    async def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


async def _close(connection: AsyncConnection) -> None:
    try:
        await connection.close()
    except (SQLAlchemyError, OSError):
        # The transaction is gone with the connection. The pool must not give this connection out again.
        with suppress(SQLAlchemyError, OSError):
            await connection.invalidate()


def server_now() -> ColumnElement[float]:
    """Unix time in seconds on a PostgreSQL server, when the transaction began. All hosts share this clock."""
    return cast(extract("epoch", func.now()), SECONDS)


def engine_of(engine: AsyncEngine | str) -> AsyncEngine:
    """The engine of a URL, or the one that was given.

    Raises:
        ConfigError: the URL is not valid, or its database is neither PostgreSQL nor SQLite. It shows no password.
        MissingExtra: the driver is not installed.
    """
    if isinstance(engine, str):
        shown = mask(engine)
        try:
            url = make_url(engine)
            # By default as many connections as a source has slots. An SQLite database in memory has one.
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
    """Check that a table exists.

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
    """A database error as an error that may pass. Its text stays in ``__cause__``, because it may hold what was written."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return ConnectionLost(f"{who} cannot be asked now: {type(cause).__name__}")
