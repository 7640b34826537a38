"""The database file of the embedded durable broker: its tables, and the only thread that uses it.

Tables (all begin with ``bk_``, so that a service's own tables may be in the same file):

- ``bk_topics``, ``bk_groups``: a group knows the first message that it has not taken yet (``next``).
- ``bk_messages``: the log of all topics, numbered by ``n``.
- ``bk_later``: what is published for later, and is no part of the log yet. ``due`` is a Unix time.
- ``bk_pending``: what a group has taken and not settled. A row without an owner is free: it was released, put off until
  ``due``, or passed over until its turn. Leases and waits use the time since the machine was started. The headers of a
  retry's copy are here too. A replay is a copy whose message is in no topic (0).

A message leaves ``bk_messages`` when every group of its topic has settled it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from brokerkit.adapters.api import BrokerkitError, ConfigError, ConnectionLost, wall_time

P = ParamSpec("P")
T = TypeVar("T")

_VERSION: Final = 1
_BUSY: Final = 10.0
"""Seconds for which a transaction waits for that of another process."""

_SCHEMA: Final = """
CREATE TABLE bk_topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_queue INTEGER NOT NULL) STRICT;
CREATE TABLE bk_groups (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, name TEXT NOT NULL, next INTEGER NOT NULL,
    private INTEGER NOT NULL, UNIQUE (topic, name)) STRICT;
CREATE TABLE bk_messages (
    n INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, id TEXT NOT NULL, key, name TEXT NOT NULL,
    headers TEXT NOT NULL, body BLOB, content_type TEXT, routing_key TEXT, type TEXT, time REAL NOT NULL);
CREATE INDEX bk_messages_topic ON bk_messages (topic, n);
CREATE TABLE bk_pending (
    grp INTEGER NOT NULL, n INTEGER NOT NULL, owner TEXT, until REAL NOT NULL,
    due REAL NOT NULL, wall REAL NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL, begun INTEGER NOT NULL DEFAULT 0, key, id TEXT, headers TEXT,
    PRIMARY KEY (grp, n)) WITHOUT ROWID;
CREATE INDEX bk_pending_free ON bk_pending (grp, due, n) WHERE owner IS NULL;
CREATE INDEX bk_pending_leased ON bk_pending (grp, until) WHERE owner IS NOT NULL;
CREATE INDEX bk_pending_key ON bk_pending (grp, key) WHERE key IS NOT NULL;
CREATE TABLE bk_boot (id TEXT NOT NULL) STRICT;
"""
_LATER: Final = """
CREATE TABLE IF NOT EXISTS bk_later (
    n INTEGER PRIMARY KEY AUTOINCREMENT, due REAL NOT NULL, topic INTEGER NOT NULL, id TEXT NOT NULL, key,
    name TEXT NOT NULL, headers TEXT NOT NULL, body BLOB, content_type TEXT, routing_key TEXT, type TEXT,
    time REAL NOT NULL);
CREATE INDEX IF NOT EXISTS bk_later_due ON bk_later (due);
"""
"""Files of the first versions do not have it."""


class Database:
    """One database file, used by one thread.

    Args:
        path: the file; it is created if it is missing.
        url: for errors.
        synchronous: SQLite's pragma: ``full`` survives a power failure, ``normal`` the end of the process alone.
    """

    def __init__(self, path: Path, *, url: str, synchronous: str) -> None:
        self.path = path
        self._url = url
        self._synchronous = synchronous
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="brokerkit-sqlite")
        self._connection: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"<Database {self.path}: {'open' if self._connection else 'closed'}>"

    async def open(self) -> None:
        """Open the file, and create missing tables.

        Raises:
            ConnectionLost: the file cannot be opened now.
            ConfigError: the file is not a database, or belongs to a later version of brokerkit.
        """
        await self.run(Database._open)

    def _open(self) -> None:
        if not self.path.parent.is_dir():
            raise ConnectionLost(f"{self._url}: there is no folder {self.path.parent}")
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute("SELECT name FROM sqlite_master WHERE name = 'bk_boot'").fetchone()
            for statement in filter(str.strip, ((_SCHEMA if found is None else "") + _LATER).split(";\n")):
                connection.execute(statement)
            if found is None:
                connection.execute("INSERT INTO bk_boot VALUES ('')")
            self._forget_leases_of_another_boot(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _forget_leases_of_another_boot(self, connection: sqlite3.Connection) -> None:
        """Leases and waits are in the time since the machine was started, which no change of the clock moves."""
        boot = _boot()
        if connection.execute("SELECT id FROM bk_boot").fetchone() != (boot,):
            connection.execute("UPDATE bk_boot SET id = ?", (boot,))
            connection.execute("UPDATE bk_pending SET owner = NULL, until = 0 WHERE owner IS NOT NULL")
            # Messages that were put off go on waiting by the wall clock. No other clock outlasts a restart of the machine.
            connection.execute(
                "UPDATE bk_pending SET due = max(wall - ?, 0) + ? WHERE due > 0", (wall_time(), time.monotonic())
            )

    async def run(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the thread. Nothing else runs there meanwhile.

        Raises:
            BrokerkitError: what ``work`` raises, SQLite's errors translated.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, lambda: work(self, *args, **kwargs))
        except sqlite3.Error as error:
            raise self.translate(error) from error
        except RuntimeError as error:
            if self._thread._shutdown:  # pyright: ignore[reportPrivateUsage]
                raise ConnectionLost(f"{self._url} is closed") from error
            raise

    async def write(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in the thread as one transaction that writes.

        Raises:
            BrokerkitError: what ``work`` raises, SQLite's errors translated. Nothing was written.
        """
        return await self.run(lambda database: database._transaction(lambda db: work(db, *args, **kwargs)))

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    async def read(self, statement: str, *values: object) -> list[Any]:
        """All rows of a statement."""
        return await self.run(lambda database: database._opened().execute(statement, values).fetchall())

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ConnectionLost(f"{self._url} is closed")
        return self._connection

    def translate(self, error: sqlite3.Error) -> BrokerkitError:
        """Translate an error of SQLite. A full disk or a locked file may be gone in a moment."""
        if isinstance(error, sqlite3.NotSupportedError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
            return BrokerkitError(f"{self._url}: {error}")
        if getattr(error, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            return ConfigError(f"{self._url}: {self.path} is not an SQLite database, or is damaged: {error}")
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            return ConnectionLost(
                f"{self._url}: {error}; make room where {self.path} is. Nothing that was confirmed is lost"
            )
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            return ConnectionLost(
                f"{self._url}: {error}: this process must be able to write {self.path.absolute()} and the folder it is in; "
                "a URL such as sqlite:////folder/file.db names another"
            )
        return ConnectionLost(f"{self._url}: {error}")

    async def close(self) -> None:
        """Close the file. What was committed stays."""
        if self._connection is not None:
            await self.run(Database._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _boot() -> str:
    """An id of this start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # The time of the start. If the clock is set meanwhile, this changes, and leases end early.
        return f"{(time.time() - time.monotonic()) // 60:.0f}"
