"""The embedded durable broker: topics, groups and retries in one SQLite file, for all processes of one machine.

URL and options
    ``sqlite:///orders.db`` is a file in the current folder. ``sqlite:////var/lib/orders.db`` is an absolute path, as in
    SQLAlchemy. Options: ``synchronous`` (``full``, the default, survives a power failure; ``normal`` survives only the
    end of processes) and ``max_message_bytes`` (default 16 MiB). The file must be on a local file system: SQLite's
    write-ahead log does not work over a network (https://www.sqlite.org/wal.html).
What a topic and a group become
    Rows of tables whose names begin with ``bk_``. A message is deleted when every group of its topic has settled it. A
    topic without a group keeps everything.
Delivery
    At least once, even when processes are killed at any moment. A delivery is leased to its process. If the process is
    killed, the message is delivered again when the lease ends. Publishing returns when the transaction is on disk.
    What is published for later is kept in the file by the machine's clock, and is brought into its topic by any reader.
Order
    By key, across all processes of a group: while one process has a message of a key, no other process gets that key.
Limits and escaping
    Any body and headers. Nothing is escaped. One process writes at a time, and the others wait for up to ten seconds.
Native access
    `Message.native` is the row of the table.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

from brokerkit.adapters.api import (
    BrokerkitError,
    Capabilities,
    ConfigError,
    Connection,
    Delivery,
    InvalidMessage,
    Lost,
    MessageTooLarge,
    NameStyle,
    NotFound,
    Outgoing,
    Receipt,
    Subscription,
    WaitingRetries,
    derived_name,
    wait_for_event,
    wall_time,
)
from brokerkit.adapters.sqlite import _statements
from brokerkit.adapters.sqlite._cursor import SqliteCursor
from brokerkit.adapters.sqlite._database import Database
from brokerkit.adapters.sqlite._rows import FIELDS, Row, delivery_of, written
from brokerkit.adapters.sqlite._source import DEFAULT_GROUP, SqliteSource
from brokerkit.adapters.sqlite._statements import Group
from brokerkit.adapters.sqlite._wake import HAS_SOCKETS, Bell, Ear

CAPABILITIES: Final = Capabilities(
    broker="SQLite",
    order="group",
    attempts="deliveries",
    lease=30.0,
    durable_retry=float("inf"),
    own_queues=True,
    delays=float("inf"),
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "routing_key", "type", "field"}),
    browse="free",
    browse_queue="free",
)

_STYLE: Final = NameStyle(limit=1024)
_LIMIT: Final = 16 * 1024 * 1024
_PAGE: Final = 500
"""Messages that are read at once."""


class SqliteAdapter:
    """The adapter for ``sqlite://``."""

    def __init__(self, connection: Connection, /) -> None:
        url = connection.url
        if url.hosts:
            raise ConfigError(f"{url}: a file has no host; write sqlite:///file or sqlite:////absolute/file")
        if not url.path:
            raise ConfigError(f"{url}: the file is missing; write sqlite:///file or sqlite:////absolute/file")
        options = dict(connection.options)
        synchronous = str(options.pop("synchronous", "full")).lower()
        if synchronous not in ("full", "normal"):
            raise ConfigError(f"{url}: option synchronous is full or normal, not {synchronous!r}")
        try:
            self._limit = int(str(options.pop("max_message_bytes", _LIMIT)))
        except ValueError:
            raise ConfigError(f"{url}: option max_message_bytes must be a number of bytes") from None
        if options:
            raise ConfigError(
                f"{url}: option {next(iter(options))!r} is not known; allowed are max_message_bytes, synchronous"
            )
        self._url = str(url)
        self._database = Database(Path(url.path), url=self._url, synchronous=synchronous)
        self._bell = Bell(Path(url.path))
        self._topics: dict[str, int] = {}
        # The own queues of groups that were asked for, by name.
        self._own: dict[str, Group] = {}

    def __repr__(self) -> str:
        return f"<SqliteAdapter {self._url}: {self._database!r}>"

    def capabilities(self, topic: str = "") -> Capabilities:
        """The same for every topic."""
        return CAPABILITIES

    async def open(self) -> None:
        """See `Adapter.open`."""
        await self._database.open()

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        """See `Adapter.ensure`."""

        def find(db: sqlite3.Connection) -> dict[str, int | None]:
            if create:
                return {name: _statements.add_topic(db, name, is_queue=is_queue) for name in topics}
            return {name: _statements.find_topic(db, name) for name in topics}

        for name, topic in (await self._database.write(find)).items():
            if topic is None:
                raise self._missing(name)
            self._topics[name] = topic

    def _missing(self, topic: str) -> NotFound:
        return NotFound(f'{self._url} has no topic {topic!r}; create it, or set provision = "all"')

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """See `Adapter.send`."""
        made = [self._row(outgoing) for outgoing in batch]
        rows, later = list[Row](), list[tuple[float, Row]]()
        for outgoing, row in zip(batch, made, strict=True):
            if isinstance(row, BrokerkitError):
                continue
            if outgoing.due is None:
                rows.append(row)
            else:
                later.append((outgoing.due, row))
        results: list[Receipt | BrokerkitError] = []
        try:
            known, last = await self._database.write(self._publish, rows, later)
        except BrokerkitError as error:
            return [row if isinstance(row, BrokerkitError) else error for row in made]
        self._topics.update(known)
        self._bell.ring()
        number = last - sum(row[0] in known for row in rows)
        for outgoing, row in zip(batch, made, strict=True):
            if isinstance(row, BrokerkitError):
                results.append(row)
            elif outgoing.topic not in known:
                results.append(self._missing(outgoing.topic))
            elif outgoing.due is not None:
                results.append(Receipt(outgoing.topic, outgoing.id))
            else:
                number += 1
                results.append(Receipt(outgoing.topic, outgoing.id, str(number)))
        return results

    def _publish(
        self, db: sqlite3.Connection, rows: Sequence[Row], later: Sequence[tuple[float, Row]]
    ) -> tuple[dict[str, int], int]:
        """Append to the topics that exist. Return their numbers, and the number of the last message.

        Args:
            db: in a transaction.
            rows: with the topic's name first.
            later: the same, each with the Unix time at which it is to be appended.
        """
        names, own = {row[0] for row in rows} | {row[0] for _, row in later}, self._own
        known = {name: topic for name in names if (topic := _statements.find_topic(db, name)) is not None}
        known |= dict.fromkeys(names & own.keys(), _statements.NO_TOPIC)
        found = [row for row in rows if row[0] in known]
        there = [(known[row[0]], *row[1:]) for row in found]
        last = _statements.publish(db, there) if there else 0
        for n, row in enumerate(found, last - len(found) + 1):
            if (group := own.get(row[0])) is not None:
                _statements.give_to_group(db, group, n, row)
        if later:
            _statements.keep_back(db, [(due, known[row[0]], *row[1:]) for due, row in later if row[0] in known])
        return known, last

    def _row(self, outgoing: Outgoing) -> Row | BrokerkitError:
        """The row of a message, with the topic's name first; an error if the message cannot be written."""
        try:
            headers = written(outgoing.headers)
            for text in (outgoing.id, outgoing.name, outgoing.key, outgoing.routing_key, outgoing.type):
                if isinstance(text, str):
                    text.encode()
        except UnicodeEncodeError as error:
            return InvalidMessage(f"{error.object!r} cannot be written as UTF-8: {error.reason}")
        except InvalidMessage as error:
            return error
        size = len(outgoing.body or b"") + len(headers)
        if size > self._limit:
            return MessageTooLarge(size=size, limit=self._limit, what=self._url)
        return (
            outgoing.topic,
            outgoing.id,
            outgoing.key,
            outgoing.name,
            headers,
            outgoing.body,
            outgoing.content_type,
            outgoing.routing_key,
            outgoing.type,
            wall_time(),
        )

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """See `Adapter.derived`."""
        return derived_name(topic, group, role, _STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        """See `Adapter.own_queue`. What is sent there is put into the group itself, among what it takes from its topic."""
        name = "" if is_queue else group or DEFAULT_GROUP

        def find(db: sqlite3.Connection) -> Group | None:
            number = _statements.find_topic(db, topic)
            return None if number is None else _statements.find_group(db, number, name)

        if (found := await self._database.write(find)) is None:
            raise NotFound(f"{self._url} has no topic {topic!r} with a group {name!r}; start the group once")
        own = self.derived(topic, group, "own")
        self._own[own] = found
        return own

    def subscribe(self, subscription: Subscription, lost: Lost) -> SqliteSource:
        """See `Adapter.subscribe`."""
        return SqliteSource(self._database, self._bell, self._url, subscription, lost)

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """See `Adapter.browse`. It gives what the tables hold: what some group has not settled yet."""
        await self.ensure(topics, is_queue=is_queue, create=False)
        numbers = {self._topics[name]: name for name in topics}
        marks = ", ".join("?" * len(numbers))
        last: int = (await self._database.read("SELECT coalesce(max(n), 0) FROM bk_messages"))[0][0]
        seen = 0 if past else last
        news = asyncio.Event()
        ear = Ear(self._database.path, news.set) if follow else None
        try:
            while True:
                news.clear()
                rows = await self._database.read(
                    f"SELECT {FIELDS}, topic FROM bk_messages m"  # noqa: S608
                    f" WHERE topic IN ({marks}) AND n > ? AND n <= ? ORDER BY n LIMIT {_PAGE}",
                    *numbers,
                    seen,
                    2**62 if follow else last,
                )
                for row in rows:
                    seen = row[0]
                    yield delivery_of(row[:10], numbers[row[10]], token=None)
                if not rows:
                    if ear is None:
                        return
                    await wait_for_event(news, 1.0 if HAS_SOCKETS else 0.05)
        finally:
            if ear is not None:
                ear.close()

    async def waiting_retries(self, subscription: Subscription) -> list[WaitingRetries]:
        """See `CountsRetries.waiting_retries`."""
        name = "" if subscription.is_queue else subscription.group or DEFAULT_GROUP

        def count(db: sqlite3.Connection) -> list[WaitingRetries]:
            found = list[WaitingRetries]()
            for each in subscription.topics:
                topic = _statements.find_topic(db, each)
                group = None if topic is None else _statements.find_group(db, topic, name)
                if group is not None:
                    waiting, first = _statements.waiting(db, group, now=time.monotonic())
                    found.append(WaitingRetries(place=each, count=waiting, first_due=first))
            return found

        return await self._database.write(count)

    def cursor(self, queue: str) -> SqliteCursor:
        """See `Adapter.cursor`."""
        return SqliteCursor(self._database, queue, self._missing(queue))

    async def close(self) -> None:
        """See `Adapter.close`."""
        await self._database.close()
        self._bell.close()
