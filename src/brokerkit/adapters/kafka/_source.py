"""The source of one Kafka subscription. Everything here runs on the event loop."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Any, Final

from confluent_kafka import Message

from brokerkit.adapters.api import (
    ACK,
    BrokerkitError,
    ConnectionLost,
    Delivery,
    Lost,
    NotFound,
    Offsets,
    Outcome,
    Outgoing,
    Part,
    Receipt,
    RetryLater,
    Settled,
    Subscription,
    delay_level,
    describe,
    get_logger,
    start,
    wait_for_event,
    watch,
)
from brokerkit.adapters.kafka._admin import Identity, KafkaAdmin
from brokerkit.adapters.kafka._client import Partition, Settings
from brokerkit.adapters.kafka._consumer import ConsumerThread
from brokerkit.adapters.kafka._delivery import KafkaDelivery, OwnKafkaDelivery
from brokerkit.adapters.kafka._lag import LagQuery
from brokerkit.adapters.kafka._removals import is_removal
from brokerkit.adapters.kafka._retention import warn_of_lost_retries
from brokerkit.adapters.kafka._retry_topics import RetryTopics
from brokerkit.adapters.kafka._topics import Topics, group_of
from brokerkit.adapters.kafka._transactions import Transactions
from brokerkit.adapters.kafka._watch import TopicWatch
from brokerkit.adapters.kafka._wire import check

logger = get_logger(__name__)

Send = Callable[[Sequence[Outgoing]], Awaitable[list[Receipt | BrokerkitError]]]

CLOSING: Final = 15.0
"""Seconds that the consumers get to leave their group. With an unreachable broker that would take minutes."""

FINDING: Final = 60.0
"""Seconds between two searches for retry topics of other members. Each rebalance causes a search too."""


class KafkaSource:
    """See `brokerkit.adapters.api.Source`, and `brokerkit.adapters.kafka` for the promises.

    Args:
        retries: the retry topics, where they are not those that the group of the subscription has.
    """

    def __init__(
        self,
        subscription: Subscription,
        lost: Lost,
        settings: Settings,
        admin: Callable[[], KafkaAdmin],
        send: Send,
        watch: TopicWatch,
        retries: RetryTopics | None = None,
    ) -> None:
        self._subscription = subscription
        self._lost = lost
        self._settings = settings
        self._admin = admin
        self._send = send
        self._watch = watch
        # The broker forgets a group without commits and members after some minutes.
        self._group = f"brokerkit-{uuid.uuid4().hex}" if subscription.broadcast else group_of(subscription)
        self._retries = retries or RetryTopics(subscription, admin)
        self._finding: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._wanted = 0
        self._starts: dict[Partition, int] | None = None
        self._partitions: dict[Partition, Offsets[Delivery]] = {}
        self._mailbox: list[Delivery] = []
        self._waiter: asyncio.Future[None] | None = None
        self._back = False
        self._error: BrokerkitError | None = None
        self._dead: BrokerkitError | None = None
        self._stopped = False
        self._topics = Topics(subscription.topics)
        # By topic: its id when it was last seen.
        self._ids: dict[str, str] = {}
        self._missing: set[str] = set()
        # Whether messages have come since the last look at the topics, and whether that had no answer.
        self._heard = self._silent = False
        # Topics that were made anew, and not read from their beginning yet.
        self._anew: set[str] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._reader: ConsumerThread | None = None
        self._retry_reader: ConsumerThread | None = None
        self._lag_query: LagQuery | None = None
        self._running = 0
        self._ended = asyncio.Event()
        self._draining: set[asyncio.Future[None]] = set()
        self.in_flight = 0
        self._transactions: Transactions | None = None
        if subscription.exactly_once:
            self._transactions = Transactions(
                settings,
                group=self._group,
                membership=lambda offsets: self._thread_of(offsets).membership,
                retry_topic=self._retry_topic,
                committed=lambda partitions: self._query().committed(partitions),
                done=self._finish,
                failed=partial(self.failed, final=True),
                crashed=self._break,
            )

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "open" if self._threads else "new"
        return (
            f"<KafkaSource {','.join(self._subscription.topics)} as {self._group} on {self._settings.where}: {state}, "
            f"{len(self._partitions)} partitions, {self.in_flight} in flight>"
        )

    async def open(self) -> None:
        """Check the topics, and join the group. The first messages arrive some seconds later."""
        wanted = self._subscription
        await self._provision()
        await self._warn_of_retention()
        if self._transactions is not None:
            await self._transactions.open()
        if wanted.broadcast or wanted.start == "latest":
            # "latest" means from now, not from the moment at which the group has assigned its partitions.
            self._starts = await self._admin().ends(await self._all_partitions())
        self._read_topics()
        self._read_retries()
        self._watch.add(self)
        if self._topics.patterns or not self._retries.is_complete:
            self._finding = start(self._find(), self._break)

    @property
    def _threads(self) -> list[ConsumerThread]:
        return [thread for thread in (self._reader, self._retry_reader) if thread is not None]

    def _read_topics(self) -> None:
        topics = self._topics.found
        if self._stopped:
            return
        if self._reader is not None and topics:
            self._reader.subscribe(topics, {})
        elif topics:
            self._reader = self._consume(topics, {}, self._starts)

    def _read_retries(self) -> None:
        """Read the retry topics that exist, if any."""
        delays = dict(self._retries.delays)
        if self._stopped or not delays:
            return
        if self._retry_reader is not None:
            self._retry_reader.subscribe(tuple(delays), delays)
        else:
            # A separate consumer in the same group. Assignors balance the number of partitions, whatever their topic: with
            # one subscription, one member got all of the topic and the others only retry topics.
            self._retry_reader = self._consume(tuple(delays), delays, None)

    def look_for_topics(self) -> None:
        """Search for retry topics now: there may be a new one."""
        self._moved.set()

    async def _find(self) -> None:
        """Find new topics, and retry topics of other members. Those members may be gone before their retries are due."""
        while not self._stopped and (self._topics.patterns or not self._retries.is_complete):
            await wait_for_event(self._moved, FINDING)
            self._moved.clear()
            try:
                if self._topics.patterns and self._topics.update(await self._admin().topics()):
                    logger.info("%r: its patterns now match %d topics", self, len(self._topics.found))
                    self._retries.add(self._topics.found)
                    self._read_topics()
                if await self._retries.find():
                    self._read_retries()
            except BrokerkitError as error:
                logger.debug("%r: the search for topics failed: %s", self, error)

    def _consume(
        self, topics: Sequence[str], delays: Mapping[str, int], starts: Mapping[Partition, int] | None
    ) -> ConsumerThread:
        wanted = self._subscription
        self._running += 1
        self._ended.clear()
        thread = ConsumerThread(
            self,
            self._settings,
            topics=topics,
            group=self._group,
            delays=delays,
            starts=starts,
            anew=frozenset(self._anew.intersection(topics)),
            commit=not wanted.broadcast,
            transactional=wanted.exactly_once,
            low_water=wanted.max_in_flight // 2,
            drain=wanted.drain_timeout,
        )
        if self._waiter is not None:
            thread.want(self._wanted)
        return thread

    async def _provision(self) -> None:
        wanted, admin = self._subscription, self._admin()
        if self._topics.patterns:
            self._topics.update(await admin.topics())
            self._retries.add(self._topics.found)
            if not self._topics.found:
                logger.warning("%r: its patterns match no topic yet", self)
        if wanted.provision == "off":
            await self._retries.open({})
            return
        found = await admin.identify(self._topics.found)
        self._ids = {topic: one.id for topic, one in found.items()}
        there = {topic: one.partitions for topic, one in found.items()}
        missing = [topic for topic in self._topics.found if topic not in there]
        if missing and wanted.provision == "all":
            await admin.create(dict.fromkeys(missing, -1))
        elif missing:
            raise NotFound(
                f"{self._settings.where} has no topic {', '.join(map(repr, missing))}; create it, or use provision='all'"
            )
        await self._retries.open(there)

    async def _warn_of_retention(self) -> None:
        wanted = self._subscription
        if not wanted.max_deliveries or wanted.provision == "off":
            return
        waits_here = wanted.order == "strict" or wanted.is_queue or not self._retries.can_be_made
        held = self._topics.found if waits_here and not wanted.broadcast else ()
        await warn_of_lost_retries(
            self._admin(), self._settings.where, self._retries.delays, held, wanted.longest_retry
        )

    async def _all_partitions(self) -> list[Partition]:
        topics = self._topics.found
        counts = await self._admin().describe(topics)
        if missing := [topic for topic in topics if topic not in counts]:
            raise NotFound(f"{self._settings.where} has no topic {', '.join(map(repr, missing))}; create it first")
        return [(topic, partition) for topic, count in counts.items() for partition in range(count)]

    async def receive(self, limit: int) -> Sequence[Delivery]:
        if not self._mailbox and not self._stopped and self._error is None and self._dead is None and not self._back:
            self._waiter = asyncio.get_running_loop().create_future()
            # Messages beyond the limit wait in the mailbox for the next call.
            self._wanted = limit
            for thread in self._threads:
                thread.want(limit)
            await self._waiter
            self._waiter = None
        error, self._error = self._error or self._dead, None
        if error is not None and not self._stopped:
            raise error
        self._back = False
        batch = self._mailbox[:limit]
        del self._mailbox[:limit]
        return batch

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        answers = [Settled.DONE] * len(pairs)
        later: list[tuple[int, Delivery, RetryLater]] = []
        touched: dict[Offsets[Delivery], list[int]] = {}
        finished = 0
        offsets: Any = None
        acked: list[int] = []
        for index, (delivery, outcome) in enumerate(pairs):
            if delivery.token is not offsets:  # Long runs are of one partition.
                offsets = delivery.token
                acked = touched.setdefault(offsets, [])
            if not offsets.live:
                answers[index] = Settled.LOST
            elif outcome is ACK:
                acked.append(delivery.native.offset())
            elif isinstance(outcome, RetryLater):
                later.append((index, delivery, outcome))
            else:
                finished += offsets.release(delivery.native.offset())
        finished += sum(offsets.done(acked) for offsets, acked in touched.items())
        self.in_flight -= finished
        # Offsets of done messages are stored first: the copies must wait for their confirmation.
        self._store(offsets for offsets, acked in touched.items() if acked)
        if later:
            await self._copy(later, answers)
        return answers

    def check(self, outgoing: Outgoing) -> None:
        """See `Transactional.check`."""
        check(outgoing, limit=self._settings.message_limit)

    async def commit(self, parts: Sequence[Part]) -> list[Settled | BrokerkitError]:
        """See `Transactional.commit`."""
        assert self._transactions is not None  # there are none without `Subscription.exactly_once`
        return await self._transactions.commit(parts)

    async def _retry_topic(self, delivery: Delivery, outcome: RetryLater) -> str | None:
        await self._make_retries([(delivery, outcome)])
        return self._retries.get(delivery.topic, delay_level(outcome.after))

    async def _make_retries(self, later: Sequence[tuple[Delivery, RetryLater]]) -> None:
        if await self._retries.make({(delivery.topic, delay_level(outcome.after)) for delivery, outcome in later}):
            self._read_retries()

    def _finish(self, count: int) -> None:
        self.in_flight -= count

    def _store(self, touched: Iterable[Offsets[Delivery]]) -> None:
        if self._transactions is not None:
            self._transactions.reach(touched)
            return
        for offsets in touched:
            if (at := offsets.position) is not None:
                self._thread_of(offsets).store(offsets, at)

    async def put_off(self, later: Sequence[tuple[Delivery, RetryLater]]) -> list[bool]:
        """Publish copies to the retry topics. True for each copy that is confirmed."""
        await self._make_retries(later)
        confirmed = [False] * len(later)
        copies: list[Outgoing] = []
        copied: list[tuple[int, Delivery]] = []
        for index, (delivery, outcome) in enumerate(later):
            retry = self._retries.get(delivery.topic, delay_level(outcome.after))
            if retry is None:
                logger.error("%s has no retry topic, so %s cannot be retried durably", delivery.topic, delivery)
            else:
                copies.append(replace(outcome.copy, topic=retry))
                copied.append((index, delivery))
        for (index, delivery), result in zip(copied, await self._send(copies), strict=True):
            confirmed[index] = not isinstance(result, BrokerkitError)
            if isinstance(result, BrokerkitError):
                logger.error("the retry copy of %s was not confirmed: %s", delivery, result)
        return confirmed

    async def _copy(self, later: Sequence[tuple[int, Delivery, RetryLater]], answers: list[Settled]) -> None:
        """Have messages come again later. An original is done only when its copy is confirmed."""
        confirmed = await self.put_off([(delivery, outcome) for _, delivery, outcome in later])
        touched: set[Offsets[Delivery]] = set()
        for (index, delivery, _), is_kept in zip(later, confirmed, strict=True):
            if not is_kept:
                answers[index] = Settled.FAILED
            elif not delivery.token.live:
                answers[index] = Settled.LOST
            else:
                self.in_flight -= delivery.token.done([delivery.native.offset()])
                touched.add(delivery.token)
        self._store(touched)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`. Kafka has no leases: a delivery is ours as long as its partition is."""
        return [Settled.DONE if delivery.token.live else Settled.LOST for delivery in deliveries]

    async def lag(self) -> int | None:
        """The lag of the whole group on its topics. Messages in flight count, retry topics do not."""
        return sum((await self.partition_lags()).values())

    async def partition_lags(self) -> dict[Partition, int]:
        """See `brokerkit.adapters.api.PartitionLags`. A separate client asks: a paused consumer learns nothing new."""
        behind: dict[Partition, int] = {}
        for tp, extent in (await self._query().extents(self._topics.found)).items() if self._topics.found else ():
            at = (self._starts or {}).get(tp, extent.begin)
            if extent.committed is not None and not self._subscription.broadcast:
                at = extent.committed
            # A commit is some tenths of a second behind the position that is known here.
            if (offsets := self._partitions.get(tp)) is not None and offsets.position is not None:
                at = offsets.position
            behind[tp] = max(extent.end - max(at, extent.begin), 0)
        return behind

    def _query(self) -> LagQuery:
        self._lag_query = self._lag_query or LagQuery(self._settings, group=self._group)
        return self._lag_query

    def pause(self, token: Offsets[Delivery]) -> None:
        """See `brokerkit.adapters.api.Partitions`."""
        self._thread_of(token).hold(token)

    def resume(self, token: Offsets[Delivery]) -> None:
        """See `brokerkit.adapters.api.Partitions`."""
        self._thread_of(token).let_go(token)

    def _thread_of(self, offsets: Offsets[Delivery]) -> ConsumerThread:
        reader = self._retry_reader if offsets.topic in self._retries.sources else self._reader
        assert reader is not None  # otherwise no delivery of it could exist
        return reader

    async def stop(self) -> None:
        self._stopped = True
        for delivery in self._mailbox:
            delivery.token.release(delivery.native.offset())
        self.in_flight -= len(self._mailbox)
        self._mailbox.clear()
        self._notify()

    async def close(self) -> None:
        await self.stop()
        self._watch.remove(self)
        for task in (self._finding, self._renewing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if self._transactions is not None:
            await self._transactions.close()  # Before others take over: they wait until what is open is over.
        if self._lag_query is not None:
            self._lag_query.close()
            self._lag_query = None
        for thread in self._threads:
            thread.close()
        if self._running and not await wait_for_event(self._ended, CLOSING):
            logger.warning("%r did not leave its group within %g s; its last offsets may be lost", self, CLOSING)
            return
        for thread in self._threads:
            thread.join()

    # What the consumer threads report, see `brokerkit.adapters.kafka._consumer.Owner`.

    def arrived(self, messages: Sequence[Message[Any, Any]]) -> None:
        if self._stopped or self._dead is not None:
            return  # Not counted as received, so never committed.
        self._heard = True
        partitions, mailbox = self._partitions, self._mailbox
        is_queue = self._subscription.is_queue
        before = len(mailbox)
        offsets: Offsets[Delivery] | None = None
        topic: str | None = None
        number: int | None = None
        kind, named = KafkaDelivery, ""
        for message in messages:
            # A batch holds long runs of one partition.
            if message.partition() != number or message.topic() != topic:
                number, topic = message.partition(), message.topic()
                offsets = partitions.get((topic, number))  # type: ignore[arg-type]
                if offsets is not None:
                    named = self._retries.sources.get(offsets.topic, offsets.topic)
                    kind = OwnKafkaDelivery if is_queue or named != offsets.topic else KafkaDelivery
            if offsets is None:
                continue  # It has been revoked.
            delivery = kind(message, named, offsets)
            if is_queue and is_removal(delivery):
                continue
            offsets.add(message.offset(), delivery)  # type: ignore[arg-type]
            mailbox.append(delivery)
        self.in_flight += len(mailbox) - before
        self._notify()

    def reached(self, ends: Sequence[tuple[str, int, int]]) -> None:
        if self._stopped or self._dead is not None:
            return  # Earlier messages may not have counted as received.
        known = [(self._partitions.get((topic, partition)), end) for topic, partition, end in ends]
        self._store({offsets for offsets, end in known if offsets is not None and offsets.reach(end)})

    def assigned(self, partitions: Sequence[Partition]) -> None:
        for tp in partitions:
            self._partitions[tp] = Offsets(*tp)
        self._moved.set()

    async def revoked(self, partitions: Sequence[Partition], *, ours: bool) -> list[tuple[str, int, int]]:
        going = [offsets for tp in partitions if (offsets := self._partitions.pop(tp, None)) is not None]
        for offsets in going:
            if not ours or offsets.topic in self._anew:
                offsets.revoke()
        # The core does not know deliveries that no receive() has returned.
        unseen = {id(delivery) for delivery in self._mailbox if delivery.token in going}
        self._mailbox = [delivery for delivery in self._mailbox if id(delivery) not in unseen]
        lost = [one for offsets in going for one in offsets.unsettled if id(one) not in unseen]
        if lost:
            await self._drain(lost, gone=not ours)
        positions: list[tuple[str, int, int]] = []
        for offsets in going:
            offsets.revoke()
            self.in_flight -= len(offsets.unsettled)
            if (at := offsets.position) is not None and offsets.topic not in self._anew:
                positions.append((offsets.topic, offsets.partition, at))
                if self._starts is not None and self._subscription.broadcast:
                    self._starts[offsets.topic, offsets.partition] = at
        return positions

    async def _drain(self, lost: Sequence[Delivery], *, gone: bool) -> None:
        """Wait for running handlers, for ``drain_timeout`` at most. They are not cancelled then."""
        begun = time.monotonic()
        waiting = asyncio.ensure_future(self._lost(lost, gone=gone))
        self._draining.add(waiting)
        waiting.add_done_callback(self._draining.discard)
        watch(waiting, self._break)
        await asyncio.wait({waiting}, timeout=self._subscription.drain_timeout)
        if not waiting.done():
            logger.warning(
                "%r: handlers still run after %.0f s; their messages will repeat", self, time.monotonic() - begun
            )

    def _break(self, error: BaseException) -> None:
        broken = BrokerkitError(f"a task of {self!r} failed: {type(error).__name__}: {describe(error)}")
        broken.__cause__ = error
        self.failed(broken, final=True)

    def no_retries_in(self, topic: str) -> None:
        self._retries.drop(topic)

    def failed(self, error: BrokerkitError, *, final: bool) -> None:
        if self._topics.patterns and isinstance(error, NotFound):
            self._moved.set()  # A topic was deleted: the next search drops it.
            return
        if self._ids and isinstance(error, NotFound) and not final:
            # It was there when the source was opened. Whoever deletes a topic often makes it anew.
            gone, error = error, ConnectionLost(f"{error}; waiting for it")
            error.__cause__ = gone
        if final:
            self._dead = self._dead or error
        else:
            self._error = error
        self._notify()

    # Topics that are deleted, and made anew: see `brokerkit.adapters.kafka._watch.Watcher`.

    @property
    def watched(self) -> Iterable[str]:
        return [*self._topics.found, *self._retries.delays]

    def looked(self, found: Mapping[str, Identity], denied: AbstractSet[str]) -> None:
        if self._stopped or self._dead is not None:
            return
        before, self._missing = self._missing, self._ids.keys() & set(self._topics.named) - found.keys() - denied
        if self._missing:
            names = ", ".join(sorted(self._missing))
            self._error = ConnectionLost(f"{self._settings.where} has no topic {names} any more; waiting for it")
            self._notify()
        elif before or self._silent:
            self.back()
        self._heard = self._silent = False
        there = {topic: found[topic].id for topic in self.watched if topic in found}
        anew = {topic for topic, id in there.items() if self._ids.get(topic, id) != id}
        self._ids |= there
        if anew:
            logger.warning(
                "%r: topic %s was deleted and made anew; it is read from its beginning", self, ", ".join(sorted(anew))
            )
            self._anew |= anew
            if self._renewing is None or self._renewing.done():
                self._renewing = start(self._renew(), self._break)

    def unreachable(self, error: ConnectionLost) -> None:
        # Some brokers of a cluster may hang while others give messages.
        if not (self._heard or self._missing or self._stopped):
            self._silent = True
            self.failed(error, final=False)
        self._heard = False

    async def _renew(self) -> None:
        """Read topics that were made anew from their beginning, with new consumers.

        The old ones know offsets and leaders of the deleted topics. All that they still have is lost.
        """
        while self._anew and not self._stopped:
            anew = set(self._anew)
            if self._starts is not None:
                self._starts = {tp: at for tp, at in self._starts.items() if tp[0] not in anew}
            if self._reader is not None and not anew.isdisjoint(self._topics.found):
                await _end(self._reader)
                self._reader = None
                self._read_topics()
            if self._retry_reader is not None and not anew.isdisjoint(self._retries.delays):
                await _end(self._retry_reader)
                self._retry_reader = None
                self._read_retries()
            self._anew -= anew

    def broken(self, error: BaseException) -> None:
        self._break(error)

    def back(self) -> None:
        self._back = True
        self._notify()

    def ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._ended.set()

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def _end(reader: ConsumerThread) -> None:
    """End a consumer, and wait until it has left its group."""
    reader.close()
    await asyncio.to_thread(reader.join)
