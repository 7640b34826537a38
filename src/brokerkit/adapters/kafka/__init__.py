"""Kafka, through confluent-kafka (librdkafka).

URL and options
    ``kafka://h1:9092,h2:9092``. The default port is 9092. A user in the URL (``kafka://user:password@host``) means SASL
    PLAIN over TLS. ``sasl.mechanism`` chooses another mechanism. ``security.protocol=SASL_PLAINTEXT`` sends the password in
    clear: use it only for a broker on the same host.

    A rotated password comes from the setting ``password_file``, or in code from a function in ``password``. It is read for
    each new client, and again when the broker refuses it. ``oauth_cb``, for ``sasl.mechanism=OAUTHBEARER``, is a function
    that returns a token and its time of expiry. Making a bus does not call it, and only threads do. If it fails at the
    start, that is an error with its text. Later it is a warning, and it is called again after ten seconds.
    ``ssl.key.password`` is the pass phrase of an encrypted client key.

    Options are librdkafka's settings, for the producer and the consumer alike; each client gets those that it knows.
    brokerkit sets these defaults, and an option overrides each of them: an idempotent producer with ``acks=all``, the Java
    client's partitioner, a publish given up after 30 s, cooperative-sticky assignment, a commit every 200 ms, and a check
    every 100 ms whether a full read-ahead has room again. A batch leaves at once; with ``linger.ms`` it waits that long for
    more messages. ``group.protocol=consumer`` (KIP-848) needs brokers of Kafka 4.0 or later. With ``group.instance.id``,
    the member that reads the retry topics adds ``-retry`` to it.

What a topic and a group become
    A Kafka topic and a consumer group.

    Retries that must survive a crash are copied to the topics ``topic.group.retry.1s``, ``10s``, ``1m``, ``10m`` and
    ``1h``. They belong to this group alone, have as many partitions as the topic, and keep messages for seven days. A second
    member of the same group reads them. With ``provision="group"`` or ``"all"`` a retry topic is created when the first
    retry needs it; other members find it within a minute. ``order="strict"``, a broadcast and a dead-letter topic have no
    retry topics. A broadcast is a group with a random name that never commits. The broker forgets it some minutes after the
    process has gone.

    A topic that begins with ``^`` is a pattern: a regular expression of Python. ``^evenbet[.]`` reads every topic whose name
    begins with ``evenbet.``; ``$`` marks the end of the name. A new topic is found within a minute and read from its
    beginning. A deleted topic is left out. A pattern never matches Kafka's own topics (``__``), or the dead letters and
    retries of any group (names that end in ``.dlq``, ``-dlq``, ``.retry.1s`` and the like). The topics of a pattern share
    one dead-letter topic. It is named after the pattern, unless ``dead_letter`` names another. Each topic has its own retry
    topics. You cannot publish to a pattern. In a URL or the environment a pattern cannot contain a comma, because a comma
    separates topics.

Delivery
    At least once. With ``exactly_once``, what handlers publish and the offsets of their messages are committed together. A
    partition's offset is committed up to the first message that is not done: about every 200 ms, and at once when the
    partition moves to another member or the source closes. A released message is not committed and does not come again in
    this session; the next owner of the partition begins with it. After a kill, the broker waits for ``session.timeout.ms``
    (45 s) before other members take over. Kafka does not count deliveries.

    A client that had a fatal error is replaced: the source goes on from the last commit, and a publish is tried again.
    An answer of the broker that is not fatal does not end a source. An error that neither the client nor brokerkit can
    correct does: a missing right or topic, a second member with the same ``group.instance.id``, a version that the
    broker does not support, a message that the client cannot read.

    Retry topics that brokerkit creates keep messages for seven days, topics of dead letters for ever. At the start a warning
    names each of them that somebody else has created and that deletes messages earlier, by age, size or key
    (``retention.ms``, ``retention.bytes``, ``cleanup.policy``). Where failed messages wait in the process
    (``order="strict"``, or without retry topics) it also names a topic that keeps messages for less than their waits. This
    needs the right to see the settings of topics (DescribeConfigs).

    With ``start="latest"`` a group begins at the end that the topic had when the source was opened. A transaction that was
    open then, and commits later, lies behind that end and is read. Lag reaches 0: transaction markers, aborted messages and
    compacted messages count as read, and messages of an open transaction do not count as waiting yet.

    A topic that is deleted while it is read makes the source wait (``reconnecting``). If it is made anew, it has
    another id and its offsets begin at 0, which the client does not notice. So the ids of all topics that are read are
    compared every five seconds (for more than 250 topics, every 20 ms for each). The new topic is then read from its
    beginning, and the group's offsets are replaced; messages that the client has already read from it come again.
    Messages of the old topic that were being handled are not settled. This needs brokers of Kafka 2.8 or later, and a
    group of which a member runs; without one, the broker itself drops the group's offsets together with the topic.

    The client names all partitions in each fetch. For more than 200 topics on one source, a fetch that finds nothing waits
    2.5 ms for each topic (``fetch.wait.max.ms``, at most 5 s) instead of 500 ms, so that idle topics cost little. A message
    ends the wait at once; a partition that has just moved here, or was held back, may have to wait for it. A source with
    1,000 idle partitions took about one percent of a core, three quarters of it in the client; the cost grows with them.

Order
    By key across the group: one partition, one member. When a partition moves, the old member finishes what it has begun
    before the new one starts. Later messages of a key overtake a message that waits in a retry topic.

Limits and escaping
    Two limits apply to a message: the client's ``message.max.bytes`` (1,000,000, which includes key, headers and overhead),
    then the topic's ``max.message.bytes``. A message that fits only compressed, and came from a client with a larger limit,
    is sent compressed (gzip) as a dead letter and as a retry too.

    A null body stays null; a handler asks for it with ``event: X | None``. The message id is the header ``bk-id``, the media
    type the header ``content-type``. Header values are bytes, and a null value is empty. Of several headers with one name,
    `Message.headers` has the last one. `Message.native` has them all, and so do retries, dead letters, their replays and
    what a bridge forwards to Kafka. A recording keeps the last one. A message with a header name that is not UTF-8 becomes a
    dead letter. Where the broker's ``auto.create.topics.enable`` is on, the first message creates a missing topic.

Native access
    `Message.native` is the `confluent_kafka.Message`, with all headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, cast
from weakref import WeakSet

from confluent_kafka import KafkaError, KafkaException

from brokerkit.adapters.api import (
    DELAY_LEVELS,
    BrokerkitError,
    Capabilities,
    Closed,
    Connection,
    ConnectionLost,
    Delivery,
    InvalidMessage,
    Lost,
    MessageTooLarge,
    NotFound,
    Outgoing,
    Receipt,
    Reminder,
    SeekPlan,
    SeekTo,
    Subscription,
    WaitingRetries,
    derived_name,
    get_logger,
    guarded,
    is_pattern,
)
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._browse import browse_topics
from brokerkit.adapters.kafka._client import Settings, check_group, check_source, check_topic
from brokerkit.adapters.kafka._cursor import KafkaCursor
from brokerkit.adapters.kafka._errors import is_purged, kafka_error, translate
from brokerkit.adapters.kafka._producer import PendingBatch, ProducerThread
from brokerkit.adapters.kafka._retention import LETTERS, warn_of_lost_letters
from brokerkit.adapters.kafka._retry_topics import CONFIG, retry_topic
from brokerkit.adapters.kafka._seek import move_offsets, plan_offsets
from brokerkit.adapters.kafka._source import KafkaSource
from brokerkit.adapters.kafka._topics import NAME_STYLE, Topics, group_of
from brokerkit.adapters.kafka._waiting import count_retries
from brokerkit.adapters.kafka._watch import TopicWatch
from brokerkit.adapters.kafka._wire import batch_size, client_size, encode_headers

logger = get_logger(__name__)

__all__ = ["KafkaAdapter"]

REPORT_GRACE: Final = 5.0
"""The client should report a lost message after its timeout. It checks every second, so it gets this many seconds more."""

PAUSE: Final = 0.001
"""Seconds between two checks whether the client's queue has become shorter."""

FLUSH: Final = 3.5
"""Seconds that `close` waits for confirmations. With the thread's end, less than the bus waits for an adapter."""

PART: Final = 500
"""A large batch is sent in parts of this many messages."""

ANY_PARTITION: Final = -1
"""The partitioner chooses a partition by the key."""

CAPABILITIES: Final = Capabilities(
    broker="Kafka",
    needs_group=True,
    commits_offsets=True,
    order="group",
    durable_retry=7 * 86_400.0,
    own_queues=True,
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "field"}),
    max_in_flight=1_000,
    browse="free",
    browse_queue="free",
    transactions=True,
)
_OUTAGE: Final = 30.0
"""After this many seconds without an error of the producer's connections, the next error is logged again."""
_STATIC: Final = replace(
    CAPABILITIES,
    one_process="group.instance.id is the name of one member; a second member with that name expels the first",
)


class KafkaAdapter:
    """A Kafka cluster. The module's docstring has the promises, `brokerkit.adapters.api.Adapter` the use.

    Args:
        settings: the configuration of its clients, where it is not that of the connection alone.

    Attributes:
        watch: tells sources of topics that are deleted.
    """

    def __init__(self, connection: Connection, /, *, settings: Settings | None = None) -> None:
        self._settings = settings or Settings(connection)
        self._admin: KafkaAdmin | None = None
        self.watch = TopicWatch(self.require_open)
        self._producer: ProducerThread | None = None
        self._large: ProducerThread | None = None
        self._fatal: KafkaError | None = None
        self._broken = False
        self._making = asyncio.Lock()
        self._sources: WeakSet[KafkaSource] = WeakSet()
        self._reminder = Reminder(quiet=_OUTAGE)

    def __repr__(self) -> str:
        state = "open" if self._admin else "closed"
        return f"<KafkaAdapter {self._settings.where}: {state}, {len(self._producer or ())} unconfirmed>"

    def capabilities(self, topic: str = "") -> Capabilities:
        promises = _STATIC if self._settings.static else CAPABILITIES
        if topic:
            check_source(topic)
        return replace(promises, pattern=True) if is_pattern(topic) else promises

    async def open(self) -> None:
        if self._admin is not None:
            return
        admin = await asyncio.to_thread(KafkaAdmin, self._settings)
        await admin.reach()
        self._admin = admin

    def _on_error(self, error: KafkaError) -> None:
        """Log errors of connections. librdkafka tries again by itself, and every message gets a result of its own."""
        if error.fatal() or self._reminder.due():
            logger.warning("producer of %s: %s", self._settings.where, error.str())
        if error.fatal():
            self._broken, self._fatal = True, error

    def _drop_broken(self) -> None:
        """Give up a producer that had a fatal error: it accepts no more messages."""
        if self._broken and self._producer is not None:
            self._producer.abandon()
            self._producer.close()
            self._producer = None
            self._broken, self._fatal = False, None

    def require_open(self) -> KafkaAdmin:
        """The admin client.

        Raises:
            Closed: the adapter is not open.
        """
        if self._admin is None:
            raise Closed(f"the connection to {self._settings.where} is not open")
        return self._admin

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        admin = self.require_open()
        denied: set[str] | None = set() if create else None
        there = await admin.describe(topics, denied=denied)
        missing = [topic for topic in dict.fromkeys(topics) if topic not in there]
        if missing and not create:
            raise NotFound(
                f"{self._settings.where} has no topic {', '.join(map(repr, missing))}; create it, or use provision='all'"
            )
        await admin.create(dict.fromkeys(missing, -1), LETTERS if is_queue else None)
        if is_queue:
            await warn_of_lost_letters(admin, self._settings.where, there)

    async def send(
        self, batch: Sequence[Outgoing], *, partition: int = ANY_PARTITION, copies: bool = False
    ) -> list[Receipt | BrokerkitError]:
        """See `Adapter.send`.

        With ``partition`` the whole batch goes to that partition, whatever the keys are. ``copies`` says that the messages
        are copies of messages that Kafka has accepted before.
        """
        if self._admin is None:
            return [Closed(f"the connection to {self._settings.where} is not open") for _ in batch]
        if not batch:
            return []
        self._drop_broken()
        if (producer := self._producer) is None:
            try:
                # Not earlier: an idempotent producer has a fatal error where the user may only read.
                producer = await self._make_producer()
            except BrokerkitError as error:
                return [error for _ in batch]
        pending = await self._send_batch(PendingBatch(batch, partition), producer)
        if pending.failed:
            for index, result in enumerate(pending.results):
                if isinstance(result, KafkaError):
                    pending.results[index] = await self._explain_failure(pending, index, result)
                elif isinstance(result, MessageTooLarge) and (copies or batch[index].is_queue):
                    pending.results[index] = await self._send_large(batch[index])
        return cast("list[Receipt | BrokerkitError]", pending.results)

    async def _make_producer(self) -> ProducerThread:
        if not self._settings.login.changes:
            self._producer = ProducerThread(self._settings, self._on_error)
            return self._producer
        async with self._making:
            if self._producer is None:
                # It may wait for a password or a token, and the event loop may not.
                self._producer = await asyncio.to_thread(ProducerThread, self._settings, self._on_error)
            return self._producer

    async def _send_batch(self, pending: PendingBatch, producer: ProducerThread) -> PendingBatch:
        await self._produce(pending, producer)
        late = asyncio.get_running_loop().call_later(
            self._settings.delivery_timeout + REPORT_GRACE, guarded(self._give_up, pending.fail), pending, producer
        )
        try:
            await pending.completed
        finally:
            late.cancel()
        return pending

    async def _send_large(self, outgoing: Outgoing) -> Receipt | BrokerkitError:
        """Send a dead letter or a retry copy that is larger than the client's limit. Compressed, it may fit.

        Kafka accepted the original, so another client compressed it. A separate producer is needed: the client measures a
        message before it compresses it, and messages of users must keep to the limit that the users have set.
        """
        if self._large is None:
            try:
                async with self._making:
                    if self._large is None:
                        self._large = await asyncio.to_thread(
                            ProducerThread, self._settings, self._on_large_error, large=True
                        )
            except BrokerkitError as error:
                return error
        [result] = (await self._send_batch(PendingBatch([outgoing], ANY_PARTITION), self._large)).results
        if isinstance(result, KafkaError):
            if result.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                return MessageTooLarge(
                    size=batch_size(outgoing), limit=await self._limit(outgoing.topic), what=_topic(outgoing.topic)
                )
            return self._translate(outgoing, result)
        assert result is not None
        return result

    def _on_large_error(self, error: KafkaError) -> None:
        logger.warning("producer of large dead letters and retries on %s: %s", self._settings.where, error.str())
        if error.fatal() and self._large is not None:
            large, self._large = self._large, None
            large.abandon()
            large.close()

    def _give_up(self, pending: PendingBatch, producer: ProducerThread) -> None:
        """Fail messages that the client should have reported as lost by now, but has not (librdkafka 2.16.1).

        This was seen when a message was handed over while its topic was being deleted. The producer does not recover.
        """
        if pending.completed.done():
            return  # The event loop was blocked, and both were due in the same turn.
        logger.error(
            "%r: the client reported nothing about messages that it should have given up; a new producer replaces it",
            self,
        )
        if producer is self._large:
            self._large = None
            producer.abandon()
            producer.close()
        self._broken = self._broken or producer is self._producer
        pending.give_up(ConnectionLost(f"{self._settings.where} did not confirm: it may or may not have the message"))

    async def _produce(self, pending: PendingBatch, producer: ProducerThread) -> None:
        produce, report, partition, handed_over = producer.produce, pending.report, pending.partition, 0
        for index, outgoing in enumerate(pending.batch):
            try:
                headers = encode_headers(outgoing)
            except InvalidMessage as error:
                pending.results[index] = error
                continue
            while True:
                if producer is not self._producer and producer is not self._large:
                    pending.results[index] = self._explain_replaced()
                    break
                try:
                    produce(
                        outgoing.topic,
                        outgoing.body,
                        outgoing.key,
                        partition,
                        headers=headers,
                        on_delivery=partial(report, index),
                    )
                except BufferError:
                    # The client's queue is full of unconfirmed messages: wait, as back pressure.
                    producer.flush()
                    await asyncio.sleep(PAUSE)
                    continue
                except KafkaException as error:
                    pending.results[index] = self._explain_refusal(outgoing, kafka_error(error))
                    pending.failed = True
                    break
                except (TypeError, ValueError) as error:
                    pending.results[index] = InvalidMessage(f"Kafka's client refused the message: {error}")
                    break
                handed_over += 1
                break
            if index % PART == PART - 1:
                producer.flush()
        producer.flush()
        pending.expect(handed_over)

    def _explain_replaced(self) -> BrokerkitError:
        """The error of a message whose producer was closed or replaced while it waited for room in the queue."""
        if self._admin is None:
            return Closed(f"the connection to {self._settings.where} was closed")
        # The new producer would send it before the messages that the old one has just lost are sent again.
        return ConnectionLost(f"the producer of {self._settings.where} was replaced before it took this message")

    def _explain_refusal(self, outgoing: Outgoing, error: KafkaError) -> BrokerkitError:
        """The error of a message that the client itself refused."""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            limit = self._settings.message_limit
            return MessageTooLarge(size=client_size(outgoing), limit=limit, what="the Kafka client (message.max.bytes)")
        return self._translate(outgoing, error)

    def _translate(self, outgoing: Outgoing, error: KafkaError) -> BrokerkitError:
        if self._fatal is not None and is_purged(error):
            error = self._fatal  # the reason why the producer has given up what it had
        doing = f"cannot publish to {outgoing.topic!r} on {self._settings.where}"
        return translate(error, doing, needed=self._settings.needed("Write", outgoing.topic), sending=True)

    async def _explain_failure(self, pending: PendingBatch, index: int, result: KafkaError) -> Receipt | BrokerkitError:
        outgoing = pending.batch[index]
        if result.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return await self._too_large(outgoing, pending.partition, alone=len(pending.batch) == 1)
        return self._translate(outgoing, result)

    async def _too_large(self, outgoing: Outgoing, partition: int, *, alone: bool) -> Receipt | BrokerkitError:
        """The broker measures the batch that the client packed, so a small message can fail because of others."""
        size, limit = batch_size(outgoing), await self._limit(outgoing.topic)
        if not alone and (limit is None or size <= limit):
            return (await self.send([outgoing], partition=partition))[0]
        return MessageTooLarge(size=size, limit=limit, what=_topic(outgoing.topic))

    async def _limit(self, topic: str) -> int | None:
        """The largest message of a topic, in bytes. None if we may not know it."""
        try:
            found = (await self.require_open().topic_settings([topic])).get(topic)
        except BrokerkitError:
            return None
        return None if found is None else int(found["max.message.bytes"])

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, NAME_STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        if is_queue:
            return topic
        check_group(group or "")
        retry, admin = retry_topic(topic, group, DELAY_LEVELS[0]), self.require_open()
        if await admin.describe([retry]):
            return retry
        if not create:
            raise NotFound(f"{self._settings.where} has no topic {retry!r}, to which replays go; create it")
        there = await admin.describe([topic], denied=set())
        await admin.create({retry: there.get(topic, ANY_PARTITION)}, CONFIG)
        for source in self._sources:
            source.look_for_topics()
        return retry

    def subscribe(self, subscription: Subscription, lost: Lost) -> KafkaSource:
        for topic in subscription.topics:
            (check_topic if subscription.is_queue else check_source)(topic)
        send = partial(self.send, copies=True)
        source = KafkaSource(subscription, lost, self._settings, self.require_open, send, self.watch)
        self._sources.add(source)
        return source

    def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        return browse_topics(
            self._settings, self.require_open(), Topics(topics), is_queue=is_queue, past=past, follow=follow
        )

    async def waiting_retries(self, subscription: Subscription) -> list[WaitingRetries]:
        group = group_of(subscription)
        return await count_retries(self._settings, self.require_open(), subscription.topics, group, reader=group)

    def cursor(self, queue: str) -> KafkaCursor:
        return KafkaCursor(self._settings, self.require_open, self.send, queue)

    async def plan_seek(self, topics: Sequence[str], group: str, to: SeekTo) -> SeekPlan:
        return await plan_offsets(self._settings, self.require_open(), Topics(topics), group, to)

    async def seek(self, group: str, plan: SeekPlan) -> None:
        await move_offsets(self.require_open(), group, plan)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        large, self._large = self._large, None
        admin, self._admin = self._admin, None
        if admin is not None:
            await asyncio.to_thread(admin.close)
        if producer is None:
            return
        producer.flush()  # Events of an unreachable broker may wait there too.
        try:
            async with asyncio.timeout(FLUSH):
                while len(producer):
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            logger.warning(
                "%r: gave up waiting for confirmations; the broker may or may not have %d messages", self, len(producer)
            )
            producer.abandon()
        finally:
            producer.close()
        await asyncio.to_thread(producer.join)
        if large is not None:
            large.abandon()
            large.close()
            await asyncio.to_thread(large.join)


def _topic(topic: str) -> str:
    return f"topic {topic!r} (max.message.bytes)"
