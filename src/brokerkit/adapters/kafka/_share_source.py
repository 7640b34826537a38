"""The source of one share group. Everything here runs on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import AcknowledgeType, Message

from brokerkit.adapters.api import (
    ACK,
    BrokerkitError,
    ConnectionLost,
    Delivery,
    Lost,
    Outcome,
    Settled,
    State,
    Subscription,
    backoff,
    describe,
    get_logger,
    guarded,
    start,
    wait_for_event,
)
from brokerkit.adapters.kafka._admin import Identity, KafkaAdmin
from brokerkit.adapters.kafka._client import check_group
from brokerkit.adapters.kafka._removals import is_removal
from brokerkit.adapters.kafka._retention import warn_of_lost_retries
from brokerkit.adapters.kafka._share_group import GroupLimits, ShareGroup
from brokerkit.adapters.kafka._share_member import ACCEPT, RELEASE, Acknowledgements, ShareMember
from brokerkit.adapters.kafka._share_settings import ShareSettings
from brokerkit.adapters.kafka._share_starts import Starts
from brokerkit.adapters.kafka._share_topics import OwnTopics
from brokerkit.adapters.kafka._source import Send
from brokerkit.adapters.kafka._watch import TopicWatch

logger = get_logger(__name__)

BUSY: Final = 0.25
"""Seconds for which a member waits for handlers, and the core for messages, before there are more members. Those of its
partitions have nobody else, perhaps."""

RESERVE: Final = 3
"""Deliveries before the broker's limit that are left for copying a message."""

MEMBERS: Final = 16
"""Members of one source, at most. Each is a client of its own."""

CLOSING: Final = 15.0
"""Seconds that the members get to leave their group."""

PROBE: Final = 1.0
"""Seconds between two probes of an unreachable cluster."""


class Batch:
    """What one member took at once. It is the token of its deliveries.

    Attributes:
        client: the number of the client that took it, see `ShareMember`.
        since: the time of the event loop at which it came.
        open: its deliveries that are ours and not settled.
        timer: of their locks.
    """

    __slots__ = ("client", "member", "open", "since", "timer")

    def __init__(self, member: ShareMember, since: float) -> None:
        self.since = since
        self.member = member
        self.client = member.client
        self.open: set[Delivery] = set()
        self.timer: asyncio.TimerHandle | None = None

    def acknowledge(
        self,
        messages: Sequence[tuple[Message[Any, Any], AcknowledgeType]],
        answered: asyncio.Future[list[Settled]] | None = None,
    ) -> None:
        """Tell the broker what became of messages of this batch."""
        self.member.acknowledge(Acknowledgements(messages, self.client, answered))

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries back that nobody works on."""
        self.open.difference_update(deliveries)
        if deliveries:
            self.acknowledge([(delivery.native, RELEASE) for delivery in deliveries])


class ShareSource:
    """See `brokerkit.adapters.api.Source`, and `brokerkit.adapters.kafka.share` for the promises.

    Args:
        ensure: sees that the topics exist, as `Adapter.ensure`.
        granted: told of the limits of the group, once they are known.
    """

    def __init__(
        self,
        subscription: Subscription,
        lost: Lost,
        settings: ShareSettings,
        *,
        admin: Callable[[], KafkaAdmin],
        send: Send,
        watch: TopicWatch,
        ensure: Callable[[], Awaitable[None]],
        granted: Callable[[GroupLimits], None],
    ) -> None:
        self._subscription = subscription
        self._lost = lost
        self._settings = settings
        self._admin = admin
        self._watch = watch
        self._ensure = ensure
        self._granted = granted
        self._group = subscription.group or (subscription.topics[0] if subscription.is_queue else "")
        check_group(self._group)
        self._limits = GroupLimits()
        self._starts = Starts(settings.clients, admin, send, subscription, self._group)
        self._own = OwnTopics(subscription, self._group, settings.clients, admin, send, watch)
        self._loop = asyncio.get_running_loop()
        self._members: list[ShareMember] = []
        self._most_members = 1
        # Deliveries up to which a message is handed over as it came.
        self._few = 1
        self._growing: asyncio.TimerHandle | None = None
        self._batches: set[Batch] = set()
        self._mailbox: list[Delivery] = []
        self._waiter: asyncio.Future[None] | None = None
        self._error: BrokerkitError | None = None
        self._dead: BrokerkitError | None = None
        self._back = False
        self._stopped = self._paused = False
        self._running = 0
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        # While messages are copied nothing is handed over: a handler might end the process.
        self._copying: set[asyncio.Task[Any]] = set()
        self._rescued: set[Delivery] = set()
        self._probing: asyncio.Task[Any] | None = None
        self._missing: set[str] = set()

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "open" if self._members else "new"
        return (
            f"<ShareSource {','.join(self._subscription.topics)} as {self._group} on {self._settings.clients.where}: "
            f"{state}, {len(self._members)} members, {len(self._batches)} batches>"
        )

    async def open(self) -> None:
        """Check topics and group, and join it. The first messages arrive some seconds later."""
        wanted = self._subscription
        if wanted.provision != "off":
            await self._ensure()
        group = ShareGroup(self._admin(), self._group, wanted)
        self._limits = await group.open()
        self._granted(self._limits)
        await self._own.open()
        self._set_limits(is_kept=await group.keep_dropped(self._own))
        if wanted.provision != "off":
            where, waits = self._settings.clients.where, dict.fromkeys(self._own.read, 0.0)
            await warn_of_lost_retries(self._admin(), where, waits, (), wanted.longest_retry)
        self._add_members(1, wanted.topics, records=wanted.max_in_flight)
        if self._own.read:
            # The broker balances partitions, whatever their topic: members of the topics would get only these.
            self._add_members(1, self._own.read, records=wanted.max_in_flight)
            self._most_members += 1
        self._watch.add(self)
        self._keep(self._tasks, self._own.move_due())

    def _set_limits(self, *, is_kept: bool) -> None:
        """Decide how many members there may be, and when a message is copied.

        When a process is killed, what it had comes again, and counts as delivered. While its connections are being closed,
        the broker gives that to its other members, which are dead too, and counts again.
        """
        limit, asked = self._limits.deliveries, self._settings.members
        safe = MEMBERS if is_kept else max(1, (limit - 1) // 2)
        self._most_members = asked or min(MEMBERS, safe)
        self._few = max(1, limit - RESERVE) if is_kept else 1
        if not is_kept:
            logger.warning(
                "Kafka drops a message of share group %s for good after %d deliveries that nobody acknowledged. One that "
                "comes again is copied, but the kill of a process with several members may use up all deliveries at once; "
                "so there are at most %d. Kafka 4.4 can keep such a message (errors.deadletterqueue.topic.name)",
                self._group,
                limit,
                self._most_members,
            )

    def _add_members(self, count: int, topics: Sequence[str], *, records: int) -> None:
        for number in range(len(self._members), len(self._members) + count):
            member = ShareMember(
                self,
                self._settings,
                topics=topics,
                group=self._group,
                records=records,
                name=str(number),
            )
            if self._paused:
                member.pause()
            self._running += 1
            self._members.append(member)

    def _grow(self) -> None:
        """Add members where some wait for handlers for a while, and the core has room for more messages."""
        self._growing = None
        if self._stopped or self._paused or not self._batches:
            return
        now = self._loop.time()
        oldest = min(batch.since for batch in self._batches)
        # Where the core asks for nothing now it may do so later, with no message in between.
        if self._waiter is not None and now - oldest >= BUSY:
            # Messages come one by one, or there would be enough of them here.
            records = max(1, self._subscription.max_in_flight // self._most_members)
            count = len(self._members)
            self._add_members(min(count, self._most_members - count), self._subscription.topics, records=records)
            logger.debug("%r: there are more members, because some wait for handlers", self)
        self._grow_later(BUSY if now - oldest >= BUSY else oldest + BUSY - now)

    def _grow_later(self, wait: float) -> None:
        if self._growing is None and len(self._members) < self._most_members:
            self._growing = self._loop.call_later(wait, guarded(self._grow, self._break))

    # ---- what the core calls ---------------------------------------------------------------------------------

    async def receive(self, limit: int) -> Sequence[Delivery]:
        while (not self._mailbox or self._copying) and not self._has_news():
            self._waiter = self._loop.create_future()
            await self._waiter
            self._waiter = None
        error, self._error = self._error or self._dead, None
        if error is not None and not self._stopped:
            raise error
        self._back = False
        if self._copying or self._paused:
            return []
        batch = self._mailbox[:limit]
        del self._mailbox[:limit]
        return batch

    def _has_news(self) -> bool:
        return self._stopped or self._paused or self._back or self._error is not None or self._dead is not None

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        answers = [Settled.LOST] * len(pairs)
        kinds = {index: ACCEPT if outcome is ACK else RELEASE for index, (_, outcome) in enumerate(pairs)}
        for index, is_kept in (await self._own.put_off(pairs)).items():
            if is_kept:
                kinds[index] = ACCEPT
            else:
                del kinds[index]
                answers[index] = Settled.FAILED
        by_batch: dict[Batch, list[int]] = {}
        for index in kinds:
            delivery = pairs[index][0]
            batch: Batch = delivery.token
            if delivery in batch.open:
                batch.open.remove(delivery)
                by_batch.setdefault(batch, []).append(index)
        asked: list[tuple[list[int], asyncio.Future[list[Settled]]]] = []
        for batch, indices in by_batch.items():
            answered: asyncio.Future[list[Settled]] = self._loop.create_future()
            batch.acknowledge([(pairs[index][0].native, kinds[index]) for index in indices], answered)
            asked.append((indices, answered))
            self._forget(batch)
        for indices, answered in asked:
            for index, answer in zip(indices, await answered, strict=True):
                answers[index] = answer
        return answers

    def _forget(self, batch: Batch) -> None:
        if not batch.open and batch.timer is not None:
            batch.timer.cancel()
            self._batches.discard(batch)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`. The client cannot renew a lock."""
        return [Settled.DONE if one in one.token.open else Settled.LOST for one in deliveries]

    async def lag(self) -> int | None:
        """None: the client has no request for what a share group has done."""
        return None

    async def begin_alone(self, delivery: Delivery) -> int:
        """See `brokerkit.adapters.api.LoneStarts`."""
        return await self._starts.begin(delivery)

    async def end_alone(self, delivery: Delivery) -> None:
        """See `brokerkit.adapters.api.LoneStarts`."""
        await self._starts.end(delivery)

    def delivery_limit(self, topic: str) -> int | None:
        """See `brokerkit.adapters.api.LoneStarts`. None: what comes close to Kafka's limit has been copied."""
        return None

    async def pause_reading(self) -> None:
        """See `PausesReading.pause_reading`. Locks end, and each taking counts as a delivery. So nothing more is taken."""
        self._paused = True
        for member in self._members:
            member.pause()
        self._release(self._mailbox)
        self._mailbox.clear()
        self._notify()

    async def resume_reading(self) -> None:
        """See `PausesReading.resume_reading`."""
        self._paused = False
        for member in self._members:
            member.resume()

    async def stop(self) -> None:
        self._stopped = True
        for member in self._members:
            member.stop()
        if self._growing is not None:
            self._growing.cancel()
        self._release(self._mailbox)
        self._mailbox.clear()
        self._notify()

    async def close(self) -> None:
        await self.stop()
        self._watch.remove(self)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._own.close()
        for batch in list(self._batches):
            batch.release([delivery for delivery in batch.open if delivery not in self._rescued])
            self._forget(batch)
        for member in self._members:
            member.close()  # It waits for what is being copied.
        if self._running and not await wait_for_event(self._ended, CLOSING):
            logger.warning("%r did not leave its group within %g s", self, CLOSING)
            return
        for member in self._members:
            member.join()

    # ---- what the members report, see `brokerkit.adapters.kafka._share_member.Owner` ----------------------------

    def arrived(self, member: ShareMember, messages: Sequence[Message[Any, Any]], since: float) -> None:
        batch = Batch(member, self._loop.time())
        deliveries: list[Delivery] = [self._own.delivery_of(message, batch) for message in messages]
        batch.open.update(deliveries)
        until_half = since + self._limits.lock / 2 - time.monotonic()
        batch.timer = self._loop.call_later(max(until_half, 0), guarded(self._tire, self._break), batch)
        self._batches.add(batch)
        if self._subscription.is_queue:
            removals = [delivery for delivery in deliveries if is_removal(delivery)]
            batch.open.difference_update(removals)
            batch.acknowledge([(delivery.native, ACCEPT) for delivery in removals])
            deliveries = [delivery for delivery in deliveries if delivery in batch.open]
            self._forget(batch)
        deliveries = self._take_out(deliveries)
        if self._stopped or self._paused or self._dead is not None or until_half < 0:
            self._release(deliveries)
        else:
            self._mailbox += deliveries
            self._notify()
        self._grow_later(BUSY)

    def _take_out(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Take care of what is to be copied, and of what the broker has dropped. Returns the others."""
        few, dropped = self._few, self._own.dropped
        often = [one for one in deliveries if one.count > few and one.native.delivery_count() > few]
        notes = [one for one in deliveries if one.topic == dropped]
        for note in notes:
            self._keep(self._tasks, self._restore(note))
        if last := [one for one in often if one.topic != dropped and self._own.can_copy(one)]:
            # Also at a stop: released once more, it might be dropped.
            self._keep(self._copying, self._rescue(last))
        if not notes and not last:
            return deliveries
        self._rescued.update(notes, last)
        return [one for one in deliveries if one not in self._rescued]

    def _tire(self, batch: Batch) -> None:
        """Give back what the core has not asked for in half of the time: the rest is for its handlers."""
        batch.timer = self._loop.call_later(self._limits.lock / 2, guarded(self._expire, self._break), batch)
        if tired := [delivery for delivery in self._mailbox if delivery.token is batch]:
            self._mailbox = [delivery for delivery in self._mailbox if delivery.token is not batch]
            self._release(tired)

    def _expire(self, batch: Batch) -> None:
        """The locks of a batch end. What is not settled is given to others, even where a handler is at it."""
        if lost := self._take_back(batch):
            logger.warning(
                "%r: %d messages were not done within their lock of %g s, and are given to others too",
                self,
                len(lost),
                self._limits.lock,
            )
        # Without this the member takes nothing more. The broker has ended the locks, or does so in a moment.
        batch.release(list(batch.open))
        self._forget(batch)
        self._keep(self._tasks, self._lose(lost))

    def _take_back(self, batch: Batch) -> list[Delivery]:
        """Hand over no more of a batch. What the core has of it, and has not settled."""
        unknown = {*self._mailbox, *self._rescued}
        self._mailbox = [delivery for delivery in self._mailbox if delivery.token is not batch]
        return [delivery for delivery in batch.open if delivery not in unknown]

    def replaced(self, member: ShareMember) -> None:
        for batch in [batch for batch in self._batches if batch.member is member]:
            lost = self._take_back(batch)
            batch.open.clear()
            self._forget(batch)
            self._keep(self._tasks, self._lose(lost))

    async def _lose(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the core. Nobody waits for its handlers: the broker does not wait either."""
        await self._lost(deliveries)

    def failed(self, error: BrokerkitError, *, final: bool) -> None:
        if final:
            self._dead = self._dead or error
            for member in self._members:
                member.stop()
        else:
            self._error = error
            if isinstance(error, ConnectionLost) and (self._probing is None or self._probing.done()):
                self._probing = self._keep(self._tasks, self._probe())
        self._notify()

    def ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._ended.set()

    # ---- topics that are deleted, see `brokerkit.adapters.kafka._watch.Watcher` ------------------------------------

    @property
    def watched(self) -> Iterable[str]:
        return self._subscription.topics

    def looked(self, found: Mapping[str, Identity], denied: AbstractSet[str]) -> None:
        before, self._missing = self._missing, set(self._subscription.topics) - found.keys() - denied
        if self._missing:
            # The client says nothing when a topic is deleted. When it is made anew, the group begins with it as it began.
            names = ", ".join(sorted(self._missing))
            self._error = ConnectionLost(
                f"{self._settings.clients.where} has no topic {names} any more; waiting for it"
            )
            self._notify()
        elif before:
            self._back = True
            self._notify()

    def unreachable(self, error: ConnectionLost) -> None:
        self.failed(error, final=False)

    def broken(self, error: BaseException) -> None:
        self._break(error)

    # ---- beside ----------------------------------------------------------------------------------------------

    async def _rescue(self, deliveries: Sequence[Delivery]) -> None:
        """Copy messages that come close to the broker's limit to a topic where their deliveries are counted anew."""
        for delivery, error in (await self._own.copy(deliveries)).items():
            self._rescued.discard(delivery)
            if error is None:
                self._accept(delivery)
                continue
            logger.error(
                "%s was delivered %d times of at most %d and cannot be copied; if it is not handled now, Kafka drops it: %s",
                delivery,
                delivery.native.delivery_count(),
                self._limits.deliveries,
                error,
            )
            self._hand_over(delivery)

    async def _restore(self, note: Delivery) -> None:
        """Bring back what the broker has dropped."""
        failures = 0
        try:
            while note in note.token.open:
                error = await self._own.restore(note)
                if error is None:
                    break
                failures += 1
                logger.warning("%r: a message that Kafka has dropped cannot be brought back yet: %s", self, error)
                await asyncio.sleep(backoff(failures, first=0.2, cap=10.0))
        finally:
            self._rescued.discard(note)  # Also where closing cancels this: it gives the note back then.
        if note.state is State.UNREADABLE:
            self._hand_over(note)
        else:
            self._accept(note)

    def _hand_over(self, delivery: Delivery) -> None:
        if self._stopped or self._paused:
            self._release([delivery])
        elif delivery in delivery.token.open:
            self._mailbox.append(delivery)
            self._notify()

    def _accept(self, delivery: Delivery) -> None:
        batch: Batch = delivery.token
        if delivery in batch.open:
            batch.open.remove(delivery)
            batch.acknowledge([(delivery.native, ACCEPT)])
            self._forget(batch)

    async def _probe(self) -> None:
        """Check whether the cluster is back: the client tells that all brokers are down, but not that one is up again."""
        while True:
            await asyncio.sleep(PROBE)
            with suppress(ConnectionLost):
                await self._admin().describe(self._subscription.topics)
                self._back = True
                self._notify()
                return

    def _keep(self, among: set[asyncio.Task[Any]], work: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        task = start(work, self._break)
        among.add(task)

        def over(task: asyncio.Task[Any]) -> None:
            among.discard(task)
            self._notify()

        task.add_done_callback(guarded(over, self._break))
        return task

    def _release(self, deliveries: Sequence[Delivery]) -> None:
        by_batch: dict[Batch, list[Delivery]] = {}
        for delivery in deliveries:
            if delivery in delivery.token.open:
                by_batch.setdefault(delivery.token, []).append(delivery)
        for batch, ours in by_batch.items():
            batch.release(ours)
            self._forget(batch)

    def _break(self, error: BaseException) -> None:
        broken = BrokerkitError(f"a task of {self!r} failed: {type(error).__name__}: {describe(error)}")
        broken.__cause__ = error
        self.failed(broken, final=True)

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
