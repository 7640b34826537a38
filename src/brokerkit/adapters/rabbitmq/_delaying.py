"""Durable retries: copies in queues that give them back after a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from brokerkit.adapters.api import (
    BrokerkitError,
    ConnectionLost,
    Delivery,
    NotFound,
    Outcome,
    RetryLater,
    Settled,
    Subscription,
    delay_level,
    get_logger,
)
from brokerkit.adapters.rabbitmq._link import Link
from brokerkit.adapters.rabbitmq._topology import open_delay
from brokerkit.adapters.rabbitmq._wire import AddressedMessage, address_retry

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

    from brokerkit.adapters.rabbitmq._publisher import Publisher

logger = get_logger(__name__)


class Delays:
    """The delay queues of one source.

    Args:
        link: to the broker.
        publisher: publishes the copies.
        subscription: what the source reads.
        named: gives the beginning of the names of the delay queues of a topic.
    """

    def __init__(
        self, link: Link, publisher: Publisher, subscription: Subscription, named: Callable[[str, Subscription], str]
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._subscription = subscription
        self._named = named
        # The names of those that are known to exist, by topic and level.
        self._names: dict[tuple[str, int], str] = {}

    def __repr__(self) -> str:
        return f"<Delays: {len(self._names)} queues>"

    def forget(self) -> None:
        """Look again which queues exist."""
        self._names.clear()

    async def put_off(
        self,
        connection: AbstractConnection | None,
        queues: Mapping[str, str],
        answers: list[Settled],
        pairs: Sequence[tuple[Delivery, Outcome]],
        retries: dict[int, int],
    ) -> dict[int, int]:
        """Publish copies to delay queues. Return the tags and indexes of those that the broker has confirmed.

        Args:
            connection: creates missing queues; None if it is lost.
            queues: the queue of each topic, where copies come back to.
            answers: what is answered for each pair, unless its original is settled later.
            pairs: deliveries and what is to become of them.
            retries: the tags of those that are put off, and their index in ``pairs``.
        """
        copies: list[AddressedMessage] = []
        addressed: list[tuple[int, int]] = []
        for tag, index in retries.items():
            one, outcome = pairs[index]
            assert isinstance(outcome, RetryLater)
            answers[index] = Settled.FAILED
            try:
                queue = await self._queue(connection, queues[one.topic], one.topic, delay_level(outcome.after))
                copies.append(address_retry(outcome.copy, one, queue))
            except BrokerkitError as refusal:
                _log(one, refusal)
                continue
            addressed.append((tag, index))
        copied: dict[int, int] = {}
        for (tag, index), copy, error in zip(addressed, copies, await self._publisher.send(copies), strict=True):
            if error is None:
                copied[tag] = index
                answers[index] = Settled.LOST
                continue
            _log(pairs[index][0], error)
            if isinstance(error, NotFound):
                # Somebody deleted the delay queue: the next retry checks again.
                self._names = {key: queue for key, queue in self._names.items() if queue != copy.routing_key}
        return copied

    async def _queue(self, connection: AbstractConnection | None, queue: str, topic: str, level: int) -> str:
        name = self._names.get((topic, level))
        if name is None:
            if connection is None:
                raise ConnectionLost(f"{self._link.url}: the connection is closed")
            name = self._names[topic, level] = await open_delay(
                self._link,
                connection,
                queue,
                topic,
                level,
                self._subscription,
                self._named(topic, self._subscription),
            )
        return name


def _log(delivery: Delivery, error: BrokerkitError) -> None:
    """Say why the broker does not keep a retry; a lost connection is told elsewhere."""
    if not isinstance(error, ConnectionLost):
        logger.error("the retry copy of %s was not kept: %s", delivery, error)
