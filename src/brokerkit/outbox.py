"""Outbox: events that are published if, and only if, a database transaction commits.

`Outbox.publish` writes an event into a table, in the transaction of a session. A relay, which runs beside the bus, sends
what was committed and deletes it once the broker has confirmed it. A crash in between sends it again, under the same id.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import random
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    event,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from brokerkit import _clock
from brokerkit._bus import Bus
from brokerkit._errors import BrokerkitError, ConfigError, describe
from brokerkit._message import Headers, Message, Outgoing, Receipt, text
from brokerkit._target import Target
from brokerkit.dedupe._sql import AFTER_COMMIT, check_table, engine_of, join, leave
from brokerkit.events._shapes import EventObject

logger = logging.getLogger("brokerkit")

__all__ = ["Outbox"]

_BATCH: Final = 500
_LONGEST_PAUSE: Final = 60.0


class Outbox:
    """Events written with a transaction, and the relay that sends them.

    Example::

        outbox = Outbox(engine, bus)

        @bus.on("OnGameDone", dedupe=Dedupe(SqlStore(engine)))
        async def settle(event: OnGameDone, message: Message) -> None:
            ...
            await outbox.publish(message.session, BalanceChanged(...), key=player)

        async with bus, outbox:
            await bus.serve()

    Every process may run a relay; one of them sends at a time, so that events of one key stay in order, and another takes
    over when its lease is over. Events of one key are sent one after the other, each after the one before was confirmed, in
    the order in which they were written; transactions that write events of one key at the same time have no order.

    Args:
        engine: an engine of SQLAlchemy, or the URL of one of its own, as for `SqlStore`.
        bus: what publishes; it must be open while events are written and sent.
        table: name of the table of events; the one with ``_relay`` behind it says which relay sends.
        schema: of both tables; by default the database's own default.
        metadata: what the tables are added to, so that Alembic finds them; by default one of its own.
        poll: seconds after which the relay looks for what other processes wrote; what this one commits, it sees at once.
        lease: seconds after which another relay takes over from one that is gone.

    Raises:
        ConfigError: a duration is not more than 0, or the engine is none that it works with.
        MissingExtra: the driver of the URL is not installed.
    """

    def __init__(
        self,
        engine: AsyncEngine | str,
        bus: Bus,
        /,
        *,
        table: str = "brokerkit_outbox",
        schema: str | None = None,
        metadata: MetaData | None = None,
        poll: float = 1.0,
        lease: float = 10.0,
    ) -> None:
        if poll <= 0 or lease <= 0:
            raise ConfigError(f"poll and lease must be more than 0 seconds, got {poll} and {lease}")
        self.engine = engine_of(engine)
        metadata = metadata if metadata is not None else MetaData()
        self.table = Table(
            table,
            metadata,
            # SQLite counts by itself only in a column of this very type, and gives no number twice when it is told so.
            Column("n", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
            Column("id", Text, nullable=False),
            Column("target", Text, nullable=False),
            Column("lane", String(64), comment="what stands for target and key; empty without a key"),
            Column("message", Text, nullable=False, comment="JSON"),
            Column("body", LargeBinary),
            Column("written", Double, nullable=False, comment="Unix time in seconds"),
            Column("attempts", Integer, nullable=False, default=0),
            Column("due", Double, nullable=False, default=0.0, comment="Unix time in seconds"),
            Column("error", Text),
            Index(f"{table}_lane", "lane", "n"),
            schema=schema,
            sqlite_autoincrement=True,
        )
        self.relay_table = Table(
            f"{table}_relay",
            metadata,
            Column("name", String(10), primary_key=True),
            Column("owner", String(32), nullable=False),
            Column("until", Double, nullable=False, comment="Unix time in seconds"),
            schema=schema,
        )
        self._bus = bus
        self._poll = poll
        self._lease = lease
        self._name = secrets.token_hex(16)
        self._new = asyncio.Event()
        self._relay: asyncio.Task[None] | None = None
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Outbox {self.engine.url.render_as_string()} {self.table.fullname}>"

    async def create_tables(self) -> None:
        """Create the tables where they are missing."""
        async with self.engine.begin() as connection:
            for table in (self.table, self.relay_table):
                await connection.run_sync(table.create, checkfirst=True)

    # ---- writing ---------------------------------------------------------------------------------------------

    async def publish(
        self,
        session: AsyncSession,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None = None,
        /,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        id: str | None = None,
        to: str | None = None,
    ) -> str:
        """Write one event, to be published when the session's transaction commits.

        Args:
            session: whose transaction it becomes part of: ``message.session``, or any session on the same database.
            what: an event; an event name, with the payload beside it; or a `Message`.
            payload: the payload of an event name.
            key: events of one key are sent in the order in which they were written.
            headers: text or bytes to travel beside the body.
            id: the message's id; made if it is not given.
            to: name of the bus's target; needed only where there are several.

        Returns:
            The message's id, which stays the same however often it is sent.

        Raises:
            InvalidMessage: it cannot be written.
            Closed: the bus is not open.
        """
        target = self._target(to)
        outgoing = target.prepare(what, payload, key=key, headers=headers, id=id)
        await session.execute(insert(self.table).values(_row_of(target.name, outgoing)))
        self._wake_after(session)
        return outgoing.id

    def _wake_after(self, session: AsyncSession) -> None:
        """Wake the relay of this process when the transaction has been committed."""
        if (calls := session.info.get(AFTER_COMMIT)) is not None:
            # The session of a message: what its own commit ends is a savepoint.
            calls.append(self._new.set)
        else:
            event.listen(session.sync_session, "after_commit", self._committed, once=True)

    def _committed(self, _: Session) -> None:
        self._new.set()

    # ---- the relay -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the relay.

        Raises:
            ConnectionLost: the database does not answer.
            NotFound: a table is missing.
        """
        if self._relay is not None:
            raise ConfigError("this outbox is relaying already")
        for table in (self.table, self.relay_table):
            await check_table(self.engine, table, create="Outbox.create_tables()")
        self._stopping = False
        join(self.engine)
        self._relay = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is committed by now, as far as the broker takes it, and stop the relay."""
        assert self._relay is not None
        self._stopping = True
        self._new.set()
        try:
            await self._relay
        finally:
            self._relay.cancel()
            self._relay = None
            await leave(self.engine)

    async def serve(self) -> None:
        """Relay until cancelled, for a process that does nothing else; the bus must be open.

        Raises:
            BrokerkitError: as entering does.
        """
        async with self:
            await asyncio.Event().wait()

    async def _run(self) -> None:
        failures = 0
        while True:
            last = self._stopping
            self._new.clear()
            try:
                pause = self._poll
                if await self._is_ours():
                    pause = await self._send_committed()
                failures = 0
            except (SQLAlchemyError, OSError, BrokerkitError) as error:
                failures += 1
                pause = min(_LONGEST_PAUSE, 0.1 * 2.0**failures) * random.uniform(0.5, 1.0)
                logger.warning("%r: trying again in %.3g s: %s", self, pause, type(error).__name__)
            if last:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._new.wait()
        with suppress(SQLAlchemyError, OSError):
            await self._give_up()

    async def _is_ours(self) -> bool:
        """Whether this relay is the one that sends, and stays it for its lease.

        More than one at a time would do no harm but sending twice: each sends in order, and an event is gone only after
        its confirmation. So the lease need not be exact, and no transaction stays open while the broker is waited for.
        """
        now, relay = _clock.now(), self.relay_table
        into = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        row = into(relay).values(name="relay", owner=self._name, until=now + self._lease)
        take = row.on_conflict_do_update(
            index_elements=[relay.c.name],
            set_={"owner": row.excluded.owner, "until": row.excluded.until},
            where=or_(relay.c.owner == row.excluded.owner, relay.c.until <= now),
        ).returning(relay.c.name)
        async with self.engine.begin() as connection:
            return (await connection.execute(take)).first() is not None

    async def _give_up(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(delete(self.relay_table).where(self.relay_table.c.owner == self._name))

    async def _send_committed(self) -> float:
        """Send what is there, batch after batch; the seconds after which to look again."""
        while rows := await self._due():
            stuck = set[str]()
            for wave in _waves(rows):
                if not await self._is_ours():
                    return self._poll
                stuck |= await self._send([row for row in wave if row.lane not in stuck])
        async with self.engine.connect() as connection:
            first = await connection.scalar(select(func.min(self.table.c.due)))
        return self._poll if first is None else min(self._poll, max(first - _clock.now(), 0.01))

    async def _due(self) -> Sequence[Row[Any]]:
        """What can be sent now: a failed event holds back those of its key that were written after it."""
        now, earlier = _clock.now(), self.table.alias()
        held_back = exists().where(
            earlier.c.lane == self.table.c.lane, earlier.c.n < self.table.c.n, earlier.c.due > now
        )
        waiting = select(self.table).where(self.table.c.due <= now, ~held_back).order_by(self.table.c.n).limit(_BATCH)
        async with self.engine.connect() as connection:
            return (await connection.execute(waiting)).all()

    async def _send(self, rows: Sequence[Row[Any]]) -> set[str]:
        """Send rows that have no key in common, and delete those that were confirmed; the lanes of the others."""
        failed = set[str]()
        for name in {row.target for row in rows}:
            batch = [row for row in rows if row.target == name]
            results = await self._target(name).publish_many([_outgoing(row) for row in batch])
            sent = [row.n for row, result in zip(batch, results, strict=True) if isinstance(result, Receipt)]
            async with self.engine.begin() as connection:
                await connection.execute(delete(self.table).where(self.table.c.n.in_(sent)))
                for row, result in zip(batch, results, strict=True):
                    if not isinstance(result, Receipt):
                        failed.add(row.lane)
                        await connection.execute(self._failed(row, result))
        return failed

    def _target(self, name: str | None) -> Target:
        return self._bus._target(name)  # pyright: ignore[reportPrivateUsage] (the outbox is a way into the same door)

    def _failed(self, row: Row[Any], error: BrokerkitError) -> Any:
        wait = min(_LONGEST_PAUSE, 0.1 * 2.0 ** min(row.attempts, 20)) * random.uniform(0.5, 1.0)
        logger.error(
            "%r: event %s was not sent (attempt %d), again in %.3g s: %s: %s",
            self,
            row.id,
            row.attempts + 1,
            wait,
            type(error).__name__,
            describe(error),
        )
        noted = {"attempts": row.attempts + 1, "due": _clock.now() + wait, "error": f"{type(error).__name__}: {error}"}
        return update(self.table).where(self.table.c.n == row.n).values(noted)


def _waves(rows: Sequence[Row[Any]]) -> Iterator[Sequence[Row[Any]]]:
    """Rows in groups in which each key is there once; those of one key follow each other."""
    waves: list[list[Row[Any]]] = []
    earlier = Counter[str]()
    for row in rows:
        number = 0
        if row.lane is not None:
            number = earlier[row.lane]
            earlier[row.lane] += 1
        if number == len(waves):
            waves.append([])
        waves[number].append(row)
    yield from waves


def _row_of(target: str, outgoing: Outgoing) -> dict[str, Any]:
    key = outgoing.key.encode() if isinstance(outgoing.key, str) else outgoing.key
    message = {
        "topic": outgoing.topic,
        "name": outgoing.name,
        "key": None if key is None else _written(key),
        "headers": {name: _written(value) for name, value in outgoing.headers.items()},
        "routing_key": outgoing.routing_key,
        "type": outgoing.type,
        "content_type": outgoing.content_type,
    }
    return {
        "id": outgoing.id,
        "target": target,
        "lane": None if key is None else hashlib.sha256(f"{target}\n".encode() + key).hexdigest(),
        "message": json.dumps(message),
        "body": outgoing.body,
        "written": _clock.now(),
    }


def _outgoing(row: Row[Any]) -> Outgoing:
    message = json.loads(row.message)
    key = message.pop("key")
    headers = {name: _read(value) for name, value in message.pop("headers").items()}
    return Outgoing(**message, id=row.id, body=row.body, key=None if key is None else _read(key), headers=headers)


def _written(value: str | bytes) -> str | dict[str, str]:
    value = text(value)
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _read(value: str | dict[str, str]) -> str | bytes:
    return value if isinstance(value, str) else base64.b64decode(value["base64"])
