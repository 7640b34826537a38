"""RabbitMQ, through aio-pika.

URL and options
    ``amqp://user:password@host:5672/vhost``, or ``amqps://`` for TLS. User and password default to ``guest``, the virtual
    host to ``/``. A URL can name several hosts (``amqp://user:password@h1,h2:5673/vhost``). Each connection goes to the
    first host that answers; the search follows the order of the URL and starts at the host that answered last.

    Options are the parameters of aio-pika's connection URL: ``heartbeat`` (seconds, 10 by default), ``name`` (shown by the
    broker), ``auth`` (``plain``, ``external``), ``cafile``, ``capath``, ``cadata``, ``certfile``, ``keyfile``,
    ``key_password`` (the pass phrase of the key), ``no_verify_ssl``, ``happy_eyeballs_delay`` and ``interleave``; in code
    also ``ssl_context`` and ``client_properties``.
    The option ``consumer_timeout`` (seconds, 1800 by default) must match the broker's setting of that name up to 4.2. From
    4.3 on, quorum queues use it for our consumers. RabbitMQ 3.10 or later is needed.

    The option ``management`` is the URL of the management API, such as ``http://host:15672``. Only this API tells what
    policies do to a queue. It is asked at each connect, with the user of the broker's URL unless the option has another one,
    who needs the tag ``management``. If it does not answer, a warning says so, and reading goes on.

What a topic and a group become
    A topic is an exchange. An existing exchange may have any type but direct; a new one is a durable topic exchange. The
    event name is the routing key. A group has a durable quorum queue ``topic.group`` for each topic, bound with ``#``. The
    queue gets everything from the moment it exists, so start groups before publishers.

    brokerkit binds the queue again every five seconds (less often with more than 25 queues), in case somebody deletes the
    exchange and creates it again. While an exchange is missing, also during a reconnect, the source is not ready and says
    why. It goes on when the exchange is back. The same holds for a queue or stream that is deleted and may not be created.

    A direct exchange has no binding for everything: bind a queue yourself, and read that queue. ``queue=`` reads a queue
    of any type that somebody else declared, and never alters it. A broadcast source has an exclusive queue that disappears
    with its connection. Dead letters are in a durable quorum queue.

    A stream (``x-queue-type: stream``) is read with ``queue=``. It needs a group, and the right to configure the queue: only
    a refused declaration shows whether it is a stream. The group's offset is the single message of the queue
    ``stream.group.offset``; ``start`` says where a group without an offset begins. One process of a group reads at a time
    and holds the exclusive queue ``stream.group.reader``. The others stand by and take over within a second or two. The
    exchange ``stream.group.stream`` is bound to the stream and goes with it, so a stream that was deleted and made anew is
    read from its first message, also if nobody read it meanwhile. This needs the right to write to the stream.

Delivery
    At least once. Publishing is confirmed, persistent and mandatory: a message that no queue takes is `Unroutable`.

    A delivery is ours until its channel ends. The broker ends the channel after ``consumer_timeout`` without a settlement;
    from 4.3 on it takes the delivery of a quorum queue back and cancels the consumer, and brokerkit goes on with another.
    To prevent that, messages are given back in time. A message that no handler has begun goes back after five twelfths of
    that time, with all messages of its key that wait behind it. A message that is held until its next attempt goes back
    after five sixths. So a backlog of quick messages is never taken away. A handler must take less than half of
    ``consumer_timeout``. Up to 4.2 the broker does not tell the value: if it is not 30 minutes, set the option of that name
    (seconds). Otherwise brokerkit learns it from the first channel that the broker ends. The messages of that channel come
    again. Those whose handlers were running are not handled twice by the same process, if they have an id. From 4.3 on the
    consumers of quorum queues tell the broker the value of the option, and only that counts.

    A longer wait uses a durable queue for each delay level (``topic.group.retry.10s``), created at its first use: publish,
    confirm, acknowledge. A durable retry of a broadcast source ends with its process.

    What is published for later waits in durable queues ``topic-later.0``, ``topic-later.1`` … for one, two, four and so
    on seconds, each behind an exchange of its name. They are created at the first use, as far as they are needed,
    whatever ``provision`` says; the publisher needs the rights for it. Times are rounded up to seconds, and end at 12
    days. A message that no queue takes when it is due stays, and is tried again every three minutes. ``priority`` is
    the property of that name: it counts in a queue with ``x-max-priority``, and from 4.0 on also in quorum queues,
    where 5 and more come before the rest.

    ``x-delivery-limit`` is 2,000,000,000, which means no limit on every version (queues of brokerkit 0.1 keep their 1000
    until they are created again). Quorum queues count deliveries; classic queues only tell the first delivery from later
    ones. From 4.3 on, what was only given back, for example at a stop, is not counted.

    A warning says what the broker does by itself to the messages of a queue that is read: a low delivery limit (20 by
    default from 4.0 on), a time to live, a largest length, an expiry. Policies are only seen with the option ``management``.

    Where a queue of somebody else, or a policy, has a low delivery limit, nothing is left to that limit. A message runs
    alone after half of its deliveries, instead of after ``max_deliveries``. It becomes a dead letter, without one more try,
    before the broker would take it away. The queue is read one by one as long as its messages came more often than a
    quarter of the limit. A limit of 0 is refused. Raise the limit, with a policy for example, to several times
    ``max_deliveries``.

    The starts of a message that runs alone after too many deliveries are counted in a separate queue,
    ``topic.group.starts.DIGEST``. This queue is created whatever ``provision`` says, deleted afterwards, and expires
    after a week. The user needs the rights to configure and write it; without them a crash loop does not end.

    The offset of a stream goes up to the first message that is not done. It is written at most every 200 ms, and at the
    end. After a crash or a lost connection the messages behind the offset repeat. A durable retry is a copy in the group's
    queue ``stream.group.stream-retry``, which other groups do not see. A warning says when a stream dropped messages before
    the group had read them. The lag of a stream is unknown (None): AMQP 0-9-1 does not tell where a stream ends.

Order
    One consumer gets the order of the queue; within one process there is order by key. ``order="strict"`` declares the
    queue with a single active consumer. A released message goes to the front of the queue, a durable retry to the back.
    A stop gives messages back in their order. If other consumers read the queue too, messages that no handler has started
    on are given back at once. Otherwise they are given back when the last handler has ended.

Limits and escaping
    Routing keys, names and properties hold 255 bytes of UTF-8; longer ones are `InvalidMessage`. A longer id travels in a
    header. The header ``correlation-id`` is also written to the property ``correlation_id``, where it fits. Header names
    hold 128 bytes; headers with longer names travel together as JSON in one header, and so do ``CC`` and ``BCC``,
    which the broker would take for routing keys. All headers together must fit into one frame (128 KiB by default).
    Names that begin with ``amq.`` get the prefix ``bk-``.

    The largest body is the broker's ``max_message_size`` (128 MiB; 16 MiB from 4.0 on). The broker tells the limit only when
    it refuses a larger body: other messages under way to that exchange then end as `ConnectionLost`.

    Header values of other producers that are not text become text: numbers and booleans as in JSON, times as ISO 8601,
    tables and arrays as JSON. Headers that the broker writes itself (``x-death``, ``x-delivery-count``) are left out. A time
    counts seconds, as AMQP says, up to the year 9999. Only a larger number is taken for milliseconds.

    The broker also passes on messages that a client cannot decode: times out of range, names and properties that are not
    UTF-8, unknown types of header values. Such a message becomes a dead letter at once (``DecodeError``) and holds up no
    other message. It keeps its body and everything that can be read: text is escaped, other unreadable values are left
    out. The header ``amqp-raw-header`` has the raw header frame; ``amqp-raw-method`` has the raw frame of an exchange
    name or routing key. A replay publishes what could be read.

Native access
    `Message.native` is aiormq's ``DeliveredMessage``; ``aio_pika.IncomingMessage(message.native)`` turns it into aio-pika's
    class.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Final

from brokerkit.adapters.api import (
    DELAY_LEVELS,
    BrokerkitError,
    Capabilities,
    ConfigError,
    Connection,
    Delivery,
    Lost,
    NotFound,
    Outgoing,
    Receipt,
    Subscription,
    UnsupportedFeature,
    WaitingRetries,
    browse_cursor,
    browse_source,
    browse_subscription,
    delay_label,
    ignore_lost,
    refuse_to_follow,
)
from brokerkit.adapters.rabbitmq._cursor import RabbitCursor
from brokerkit.adapters.rabbitmq._facts import describe_queue
from brokerkit.adapters.rabbitmq._later import LONGEST, Later
from brokerkit.adapters.rabbitmq._link import CONSUMER_TIMEOUT, Link
from brokerkit.adapters.rabbitmq._publisher import Publisher
from brokerkit.adapters.rabbitmq._queue import QueueSource
from brokerkit.adapters.rabbitmq._source import RabbitSource
from brokerkit.adapters.rabbitmq._stream import STREAM_RETRY, browse_stream
from brokerkit.adapters.rabbitmq._topology import count_messages, ensure_exchange, ensure_queue, retry_name
from brokerkit.adapters.rabbitmq._wire import (
    LONGEST_EXCHANGE,
    SHORT_STRING,
    AddressedMessage,
    address_message,
    check_name,
    queue_name,
    role_name,
)

__all__ = ["RabbitAdapter"]

_HELD: Final = 5 / 6
"""A delivery is held for at most this part of ``consumer_timeout``."""

_CAPABILITIES: Final = Capabilities(
    broker="RabbitMQ",
    needs_group=True,
    single_reader=True,
    attempts="deliveries",
    # The broker checks its timeout once a minute.
    max_hold=_HELD * CONSUMER_TIMEOUT,
    # Twelve trips through the longest delay queue.
    durable_retry=12 * DELAY_LEVELS[-1],
    own_queues=True,
    delays=LONGEST,
    priorities=True,
    name_places=frozenset({"header", "topic", "routing_key", "type", "field"}),
    browse="new",
    browse_queue="touches",
)

_STREAM: Final = replace(
    _CAPABILITIES, attempts="none", max_hold=None, commits_offsets=True, browse_queue="free", stable_id=True
)


class RabbitAdapter:
    """See `brokerkit.adapters.api.Adapter`.

    Raises:
        ConfigError: the URL or an option is wrong.
    """

    def __init__(self, connection: Connection, /) -> None:
        self._link = Link(connection)
        self._streams: set[str] = set()
        self._publisher = Publisher(self._link)
        self._later = Later(self._link, self._publisher)

    def capabilities(self, topic: str = "") -> Capabilities:
        """See `Adapter.capabilities`. Only after a stream was opened is it known as one."""
        check_name(topic)
        if topic in self._streams:
            return _STREAM
        if self._link.consumer_timeout == CONSUMER_TIMEOUT:
            return _CAPABILITIES
        return replace(_CAPABILITIES, max_hold=_HELD * self._link.consumer_timeout)

    async def open(self) -> None:
        """See `Adapter.open`."""
        await self._publisher.connection()

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        """See `Adapter.ensure`."""
        connection = await self._publisher.connection()
        for topic in topics:
            check_name(topic, longest=SHORT_STRING if is_queue else LONGEST_EXCHANGE)
            await (ensure_queue if is_queue else ensure_exchange)(self._link, connection, topic, create=create)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """See `Adapter.send`."""
        now = datetime.now(UTC)
        results: list[Receipt | BrokerkitError] = []
        messages: list[AddressedMessage] = []
        indexes: list[int] = []
        for index, message in enumerate(batch):
            try:
                if message.due is None:
                    messages.append(address_message(message, now))
                else:
                    messages.append(await self._later.address(message, message.due, now))
            except BrokerkitError as error:
                results.append(error)
            else:
                results.append(Receipt(message.topic, message.id))
                indexes.append(index)
        for index, failure in zip(indexes, await self._publisher.send(messages), strict=True):
            if failure is not None:
                results[index] = failure
                if isinstance(failure, NotFound):
                    self._later.forget(batch[index].topic)
        return results

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """See `Adapter.derived`."""
        return role_name(topic, group, role)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        """See `Adapter.own_queue`. It is the group's queue; beside a stream, the queue of its retries."""
        connection = await self._publisher.connection()
        if not is_queue:
            if not group:
                raise ConfigError(f"{self._link.url}: exchange {topic!r} is read by groups; name one")
            queue = queue_name(topic, group)
        elif (await describe_queue(self._link, connection, topic)).kind == "stream":
            queue = role_name(topic, group, STREAM_RETRY)
        else:
            queue = topic
        if await count_messages(self._link, connection, queue) is None:
            raise NotFound(f"{self._link.url}: there is no queue {queue!r} yet; start a member of group {group!r} once")
        return queue

    def subscribe(self, subscription: Subscription, lost: Lost) -> RabbitSource | QueueSource:
        """See `Adapter.subscribe`."""
        if subscription.is_queue and subscription.broadcast:
            raise UnsupportedFeature(
                broker="RabbitMQ",
                feature="a broadcast of an existing queue",
                alternative="subscribe to the exchange that fills it",
            )
        if subscription.is_queue:
            return QueueSource(self._link, self._publisher, subscription, lost, found=self._streams.add)
        for topic in subscription.topics:
            check_name(topic, longest=LONGEST_EXCHANGE)
        return RabbitSource(self._link, self._publisher, subscription, lost)

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """See `Adapter.browse`. Messages of an exchange are seen through an exclusive queue."""
        if is_queue and follow:
            raise refuse_to_follow("RabbitMQ", "follow the exchange that fills the queue")
        await self.ensure(topics, is_queue=is_queue, create=False)
        lookings = [await self._browse(queue) for queue in topics] if is_queue and past else []
        if follow:
            lookings = [
                browse_source(RabbitSource(self._link, self._publisher, browse_subscription(topics), ignore_lost))
            ]
        for looking in lookings:
            async with aclosing(looking) as found:
                async for one in found:
                    yield one

    async def _browse(self, queue: str) -> AsyncGenerator[Delivery, None]:
        facts = await describe_queue(self._link, await self._publisher.connection(), queue)
        if facts.kind == "stream":
            return browse_stream(self._link, queue)
        return browse_cursor(self.cursor(queue))

    async def waiting_retries(self, subscription: Subscription) -> list[WaitingRetries]:
        """See `CountsRetries.waiting_retries`. A queue may be a stream, whose retries wait in other queues."""
        connection, found = await self._publisher.connection(), list[WaitingRetries]()
        for topic in subscription.topics:
            named = [retry_name(topic, subscription)]
            if subscription.is_queue:
                named.append(role_name(topic, subscription.group, STREAM_RETRY))
            for name, level in product(named, DELAY_LEVELS):
                queue = f"{name}.{delay_label(level)}"
                if (count := await count_messages(self._link, connection, queue)) is not None:
                    found.append(WaitingRetries(place=queue, count=count, wait=float(level)))
        return found

    def cursor(self, queue: str) -> RabbitCursor:
        """See `Adapter.cursor`."""
        return RabbitCursor(self._link, queue)

    async def close(self) -> None:
        """See `Adapter.close`."""
        await self._publisher.close()

    def __repr__(self) -> str:
        return f"<RabbitAdapter {self._publisher!r}>"
