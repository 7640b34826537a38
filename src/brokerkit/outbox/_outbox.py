"""The outbox: writes events with a transaction, and relays what was committed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    event,
    func,
    insert,
    literal,
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
from brokerkit._backoff import backoff
from brokerkit._bus import Bus
from brokerkit._deadline import wait_for_event
from brokerkit._errors import BrokerkitError, ConfigError, describe
from brokerkit._guard import start
from brokerkit._logging import get_logger
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Receipt
from brokerkit._publishing._arguments import MessageOptions
from brokerkit._publishing._later import due_time
from brokerkit._publishing._sender import Result
from brokerkit.dedupe._sql import AFTER_COMMIT, SECONDS, check_table, engine_of, join, leave, server_now
from brokerkit.events._shapes import EventObject
from brokerkit.outbox._look import LONGEST_PAUSE, Look, add_indexes
from brokerkit.outbox._rows import outgoing_of, row_of, waves_of

if TYPE_CHECKING:
    from typing import Unpack

logger = get_logger(__name__)

_NOTE: Final = 0.2
"""Seconds for which rows may be confirmed and not deleted yet; after a crash they are sent again."""
_NO_LEASE: Final = 10


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

    Every process may run a relay. One of them sends at a time, so that events of one key stay in order. Another takes over
    when its lease ends. Events of one key are sent one after the other, in the order in which they were written, each after
    the one before was confirmed. Transactions that write events of one key at the same time have no order.

    Args:
        engine: an engine of SQLAlchemy, or a URL to make one from, as for `SqlStore`.
        bus: what publishes; it must be open while events are written and sent.
        table: name of the table of events; the one with ``_relay`` behind it says which relay sends.
        schema: of both tables; by default the database's own default.
        metadata: what the tables are added to, so that Alembic finds them; by default a new one.
        poll: seconds after which the relay looks for events of other processes. It sees those of this process at once.
        lease: seconds after which another relay takes over from one that is gone.

    Raises:
        ConfigError: a duration is not more than 0, or the database is neither PostgreSQL nor SQLite.
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
            Column("due", Double, nullable=False, default=0.0, comment="Unix time in seconds; not sent before"),
            Column("error", Text),
            schema=schema,
            sqlite_autoincrement=True,
        )
        add_indexes(self.table)
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
        self._look = Look(self.engine, self.table, self._now)
        self._new = asyncio.Event()
        self._relay: asyncio.Task[None] | None = None
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Outbox {self.engine.url.render_as_string()} {self.table.fullname}>"

    async def create_tables(self) -> None:
        """Create the tables where they are missing, and the indexes of a table that an older version created.

        On PostgreSQL, nothing is written to the table while an index is built.
        """
        async with self.engine.begin() as connection:
            for table in (self.table, self.relay_table):
                await connection.run_sync(table.create, checkfirst=True)
            for index in self.table.indexes:
                await connection.run_sync(index.create, checkfirst=True)

    # ---- writing ---------------------------------------------------------------------------------------------

    async def publish(
        self,
        session: AsyncSession,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None = None,
        /,
        *,
        to: str | None = None,
        **options: Unpack[MessageOptions],
    ) -> str:
        """Write one event, to be published when the session's transaction commits.

        Args:
            session: whose transaction it becomes part of: ``message.session``, or any session on the same database.
            what: an event, an event name with ``payload``, or a `Message`.
            payload: the payload for an event name.
            to: name of the bus's target; needed only if there are several.
            **options: ``key``, ``headers``, ``id``, ``after`` or ``at``, and ``priority``; see
                `brokerkit.types.MessageOptions`. Events with the same key are sent in the order in which they were written.
                One that is to be sent later holds back no other.

        Returns:
            The message's id, which stays the same however often it is sent.

        Raises:
            InvalidMessage: it cannot be written.
            ConnectionLost: its format has a schema registry, which does not answer.
            Closed: the bus is not open.
        """
        target = self._bus.runtime.target(to)
        due = due_time(options.pop("after", None), options.pop("at", None))
        outgoing = target.prepare(what, payload, **options)
        await target.encode(outgoing)
        await session.execute(insert(self.table).values(row_of(target.name, outgoing, due=due or 0.0)))
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
        # One that was made before a fork relays in each child, and they must know each other apart.
        self._name = secrets.token_hex(16)
        join(self.engine)
        self._bus.runtime.figures.backlogs[self.table.fullname] = self.backlog
        self._relay = start(self._run(), partial(logger.error, "%r ends: %r", self))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is committed by now, as far as the broker takes it, and stop the relay."""
        assert self._relay is not None
        self._bus.runtime.figures.backlogs.pop(self.table.fullname, None)
        self._stopping = True
        self._new.set()
        try:
            await self._relay
        finally:
            self._relay.cancel()
            self._relay = None
            await leave(self.engine)

    async def backlog(self) -> int:
        """Return how many events are committed and not sent yet, with those that are to be sent later."""
        async with self.engine.connect() as connection:
            return await connection.scalar(select(func.count()).select_from(self.table)) or 0

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
            except Exception as error:  # noqa: BLE001 (the relay must not end in silence while events are committed)
                failures += 1
                pause = backoff(failures, first=0.2, cap=LONGEST_PAUSE)
                logger.warning("%r: trying again in %.3g s: %s", self, pause, type(error).__name__)
            if last:
                break
            await wait_for_event(self._new, pause)
        with suppress(SQLAlchemyError, OSError):
            await self._give_up()

    async def _is_ours(self) -> bool:
        """Whether this relay is the one that sends, and stays it for its lease.

        More than one at a time would do no harm but sending twice: each sends in order, and an event is gone only after
        its confirmation. So the lease need not be exact, and no transaction stays open while the broker is waited for.
        """
        now, relay = self._now(), self.relay_table
        into = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        row = into(relay).values(name="relay", owner=self._name, until=now + self._lease)
        take = row.on_conflict_do_update(
            index_elements=[relay.c.name],
            set_={"owner": row.excluded.owner, "until": row.excluded.until},
            where=or_(
                relay.c.owner == row.excluded.owner,
                relay.c.until <= now,
                # No lease is so long: the clock was set back.
                relay.c.until > now + _NO_LEASE * self._lease,
            ),
        ).returning(relay.c.name)
        async with self.engine.begin() as connection:
            return (await connection.execute(take)).first() is not None

    async def _give_up(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(delete(self.relay_table).where(self.relay_table.c.owner == self._name))

    async def _send_committed(self) -> float:
        """Send what is there, batch after batch; the seconds after which to look again."""
        while (found := await self._look()).rows:
            if not (await self._is_ours() and await self._send(found.rows)):
                return self._poll
        return self._poll if found.due_in is None else min(self._poll, max(found.due_in, 0.01))

    async def _send(self, rows: Sequence[Row[Any]]) -> bool:
        """Send rows, wave after wave; False if another relay sends by now.

        What was confirmed is deleted every now and then, and not after each wave: where many rows are of one key there are
        as many waves, and the database would be asked several times for each of those rows.
        """
        clock, stuck, outcomes = asyncio.get_running_loop().time, set[str](), list[tuple[Row[Any], Result]]()
        noted = clock()
        try:
            for wave in waves_of(rows):
                sent = await self._publish([row for row in wave if row.lane not in stuck])
                outcomes += sent
                stuck |= {row.lane for row, result in sent if not isinstance(result, Receipt)}
                if clock() - noted >= _NOTE:
                    told, outcomes = outcomes, []
                    await self._note(told)
                    if not await self._is_ours():
                        return False
                    noted = clock()
        finally:
            await self._note(outcomes)
        return True

    async def _publish(self, rows: Sequence[Row[Any]]) -> list[tuple[Row[Any], Result]]:
        """Publish rows that have no key in common: of several, a broker may take those behind one that fails."""
        outcomes: list[tuple[Row[Any], Result]] = []
        for name in {row.target for row in rows}:
            batch = [row for row in rows if row.target == name]
            results = await self._bus.runtime.target(name).publish_many([outgoing_of(row) for row in batch])
            outcomes += zip(batch, results, strict=True)
        return outcomes

    async def _note(self, outcomes: Sequence[tuple[Row[Any], Result]]) -> None:
        """Delete the rows that were confirmed, and write down why the others were not."""
        if not outcomes:
            return
        sent = [row.n for row, result in outcomes if isinstance(result, Receipt)]
        async with self.engine.begin() as connection:
            await connection.execute(delete(self.table).where(self.table.c.n.in_(sent)))
            for row, result in outcomes:
                if isinstance(result, BrokerkitError):
                    await connection.execute(self._failed(row, result))

    def _now(self) -> ColumnElement[float]:
        """Unix time in seconds where the rows are. A server has one clock for all hosts, SQLite has that of this one."""
        return server_now() if self.engine.dialect.name == "postgresql" else literal(_clock.wall_time(), SECONDS)

    def _failed(self, row: Row[Any], error: BrokerkitError) -> Any:
        wait = backoff(row.attempts + 1, first=0.1, cap=LONGEST_PAUSE)
        logger.error(
            "%r: event %s was not sent (attempt %d), again in %.3g s: %s: %s",
            self,
            row.id,
            row.attempts + 1,
            wait,
            type(error).__name__,
            describe(error),
        )
        noted = {"attempts": row.attempts + 1, "due": self._now() + wait, "error": f"{type(error).__name__}: {error}"}
        return update(self.table).where(self.table.c.n == row.n).values(noted)
