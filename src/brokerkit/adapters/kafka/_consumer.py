"""The thread that owns a Kafka consumer.

A `confluent_kafka.Consumer` admits one thread at a time, and a call from another thread may wait behind `poll` for ever. So
only this thread uses it. The event loop states its demand (how many messages, which offsets are done, close). The thread
reads the demand between two polls, and posts what it received, one call for each batch.

The thread waits for handlers only while a partition is being revoked. It polls at least once a second in all other cases, so
`max.poll.interval.ms` is never reached.

A consumer that is of no more use (`Reaction.RENEW`) is replaced by the same thread, when the core asks for messages again.
So the core's growing pauses between two tries hold here too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, Final, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from brokerkit.adapters.api import BrokerkitError, Offsets, describe, get_logger, guarded, wall_time
from brokerkit.adapters.kafka._client import LIBRDKAFKA, Partition, Settings
from brokerkit.adapters.kafka._errors import (
    MISSING,
    Reaction,
    is_fatal,
    kafka_error,
    lost,
    reaction,
    translate,
    translated,
)
from brokerkit.adapters.kafka._membership import Membership

logger = get_logger(__name__)

POLL: Final = 0.1
"""Seconds that one poll waits. Done offsets are stored between polls."""

_LEAVING_POLL: Final = 0.02

PAUSE_AFTER: Final = 1.0
"""Seconds without a free slot before the partitions are paused, and the longest that a paused consumer lets a slot wait.
A pause drops what was fetched: one pause for each batch would cost nineteen twentieths of the throughput."""

PROBE_EVERY: Final = 1.0
"""Seconds between two probes of an unreachable cluster, and the longest that a probe waits."""

BLOCKING: Final = 10.0
"""Seconds that a blocking call of this thread waits for the broker."""

_UNREADABLE: Final = MISSING | {KafkaError.TOPIC_AUTHORIZATION_FAILED}
"""Errors of a retry topic that its source does without."""


class Owner(Protocol):
    """The thread reports to it. All of its methods run on the event loop."""

    in_flight: int

    def arrived(self, messages: Sequence[Message[Any, Any]]) -> None: ...

    def reached(self, ends: Sequence[tuple[str, int, int]]) -> None:
        """Partitions were read to their ends: every readable message before these offsets has arrived."""
        ...

    def assigned(self, partitions: Sequence[Partition]) -> None: ...

    async def revoked(self, partitions: Sequence[Partition], *, ours: bool) -> list[tuple[str, int, int]]:
        """Partitions are revoked: wait for running handlers, and return offsets to commit. Not ``ours``: already gone."""
        ...

    def no_retries_in(self, topic: str) -> None:
        """The user may not read a retry topic."""
        ...

    def failed(self, error: BrokerkitError, *, final: bool) -> None: ...

    def back(self) -> None:
        """The cluster answers again."""
        ...

    def ended(self) -> None: ...


class ConsumerThread:
    """Polls one consumer from the moment it is made until `close`.

    Args:
        topics: the topics to subscribe to.
        delays: for each retry topic, the seconds that a message waits there.
        starts: the first offset of each partition for which the group has none. Without one, its beginning.
        anew: topics that begin anew: the offsets that the group has are those of deleted topics of the same names.
        commit: whether the broker keeps the offsets. If not, ``starts`` says where to go on.
        transactional: offsets are committed by transactions, and not here.
        low_water: a paused consumer resumes at once when so many messages or fewer are in flight.
        drain: seconds to wait for the handlers of a revoked partition.
    """

    def __init__(
        self,
        owner: Owner,
        settings: Settings,
        *,
        topics: Sequence[str],
        group: str,
        delays: Mapping[str, int],
        starts: Mapping[Partition, int] | None,
        anew: frozenset[str] = frozenset(),
        commit: bool,
        transactional: bool,
        low_water: int,
        drain: float,
    ) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._where = settings.where
        self._needed = partial(settings.needed, "Read", group=group)
        self._cooperative, self._classic, self._static = settings.cooperative, settings.classic, settings.static
        self._topics = list(topics)
        self._delays = delays
        self._new_topics: tuple[list[str], Mapping[str, int]] | None = None
        self._starts = starts
        self._anew = anew
        self._begun: set[Partition] = set()
        self._keeps_offsets = commit
        self._commits = commit and not transactional
        self._low_water = low_water
        self._drain = drain
        role = "-retry" if delays else ""
        config = settings.configure_consumer(
            self._on_error, group=group, commit=self._commits, role=role, topics=len(self._topics)
        )
        if not delays:
            # The client reports the end of a partition behind its last message. Only that tells that offsets without a
            # message (transaction markers, aborted or compacted messages) are behind us.
            config["enable.partition.eof"] = True
        self._config = config
        self._wanted = 0
        self._wanted_since = 0.0
        self._done: deque[tuple[Offsets[Any], int]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._paused = False
        self._down_since = 0.0
        self._useless: KafkaError | None = None
        self._assigned: set[Partition] = set()
        self.membership = Membership()
        self._transactional = transactional
        self._parked: dict[Partition, float] = {}
        # Partitions that the core has paused. `_holds` is its demand, changed only by the event loop.
        self._holds: frozenset[Offsets[Any]] = frozenset()
        self._held: frozenset[Partition] = frozenset()
        self._ahead = 0.0
        self._login = settings.login
        self._thread = threading.Thread(
            target=guarded(self._run, self._die), name=f"brokerkit-kafka-{group}{role}", daemon=True
        )
        self._thread.start()

    def __repr__(self) -> str:
        state = "closing" if self._closing else "paused" if self._paused else "polling"
        return f"<ConsumerThread {self._thread.name} on {self._where}: {state}, {self._wanted} wanted>"

    # What the event loop calls.

    def want(self, count: int) -> None:
        """Hand over up to this many messages, once."""
        self._wanted_since = time.monotonic()
        self._wanted = count
        self._wake.set()

    def subscribe(self, topics: Sequence[str], delays: Mapping[str, int]) -> None:
        """Read these topics from now on."""
        self._new_topics = list(topics), delays
        self._wake.set()

    def store(self, offsets: Offsets[Any], position: int) -> None:
        """Include this position in the next commit (`auto.commit.interval.ms`)."""
        self._done.append((offsets, position))
        self._wake.set()

    def hold(self, offsets: Offsets[Any]) -> None:
        """Take nothing from this partition until `let_go`, or until it is revoked."""
        self._holds |= {offsets}
        self._wake.set()

    def let_go(self, offsets: Offsets[Any]) -> None:
        """Go on with a partition that was held."""
        self._holds -= {offsets}
        self._wake.set()

    def close(self) -> None:
        """Leave the group and end. `Owner.ended` tells when that is done."""
        self._closing = True
        self._wake.set()

    def join(self) -> None:
        """Wait for the thread's last steps, after `Owner.ended`."""
        self._thread.join()

    # The thread.

    def _run(self) -> None:
        try:
            self._use()
            while self._renew():
                self._use()
        finally:
            self._post(self._owner.ended)

    def _use(self) -> None:
        """Make a consumer, poll it until it is to be closed or of no more use, and close it."""
        try:
            with translated(f"cannot make a consumer of {self._where}"):
                consumer = self._login.make(Consumer, self._config, logger=LIBRDKAFKA)
        except BrokerkitError as error:
            self._wanted = 0  # It is made when messages are wanted again.
            self._fail(error)
            return
        try:
            self._subscribe(consumer)
            while not self._closing and self._useless is None:
                try:
                    self._turn(consumer)
                except KafkaException as error:
                    if not is_fatal(kafka_error(error)):
                        raise
                    self._react(kafka_error(error), f"the consumer of {self._where} had a fatal error", self._topics[0])
        except Exception as error:
            logger.exception("the consumer of %s failed", self._where)
            self._fail(BrokerkitError(f"the consumer of {self._where} failed: {error}"), cause=error, final=True)
            self._closing = True
        try:
            if self._useless is not None and is_fatal(self._useless):
                self._give_up(self._assigned, ours=False)
            else:
                self._leave(consumer)
            consumer.close()
        except Exception as error:  # noqa: BLE001  (nor here)
            logger.warning("a consumer of %s did not close in order: %s", self._where, describe(error))

    def _renew(self) -> bool:
        """Replace a consumer that was of no more use, when messages are wanted again. False if the thread is to end."""
        while not self._wanted and not self._closing:
            self._wake.wait()
            self._wake.clear()
        if self._closing:
            return False
        logger.info("a new consumer of %s replaces the one that had an error", self._where)
        self._useless, self._paused, self._held = None, False, frozenset()
        self._parked.clear()
        # The probe tells that the connection is back.
        self._down_since = time.monotonic()
        return True

    def _subscribe(self, consumer: Consumer) -> None:
        consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def _turn(self, consumer: Consumer) -> None:
        if self._transactional:
            self.membership.note(consumer)
        if self._new_topics is not None:
            (self._topics, self._delays), self._new_topics = self._new_topics, None
            self._subscribe(consumer)
        if self._login.changes:
            self._login.apply(consumer)
        self._store_done(consumer)
        self._unpark(consumer)
        self._hold_back(consumer)
        if self._down_since and time.monotonic() - self._down_since >= PROBE_EVERY:
            self._probe(consumer)
        if self._paused:
            if self._wanted and (
                self._owner.in_flight <= self._low_water or time.monotonic() - self._wanted_since >= PAUSE_AFTER
            ):
                self._paused = False
                consumer.resume([one for one in consumer.assignment() if not self._is_apart(_partition_of(one))])
        elif not self._wanted and not self._wait_for_demand(consumer):
            consumer.pause(consumer.assignment())
            self._paused = True
        if (first := consumer.poll(0)) is not None:
            messages = [first]
            if self._wanted > 1:
                # consume() waits for the full number. So it is called without a wait, after poll() has found a message.
                messages += consumer.consume(self._wanted - 1, 0)
        elif not self._closing and (first := consumer.poll(POLL)) is not None:
            # A message that was waited for is usually alone. A search for more would delay it by a tenth of a millisecond.
            messages = [first]
        else:
            return
        taken, ends = self._separate(consumer, messages)
        if taken:
            self._wanted = 0
            self._post(self._owner.arrived, taken)
        if ends:
            self._post(self._owner.reached, ends)

    def _probe(self, consumer: Consumer) -> None:
        """Check whether the cluster is back. librdkafka tells that all brokers are down, but not that one is up again."""
        try:
            consumer.list_topics(self._topics[0], timeout=PROBE_EVERY)
        except KafkaException:
            self._down_since = time.monotonic()
        else:
            self._down_since = 0.0
            self._post(self._owner.back)

    def _wait_for_demand(self, consumer: Consumer) -> bool:
        """Wait for free slots, and store offsets meanwhile. False if there were none for `PAUSE_AFTER` seconds."""
        deadline = time.monotonic() + PAUSE_AFTER
        while not self._wanted and not self._closing:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._wake.wait(remaining)
            self._wake.clear()
            self._store_done(consumer)
        return True

    def _separate(
        self, consumer: Consumer, messages: list[Message[Any, Any]]
    ) -> tuple[list[Message[Any, Any]], list[tuple[str, int, int]]]:
        """Return the messages to hand over (no errors, no retry before its time), and the ends that were reached."""
        taken = [message for message in messages if message.error() is None]
        ends: list[tuple[str, int, int]] = []
        if len(taken) < len(messages):
            for message in messages:
                if (error := message.error()) is None:
                    continue
                if error.code() == KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
                    ends.append((*_partition_of(message), message.offset()))  # type: ignore[arg-type]
                else:
                    self._on_message_error(error, message)
        return self._take_due(consumer, taken) if self._delays else taken, ends

    def _take_due(self, consumer: Consumer, messages: list[Message[Any, Any]]) -> list[Message[Any, Any]]:
        taken: list[Message[Any, Any]] = []
        parked = self._parked
        for message in messages:
            if (tp := _partition_of(message)) not in parked:
                # A topic has one delay, so its oldest message is due first, and no message waits behind a longer delay.
                written, now = message.timestamp()[1] / 1000, wall_time()
                # A time in the future means that the writer's clock is ahead, or that ours was set back.
                self._ahead = max(self._ahead, written - now)
                left = written + self._delays[tp[0]] - now - self._ahead
                if left <= 0:
                    taken.append(message)
                else:
                    parked[tp] = time.monotonic() + left
                    try:
                        consumer.pause([TopicPartition(*tp)])
                        consumer.seek(TopicPartition(*tp, message.offset()))  # type: ignore[arg-type]
                    except KafkaException:
                        if tp in map(_partition_of, consumer.assignment()):
                            raise
                        del parked[tp]  # revoked by the call that brought the message: its next owner waits
        return taken

    def _unpark(self, consumer: Consumer) -> None:
        if not self._parked:
            return
        now = time.monotonic()
        for tp in [tp for tp, due in self._parked.items() if due <= now]:
            del self._parked[tp]
            if not self._paused and tp not in self._held:
                consumer.resume([TopicPartition(*tp)])

    def _is_apart(self, tp: Partition) -> bool:
        """Whether a partition stays paused while the others are read."""
        return tp in self._parked or tp in self._held

    def _hold_back(self, consumer: Consumer) -> None:
        """Pause the partitions that the core has paused, and resume the others."""
        if not self._holds and not self._held:
            return
        held = frozenset((one.topic, one.partition) for one in self._holds if one.live)
        if held == self._held:
            return
        before, self._held = self._held, held
        assigned = {_partition_of(one) for one in consumer.assignment()}
        if new := (held - before) & assigned:
            consumer.pause([TopicPartition(*tp) for tp in new])
        free = [tp for tp in (before - held) & assigned if tp not in self._parked]
        if free and not self._paused:
            consumer.resume([TopicPartition(*tp) for tp in free])

    def _store_done(self, consumer: Consumer) -> None:
        if not self._done:
            return
        latest: dict[Offsets[Any], int] = {}
        while self._done:
            offsets, position = self._done.popleft()
            latest[offsets] = position
        partitions = [TopicPartition(one.topic, one.partition, at) for one, at in latest.items() if one.live]
        if not partitions or not self._commits:
            return
        try:
            consumer.store_offsets(offsets=partitions)
        except KafkaException as error:
            # The partition was revoked since the settlement: its new owner repeats these messages.
            logger.debug("offsets of %s were not stored: %s", self._where, error)

    def _leave(self, consumer: Consumer) -> None:
        """Leave the group, but not in the middle of a rebalance. Leaving revokes all partitions, and so commits them.

        A consumer that closes while it waits for its assignment never tells the broker that it leaves (librdkafka 2.16).
        Its last commit is refused, because its generation is over. The broker keeps the member, the whole group waits until
        its session times out, and messages repeat. So unsubscribe first: that waits for the end of the rebalance. Every
        member that leaves causes a rebalance, this source's own consumer of retry topics included.

        A static member does not leave: it closes, and the broker keeps its partitions for it until its session times out. To
        unsubscribe would be to leave.
        """
        deadline = time.monotonic() + BLOCKING
        try:
            self._store_done(consumer)
            if self._static:
                return
            consumer.unsubscribe()
            # A member that has left has no id. Under KIP-848 it keeps its id, but has no partitions.
            # A message that a poll still brings does not count as received.
            is_member = consumer.memberid if self._classic else consumer.assignment
            while is_member() and time.monotonic() < deadline:
                consumer.poll(_LEAVING_POLL)
        except KafkaException as error:
            logger.warning("a consumer of %s could not leave its group in order: %s", self._where, error)

    # Callbacks: they run in this thread, inside poll() and close().

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        new = [_partition_of(one) for one in partitions]
        self._assigned.update(new)
        self._post(self._owner.assigned, new)
        if self._starts is not None:
            self._begin_at_starts(consumer, partitions, self._starts)
        if self._anew:
            self._begin_anew(consumer, partitions)
        if self._cooperative:
            consumer.incremental_assign(partitions)
        else:
            consumer.assign(partitions)
        # A partition that was revoked while paused stays paused in the client, even when it comes back much later.
        (consumer.pause if self._paused else consumer.resume)(partitions)

    def _begin_at_starts(
        self, consumer: Consumer, partitions: list[TopicPartition], starts: Mapping[Partition, int]
    ) -> None:
        """Set the first offset of partitions without an offset of the group, and commit it.

        With ``auto.offset.reset=latest`` alone, a member that takes over before the first commit would begin at a later end,
        and messages that the first member had not finished would be lost.
        """
        if not self._keeps_offsets:
            for one in partitions:
                one.offset = starts.get(_partition_of(one), OFFSET_BEGINNING)
            return
        try:
            fresh = [one for one in consumer.committed(partitions, BLOCKING) if one.offset < 0]
            wanted = {_partition_of(one): starts.get(_partition_of(one), OFFSET_BEGINNING) for one in fresh}
            for one in partitions:
                one.offset = wanted.get(_partition_of(one), one.offset)
            known = [TopicPartition(*tp, offset) for tp, offset in wanted.items() if offset >= 0]
            if known:
                consumer.commit(offsets=known, asynchronous=False)
        except KafkaException as error:
            logger.warning("cannot find out where the group begins on %s: %s", self._where, error)

    def _begin_anew(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Begin at the beginning, and commit it. Once for each partition: then the group's offset is of this topic."""
        fresh = [one for one in partitions if one.topic in self._anew and _partition_of(one) not in self._begun]
        self._begun.update(map(_partition_of, fresh))
        for one in fresh:
            one.offset = OFFSET_BEGINNING
        if not fresh or not self._keeps_offsets:
            return
        try:
            consumer.commit(offsets=[TopicPartition(*_partition_of(one), 0) for one in fresh], asynchronous=False)
        except KafkaException as error:
            logger.warning("an old offset of the group on %s was not replaced: %s", self._where, error)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._transactional:
            self.membership.note(consumer)  # What ends meanwhile is committed as the member that we are now.
        positions = self._give_up(map(_partition_of, partitions), ours=True)
        if not positions or not self._commits:
            return
        offsets = [TopicPartition(*position) for position in positions]
        try:
            # Stored too: a leaving client commits its stored offsets, and an older one would undo this commit.
            consumer.store_offsets(offsets=offsets)
            # Synchronous: the next owner may begin when this callback returns.
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            logger.warning("the last offsets on %s were not committed, messages will repeat: %s", self._where, error)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Another member has them and may have committed. A commit from here would overwrite that.
        self._give_up(map(_partition_of, partitions), ours=False)

    def _give_up(self, partitions: Iterable[Partition], *, ours: bool) -> list[tuple[str, int, int]]:
        gone = list(partitions)
        for tp in gone:
            self._parked.pop(tp, None)
            self._assigned.discard(tp)
        ending = self._owner.revoked(gone, ours=ours)
        try:
            waiting = asyncio.run_coroutine_threadsafe(ending, self._loop)
        except RuntimeError:  # The loop is closed.
            ending.close()
            return []
        try:
            # The owner keeps to the limit. The rest is for an event loop that was stopped without closing anything.
            return waiting.result(self._drain + BLOCKING)
        except (TimeoutError, CancelledError):
            self.membership.doubt(waiting)
            logger.warning("the event loop did not answer while partitions of %s were revoked", self._where)
            return []
        except Exception as error:  # noqa: BLE001  (raised here, the client library would swallow it)
            self._post(self._break, error)
            return []

    def _on_error(self, error: KafkaError) -> None:
        """The client's error callback. librdkafka tries again by itself, so only a fatal error ends the consumer."""
        code = error.code()
        if code == KafkaError._AUTHENTICATION:  # pyright: ignore[reportPrivateUsage]
            self._fail(translate(error, f"cannot log in to {self._where}"))
        elif code == KafkaError._ALL_BROKERS_DOWN:  # pyright: ignore[reportPrivateUsage]
            self._report(error, f"no connection to {self._where}")
        elif error.fatal():
            self._react(error, f"the consumer of {self._where} had a fatal error", self._topics[0])

    def _on_message_error(self, error: KafkaError, message: Message[Any, Any]) -> None:
        topic = message.topic()
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:  # pyright: ignore[reportPrivateUsage]
            # The group has assigned our partitions to others. The client rejoins by itself.
            logger.warning("the event loop was blocked too long for %s: %s", self._where, error.str())
            self._give_up(self._assigned, ours=False)
        elif topic is not None and topic in self._delays and error.code() in _UNREADABLE:
            # With provision="off" nothing has checked the retry topics.
            doing = f"cannot read retry topic {topic!r} on {self._where}"
            logger.warning("%s", translate(error, doing, needed=self._needed(topic)))
            if error.code() not in MISSING:
                self._post(self._owner.no_retries_in, topic)
        else:
            self._react(error, f"cannot read {topic or self._topics} on {self._where}", topic or self._topics[0])

    def _react(self, error: KafkaError, doing: str, topic: str) -> None:
        """Do what the table of errors says."""
        match reaction(error):
            case Reaction.END:
                self._fail(translate(error, doing, needed=self._needed(topic)), final=is_fatal(error))
            case Reaction.RENEW:
                if self._useless is None:
                    self._useless, self._wanted = error, 0
                    self._fail(lost(error, f"{doing}; a new client replaces this one"))
            case Reaction.REPORT:
                self._report(error, doing)
            case Reaction.IGNORE:
                logger.info("%s: %s; the client goes on", doing, error.str())

    def _report(self, error: KafkaError, doing: str) -> None:
        """Say that the connection is lost, once for each outage: the client repeats it with every try."""
        if not self._down_since:
            self._fail(lost(error, doing))
        self._down_since = time.monotonic()

    def _fail(self, error: BrokerkitError, *, cause: BaseException | None = None, final: bool = False) -> None:
        error.__cause__ = cause
        self._post(partial(self._owner.failed, error, final=final))

    def _die(self, error: BaseException) -> None:
        self._post(self._break, error)

    def _break(self, error: BaseException) -> None:
        """End the source: its code failed on something that was posted. Nothing behind that is committed."""
        broken = BrokerkitError(f"the source on {self._where} failed: {type(error).__name__}: {describe(error)}")
        broken.__cause__ = error
        self._owner.failed(broken, final=True)

    def _post(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(guarded(function, self._break), *args)
        except RuntimeError:  # The loop is closed, so nothing is left to do.
            self._closing = True


def _partition_of(of: TopicPartition | Message[Any, Any]) -> Partition:
    if isinstance(of, TopicPartition):
        return of.topic, of.partition
    return of.topic(), of.partition()  # type: ignore[return-value]
