"""RabbitMQ, through aio-pika.

URL and options
    ``amqp://user:password@host:5672/vhost``, or ``amqps://`` for TLS; user and password default to ``guest``, the
    virtual host to ``/``. Options are the parameters of aio-pika's connection URL: ``heartbeat`` (seconds, 10 by
    default), ``name`` (shown by the broker), ``auth`` (``plain``, ``external``), ``cafile``, ``capath``, ``cadata``,
    ``certfile``, ``keyfile``, ``no_verify_ssl``, ``happy_eyeballs_delay``, ``interleave``; in code also
    ``ssl_context`` and ``client_properties``. Needs RabbitMQ 3.10 or later.

What a topic and a group become
    A topic is an exchange: an existing one of any type, else a durable topic exchange. The event name is the routing
    key. A group is the durable quorum queue ``topic.group`` for each topic, bound with ``#``: it gets everything from
    the moment it exists, so start groups before publishers. A direct exchange knows no "everything": bind a queue and
    read that one. ``queue=`` reads a queue of any kind that somebody else declared, and never alters it. A broadcast
    source has an exclusive queue that goes away with its connection. Dead letters are a durable quorum queue.

Delivery
    At least once. Publishing is confirmed, persistent and mandatory: without a queue to take the message it is
    `Unroutable`. A delivery is ours until its channel ends; the broker ends it after ``consumer_timeout`` (30 minutes
    by default) without a settlement. A longer wait goes through a durable queue for each delay level
    (``topic.group.retry.10s``), made at its first use: publish, confirm, acknowledge. ``x-delivery-limit`` is 1000,
    with the dead letters as its route; deliveries are counted on quorum queues, on classic ones only the first is told
    from later ones. A durable retry of a broadcast source ends with its process.

Order
    In the order of the queue to one consumer; by key within one process. ``order="strict"`` declares the queue with a
    single active consumer. A message that is released goes to the front, a durable retry to the back.

Limits and escaping
    Routing keys, names and properties hold 255 bytes of UTF-8, else `InvalidMessage`; a longer id travels in a header.
    The header ``correlation-id`` is written to the property ``correlation_id`` too, where it fits.
    Header names hold 128 bytes; longer ones travel together as JSON in one header. All headers together must fit into
    one frame (128 KiB by default). The largest body is the broker's ``max_message_size`` (128 MiB, from 4.0 on 16 MiB),
    which it tells only by refusing a larger one: other messages under way to that exchange then end as
    `ConnectionLost`. Headers of other producers that are no text become text: numbers and booleans as in JSON, times as
    ISO 8601, tables and arrays as JSON. What the broker writes itself (``x-death``, ``x-delivery-count``) is left out.
    Names that begin with ``amq.`` get a ``bk-``.

Native access
    `Message.native` is aiormq's ``DeliveredMessage``; ``aio_pika.IncomingMessage(message.native)`` makes aio-pika's own
    of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from brokerkit._errors import BrokerkitError, UnsupportedFeature
from brokerkit._message import Delivery, Outgoing, Receipt
from brokerkit._transport import Capabilities, Connection, Lost, Subscription
from brokerkit.adapters._delays import LEVELS
from brokerkit.adapters._looking import followed, ignored, listening, refuse_to_follow
from brokerkit.adapters.rabbitmq._link import Link
from brokerkit.adapters.rabbitmq._look import look_at_queues
from brokerkit.adapters.rabbitmq._publisher import Publisher
from brokerkit.adapters.rabbitmq._source import RabbitSource
from brokerkit.adapters.rabbitmq._topology import ensure_exchange, ensure_queue
from brokerkit.adapters.rabbitmq._wire import Letter, letter, role_name

__all__ = ["RabbitAdapter"]

_CAPABILITIES: Final = Capabilities(
    broker="RabbitMQ",
    single_reader=True,
    attempts="deliveries",
    # Five minutes less than the broker's default consumer_timeout, which it checks once a minute.
    max_hold=25 * 60,
    # Twelve trips through the longest delay queue.
    durable_retry=12 * LEVELS[-1],
    name_places=frozenset({"header", "topic", "routing_key", "type", "field"}),
    look="new",
    look_stored="touches",
)


class RabbitAdapter:
    """See `brokerkit._transport.Adapter`.

    Raises:
        ConfigError: the URL or an option is wrong.
    """

    def __init__(self, connection: Connection, /) -> None:
        self._link = Link(connection)
        self._publisher = Publisher(self._link)

    def capabilities(self, topic: str = "") -> Capabilities:
        """See `Adapter.capabilities`."""
        return _CAPABILITIES

    async def open(self) -> None:
        """See `Adapter.open`."""
        await self._publisher.connection()

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        """See `Adapter.ensure`."""
        connection = await self._publisher.connection()
        for topic in topics:
            await (ensure_queue if stored else ensure_exchange)(self._link, connection, topic, create=create)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """See `Adapter.send`."""
        now = datetime.now(UTC)
        results: list[Receipt | BrokerkitError] = []
        letters: list[Letter] = []
        places: list[int] = []
        for index, message in enumerate(batch):
            try:
                letters.append(letter(message, now))
            except BrokerkitError as error:
                results.append(error)
            else:
                results.append(Receipt(message.topic, message.id))
                places.append(index)
        for index, failure in zip(places, await self._publisher.send(letters), strict=True):
            if failure is not None:
                results[index] = failure
        return results

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """See `Adapter.derived`."""
        return role_name(topic, group, role)

    def subscribe(self, subscription: Subscription, lost: Lost) -> RabbitSource:
        """See `Adapter.subscribe`."""
        if subscription.stored and subscription.broadcast:
            raise UnsupportedFeature(
                broker="RabbitMQ",
                feature="a broadcast of an existing queue",
                alternative="subscribe to the exchange that fills it",
            )
        return RabbitSource(self._link, self._publisher, subscription, lost)

    async def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """See `Adapter.look`. What comes through an exchange is seen through an exclusive queue."""
        if stored and follow:
            raise refuse_to_follow("RabbitMQ", "follow the exchange that fills the queue")
        await self.ensure(topics, stored=stored, create=False)
        if stored and past:
            looking = look_at_queues(self._link, topics)
        elif follow:
            looking = followed(RabbitSource(self._link, self._publisher, listening(topics), ignored))
        else:
            return
        async with aclosing(looking) as found:
            async for one in found:
                yield one

    async def close(self) -> None:
        """See `Adapter.close`."""
        await self._publisher.close()

    def __repr__(self) -> str:
        return f"<RabbitAdapter {self._publisher!r}>"
