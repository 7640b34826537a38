"""A walk through a queue of the embedded durable broker."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from brokerkit.adapters.api import Delivery, NotFound
from brokerkit.adapters.sqlite import _statements
from brokerkit.adapters.sqlite._database import Database
from brokerkit.adapters.sqlite._rows import FIELDS, delivery_of


class SqliteCursor:
    """See `Cursor`. It reads by the messages' numbers, and what it removes is deleted.

    Args:
        database: open.
        queue: name of the queue.
        missing: makes the error for a missing queue.
    """

    def __init__(self, database: Database, queue: str, missing: NotFound) -> None:
        self._database = database
        self._queue = queue
        self._missing = missing
        self._topic = 0
        self._seen = 0
        self._last = 0
        self._left = 0

    def __repr__(self) -> str:
        return f"<SqliteCursor of {self._queue}: {self._left} unseen>"

    @property
    def unseen(self) -> int:
        """See `Cursor.unseen`."""
        return self._left

    async def open(self) -> None:
        """See `Cursor.open`."""

        def note(db: sqlite3.Connection) -> tuple[int, int, int]:
            topic = _statements.find_topic(db, self._queue)
            if topic is None:
                raise self._missing
            found = "SELECT coalesce(max(n), 0), count(*) FROM bk_messages WHERE topic = ?"
            last, count = db.execute(found, (topic,)).fetchone()
            return topic, last, count

        self._topic, self._last, self._left = await self._database.write(note)

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """See `Cursor.fetch`."""
        rows = await self._database.read(
            f"SELECT {FIELDS} FROM bk_messages m WHERE topic = ? AND n > ? AND n <= ? ORDER BY n LIMIT ?",  # noqa: S608
            self._topic,
            self._seen,
            self._last,
            limit,
        )
        if rows:
            self._seen = rows[-1][0]
        self._left = max(self._left - len(rows), 0) if rows else 0  # others may have removed some meanwhile
        return [delivery_of(row, self._queue, token=row[0]) for row in rows]

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """See `Cursor.remove`."""
        await self._database.write(_statements.remove, self._topic, [delivery.token for delivery in deliveries])

    async def close(self) -> None:
        """See `Cursor.close`."""
