"""The thread that owns a Kafka consumer.

A `confluent_kafka.Consumer` lets one thread in at a time, and a call from another one waits behind `poll` without any
fairness: nothing but this thread ever touches it. The event loop leaves wishes (how many messages, which offsets are
done, close), the thread looks at them between two polls and posts what it got, one call for each batch.

The thread never waits for handlers except while a partition is being taken away, and polls at least once a second
whatever happens, so `max.poll.interval.ms` is never near.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any, Final, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from brokerkit._errors import BrokerkitError, NotFound
from brokerkit.adapters.kafka._client import LIBRDKAFKA, LOG, Settings, translate
from brokerkit.adapters.kafka._offsets import Offsets

Place = tuple[str, int]
"""A topic and a partition of it."""

POLL: Final = 0.1
"""Seconds that one poll waits; offsets that are done are stored in between."""

_LEAVING_POLL: Final = 0.02

PATIENCE: Final = 1.0
"""Seconds without a free slot before the partitions are paused, and the longest a paused consumer makes a slot wait.
Pausing throws away what was fetched: done for every batch, it costs nineteen parts of twenty of the throughput."""

LOOK: Final = 1.0
"""Seconds between two looks whether a cluster that was out of reach is back; each look waits as long at most."""

BLOCKING: Final = 10.0
"""Seconds for the calls of this thread that ask the broker and wait."""


class Owner(Protocol):
    """Whom the thread reports to. All of this runs on the event loop."""

    in_flight: int

    def arrived(self, messages: Sequence[Message[Any, Any]]) -> None: ...

    def assigned(self, places: Sequence[Place]) -> None: ...

    async def revoked(self, places: Sequence[Place], *, ours: bool) -> list[tuple[str, int, int]]:
        """Partitions go: wait for what runs, and give the offsets to commit. Not ``ours``: they are gone already."""
        ...

    def failed(self, error: BrokerkitError, *, final: bool) -> None: ...

    def back(self) -> None:
        """The cluster answers again."""
        ...

    def ended(self) -> None: ...


class ConsumerThread:
    """Polls one consumer from the moment it is made until `close`.

    Args:
        topics: what to subscribe to.
        delays: seconds that a message of a retry topic waits there, for each such topic.
        starts: where a partition begins that its group has no offset for; at its beginning where there is none.
        commit: whether offsets are kept at the broker; without, ``starts`` says where to go on.
        low_water: in flight at or below this, a paused consumer resumes at once.
        drain: seconds that a revoked partition is waited for.
    """

    def __init__(
        self,
        owner: Owner,
        settings: Settings,
        *,
        topics: Sequence[str],
        group: str,
        delays: Mapping[str, int],
        starts: Mapping[Place, int] | None,
        commit: bool,
        low_water: int,
        drain: float,
    ) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._where = settings.where
        self._cooperative = settings.cooperative
        self._classic = settings.classic
        self._topics = list(topics)
        self._delays = delays
        self._starts = starts
        self._commits = commit
        self._low_water = low_water
        self._drain = drain
        role = "-retry" if delays else ""
        config = settings.consumer(self._on_error, group=group, commit=commit, role=role)
        self._wanted = 0
        self._wanted_since = 0.0
        self._done: deque[tuple[Offsets[Any], int]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._paused = False
        self._down_since = 0.0
        self._parked: dict[Place, float] = {}
        self._consumer = Consumer(config, logger=LIBRDKAFKA)
        self._thread = threading.Thread(target=self._run, name=f"brokerkit-kafka-{group}{role}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        state = "closing" if self._closing else "paused" if self._paused else "polling"
        return f"<ConsumerThread {self._thread.name} on {self._where}: {state}, {self._wanted} wanted>"

    # What the event loop calls.

    def want(self, count: int) -> None:
        """Hand over up to so many messages, once."""
        self._wanted_since = time.monotonic()
        self._wanted = count
        self._wake.set()

    def store(self, offsets: Offsets[Any], position: int) -> None:
        """Let this position go out with the next commit (`auto.commit.interval.ms`)."""
        self._done.append((offsets, position))
        self._wake.set()

    def close(self) -> None:
        """Leave the group and end; `Owner.ended` tells when that is done."""
        self._closing = True
        self._wake.set()

    def join(self) -> None:
        """Wait for the thread's last steps, once `Owner.ended` has told that there is nothing left to wait for."""
        self._thread.join()

    # The thread.

    def _run(self) -> None:
        consumer = self._consumer
        try:
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._closing:
                self._turn(consumer)
        except Exception as error:  # noqa: BLE001  (a thread has no caller to raise to)
            LOG.exception("the consumer of %s failed", self._where)
            self._fail(BrokerkitError(f"the consumer of {self._where} failed: {error}"), cause=error, final=True)
        finally:
            try:
                self._leave(consumer)
                consumer.close()
            finally:
                self._post(self._owner.ended)

    def _turn(self, consumer: Consumer) -> None:
        self._store_done(consumer)
        self._unpark(consumer)
        if self._down_since and time.monotonic() - self._down_since >= LOOK:
            self._look(consumer)
        if self._paused:
            if self._wanted and (
                self._owner.in_flight <= self._low_water or time.monotonic() - self._wanted_since >= PATIENCE
            ):
                self._paused = False
                consumer.resume([place for place in consumer.assignment() if _place(place) not in self._parked])
        elif not self._wanted and not self._wait_for_a_wish(consumer):
            consumer.pause(consumer.assignment())
            self._paused = True
        if (first := consumer.poll(0)) is not None:
            messages = [first]
            if self._wanted > 1:
                # consume() waits for all it was asked for, so it only takes what poll() has shown to be there.
                messages += consumer.consume(self._wanted - 1, 0)
        elif not self._closing and (first := consumer.poll(POLL)) is not None:
            # One that was waited for is likely to be alone. To look for more costs it a tenth of a millisecond.
            messages = [first]
        else:
            return
        if taken := self._sift(consumer, messages):
            self._wanted = 0
            self._post(self._owner.arrived, taken)

    def _look(self, consumer: Consumer) -> None:
        """See whether the cluster is back: librdkafka tells that all brokers are down, and not that one is up again."""
        try:
            consumer.list_topics(self._topics[0], timeout=LOOK)
        except KafkaException:
            self._down_since = time.monotonic()
        else:
            self._down_since = 0.0
            self._post(self._owner.back)

    def _wait_for_a_wish(self, consumer: Consumer) -> bool:
        """Wait for free slots, and store offsets meanwhile. False if there were none for too long."""
        deadline = time.monotonic() + PATIENCE
        while not self._wanted and not self._closing:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._wake.wait(remaining)
            self._wake.clear()
            self._store_done(consumer)
        return True

    def _sift(self, consumer: Consumer, messages: list[Message[Any, Any]]) -> list[Message[Any, Any]]:
        """What may be handed out: no errors, and nothing from a retry topic before its time."""
        taken = [message for message in messages if message.error() is None]
        if len(taken) < len(messages):
            for message in messages:
                if (error := message.error()) is not None:
                    self._on_message_error(error, message)
        return self._ripe(consumer, taken) if self._delays else taken

    def _ripe(self, consumer: Consumer, messages: list[Message[Any, Any]]) -> list[Message[Any, Any]]:
        taken: list[Message[Any, Any]] = []
        parked = self._parked
        for message in messages:
            if (place := _place(message)) not in parked:
                # One delay for each topic, so the oldest message is due first and nobody waits behind a longer wait.
                due = message.timestamp()[1] / 1000 + self._delays[place[0]]
                if due <= time.time():
                    taken.append(message)
                else:
                    parked[place] = due
                    try:
                        consumer.pause([TopicPartition(*place)])
                        consumer.seek(TopicPartition(*place, message.offset()))  # type: ignore[arg-type]
                    except KafkaException:
                        if place in map(_place, consumer.assignment()):
                            raise
                        del parked[place]  # revoked by the very call that brought the message: its next owner waits
        return taken

    def _unpark(self, consumer: Consumer) -> None:
        if not self._parked:
            return
        now = time.time()
        for place in [place for place, due in self._parked.items() if due <= now]:
            del self._parked[place]
            if not self._paused:
                consumer.resume([TopicPartition(*place)])

    def _store_done(self, consumer: Consumer) -> None:
        if not self._done:
            return
        latest: dict[Offsets[Any], int] = {}
        while self._done:
            offsets, position = self._done.popleft()
            latest[offsets] = position
        places = [TopicPartition(one.topic, one.partition, at) for one, at in latest.items() if one.live]
        if not places or not self._commits:
            return
        try:
            consumer.store_offsets(offsets=places)
        except KafkaException as error:
            # A partition that went between the settlement and now: its new owner repeats these messages.
            LOG.debug("offsets of %s were not stored: %s", self._where, error)

    def _leave(self, consumer: Consumer) -> None:
        """Leave the group, which revokes and so commits what is still assigned, but not in the middle of a rebalance.

        A consumer that closes while it waits for its assignment never tells the broker that it leaves (librdkafka
        2.16), and its last commit is refused, as its generation is over: the broker keeps the member, the whole group
        waits for it until its session times out, and what was done is done again. To unsubscribe waits for the end of
        the rebalance. The group rebalances whenever a member leaves, this source's own consumer of retry topics among
        them.
        """
        deadline = time.monotonic() + BLOCKING
        try:
            self._store_done(consumer)
            consumer.unsubscribe()
            # A member that has left has no id any more; under KIP-848 it keeps that for good, and has no partitions.
            # What a poll still brings is not counted as received.
            is_member = consumer.memberid if self._classic else consumer.assignment
            while is_member() and time.monotonic() < deadline:
                consumer.poll(_LEAVING_POLL)
        except KafkaException as error:
            LOG.warning("a consumer of %s could not leave its group in order: %s", self._where, error)

    # Callbacks: they run in this thread, inside poll() and close().

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._post(self._owner.assigned, [_place(place) for place in places])
        if self._starts is not None:
            self._begin_at_starts(consumer, places, self._starts)
        if self._cooperative:
            consumer.incremental_assign(places)
        else:
            consumer.assign(places)
        # The client keeps a partition paused that was revoked while it was, also when it comes back much later.
        (consumer.pause if self._paused else consumer.resume)(places)

    def _begin_at_starts(self, consumer: Consumer, places: list[TopicPartition], starts: Mapping[Place, int]) -> None:
        """Where the group has no offset, begin where it was opened, and commit that.

        With ``auto.offset.reset=latest`` alone, a second member that takes over before the first commit begins at an
        end that has moved on, and what the first one had not finished is lost.
        """
        if not self._commits:
            for place in places:
                place.offset = starts.get(_place(place), OFFSET_BEGINNING)
            return
        try:
            fresh = [place for place in consumer.committed(places, BLOCKING) if place.offset < 0]
            wanted = {_place(place): starts.get(_place(place), OFFSET_BEGINNING) for place in fresh}
            for place in places:
                place.offset = wanted.get(_place(place), place.offset)
            known = [TopicPartition(*place, offset) for place, offset in wanted.items() if offset >= 0]
            if known:
                consumer.commit(offsets=known, asynchronous=False)
        except KafkaException as error:
            LOG.warning("cannot tell where the group begins on %s: %s", self._where, error)

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        positions = self._give_up(places, ours=True)
        if not positions or not self._commits:
            return
        offsets = [TopicPartition(*position) for position in positions]
        try:
            # Stored too: on its way out the client commits what is stored, and an older offset would undo this commit.
            consumer.store_offsets(offsets=offsets)
            # Synchronous: the next owner may begin as soon as this callback returns.
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            LOG.warning("the last offsets on %s were not committed, messages will repeat: %s", self._where, error)

    def _on_lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        # Somebody else has them and may have committed: a commit from here would overwrite that.
        self._give_up(places, ours=False)

    def _give_up(self, places: Sequence[TopicPartition], *, ours: bool) -> list[tuple[str, int, int]]:
        gone = [_place(place) for place in places]
        for place in gone:
            self._parked.pop(place, None)
        ending = self._owner.revoked(gone, ours=ours)
        try:
            waiting = asyncio.run_coroutine_threadsafe(ending, self._loop)
        except RuntimeError:  # The loop is closed.
            ending.close()
            return []
        try:
            # The owner keeps the limit; the rest is for a loop that was stopped without closing anything.
            return waiting.result(self._drain + BLOCKING)
        except (TimeoutError, CancelledError):
            LOG.warning("the event loop did not answer while partitions of %s went away", self._where)
            return []

    def _on_error(self, error: KafkaError) -> None:
        """The client's error callback. librdkafka goes on trying by itself; these are news, not the end."""
        code = error.code()
        if code == KafkaError._AUTHENTICATION:  # pyright: ignore[reportPrivateUsage]
            self._fail(translate(error, f"cannot log in to {self._where}"))
        elif code == KafkaError._ALL_BROKERS_DOWN:  # pyright: ignore[reportPrivateUsage]
            # News once for each outage: the client repeats it with every try.
            if not self._down_since:
                self._fail(translate(error, f"no connection to {self._where}"))
            self._down_since = time.monotonic()
        elif error.fatal():
            self._fail(translate(error, f"the consumer of {self._where} is dead"), final=True)

    def _on_message_error(self, error: KafkaError, message: Message[Any, Any]) -> None:
        topic = message.topic()
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:  # pyright: ignore[reportPrivateUsage]
            # The group has given our partitions away; the client rejoins by itself.
            LOG.warning("the event loop was blocked too long for %s: %s", self._where, error.str())
            self._give_up(self._consumer.assignment(), ours=False)
            return
        translated = translate(error, f"cannot read {topic or self._topics} on {self._where}")
        if isinstance(translated, NotFound) and topic in self._delays:
            # With provision="off" nobody has looked whether there are retry topics.
            LOG.warning("there is no retry topic %s on %s", topic, self._where)
        else:
            self._fail(translated, final=error.fatal())

    def _fail(self, error: BrokerkitError, *, cause: BaseException | None = None, final: bool = False) -> None:
        error.__cause__ = cause
        self._post(lambda: self._owner.failed(error, final=final))

    def _post(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # The loop is closed: nobody is left to work for.
            self._closing = True


def _place(of: TopicPartition | Message[Any, Any]) -> Place:
    if isinstance(of, TopicPartition):
        return of.topic, of.partition
    return of.topic(), of.partition()  # type: ignore[return-value]
