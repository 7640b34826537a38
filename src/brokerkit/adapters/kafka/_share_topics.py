"""The topics of a share group's own, which keep messages that Kafka would drop or could not delay.

- ``topic.group.share-retry.now`` has what is to be read at once: copies of messages that were delivered too often, and
  retries whose time has come. The members read it. One partition is enough, because all of them can share it.
- ``topic.group.share-retry.1s`` and so on have retries that wait. A group of consumers moves what is due.
- ``dlq.group.share-dropped`` is named by the group's settings, on Kafka 4.4. There the broker notes what it drops. The
  members read it, and what was dropped comes again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from confluent_kafka import Message

from brokerkit.adapters.api import (
    ACK,
    BrokerkitError,
    ConnectionLost,
    Delivery,
    NotFound,
    Outcome,
    RetryLater,
    State,
    Subscription,
    backoff,
    derived_name,
    get_logger,
    ignore_lost,
)
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Settings
from brokerkit.adapters.kafka._reader import PartitionReader
from brokerkit.adapters.kafka._retry_topics import CONFIG, RetryTopics
from brokerkit.adapters.kafka._share_delivery import Dropped, ShareDelivery, carry, delivery_of, move
from brokerkit.adapters.kafka._source import KafkaSource, Send
from brokerkit.adapters.kafka._topics import NAME_STYLE
from brokerkit.adapters.kafka._watch import TopicWatch

logger = get_logger(__name__)

_READY: Final = re.compile(r"[.-]share-retry\.now(-[0-9a-f]{16})?$")

_AT_ONCE: Final = 100
"""Messages that are copied in one batch. The broker gives a whole batch to one member."""

_NOTES: Final = {**CONFIG, "errors.deadletterqueue.group.enable": "true"}
"""The broker writes what it drops only to a topic with this setting."""


def ready_topic(topic: str, group: str) -> str:
    """The topic of a group for what is to be read at once."""
    return derived_name(topic, group, "share-retry.now", NAME_STYLE)


def dropped_topic(prefix: str, group: str) -> str:
    """The topic for what the broker drops. It has to begin with a prefix that the broker's settings name."""
    return derived_name(prefix.removesuffix(".") or "dlq", group, "share-dropped", NAME_STYLE)


class OwnTopics:
    """The topics of the group of one subscription.

    Attributes:
        dropped: the topic where the broker notes what it drops; None where it notes nothing, or others read it.
    """

    def __init__(
        self,
        subscription: Subscription,
        group: str,
        settings: Settings,
        admin: Callable[[], KafkaAdmin],
        send: Send,
        watch: TopicWatch,
    ) -> None:
        self.dropped: str | None = None
        self._subscription = subscription
        self._group = group
        self._settings = settings
        self._admin = admin
        self._send = send
        self._ready = {topic: ready_topic(topic, group) for topic in subscription.topics}
        self._origins = {ready: topic for topic, ready in self._ready.items()}
        self._written_by_us = {*self._origins, *(subscription.topics if subscription.is_queue else ())}
        self._delays = KafkaSource(
            replace(subscription, topics=(), group=f"{group}.share-retry", start="earliest"),
            ignore_lost,
            settings,
            admin,
            send,
            watch,
            RetryTopics(subscription, admin, "share-retry"),
        )

    def __repr__(self) -> str:
        return f"<OwnTopics of {self._group}: {', '.join(self.read)}>"

    @property
    def read(self) -> list[str]:
        """The topics that the members read beside those of the subscription."""
        return [*self._origins, *([self.dropped] if self.dropped is not None else [])]

    async def open(self) -> None:
        """Create what is missing, where that is allowed."""
        wanted, admin = self._subscription, self._admin()
        if wanted.provision != "off":
            there = await admin.describe(list(self._origins), denied=set())
            missing = [ready for ready in self._origins if ready not in there]
            if missing and not await self._may_create(dict.fromkeys(missing, 1), CONFIG):
                self._ready, self._origins = {}, {}
                logger.warning(
                    "there is no %s: no retry of share group %s survives this process", ", ".join(missing), self._group
                )
                return
        await self._delays.open()

    async def open_dropped(self, name: str) -> bool:
        """Have the topic where the broker notes what it drops. False where it may not be created."""
        if name in await self._admin().describe([name], denied=set()) or await self._may_create({name: 1}, _NOTES):
            self.dropped = name
        return self.dropped is not None

    async def _may_create(self, topics: dict[str, int], config: dict[str, str]) -> bool:
        if self._subscription.provision not in ("group", "all"):
            return False
        try:
            await self._admin().create(topics, config)
        except BrokerkitError as error:
            logger.warning("%s", error)
            return False
        return True

    def delivery_of(self, message: Message[Any, Any], token: object) -> ShareDelivery:
        """Convert a message that a member has read."""
        return delivery_of(message, token, self._origins, self._written_by_us)

    # ---- what was delivered too often ------------------------------------------------------------------------

    def can_copy(self, delivery: Delivery) -> bool:
        """Whether a message can be copied. What could not be read becomes a dead letter, and its copy could be read."""
        return delivery.topic in self._ready and delivery.state is State.WAITING

    async def copy(self, deliveries: Sequence[Delivery]) -> dict[Delivery, BrokerkitError | None]:
        """Copy messages, so that their deliveries are counted anew. Says for each why it could not be."""
        outcomes: dict[Delivery, BrokerkitError | None] = {}
        for first in range(0, len(deliveries), _AT_ONCE):
            part = deliveries[first : first + _AT_ONCE]
            copies = [carry(cast("ShareDelivery", one), self._ready[one.topic]) for one in part]
            for delivery, result in zip(part, await self._send(copies), strict=True):
                outcomes[delivery] = result if isinstance(result, BrokerkitError) else None
        return outcomes

    async def restore(self, delivery: Delivery) -> BrokerkitError | None:
        """Bring back a message that the broker has dropped. Says why that could not be done yet.

        The broker notes its body and key, and where it was, and leaves out its headers. So it is read again. A message that
        is gone from there becomes a dead letter.
        """
        dropped = Dropped.of(delivery)
        if dropped is None:
            delivery.unreadable("it is in the topic of what Kafka dropped, and not by Kafka")
            return None
        try:
            found = await self._look_up(dropped)
        except NotFound:
            found = None
        except BrokerkitError as error:
            return error
        if found is None:
            delivery.topic = self._origins.get(dropped.topic, dropped.topic)
            delivery.unreadable(f"Kafka dropped it after {dropped.deliveries} deliveries, and its headers are gone")
            return None
        # It may be of another source of the group. What was due has no other topic than the one for that.
        ready = dropped.topic if _READY.search(dropped.topic) else ready_topic(dropped.topic, self._group)
        original = delivery_of(found, None, {ready: ready}, ())
        original.count += dropped.deliveries
        [result] = await self._send([carry(original, ready)])
        return result if isinstance(result, BrokerkitError) else None

    async def _look_up(self, dropped: Dropped) -> Message[Any, Any] | None:
        tp = (dropped.topic, dropped.partition)
        oldest = (await self._admin().ends([tp], first=True))[tp]
        if dropped.offset < oldest:
            return None
        reader = await asyncio.to_thread(
            PartitionReader,
            self._settings,
            f"look up {dropped.topic!r}",
            {tp: dropped.offset},
            {tp: dropped.offset + 1},
        )
        try:
            found = await reader.read(1)
        finally:
            await reader.close()
        return found[0][1] if found and found[0][1].offset() == dropped.offset else None

    # ---- what comes again later ------------------------------------------------------------------------------

    async def put_off(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> dict[int, bool]:
        """Copy what has to come again later. Says for each of these, by its index, whether its copy is confirmed."""
        later = {
            index: (delivery, outcome)
            for index, (delivery, outcome) in enumerate(pairs)
            if isinstance(outcome, RetryLater)
        }
        if not later or not self._ready:
            return dict.fromkeys(later, False)
        return dict(zip(later, await self._delays.put_off(list(later.values())), strict=True))

    async def move_due(self) -> None:
        """Move retries whose time has come to where the members read them, until cancelled."""
        waiting: list[Delivery] = []
        failures = 0
        while self._ready:
            if not waiting:
                try:
                    waiting = list(await self._delays.receive(_AT_ONCE))
                except ConnectionLost as error:
                    logger.debug("%r: the retry topics cannot be read: %s", self, error)
                    failures += 1
                    await asyncio.sleep(backoff(failures, first=0.2, cap=10.0))
                    continue
            moved = [move(delivery, self._ready[delivery.topic]) for delivery in waiting]
            results = await self._send(moved)
            done = [one for one, result in zip(waiting, results, strict=True) if not isinstance(result, BrokerkitError)]
            await self._delays.settle([(delivery, ACK) for delivery in done])
            left = set(waiting).difference(done)
            waiting = [delivery for delivery in waiting if delivery in left and delivery.token.live]
            failures = failures + 1 if waiting else 0
            if waiting:
                logger.warning("%r: %d retries are due and could not be moved", self, len(waiting))
                await asyncio.sleep(backoff(failures, first=0.2, cap=10.0))

    async def close(self) -> None:
        """Leave the group that moves retries."""
        await self._delays.close()
