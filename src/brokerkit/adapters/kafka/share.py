"""Kafka share groups (KIP-932), through confluent-kafka's ShareConsumer: a topic is read like a queue.

The share consumer of confluent-kafka (2.15 and later) is a preview. Its makers do not recommend it for production, and
its interface may change. It needs brokers of Kafka 4.2 or later. brokerkit tests it on 4.2, 4.3 and 4.4. Three things
that the protocol has are missing from the client: it cannot renew a lock, a member takes nothing more before all that it
took is acknowledged, and nothing tells how far a group is. So `lag` is unknown.

URL and options
    ``kafka+share://h1:9092,h2:9092``, with user, password and options as for ``kafka://``. An option must be one that the
    producer or the share consumer of librdkafka knows. What the broker decides for a share group is refused
    (``session.timeout.ms``, ``isolation.level``, ``auto.offset.reset``, ``group.instance.id``). ``members`` is the most
    members of one source.

What a topic and a group become
    A Kafka topic and a share group. The name must not be that of a group of consumers. More members than partitions have
    work. A source begins with one member, and gets more while some wait for handlers and ``max_in_flight`` leaves room, up
    to 16. A member costs five threads and 0.8 MB. While all of them wait, nothing is taken from the topic: if messages come
    one by one and handlers are slow, as many are handled at once as there are members.

    With Kafka's defaults, a share group begins at the end of a topic and gets messages of aborted transactions. With
    ``provision="group"`` or ``"all"``, brokerkit sets these of the group's settings, unless somebody has set them:
    ``share.auto.offset.reset`` (by ``start``), ``share.isolation.level=read_committed``, ``share.record.lock.duration.ms``
    (by ``lease``), ``share.delivery.count.limit`` (to the most that the broker allows) and
    ``errors.deadletterqueue.topic.name``, as far as the broker has them. The log says what differs. With
    ``start="latest"`` a new group begins when its first member reads the topic, some seconds after the start.

    Beside a topic there are topics of the group's own. ``topic.group.share-retry.now`` has what is to be read at once, and
    ``dlq.group.share-dropped`` what the broker has dropped. Both have one partition and are created at the start. The
    topics ``topic.group.share-retry.1s``, ``10s``, ``1m``, ``10m`` and ``1h``, and ``topic.group.share-starts`` for suspect
    messages, are created when they are needed. The consumer group ``group.share-retry`` moves what is due. All of them keep
    messages for seven days. A topic that begins with ``^`` is refused: share groups have no patterns.

Delivery
    At least once. Each message is accepted or released by itself. A message that a killed member had comes again at once;
    one that a frozen member had comes when its lock ends. A lock lasts as long as ``lease`` says, 30 seconds by default, and
    cannot be renewed: a handler that takes longer goes on, and the message is given to somebody else as well. The broker
    allows 15 to 60 seconds unless its ``group.share.max.record.lock.duration.ms`` says otherwise. What no handler has begun
    with after half of that time is given back.

    Failed messages wait in the retry topics, also for short waits (at least a second), because a message that waits in the
    process would keep its member from taking others. Only ``order="strict"`` holds them.

    **Kafka drops a message for good after five deliveries without an acknowledgement.** Releases, ended locks and crashes
    count, and a crash of a process with several members may count several times. So a message that comes close to the limit
    is copied to ``share-retry.now``, before anything else is handed over. There Kafka counts from one again, and
    `Delivery.count` goes on. Since Kafka 4.4 the broker notes what it drops all the same, without its headers: brokerkit
    reads the message again where it was and brings it back. If retention has removed it there, its body becomes a dead
    letter. Before Kafka 4.4, and where these settings and topics are not allowed, a message that comes a second time is
    copied at once, and a source has at most two members (four on Kafka 4.3). It can still be lost if processes are killed
    again and again within the milliseconds between receiving and copying it. The log says so at the start.

    A message that a producer sent with others in one batch is given to a member with all of them, however many that are:
    librdkafka's producer makes batches of up to 10,000. If handlers cannot do so many within half of the lock, the rest
    comes again, and is copied in the end. Make batches smaller (``batch.num.messages``) where messages take long.

Order
    None: members take messages of one partition side by side, and released messages come later. brokerkit handles messages
    of one key that are in the process one after another.

Limits and escaping
    As for ``kafka://``. A group has up to 200 members (``group.share.max.size``).

Native access
    `Message.native` is the `confluent_kafka.Message`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from brokerkit.adapters.api import (
    BrokerkitError,
    Capabilities,
    Connection,
    Delivery,
    Lost,
    NotFound,
    Outgoing,
    Receipt,
    Subscription,
    UnsupportedFeature,
    WaitingRetries,
)
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._client import check_group, check_topic
from brokerkit.adapters.kafka._cursor import KafkaCursor
from brokerkit.adapters.kafka._retry_topics import CONFIG
from brokerkit.adapters.kafka._share_group import BROKER, GroupLimits
from brokerkit.adapters.kafka._share_settings import ShareSettings
from brokerkit.adapters.kafka._share_source import ShareSource
from brokerkit.adapters.kafka._share_topics import ready_topic
from brokerkit.adapters.kafka._topics import group_of
from brokerkit.adapters.kafka._waiting import count_retries

__all__ = ["KafkaShareAdapter"]

CAPABILITIES: Final = Capabilities(
    broker=BROKER,
    needs_group=True,
    order="none",
    attempts="deliveries",
    max_hold=GroupLimits().lock,
    hold=0.5,
    durable_retry=7 * 86_400.0,
    own_queues=True,
    broadcast=False,
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "field"}),
    browse="free",
    browse_queue="free",
)


class KafkaShareAdapter:
    """Share groups of a Kafka cluster. The module's docstring has the promises, `brokerkit.adapters.api.Adapter` the use."""

    def __init__(self, connection: Connection, /) -> None:
        self._settings = ShareSettings(connection)
        self._kafka = KafkaAdapter(connection, settings=self._settings.clients)
        self._lock: float | None = None

    def __repr__(self) -> str:
        return f"<KafkaShareAdapter of {self._kafka!r}>"

    def capabilities(self, topic: str = "") -> Capabilities:
        if topic.startswith("^"):
            raise UnsupportedFeature(
                broker=BROKER, feature=f"the pattern {topic!r}", alternative="name the topics, or use kafka://"
            )
        if topic:
            check_topic(topic)
        return CAPABILITIES if self._lock is None else replace(CAPABILITIES, max_hold=self._lock)

    async def open(self) -> None:
        await self._kafka.open()

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        await self._kafka.ensure(topics, is_queue=is_queue, create=create)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return await self._kafka.send(batch)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return self._kafka.derived(topic, group, role)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        if is_queue:
            return topic
        check_group(group or "")
        ready, admin = ready_topic(topic, group or ""), self._kafka.require_open()
        if ready not in await admin.describe([ready]):
            if not create:
                raise NotFound(f"{self._settings.clients.where} has no topic {ready!r}, to which replays go; create it")
            await admin.create({ready: 1}, CONFIG)
        return ready

    def subscribe(self, subscription: Subscription, lost: Lost) -> ShareSource:
        for topic in subscription.topics:
            self.capabilities(topic)
        return ShareSource(
            subscription,
            lost,
            self._settings,
            admin=self._kafka.require_open,
            send=partial(self._kafka.send, copies=True),
            watch=self._kafka.watch,
            ensure=partial(
                self._kafka.ensure,
                subscription.topics,
                is_queue=subscription.is_queue,
                create=subscription.provision == "all",
            ),
            granted=self._note,
        )

    def _note(self, limits: GroupLimits) -> None:
        """Several sources may have groups with different locks: the shortest is what can be promised."""
        self._lock = limits.lock if self._lock is None else min(self._lock, limits.lock)

    def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        return self._kafka.browse(topics, is_queue=is_queue, past=past, follow=follow)

    async def waiting_retries(self, subscription: Subscription) -> list[WaitingRetries]:
        group = group_of(subscription)
        admin, reader = self._kafka.require_open(), f"{group}.share-retry"
        return await count_retries(
            self._settings.clients, admin, subscription.topics, group, reader=reader, role="share-retry"
        )

    def cursor(self, queue: str) -> KafkaCursor:
        return self._kafka.cursor(queue)

    async def close(self) -> None:
        await self._kafka.close()
