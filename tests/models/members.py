"""Members of a group that do as they are told, on real and simulated brokers alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

from brokerkit._messages._copies import copy_of
from brokerkit._messages._retry_state import DUE, WAIT, RetryState
from brokerkit.adapters.api import (
    ACK,
    RELEASE,
    Adapter,
    Capabilities,
    ConnectionLost,
    Delivery,
    Outcome,
    Outgoing,
    Receipt,
    RetryLater,
    Source,
    Subscription,
    wall_time,
)
from tests.models.model import HEADER, Model

GROUP: Final = "wallet"
AFTER: Final = 1.0
"""Seconds that a retry waits."""
PATIENCE: Final = 90.0
"""Seconds in which everything must have happened that has to, on a busy machine too."""

Way = Literal["ack", "release", "retry"]


class World(Protocol):
    """A broker, and how to reach it.

    Attributes:
        topic: where everything is published.
        lease: seconds of a lease, where the broker has leases.
        drain: seconds for `Subscription.drain_timeout`.
        is_abrupt: as in `Model`.
        fetches_ahead: as in `Model`.
        bury: when the source of a dead member is closed: ``at once`` where its connection is cut and it can do nothing more,
            ``last`` where it would give back what it has, ``never`` where it does not run any more.
    """

    topic: str
    lease: float
    drain: float
    is_abrupt: bool
    fetches_ahead: bool
    bury: Literal["at once", "last", "never"]

    @property
    def promises(self) -> Capabilities: ...

    def now(self) -> float: ...

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something to its end."""
        ...

    async def begin(self) -> None:
        """Make what must exist."""
        ...

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[object]:
        """Publish."""
        ...

    async def connect(self, slot: int) -> Adapter:
        """Open an adapter over a connection of its own."""
        ...

    async def cut(self, slot: int) -> None:
        """Break that connection, and let nobody connect over it until the next `connect`."""
        ...

    def spawn(self, slot: int, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside."""
        ...

    async def end(self) -> None:
        """Free everything."""
        ...

    def close(self) -> None:
        """Free what is left after that, when nothing runs any more."""
        ...


@dataclass(eq=False, repr=False)
class Member:
    """One reader.

    Attributes:
        slot: which connection it has.
        call: its open call of `Source.receive`.
    """

    slot: int
    number: int
    adapter: Adapter
    model: Model
    source: Source = field(init=False)
    call: asyncio.Task[None] | None = None
    dead: bool = False

    def __repr__(self) -> str:
        return f"member {self.number}"

    async def lost(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        if not self.dead:
            self.model.lost(self, list(deliveries), gone=gone)

    async def receive(self, limit: int, got: Callable[[], None]) -> None:
        asked = self.model.now()
        try:
            deliveries = await self.source.receive(limit)
        except ConnectionLost:
            deliveries = ()
        finally:
            self.call = None
        if len(deliveries) > limit:
            self.model.blame(f"{self} asked for {limit} messages, and got {len(deliveries)}")
        if not self.dead:
            for delivery in deliveries:
                self.model.arrive(self, asked, delivery)
        got()


class Driver:
    """Does to a broker what an example says, and tells the model."""

    def __init__(self, world: World) -> None:
        self.world = world
        promises = world.promises
        self.model = Model(
            promises,
            world.lease if promises.lease is not None else None,
            world.now,
            world.is_abrupt,
            world.fetches_ahead,
        )
        self.members: list[Member] = []
        self.got = asyncio.Event()
        self._dead: list[Member] = []
        self._numbers = 0

    async def begin(self) -> None:
        await self.world.begin()
        await self.join()

    async def join(self) -> None:
        """One more member, if there is a connection for it."""
        free = {0, 1} - {member.slot for member in self.members}
        if not free:
            return
        slot = min(free)
        self._numbers += 1
        member = Member(slot, self._numbers, await self.world.connect(slot), self.model)
        subscription = Subscription(
            topics=(self.world.topic,),
            group=GROUP,
            provision="all",
            lease=self.world.lease,
            max_in_flight=50,
            drain_timeout=self.world.drain,
        )
        member.source = member.adapter.subscribe(subscription, member.lost)
        await self._in(member, member.source.open())
        self.members.append(member)
        self.model.note(f"{member} is there")

    async def _in(self, member: Member, coroutine: Coroutine[Any, Any, None]) -> None:
        """Do something as the process of a member."""
        await asyncio.wait([task := self.world.spawn(member.slot, coroutine)], timeout=PATIENCE)
        assert task.done(), f"{member} does not come to an end: {coroutine}"
        task.result()

    async def publish(self, keys: Sequence[str | None]) -> None:
        numbers = [self.model.publish(key) for key in keys]
        answers = await self.world.send([self._outgoing(number) for number in numbers])
        assert all(isinstance(answer, Receipt) for answer in answers), answers

    def _outgoing(self, number: int) -> Outgoing:
        return Outgoing(
            topic=self.world.topic,
            body=self.model.body(number),
            name="OnPlayerSeatedDown",
            id=f"{self.world.topic}-{number}",
            key=self.model.entries[number].key,
            headers={HEADER: f"t{number}"},
        )

    def ask(self, member: Member, limit: int) -> None:
        """Have a member ask for messages, unless it does already."""
        if member.call is None:
            member.call = self.world.spawn(member.slot, member.receive(limit, self.got.set))

    async def take(self, limit: int) -> None:
        """Have all members ask, and wait until something comes if something must."""
        before = self.model.arrivals
        begun = self.world.now()
        while self.model.arrivals == before and self.model.must_come and self.members:
            self.got.clear()
            for member in self.members:
                self.ask(member, limit)
            try:
                async with asyncio.timeout(max(begun + PATIENCE - self.world.now(), 0)):
                    await self.got.wait()
            except TimeoutError:
                left = {one.number: one.state for one in self.model.open}
                self.model.blame(f"nothing comes, although something is there: {left}")
                return

    async def settle(self, member: Member, picks: Sequence[int], ways: Sequence[Way]) -> None:
        """Settle some of what a member has, in any order."""
        held = self.model.held_by(member)
        pairs: list[tuple[Delivery, Outcome]] = []
        for pick, way in zip(picks, ways, strict=False):
            if held:
                entry = held.pop(pick % len(held))
                assert entry.delivery is not None
                pairs.append((entry.delivery, self._outcome(entry.delivery, way)))
        if pairs:
            await self._in(member, self._settle(member, pairs))

    async def _settle(self, member: Member, pairs: list[tuple[Delivery, Outcome]]) -> None:
        entries = [self.model.settling(member, *pair) for pair in pairs]
        answers = await member.source.settle(pairs)
        for entry, (delivery, outcome), answer in zip(entries, pairs, answers, strict=True):
            if entry is not None:
                self.model.settled(entry, delivery, outcome, answer)

    def _outcome(self, delivery: Delivery, way: Way) -> Outcome:
        """As the core makes it."""
        if way == "ack":
            return ACK
        if way == "release":
            return RELEASE
        if delivery.is_ours:
            delivery.retry_state = RetryState.from_headers(delivery.headers)
        delivery.need_retry_state().failures += 1
        copy = copy_of(delivery)
        headers = {**copy.headers, DUE: f"{wall_time() + AFTER:.3f}", WAIT: f"{AFTER:.3f}"}
        return RetryLater(AFTER, replace(copy, headers=headers))

    async def extend(self, member: Member) -> None:
        """Extend the leases of all that a member has."""
        deliveries = [one.delivery for one in self.model.held_by(member) if one.delivery is not None]
        if deliveries and self.model.lease is not None:
            await self._in(member, self._extend(member, deliveries))

    async def _extend(self, member: Member, deliveries: list[Delivery]) -> None:
        begun = self.world.now()
        for delivery, answer in zip(deliveries, await member.source.extend(deliveries), strict=True):
            self.model.extended(member, delivery, answer, begun)

    async def leave(self, member: Member, *, release: bool) -> None:
        """A member leaves in peace. It may give back what it has, as the core does."""
        await self._in(member, member.source.stop())
        if member.call is not None:
            await asyncio.wait([member.call], timeout=PATIENCE)
            assert member.call is None, f"{member} still waits for messages after a stop"
        if release and (held := self.model.held_by(member)):
            await self.settle(member, [0] * len(held), ["release"] * len(held))
        self.members.remove(member)
        self.model.left(member, died=False)
        await self._in(member, member.source.close())
        await self._in(member, member.adapter.close())

    async def crash(self, member: Member) -> None:
        """The connection of a member ends, and the member with it, before anything is settled."""
        member.dead = True
        self.members.remove(member)
        self.model.left(member, died=True)
        await self.world.cut(member.slot)
        if self.world.bury == "at once":
            await self._bury(member)
        elif self.world.bury == "last":
            self._dead.append(member)

    @staticmethod
    async def _bury(member: Member) -> None:
        await member.source.stop()
        await member.source.close()
        await member.adapter.close()

    async def browse(self) -> None:
        """Look at all messages, and find each of those that nobody has had."""
        adapter = self.members[0].adapter if self.members else None
        if adapter is None or self.model.promises.browse != "free":
            return
        is_calm = all(member.call is None for member in self.members)
        ready = {one.number for one in self.model.open if one.state == "ready"} if is_calm else set[int]()
        found: list[bytes | None] = []
        async with aclosing(adapter.browse([self.world.topic])) as browsing:
            async for delivery in browsing:
                found.append(delivery.body)
        if len(set(found)) != len(found):
            self.model.blame(f"browsing shows a message twice: {found}")
        if missing := [number for number in ready if self.model.body(number) not in found]:
            self.model.blame(f"browsing does not show {missing}")

    async def finish(self) -> None:
        """Everything comes to its end: each message is delivered and settled, and then nothing is left."""
        for member in list(self.members):
            if self.model.promises.commits_offsets:
                await self.leave(member, release=False)  # what is parked comes to the next owner
        if not self.members:
            await self.join()
        until = self.world.now() + PATIENCE
        while self.model.open and not self.model.wrong:
            for member in self.members:
                held = self.model.held_by(member)
                await self.settle(member, [0] * len(held), ["ack"] * len(held))
            await self.take(20)
            if self.world.now() > until and self.model.open:
                self.model.blame(f"not all comes: {self.model.open}")
        for member in list(self.members):
            await self.leave(member, release=False)

    async def end(self) -> None:
        """Free everything."""
        for member in [*self.members]:
            await self.crash(member)
        for member in self._dead:
            await self._bury(member)
        await self.world.end()
