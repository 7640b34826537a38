"""One subscription of the embedded durable broker."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from brokerkit.adapters.api import (
    ACK,
    RELEASE,
    ConnectionLost,
    Delivery,
    Lost,
    NotFound,
    Outcome,
    OwnDelivery,
    RetryLater,
    Settled,
    Subscription,
    wait_for_event,
    wall_time,
)
from brokerkit.adapters.sqlite import _statements
from brokerkit.adapters.sqlite._database import Database
from brokerkit.adapters.sqlite._rows import delivery_of, written
from brokerkit.adapters.sqlite._statements import Group, Taken
from brokerkit.adapters.sqlite._wake import HAS_SOCKETS, Bell, Ear

DEFAULT_GROUP: Final = "default"
_LONGEST_WAIT: Final = 1.0 if HAS_SOCKETS else 0.02
"""Seconds after which a reader looks without a wake-up, because a wake-up may get lost."""

Numbers = dict[Group, list[int]]


class SqliteSource:
    """Reads topics for a group, or queues.

    Args:
        database: open.
        bell: rings the other readers of the file.
        url: for errors.
        subscription: what to read.
        lost: told of deliveries whose lease is over.
    """

    def __init__(self, database: Database, bell: Bell, url: str, subscription: Subscription, lost: Lost) -> None:
        self._database = database
        self._bell = bell
        self._url = url
        self._wanted = subscription
        self._lost = lost
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._groups: list[Group] = []
        self._topics: dict[int, str] = {}
        self._news = asyncio.Event()
        self._ear: Ear | None = None
        self._stopped = False

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "open" if self._groups else "new"
        return f"<SqliteSource {', '.join(self._wanted.topics)}: {state}>"

    async def open(self) -> None:
        """See `Source.open`."""
        self._groups = await self._database.write(self._find_groups)
        self._topics = {group.topic: name for group, name in zip(self._groups, self._wanted.topics, strict=True)}
        try:
            self._ear = Ear(self._database.path, self._news.set)
        except OSError as error:
            raise ConnectionLost(
                f"{self._url}: no wake-ups can be received: {error}; TMPDIR chooses another folder"
            ) from error

    def _find_groups(self, db: sqlite3.Connection) -> list[Group]:
        """Find the topics and groups that are read, and create those that may be created.

        Raises:
            NotFound: something is missing.
        """
        wanted, groups = self._wanted, list[Group]()
        for name in wanted.topics:
            topic = _statements.find_topic(db, name)
            if topic is None and wanted.provision in ("all", "off"):
                topic = _statements.add_topic(db, name, is_queue=wanted.is_queue)
            if topic is None:
                raise NotFound(f'{self._url} has no topic {name!r}; create it, or set provision = "all"')
            if wanted.is_queue:
                group_name, group = "", _statements.find_group(db, topic, "")
            elif wanted.broadcast:
                group_name, group = f"broadcast-{self._owner}", None
            else:
                group_name = wanted.group or DEFAULT_GROUP
                group = _statements.find_group(db, topic, group_name)
            if group is None:
                if wanted.provision == "check" and not wanted.broadcast:
                    raise NotFound(f'topic {name!r} has no group {group_name!r} yet; provision = "group" creates it')
                from_start = wanted.is_queue or (wanted.start == "earliest" and not wanted.broadcast)
                group = _statements.add_group(db, topic, group_name, from_start=from_start, private=wanted.broadcast)
            groups.append(group)
        return groups

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Source.receive`."""
        while not self._stopped:
            self._news.clear()
            taken, pause = await self._database.write(self._take, limit)
            if taken:
                return [self._delivery(one) for one in taken]
            if pause > 0 and not self._stopped:
                await wait_for_event(self._news, pause)
        return []

    def _take(self, db: sqlite3.Connection, limit: int) -> tuple[list[Taken], float]:
        """Messages; if there are none, the seconds after which to look again."""
        now = time.monotonic()
        later = _statements.bring_due(db, clock=wall_time())
        taken = _statements.take(
            db, self._groups, owner=self._owner, limit=limit, now=now, until=now + self._wanted.lease
        )
        if taken:
            return taken, 0.0
        pauses = [_LONGEST_WAIT]
        pauses += [one for one in (later, _statements.next_change(db, self._groups, now=now)) if one is not None]
        return [], max(min(pauses), 0.01)

    def _delivery(self, taken: Taken) -> Delivery:
        topic = self._topics[taken.group.topic]
        return delivery_of(
            taken.row,
            topic,
            make=partial(OwnDelivery, queue=topic) if self._wanted.is_queue or taken.headers is not None else Delivery,
            token=(taken.group, taken.row[0]),
            count=taken.deliveries,
            id=taken.id,
            headers=taken.headers,
        )

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """See `Source.settle`."""
        try:
            lost = await self._database.write(self._settle, pairs)
        except ConnectionLost:
            return [Settled.FAILED] * len(pairs)
        if any(outcome is not ACK for _, outcome in pairs):
            self._bell.ring()
        return [Settled.LOST if delivery.token in lost else Settled.DONE for delivery, _ in pairs]

    def _settle(self, db: sqlite3.Connection, pairs: Sequence[tuple[Delivery, Outcome]]) -> set[tuple[Group, int]]:
        """Settle all of them in one transaction. Return the tokens of those that were no longer ours."""
        done: Numbers = defaultdict(list)
        released: Numbers = defaultdict(list)
        lost: set[tuple[Group, int]] = set()
        now, clock = time.monotonic(), wall_time()
        for delivery, outcome in pairs:
            group, n = delivery.token
            if isinstance(outcome, RetryLater):
                after, copy = outcome.after, outcome.copy
                headers = written(copy.headers)
                if not _statements.put_off(
                    db, group, n, self._owner, due=now + after, wall=clock + after, id=copy.id, headers=headers
                ):
                    lost.add((group, n))
            else:
                (released if outcome is RELEASE else done)[group].append(n)
        for group, numbers in done.items():
            ours = _statements.acknowledge(db, group, numbers, self._owner)
            lost.update((group, n) for n in numbers if n not in ours)
        for group, numbers in released.items():
            lost.update((group, n) for n in _statements.release(db, group, numbers, self._owner))
        return lost

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`."""
        until = time.monotonic() + self._wanted.lease
        numbers: Numbers = defaultdict(list)
        for delivery in deliveries:
            group, n = delivery.token
            numbers[group].append(n)

        def extend(db: sqlite3.Connection) -> set[tuple[Group, int]]:
            return {
                (group, n)
                for group, some in numbers.items()
                for n in _statements.extend(db, group, some, self._owner, until)
            }

        try:
            lost = await self._database.write(extend)
        except ConnectionLost:
            return [Settled.FAILED] * len(deliveries)
        return [Settled.LOST if delivery.token in lost else Settled.DONE for delivery in deliveries]

    async def begin_alone(self, delivery: Delivery) -> int:
        """See `LoneStarts.begin_alone`; they stand beside the message."""
        return await self._database.write(_statements.begin_alone, *delivery.token)

    async def end_alone(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`."""
        await self._database.write(_statements.end_alone, *delivery.token)

    def delivery_limit(self, topic: str) -> int | None:
        """See `LoneStarts.delivery_limit`."""
        return None

    async def lag(self) -> int | None:
        """See `Source.lag`."""
        return await self._database.write(_statements.lag, self._groups)

    async def stop(self) -> None:
        """See `Source.stop`."""
        self._stopped = True
        self._news.set()

    async def close(self) -> None:
        """See `Source.close`."""
        await self.stop()
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        groups, self._groups = self._groups, []
        leave: Callable[..., Any] = _statements.drop_group if self._wanted.broadcast else _statements.free
        for group in groups:
            values = (group,) if self._wanted.broadcast else (group, self._owner)
            try:
                await self._database.write(leave, *values)
            except ConnectionLost:
                return  # leases end by themselves
        if groups:
            self._bell.ring()
