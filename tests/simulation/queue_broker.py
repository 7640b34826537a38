"""A simulated queue: it settles each message, with or without leases, counts, and order across its readers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from brokerkit._errors import ConnectionLost
from brokerkit._guard import start
from brokerkit._messages._delivery import ACK, Delivery, Outcome, RetryLater, Settled, State
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.api import Lost, Subscription
from tests.simulation.entry import Entry
from tests.simulation.ledger import Ledger
from tests.simulation.link import Link, SimulatedBroker, SimulatedDelivery, message_of, settle_over
from tests.simulation.loop import SimulatedLoop, outside
from tests.simulation.plan import Setup


class QueueBroker(SimulatedBroker):
    """A queue with many readers."""

    def __init__(self, setup: Setup, loop: SimulatedLoop, ledger: Ledger, rng: random.Random) -> None:
        super().__init__(setup, loop, ledger, rng)
        self.entries: list[Entry] = []
        self.readers: list[QueueSource] = []
        self._numbers = 0
        self._lease = setup.promises.lease

    def publish(self, number: int, key: str | None) -> None:
        self.ledger.publish(number)
        self.put_in(message_of(number, key))

    def put_in(self, message: Outgoing) -> None:
        self.append(message, own=False)

    def append(self, message: Outgoing, *, own: bool) -> None:
        """Take a message, or the copy of one."""
        self._numbers += 1
        self.entries.append(Entry(message, self._numbers, self.loop.wall(), own=own))
        self._wake()

    def _wake(self) -> None:
        for reader in self.readers:
            reader.wake()

    def unfinished(self) -> int:
        return len(self.entries)

    def subscribe(self, link: Link, subscription: Subscription, lost: Lost) -> QueueSource:
        return QueueSource(self, link, subscription, lost)

    def take(self, source: QueueSource, limit: int) -> list[SimulatedDelivery]:
        """Give messages to a reader."""
        blocked: set[str | bytes | None] = set()
        if self.setup.fifo:
            blocked = {
                one.message.key
                for one in self.entries
                if one.message.key is not None
                and not one.is_ready
                and (self.setup.waits_block or one.holder is not None)
            }
        found: list[SimulatedDelivery] = []
        for entry in self.entries:
            if len(found) == limit:
                break
            if entry.is_ready and entry.message.key not in blocked:
                found.append(self._give(entry, source))
        return found

    def _give(self, entry: Entry, source: QueueSource) -> SimulatedDelivery:
        entry.count += 1
        entry.is_ready, entry.holder, entry.silent = False, source, True
        promises = self.setup.promises
        entry.delivery = SimulatedDelivery(
            self.loop,
            entry.message,
            is_ours=entry.own,
            position=str(entry.number) if promises.stable_id else None,
            time=entry.time,
            count=entry.count if promises.attempts == "deliveries" else 0,
            token=entry,
        )
        if self._lease is not None:
            self.grant(entry)
            self.later(self._lease, self._look_at_lease, entry, entry.delivery)
        return entry.delivery

    def later(self, seconds: float, call: object, *args: object) -> None:
        """Do something later, whatever becomes of the process that runs."""
        outside(self.loop.call_later, seconds, call, *args)

    def grant(self, entry: Entry) -> None:
        entry.granted = self.loop.time()

    def _look_at_lease(self, entry: Entry, delivery: SimulatedDelivery) -> None:
        assert self._lease is not None
        if entry.delivery is not delivery or entry.holder is None:
            return
        left = entry.granted + self._lease - self.loop.time()
        if left > 0.0001:
            self.later(left, self._look_at_lease, entry, delivery)
            return
        if not entry.silent and entry.holder.link.trouble < entry.granted - 8.0:
            self.ledger.blame(f"the lease of {entry.lineage} ended although its holder could have extended it")
        holder, is_known = entry.holder, not entry.silent
        self.lose(entry, "its lease ended")
        if self.setup.tells_lease_end and is_known:
            holder.tell_lost([delivery])

    def lose(self, entry: Entry, why: str) -> None:
        """A delivery is taken from its holder, and its message comes again."""
        if entry.holder is not None:
            self.ledger.given_back(entry.holder.link.life, entry.lineage)
        self.ledger.excuse(entry.lineage, why)
        self.put_back(entry)

    def put_back(self, entry: Entry) -> None:
        entry.holder, entry.delivery, entry.is_ready = None, None, True
        self._wake()

    def held_by(self, source: QueueSource) -> list[Entry]:
        return [entry for entry in self.entries if entry.holder is source]

    def leave(self, source: QueueSource, why: str) -> None:
        """The connection of a reader has ended."""
        for entry in self.held_by(source):
            if self._lease is None:
                self.lose(entry, why)
            else:
                entry.silent = True

    def died(self, link: Link) -> None:
        self.readers = [one for one in self.readers if one.link is not link]
        holders = [entry.holder for entry in self.entries if entry.holder is not None and entry.holder.link is link]
        for holder in dict.fromkeys(holders):  # also one that has died in the middle of its close
            self.leave(holder, "its process died")

    def snapped(self, link: Link) -> None:
        for reader in self.readers:
            if reader.link is link:
                reader.snapped()

    def take_away(self) -> None:
        held = [entry for entry in self.entries if entry.holder is not None]
        if held:
            entry = self.rng.choice(held)
            source, delivery = entry.holder, entry.delivery
            assert source is not None and delivery is not None
            is_known = not entry.silent
            self.lose(entry, "it was taken away")
            if is_known and self._lease is None:
                source.tell_lost([delivery])

    def duplicate(self) -> None:
        if self.entries:
            entry = self.rng.choice(self.entries)
            self.ledger.excuse(entry.lineage, "it was delivered twice")
            # What one delivery has failed and finished is remembered for both: the first that comes again has them.
            self.ledger.excuse(entry.lineage, "each of the two deliveries may fail and come again")
            self.append(entry.message, own=entry.own)


class QueueSource:
    """A reader."""

    def __init__(self, broker: QueueBroker, link: Link, subscription: Subscription, lost: Lost) -> None:
        self._broker = broker
        self.link = link
        self._lost = lost
        self._lease = subscription.lease
        self._stopped = False
        self._wakeup = asyncio.Event()
        self._generation = link.generation
        self._news: list[list[SimulatedDelivery]] = []
        self._told = asyncio.Event()
        self._teller: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.link.travel()
        if self.link.is_down:
            raise ConnectionLost("the simulated broker is away")
        self._generation = self.link.generation
        self._broker.readers.append(self)
        self._teller = start(self._tell(), lambda error: self._broker.ledger.blame(f"Lost raised {error!r}"))

    def wake(self) -> None:
        self._wakeup.set()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        while not self._stopped:
            if self._generation != self.link.generation or self.link.is_down:
                await self.link.travel()
                if self.link.is_down:
                    raise ConnectionLost("the simulated broker is away")
                self._generation = self.link.generation
                return []
            generation = self.link.generation
            self._wakeup.clear()
            found = self._broker.take(self, limit)
            if not found:
                await self._wakeup.wait()
                continue
            await self.link.travel()
            if self.link.generation != generation:
                self._generation = (
                    generation  # Another poller may have heard already that it is back, and this one has not.
                )
                raise ConnectionLost("the connection broke")
            ours = [one for one in found if one.token.delivery is one]
            for one in ours:
                one.token.silent, one.has_arrived = False, True
                self._broker.ledger.received(self.link.life, one.lineage)
            if ours:
                return ours
        return []

    def snapped(self) -> None:
        """The connection has broken."""
        entries = self._broker.held_by(self)
        known = [one.delivery for one in entries if one.delivery is not None and not one.silent]
        self._broker.leave(self, "its connection broke")
        if self._broker.setup.promises.lease is None and known:
            self.tell_lost(known)
        self.wake()

    def tell_lost(self, deliveries: list[SimulatedDelivery]) -> None:
        """Let the core know what was taken away."""
        self._news.append(deliveries)
        self._told.set()

    async def _tell(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            while self._news:
                deliveries = self._news.pop(0)
                await self.link.travel()
                await self._lost(deliveries)

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        gone = Settled.LOST if self._broker.setup.promises.lease is None else Settled.FAILED
        behind = await self._pull_back(pairs) if self._broker.setup.pulls_back else []
        generation = self.link.generation
        answers = await settle_over(self._broker, self.link, pairs, self._settle, gone)
        for delivery in behind:
            if delivery.token.delivery is not delivery:
                continue
            if self.link.is_down or self.link.generation != generation:
                delivery.token.silent = True  # Its lease ends.
            else:
                if self._broker.setup.counts_returns:
                    delivery.token.count -= 1  # Its reader does not count what it took back.
                self._give_back(delivery.token)
        return answers

    async def _pull_back(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[SimulatedDelivery]:
        """Take from the core what is behind those that go back."""
        first: dict[str | bytes, int] = {}
        settling = {delivery for delivery, _ in pairs}
        for delivery, outcome in pairs:
            entry: Entry = delivery.token
            if outcome is not ACK and entry.delivery is delivery and (key := entry.message.key) is not None:
                first[key] = min(entry.number, first.get(key, entry.number))
        behind = [
            one.delivery
            for one in self._broker.held_by(self)
            if one.delivery is not None and one.delivery.has_arrived and one.delivery not in settling
            if one.delivery.state is State.WAITING and one.number > first.get(one.message.key or "", one.number)
        ]
        if behind:
            losing = start(self._lost(behind), lambda error: self._broker.ledger.blame(f"Lost raised {error!r}"))
            while not losing.done() and any(one.state is State.WAITING for one in behind):
                await asyncio.sleep(0)  # The core drops at once what has not begun.
            for delivery in behind:
                self._broker.ledger.given_back(self.link.life, delivery.lineage)
        return behind

    def _settle(self, delivery: SimulatedDelivery, outcome: Outcome) -> Settled:
        entry: Entry = delivery.token
        broker = self._broker
        if entry.delivery is not delivery or entry.holder is not self:
            again = broker.setup.repeats and outcome is ACK and entry.acknowledged is delivery
            return Settled.DONE if again else Settled.LOST
        broker.ledger.given_back(self.link.life, entry.lineage)
        if outcome is ACK:
            broker.ledger.acknowledge(entry.lineage)
            entry.acknowledged = delivery
            self._remove(entry)
        elif isinstance(outcome, RetryLater):
            if broker.setup.promises.copies_retries:
                self._remove(entry)
                entry = Entry(outcome.copy, 0, 0.0, own=True)
                entry.is_ready = False
                broker.entries.append(entry)
                broker.later(outcome.after, self._bring, entry)
            else:
                entry.holder, entry.delivery = None, None
                broker.later(outcome.after, broker.put_back, entry)
        else:
            self._give_back(entry)
        return Settled.DONE

    def _give_back(self, entry: Entry) -> None:
        if not self._broker.setup.counts_returns:
            entry.count -= 1
        if self._broker.setup.returns_last:
            self._broker.entries.remove(entry)
            self._broker.entries.append(entry)
        self._broker.put_back(entry)

    def _remove(self, entry: Entry) -> None:
        self._broker.entries.remove(entry)
        entry.holder, entry.delivery = None, None
        if self._broker.setup.fifo:
            self._broker._wake()

    def _bring(self, entry: Entry) -> None:
        self._broker.entries.remove(entry)
        self._broker.append(entry.message, own=True)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        await self.link.travel()
        answers: list[Settled] = []
        for delivery in deliveries:
            entry: Entry = delivery.token
            if self.link.is_down or (self.link.has("refuse extensions") and self.link.rng.random() < 0.7):
                answers.append(Settled.FAILED)
            elif entry.delivery is delivery and entry.holder is self:
                self._broker.grant(entry)
                answers.append(Settled.DONE)
            else:
                answers.append(Settled.LOST)
        await self.link.travel()
        for delivery, answer in zip(deliveries, answers, strict=True):
            assert isinstance(delivery, SimulatedDelivery)
            if answer is Settled.LOST and delivery.state is State.WAITING:
                delivery.is_known_lost = True
        return answers

    async def begin_alone(self, delivery: Delivery) -> int:
        await self.link.travel()
        if self.link.is_down or (self.link.has("refuse marks") and self.link.rng.random() < 0.7):
            raise ConnectionLost("the mark is not stored")
        delivery.token.starts += 1
        starts: int = delivery.token.starts
        await self.link.travel()
        return starts

    async def end_alone(self, delivery: Delivery) -> None:
        await self.link.travel()
        if self.link.is_down:
            raise ConnectionLost("the mark is not removed")
        delivery.token.starts = 0

    def delivery_limit(self, topic: str) -> int | None:
        return None

    async def lag(self) -> int | None:
        return len(self._broker.entries)

    async def stop(self) -> None:
        self._stopped = True
        self.wake()
        await self.link.travel()

    async def close(self) -> None:
        self._stopped = True
        self.wake()
        await self.link.travel()
        if self in self._broker.readers:
            self._broker.readers.remove(self)
        if self._teller is not None:
            self._teller.cancel()
            await asyncio.wait([self._teller])
            self._teller = None
        for entry in self._broker.held_by(self):
            if not entry.silent and self.link.hindered < self._broker.loop.time() - 15.0:
                self._broker.ledger.blame(f"message {entry.lineage} is neither acknowledged nor given back at a stop")
        self._broker.leave(self, "its reader has left")
