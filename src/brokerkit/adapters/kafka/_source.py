"""One Kafka subscription, as the core reads it. Everything here runs on the event loop."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import Message

from brokerkit._derived import KAFKA, derived_name
from brokerkit._errors import AccessDenied, BrokerkitError, NotFound
from brokerkit._message import ACK, Delivery, Outcome, Outgoing, Receipt, RetryLater, Settled
from brokerkit._transport import Lost, Subscription
from brokerkit.adapters._delays import LEVELS, label, level_for
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import LOG, Settings
from brokerkit.adapters.kafka._consumer import ConsumerThread, Place
from brokerkit.adapters.kafka._delivery import KafkaDelivery
from brokerkit.adapters.kafka._lag import LagLook
from brokerkit.adapters.kafka._offsets import Offsets

Send = Callable[[Sequence[Outgoing]], Awaitable[list[Receipt | BrokerkitError]]]

CLOSING: Final = 15.0
"""Seconds that the consumer may take to leave its group; with an unreachable broker it would take minutes."""

RETRY_CONFIG: Final = {"cleanup.policy": "delete", "retention.ms": str(7 * 86_400_000)}
"""A retry topic keeps its copies, whatever the cluster does with a topic by default."""


class KafkaSource:
    """See `brokerkit._transport.Source`, and `brokerkit.adapters.kafka` for what is promised."""

    def __init__(
        self, subscription: Subscription, lost: Lost, settings: Settings, admin: Callable[[], KafkaAdmin], send: Send
    ) -> None:
        self._subscription = subscription
        self._lost = lost
        self._settings = settings
        self._admin = admin
        self._send = send
        # A group that never commits and has no member is forgotten by the broker after some minutes.
        self._group = f"brokerkit-{uuid.uuid4().hex}" if subscription.broadcast else (subscription.group or "")
        self._retries = _retry_topics(subscription)
        self._sources = {retry: topic for (topic, _), retry in self._retries.items()}
        self._starts: dict[Place, int] | None = None
        self._partitions: dict[Place, Offsets[Delivery]] = {}
        self._mailbox: list[Delivery] = []
        self._waiter: asyncio.Future[None] | None = None
        self._back = False
        self._error: BrokerkitError | None = None
        self._dead: BrokerkitError | None = None
        self._stopped = False
        self._threads: list[ConsumerThread] = []
        self._look: LagLook | None = None
        self._running = 0
        self._ended = asyncio.Event()
        self._draining: set[asyncio.Future[None]] = set()
        self.in_flight = 0

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "open" if self._threads else "new"
        return (
            f"<KafkaSource {','.join(self._subscription.topics)} as {self._group} on {self._settings.where}: {state}, "
            f"{len(self._partitions)} partitions, {self.in_flight} in flight>"
        )

    async def open(self) -> None:
        """See that the topics are there, and join the group. The first messages come some seconds later."""
        wanted = self._subscription
        await self._provision()
        if wanted.broadcast or wanted.start == "latest":
            # "From now on" means from here, not from the moment at which the group has come to an agreement.
            self._starts = await self._admin().ends(await self._places())
        self._threads = [self._consume(wanted.topics, {}, self._starts)]
        if self._retries:
            # A consumer of its own in the same group: assignors even out the number of partitions whatever their
            # topic, and with one subscription one member got all of the topic and the others nothing but retry topics.
            delays = {retry: level for (_, level), retry in self._retries.items()}
            self._threads.append(self._consume(tuple(delays), delays, None))

    def _consume(
        self, topics: Sequence[str], delays: Mapping[str, int], starts: Mapping[Place, int] | None
    ) -> ConsumerThread:
        wanted = self._subscription
        self._running += 1
        return ConsumerThread(
            self,
            self._settings,
            topics=topics,
            group=self._group,
            delays=delays,
            starts=starts,
            commit=not wanted.broadcast,
            low_water=wanted.max_in_flight // 2,
            drain=wanted.drain_timeout,
        )

    async def _provision(self) -> None:
        wanted = self._subscription
        if wanted.provision == "off":
            return
        admin = self._admin()
        there = await admin.describe([*wanted.topics, *self._retries.values()])
        missing = [topic for topic in wanted.topics if topic not in there]
        if missing and wanted.provision == "all":
            await admin.create(dict.fromkeys(missing, -1))
            there |= await admin.describe(missing)
        elif missing:
            raise NotFound(
                f"{self._settings.where} has no topic {', '.join(map(repr, missing))}; create it, or use provision='all'"
            )
        absent = {retry: there[topic] for (topic, _), retry in self._retries.items() if retry not in there}
        if absent and wanted.provision != "check":
            try:
                await admin.create(absent, RETRY_CONFIG)
                return
            except AccessDenied as error:
                LOG.warning("%s", error)
        if absent:
            # Whoever may only read a vendor's cluster can still consume: the core then holds long retries itself.
            LOG.warning("without the topics %s, long retries wait in this process", ", ".join(sorted(absent)))
            self._retries = {place: retry for place, retry in self._retries.items() if retry not in absent}
            self._sources = {retry: topic for (topic, _), retry in self._retries.items()}

    async def _places(self) -> list[Place]:
        topics = self._subscription.topics
        counts = await self._admin().describe(topics)
        if missing := [topic for topic in topics if topic not in counts]:
            raise NotFound(f"{self._settings.where} has no topic {', '.join(map(repr, missing))}; create it first")
        return [(topic, partition) for topic, count in counts.items() for partition in range(count)]

    async def receive(self, limit: int) -> Sequence[Delivery]:
        if not self._mailbox and not self._stopped and self._error is None and self._dead is None and not self._back:
            self._waiter = asyncio.get_running_loop().create_future()
            # What arrives beyond the limit waits in the mailbox for the next call.
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
        answers: list[Settled] = []
        later: list[tuple[int, Delivery, RetryLater]] = []
        touched: set[Offsets[Delivery]] = set()
        finished = 0
        done, lost = Settled.DONE, Settled.LOST
        for delivery, outcome in pairs:
            offsets: Offsets[Delivery] = delivery.token
            if not offsets.live:
                answers.append(lost)
                continue
            if outcome is ACK:
                finished += offsets.done(delivery.native.offset())
                touched.add(offsets)
            elif isinstance(outcome, RetryLater):
                later.append((len(answers), delivery, outcome))
            else:
                finished += offsets.release(delivery.native.offset())
            answers.append(done)
        self.in_flight -= finished
        # What is done goes out first: the copies have to wait for their confirmation.
        self._store(touched)
        if later:
            await self._copy(later, answers)
        return answers

    def _store(self, touched: set[Offsets[Delivery]]) -> None:
        for offsets in touched:
            if (at := offsets.position) is not None:
                self._threads[offsets.topic in self._sources].store(offsets, at)

    async def _copy(self, later: Sequence[tuple[int, Delivery, RetryLater]], answers: list[Settled]) -> None:
        """Write copies to the retry topics; each original is done when its copy is confirmed, and not before."""
        copies: list[Outgoing] = []
        copied: list[tuple[int, Delivery]] = []
        for index, delivery, outcome in later:
            topic = self._sources.get(delivery.topic, delivery.topic)
            retry = self._retries.get((topic, level_for(outcome.after)))
            if retry is None:
                LOG.error("%s has no retry topics: %s cannot wait outside this process", topic, delivery)
                answers[index] = Settled.FAILED
            else:
                copies.append(replace(outcome.copy, topic=retry))
                copied.append((index, delivery))
        touched: set[Offsets[Delivery]] = set()
        for (index, delivery), result in zip(copied, await self._send(copies), strict=True):
            if isinstance(result, BrokerkitError):
                LOG.error("the retry copy of %s was not confirmed: %s", delivery, result)
                answers[index] = Settled.FAILED
            elif not delivery.token.live:
                answers[index] = Settled.LOST
            else:
                self.in_flight -= delivery.token.done(delivery.native.offset())
                touched.add(delivery.token)
        self._store(touched)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """Nothing runs out on Kafka: a delivery is ours as long as its partition is."""
        return [Settled.DONE if delivery.token.live else Settled.LOST for delivery in deliveries]

    async def lag(self) -> int | None:
        """How far the whole group is behind on its topics, what is in flight included; retry topics do not count.

        Asked outside the consumer, since what the consumer knows stands still while it is paused.
        """
        if self._look is None:
            self._look = LagLook(self._settings, group=self._group)
        behind = 0
        for place, extent in (await self._look.extents(self._subscription.topics)).items():
            at = (self._starts or {}).get(place, extent.begin)
            if extent.committed is not None and not self._subscription.broadcast:
                at = extent.committed
            # Commits follow some tenths of a second behind what is known here.
            if (offsets := self._partitions.get(place)) is not None and offsets.position is not None:
                at = offsets.position
            behind += max(extent.end - max(at, extent.begin), 0)
        return behind

    async def stop(self) -> None:
        self._stopped = True
        for delivery in self._mailbox:
            delivery.token.release(delivery.native.offset())
        self.in_flight -= len(self._mailbox)
        self._mailbox.clear()
        self._notify()

    async def close(self) -> None:
        await self.stop()
        if self._look is not None:
            self._look.close()
            self._look = None
        for thread in self._threads:
            thread.close()
        if self._running:
            try:
                async with asyncio.timeout(CLOSING):
                    await self._ended.wait()
            except TimeoutError:
                LOG.warning("%r did not leave its group within %g s; its last offsets may be lost", self, CLOSING)
                return
        for thread in self._threads:
            thread.join()
        if self._subscription.remove and self._threads:
            await self._remove()

    async def _remove(self) -> None:
        """Delete what the group is done with: in a topic nothing goes away by being handled."""
        topics, look = self._subscription.topics, LagLook(self._settings, group=self._group)
        try:
            found = await look.extents(topics)
            done = {place: each.committed or 0 for place, each in found.items()}
            done = {place: offset for place, offset in done.items() if offset > found[place].begin}
            if done:
                await self._admin().delete_before(done)
        except BrokerkitError as error:
            LOG.warning("what is done with in %s stays there until its retention ends: %s", ", ".join(topics), error)
        finally:
            look.close()

    # What the consumer threads report, see `brokerkit.adapters.kafka._consumer.Owner`.

    def arrived(self, messages: Sequence[Message[Any, Any]]) -> None:
        if self._stopped:
            return  # Not counted as received, so never committed.
        partitions, mailbox = self._partitions, self._mailbox
        before = len(mailbox)
        offsets: Offsets[Delivery] | None = None
        topic: str | None = None
        number: int | None = None
        for message in messages:
            # A batch holds long runs of one partition.
            if message.partition() != number or message.topic() != topic:
                number, topic = message.partition(), message.topic()
                offsets = partitions.get((topic, number))  # type: ignore[arg-type]
            if offsets is None:
                continue  # It was taken away since.
            delivery = KafkaDelivery(message, offsets.topic, offsets)
            offsets.add(message.offset(), delivery)  # type: ignore[arg-type]
            mailbox.append(delivery)
        self.in_flight += len(mailbox) - before
        self._notify()

    def assigned(self, places: Sequence[Place]) -> None:
        for place in places:
            self._partitions[place] = Offsets(*place)

    async def revoked(self, places: Sequence[Place], *, ours: bool) -> list[tuple[str, int, int]]:
        going = [offsets for place in places if (offsets := self._partitions.pop(place, None)) is not None]
        if not ours:
            for offsets in going:
                offsets.revoke()
        # What no receive() has returned yet, the core does not know.
        unseen = {id(delivery) for delivery in self._mailbox if delivery.token in going}
        self._mailbox = [delivery for delivery in self._mailbox if id(delivery) not in unseen]
        lost = [one for offsets in going for one in offsets.unsettled if id(one) not in unseen]
        if lost:
            await self._drain(lost, gone=not ours)
        positions: list[tuple[str, int, int]] = []
        for offsets in going:
            offsets.revoke()
            self.in_flight -= len(offsets.unsettled)
            if (at := offsets.position) is not None:
                positions.append((offsets.topic, offsets.partition, at))
                if self._starts is not None and self._subscription.broadcast:
                    self._starts[offsets.topic, offsets.partition] = at
        return positions

    async def _drain(self, lost: Sequence[Delivery], *, gone: bool) -> None:
        """Let the core finish what runs, for so long; it is not cancelled then, only no longer waited for."""
        begun = time.monotonic()
        waiting = asyncio.ensure_future(self._lost(lost, gone=gone))
        self._draining.add(waiting)
        waiting.add_done_callback(self._drained)
        await asyncio.wait({waiting}, timeout=self._subscription.drain_timeout)
        if not waiting.done():
            LOG.warning("%r: handlers still run after %.0f s, messages will repeat", self, time.monotonic() - begun)

    def _drained(self, waiting: asyncio.Future[None]) -> None:
        self._draining.discard(waiting)
        if not waiting.cancelled() and (error := waiting.exception()) is not None:
            LOG.error("giving up deliveries failed", exc_info=error)

    def failed(self, error: BrokerkitError, *, final: bool) -> None:
        if final:
            self._dead = error
        else:
            self._error = error
        self._notify()

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


def _retry_topics(subscription: Subscription) -> dict[tuple[str, int], str]:
    """The retry topic for each topic and level. None where nothing may pass a waiting message, nothing is committed,
    or a dead-letter topic is read.
    """
    if subscription.order == "strict" or subscription.broadcast or subscription.stored:
        return {}
    return {
        (topic, level): derived_name(topic, subscription.group, f"retry.{label(level)}", KAFKA)
        for topic in subscription.topics
        for level in LEVELS
    }
