"""A simulated log: partitions that belong to one reader at a time, and one offset for each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from brokerkit._errors import ConnectionLost
from brokerkit._guard import start
from brokerkit._messages._delivery import RELEASE, Delivery, Outcome, RetryLater, Settled, State
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.api import Lost, Offsets, Subscription
from tests.simulation.ledger import Ledger
from tests.simulation.link import Link, SimulatedBroker, SimulatedDelivery, message_of, number_of, settle_over
from tests.simulation.loop import SimulatedLoop, outside
from tests.simulation.plan import Setup

_COMMIT = 0.2
_SESSION = 10.0


class _Partition:
    def __init__(self, number: int, *, own: bool) -> None:
        self.number = number
        self.own = own
        self.records: list[Outgoing] = []
        self.committed = 0
        self.assignment: _Assignment | None = None
        self.moving = False


class _Assignment:
    """A partition in the hands of a reader: the token of its deliveries."""

    def __init__(self, partition: _Partition, source: LogSource, number: int) -> None:
        self.partition = partition
        self.source = source
        self.offsets: Offsets[SimulatedDelivery] = Offsets("deals", partition.number)
        self.next = partition.committed
        self.paused = False
        self.committing = False
        self.never_begun: set[int] = set()
        self.gave_up = False
        """Whether its reader could not wait until everything was done that had to be."""
        self._number = number

    def __hash__(self) -> int:
        return self._number


class LogBroker(SimulatedBroker):
    """A log with partitions; the last one is the group's own, for retries."""

    def __init__(self, setup: Setup, loop: SimulatedLoop, ledger: Ledger, rng: random.Random) -> None:
        super().__init__(setup, loop, ledger, rng)
        self.partitions = [_Partition(number, own=False) for number in range(setup.partitions)]
        self.partitions.append(_Partition(setup.partitions, own=True))
        self.members: list[LogSource] = []
        self.later_count = 0

    def publish(self, number: int, key: str | None) -> None:
        self.ledger.publish(number)
        self.put_in(message_of(number, key))

    def put_in(self, message: Outgoing) -> None:
        count, key = self.setup.partitions, message.key
        where = self.rng.randrange(count) if key is None else crc32(str(key).encode()) % count
        self.append(self.partitions[where], message)

    def append(self, partition: _Partition, message: Outgoing) -> None:
        partition.records.append(message)
        if partition.assignment is not None:
            partition.assignment.source.wake()

    def later(self, seconds: float, call: Any, *args: Any) -> None:
        """Do something later, whatever becomes of the process that runs."""
        outside(self.loop.call_later, seconds, call, *args)

    def bring(self, copy: Outgoing) -> None:
        """The time of a retry has come."""
        self.later_count -= 1
        self.append(self.partitions[-1], copy)

    def unfinished(self) -> int:
        return self.later_count + sum(len(one.records) - one.committed for one in self.partitions)

    def subscribe(self, link: Link, subscription: Subscription, lost: Lost) -> LogSource:
        return LogSource(self, link, subscription, lost)

    # ---- members ---------------------------------------------------------------------------------------------

    def join(self, source: LogSource) -> None:
        self.members.append(source)
        self.rebalance(notice=self.rng.random() < 0.7)

    def leave(self, source: LogSource, *, died: bool) -> None:
        """A member is gone: its partitions go to others."""
        if source not in self.members:
            return
        self.members.remove(source)
        for partition in self.partitions:
            if partition.assignment is not None and partition.assignment.source is source:
                self.take(partition, "its process died" if died else "", tell=False)
        self.rebalance(notice=self.rng.random() < 0.7)

    def died(self, link: Link) -> None:
        for member in self.members:
            if member.link is link:
                self.later(_SESSION, lambda member=member: self.leave(member, died=True))

    def rebalance(self, *, notice: bool) -> None:
        """Spread the partitions anew."""
        if not self.members:
            return
        shift = self.rng.randrange(len(self.members))
        for partition in self.partitions:
            owner = self.members[(partition.number + shift) % len(self.members)]
            held = partition.assignment
            if held is None:
                self.assign(partition, owner)
            elif held.source is not owner and not partition.moving:
                self._move(partition, held, notice=notice)

    def _move(self, partition: _Partition, held: _Assignment, *, notice: bool) -> None:
        if not notice:
            self.take(partition, "its partition was taken", tell=True)
            self.rebalance_one(partition)
            return
        partition.moving = True
        held.source.revoke(held)
        self.later(held.source.drain + _SESSION, self._force, partition, held)

    def _force(self, partition: _Partition, held: _Assignment) -> None:
        if partition.assignment is held:
            self.take(partition, "its partition was taken after the session timeout", tell=True)
            self.rebalance_one(partition)

    def released(self, held: _Assignment) -> None:
        """A reader lets a partition go."""
        partition = held.partition
        if partition.assignment is held:
            self.take(partition, "", tell=False)
            self.rebalance_one(partition)

    def rebalance_one(self, partition: _Partition) -> None:
        if self.members and partition.assignment is None:
            self.assign(partition, self.rng.choice(self.members))

    def assign(self, partition: _Partition, source: LogSource) -> None:
        partition.assignment = _Assignment(partition, source, self.loop.count())
        source.wake()

    def take(self, partition: _Partition, why: str, *, tell: bool) -> None:
        """Take a partition from its reader. What is not committed comes again."""
        held = partition.assignment
        assert held is not None
        partition.assignment, partition.moving = None, False
        lost = held.offsets.unsettled
        held.offsets.revoke()
        is_first, is_put_off = True, False
        for offset in range(partition.committed, held.next):
            number = number_of(partition.records[offset].body)
            self.ledger.given_back(held.source.link.life, number)
            account = self.ledger.accounts[number]
            if why:
                self.ledger.excuse(number, why)
            elif is_first and not (account.failures or account.cut or account.excuses or sum(account.begun)):
                # The first one has never begun. So nothing behind it should have.
                is_first = False
                held.never_begun.add(number)
            elif sum(account.begun):
                waits_for_a_limit = any(self.setup.rates)
                is_put_off = is_put_off or account.failures > 0  # What is behind it comes again because of it.
                is_excused = account.excuses or held.gave_up or held.source.is_troubled or is_put_off
                if held.never_begun and not (is_excused or waits_for_a_limit):
                    self.ledger.blame(f"message {number} comes again, and {held.never_begun} before it never began")
                self.ledger.excuse(number, "something before it was given back")
                is_first = False
        if tell:
            held.source.tell_lost(held, lost)

    # ---- offsets ---------------------------------------------------------------------------------------------

    def commit(self, held: _Assignment) -> None:
        """Keep the position of a reader."""
        position = held.offsets.position
        if held.partition.assignment is held and position is not None:
            for offset in range(held.partition.committed, position):
                self.ledger.acknowledge_offset(number_of(held.partition.records[offset].body))
            held.partition.committed = max(held.partition.committed, position)

    def snapped(self, link: Link) -> None:
        for member in self.members:
            if member.link is link:
                member.wake()


class LogSource:
    """A reader of a log."""

    def __init__(self, broker: LogBroker, link: Link, subscription: Subscription, lost: Lost) -> None:
        self._broker = broker
        self.link = link
        self._lost = lost
        self.drain = subscription.drain_timeout
        self._stopped = False
        self._wakeup = asyncio.Event()
        self._generation = link.generation
        self._news: list[tuple[_Assignment, list[SimulatedDelivery] | None]] = []
        self._told = asyncio.Event()
        self._member: asyncio.Task[None] | None = None
        self._begun_to_stop = 0.0

    @property
    def is_troubled(self) -> bool:
        now = self._broker.loop.time()
        return self.link.trouble >= now - 15.0 or (self._stopped and now - self._begun_to_stop > self.drain - 0.1)

    async def open(self) -> None:
        await self.link.travel()
        if self.link.is_down:
            raise ConnectionLost("the simulated broker is away")
        self._generation = self.link.generation
        self._member = start(self._follow(), lambda error: self._broker.ledger.blame(f"Lost raised {error!r}"))
        self._broker.join(self)

    def wake(self) -> None:
        self._wakeup.set()

    def _mine(self) -> list[_Assignment]:
        found = [one.assignment for one in self._broker.partitions if one.assignment is not None]
        return [one for one in found if one.source is self]

    async def receive(self, limit: int) -> Sequence[Delivery]:
        while not self._stopped:
            if self._generation != self.link.generation or self.link.is_down:
                await self.link.travel()
                if self.link.is_down:
                    raise ConnectionLost("the simulated broker is away")
                self._generation = self.link.generation
                return []
            self._wakeup.clear()
            if found := self._take(limit):
                return found
            await self._wakeup.wait()
        return []

    def _take(self, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        for held in self._mine():
            while not held.paused and not held.partition.moving and held.next < len(held.partition.records):
                if len(found) == limit:
                    return found
                offset = held.next
                held.next += 1
                delivery = SimulatedDelivery(
                    self._broker.loop,
                    held.partition.records[offset],
                    is_ours=held.partition.own,
                    position=(held.partition.number, offset),
                    time=self._broker.loop.wall(),
                    token=held,
                )
                held.offsets.add(offset, delivery)
                self._broker.ledger.received(self.link.life, delivery.lineage)
                found.append(delivery)
        return found

    def revoke(self, held: _Assignment) -> None:
        """The broker wants a partition back."""
        self._news.append((held, None))
        self._told.set()

    def tell_lost(self, held: _Assignment, lost: list[SimulatedDelivery]) -> None:
        """The broker has taken a partition."""
        self._news.append((held, lost))
        self._told.set()

    async def _follow(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            while self._news:
                held, lost = self._news.pop(0)
                await self.link.travel()
                if lost is not None:
                    await self._wait(self._lost(lost))
                elif held.offsets.live:
                    if not await self._wait(self._lost(held.offsets.unsettled, gone=False)):
                        held.gave_up = True
                        for delivery in held.offsets.unsettled:
                            delivery.went_at = self._broker.loop.time()
                            if delivery.state is not State.WAITING:
                                why = "it was not done when its partition went"
                                self._broker.ledger.excuse(delivery.lineage, why)
                    await self.link.travel()
                    if not self.link.is_down:
                        self._broker.commit(held)
                        self._broker.released(held)

    async def _wait(self, losing: Any) -> bool:
        task = asyncio.ensure_future(losing)
        await asyncio.wait([task], timeout=self.drain)
        if task.done():
            task.result()
        return task.done()

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        return await settle_over(self._broker, self.link, pairs, self._settle, Settled.FAILED)

    def _settle(self, delivery: SimulatedDelivery, outcome: Outcome) -> Settled:
        held: _Assignment = delivery.token
        assert isinstance(delivery.position, tuple)
        offset = delivery.position[1]
        if not held.offsets.live or held.partition.assignment is not held:
            return Settled.LOST
        if outcome is RELEASE:
            held.offsets.release(offset)
            self._broker.ledger.given_back(self.link.life, delivery.lineage)
            return Settled.DONE
        if isinstance(outcome, RetryLater):
            self._broker.later_count += 1
            self._broker.later(outcome.after, self._broker.bring, outcome.copy)
        else:
            self._broker.ledger.acknowledge(delivery.lineage)
        self._broker.ledger.given_back(self.link.life, delivery.lineage)
        held.offsets.done([offset])
        if not held.committing:
            held.committing = True
            self._broker.later(_COMMIT, self._commit, held)
        return Settled.DONE

    def _commit(self, held: _Assignment) -> None:
        if self.link.life.dead:
            return
        if self.link.is_down or self.link.life.frozen:
            self._broker.later(0.5, self._commit, held)
            return
        held.committing = False
        self._broker.commit(held)

    def pause(self, token: Any) -> None:
        token.paused = True

    def resume(self, token: Any) -> None:
        token.paused = False
        self.wake()

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        raise NotImplementedError

    async def lag(self) -> int | None:
        return self._broker.unfinished()

    async def stop(self) -> None:
        self._stopped = True
        self._begun_to_stop = self._broker.loop.time()
        self.wake()
        await self.link.travel()

    async def close(self) -> None:
        self._stopped = True
        self.wake()
        await self.link.travel()
        if self._member is not None:
            self._member.cancel()
            await asyncio.wait([self._member])
            self._member = None
        if not self.link.is_down:
            for held in self._mine():
                self._broker.commit(held)
        self._broker.leave(self, died=self.link.is_down)
