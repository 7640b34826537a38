"""What the broker does by itself to the messages of the queues that a source reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aio_pika.abc import AbstractConnection

from brokerkit.adapters.api import BrokerkitError, Delivery, Subscription, UnsupportedFeature, get_logger
from brokerkit.adapters.rabbitmq._facts import describe_queue
from brokerkit.adapters.rabbitmq._link import GIVES_BACK_FREELY, Link
from brokerkit.adapters.rabbitmq._queue_facts import QueueFacts

logger = get_logger(__name__)

_LIMITED_BY_DEFAULT: Final = (4,)
"""The version from which on a quorum queue has a delivery limit that nobody has set."""
_DEFAULT_LIMIT: Final = 20


class Limits:
    """The limits of the queues of one source, by topic.

    A delivery limit of N takes a message away when it comes back for the N+1st time, with or without a reason: to the
    dead-letter exchange of the queue, or for good.

    Args:
        link: to the broker.
        subscription: what the source reads.
    """

    def __init__(self, link: Link, subscription: Subscription) -> None:
        self._link = link
        self._subscription = subscription
        self._version: tuple[int, ...] = (0,)
        self._facts: dict[str, QueueFacts] = {}
        self._warned: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<Limits {self._facts!r}>"

    async def look_at(self, connection: AbstractConnection, topic: str, queue: str) -> None:
        """Find out what the queue of a topic is."""
        if self._subscription.broadcast:
            self._facts[topic] = QueueFacts("classic")
        elif (told := await self._ask(queue)) is not None:
            self._facts[topic] = told
        elif self._subscription.provision == "off":
            self._facts[topic] = QueueFacts("")
        else:
            self._facts[topic] = await describe_queue(self._link, connection, queue)

    async def _ask(self, queue: str) -> QueueFacts | None:
        """Ask the management API, which also knows policies. None where there is none, or it does not answer."""
        if self._link.management is None:
            return None
        try:
            return await self._link.management.describe(queue)
        except BrokerkitError as error:
            logger.warning("%s: limits that policies set on queue %s are not known: %s", self._link.url, queue, error)
            return None

    def check(self, version: tuple[int, ...], queues: Mapping[str, str]) -> None:
        """Refuse what cannot be read without a loss, and tell once of each other limit.

        Args:
            version: of the broker.
            queues: the queue of each topic.

        Raises:
            UnsupportedFeature: a queue gives no message a second time.
        """
        self._version = version
        most = self._subscription.max_deliveries
        for topic, queue in queues.items():
            limit = self._delivery_limit(topic)
            if limit == 0:
                raise UnsupportedFeature(
                    broker="RabbitMQ",
                    feature=f"reading queue {queue!r}, which takes a message away as soon as it comes back "
                    "(x-delivery-limit is 0)",
                    alternative="raise the limit to 20 or more",
                )
            texts = _texts(self._facts[topic].arguments)
            if limit is not None and limit // 2 < most:
                texts.insert(
                    0,
                    f"takes a message away that came back {limit} times (x-delivery-limit; {_DEFAULT_LIMIT} by default from "
                    f"4.0 on): after {max(1, limit // 2)} deliveries each runs alone, and becomes a dead letter before it "
                    f"is taken away. Raise it to {10 * most}",
                )
            for text in texts if most else ():
                if (topic, text) not in self._warned:
                    self._warned.add((topic, text))
                    logger.warning("%s: RabbitMQ queue %s %s", self._link.url, queue, text)

    def deliveries(self, topic: str) -> int | None:
        """How often the broker delivers a message before it takes it away; None for no end."""
        limit = self._delivery_limit(topic)
        return None if limit is None else limit + 1

    def is_low(self, topic: str) -> bool:
        """Whether the limit is so low that a queue is read one by one until `is_calm` says otherwise.

        Whatever is fetched beside a message that ends the process is delivered as often, and has no deliveries to spare.
        """
        limit = self._delivery_limit(topic)
        return limit is not None and limit // 2 < self._subscription.max_deliveries

    def is_calm(self, one: Delivery) -> bool:
        """Whether a message came so seldom that nothing seems to end the process."""
        limit = self._delivery_limit(one.topic) or 0
        # To look at the first message costs a delivery where the active consumer is single.
        return one.count <= max(0 if self.is_single(one.topic) else 1, limit // 4)

    def is_single(self, topic: str) -> bool:
        """Whether one consumer of the queue is active at a time, and the others wait."""
        facts = self._facts.get(topic)
        declared = facts is not None and facts.arguments.get("x-single-active-consumer") is True
        return declared or self._subscription.order == "strict"

    def may_rest(self, topic: str) -> bool:
        """Whether nothing changes if nobody reads the queue for a while.

        Some queues are deleted then. Of a single active consumer, another process would take the place at once, while
        handlers still run here.
        """
        facts = self._facts.get(topic)
        if facts is None or not facts.kind or facts.auto_delete or "x-expires" in facts.arguments:
            return False
        return not self.is_single(topic)

    def takes_back(self, topic: str) -> bool:
        """Whether the broker takes back single deliveries that were not settled in the time that a consumer names."""
        return self._facts[topic].kind == "quorum" and self._version >= GIVES_BACK_FREELY

    def _delivery_limit(self, topic: str) -> int | None:
        facts = self._facts.get(topic)
        # A queue whose type stays unknown may be a quorum queue.
        if facts is None or facts.kind not in ("quorum", ""):
            return None
        default = _DEFAULT_LIMIT if self._version >= _LIMITED_BY_DEFAULT else -1
        limit = facts.arguments.get("x-delivery-limit", default)
        return limit if isinstance(limit, int) and limit >= 0 else None


def _texts(found: Mapping[str, str | int | bool]) -> list[str]:
    """Say what a queue with these arguments does to its messages, apart from its delivery limit."""
    texts: list[str] = []
    if "x-message-ttl" in found:
        texts.append(
            f"takes a message away after {found['x-message-ttl']} ms (x-message-ttl), also one that was given back"
        )
    if ("x-max-length" in found or "x-max-length-bytes" in found) and found.get(
        "x-overflow", "drop-head"
    ) == "drop-head":
        texts.append("takes its oldest messages away when it is full (x-max-length, x-overflow)")
    if "x-expires" in found:
        texts.append(f"is deleted with its messages when nobody reads it for {found['x-expires']} ms (x-expires)")
    return texts
