"""Creates and checks the exchanges, queues and bindings of topics, groups and delays.

Every function looks first and declares only what is missing. The broker refuses a declaration whose arguments differ from
those of the existing queue. Nothing that exists is ever altered.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import ChannelLockedResource, ChannelPreconditionFailed
from pamqp.commands import Queue

from brokerkit.adapters.api import (
    DELAY_LEVELS,
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    NotFound,
    Provision,
    Subscription,
    UnsupportedFeature,
    delay_label,
)
from brokerkit.adapters.rabbitmq._link import Link
from brokerkit.adapters.rabbitmq._wire import queue_name, role_name

NO_LIMIT: Final = 2_000_000_000
"""The delivery limit of our quorum queues. It is never reached, because deliveries alone do not show that a message is bad.
Without a limit, RabbitMQ 3 puts a released message at the back of the queue, and RabbitMQ 4 sets 20. Only RabbitMQ 4 reads
-1 as no limit."""

OLD_LIMIT: Final = 1000
"""The delivery limit of group queues that brokerkit 0.1 declared. They are read as they are."""

STARTS_KEPT: Final = 7 * 86_400_000
"""Milliseconds after which an unused queue of starts expires."""

_CLASSIC: Final[dict[str, Any]] = {"x-queue-type": "classic"}
"""The type of exclusive queues, whatever the default of the virtual host is: no other can be exclusive."""

_EXCHANGE_TYPE: Final = re.compile(r"inequivalent arg 'type'.* but current is '?(\w+)'?")


async def ensure_exchange(link: Link, connection: AbstractConnection, topic: str, *, create: bool) -> None:
    """Check that an exchange of any type exists. Create a durable topic exchange if it is missing and ``create`` is set.

    Raises:
        NotFound: it is missing and may not be created.
        AccessDenied: this user may not look at it, or not create it.
    """
    try:
        await link.run_on_channel(
            connection, f"find exchange {topic!r}", lambda c: c.exchange_declare(topic, passive=True)
        )
    except NotFound as error:
        if not create:
            raise NotFound(f"{link.url}: there is no exchange {topic!r}; create it, or use provision='all'") from error
        await _declare_topic_exchange(link, connection, topic)


async def ensure_queue(link: Link, connection: AbstractConnection, queue: str, *, create: bool) -> None:
    """Check that a queue of any type exists. Create a durable quorum queue if it is missing and ``create`` is set.

    Raises:
        NotFound: it is missing and may not be created.
        AccessDenied: this user may not look at it, or not create it.
    """
    if await count_messages(link, connection, queue) is not None:
        return
    if not create:
        raise NotFound(f"{link.url}: there is no queue {queue!r}; create it, or allow brokerkit to")
    await _declare_queue(link, connection, queue, _quorum({"x-delivery-limit": NO_LIMIT}))


async def count_messages(link: Link, connection: AbstractConnection, queue: str) -> int | None:
    """Count the messages that wait in a queue. None if the queue does not exist."""
    try:
        answer = await _look_at(link, connection, queue)
    except NotFound:
        return None
    return answer.message_count or 0


async def count_from_outside(
    link: Link,
    subscription: Subscription,
    opens: Callable[[Link, AbstractConnection, str, Subscription], Awaitable[str]],
) -> int:
    """Count what waits for a source that was not opened, on a connection of its own."""
    connection = await link.connect()
    try:
        queues = [await opens(link, connection, topic, subscription) for topic in subscription.topics]
        return sum([await count_messages(link, connection, queue) or 0 for queue in queues])
    finally:
        await connection.close()


async def count_consumers(link: Link, connection: AbstractConnection, queue: str) -> int:
    """Count the consumers of a queue.

    Raises:
        NotFound: the queue does not exist.
    """
    return (await _look_at(link, connection, queue)).consumer_count or 0


async def _look_at(link: Link, connection: AbstractConnection, queue: str) -> Queue.DeclareOk:
    return await link.run_on_channel(
        connection, f"find queue {queue!r}", lambda c: c.queue_declare(queue, passive=True)
    )


async def open_queue(link: Link, connection: AbstractConnection, topic: str, subscription: Subscription) -> str:
    """Provision the queue that a subscription reads for one of its topics, and return its name.

    Raises:
        NotFound: the exchange or queue is missing and may not be created.
        UnsupportedFeature: the queue or exchange exists, but cannot do what the subscription asks for.
    """
    create = subscription.provision in ("group", "all")
    if subscription.is_queue:
        if subscription.provision != "off":
            await ensure_queue(link, connection, topic, create=subscription.provision == "all")
        return topic
    if subscription.provision != "off":
        await ensure_exchange(link, connection, topic, create=subscription.provision == "all")
    if subscription.broadcast:
        # A new name each time: after a cut, the broker may keep the old queue for the dead connection for a while.
        queue = role_name(topic, uuid4().hex, "broadcast")
        await _declare_queue(link, connection, queue, _CLASSIC, exclusive=True)
        await _bind(link, connection, queue, topic)
        # Only now: the declaration that shows the type would create an exchange that is missing.
        await _refuse_direct_exchange(link, connection, topic)
        return queue
    group = subscription.group or ""
    queue = queue_name(topic, group)
    if create:
        await _ensure_group_queue(link, connection, queue, topic, subscription)
    elif subscription.provision == "check" and await count_messages(link, connection, queue) is None:
        raise NotFound(
            f"{link.url}: there is no queue {queue!r} for group {group!r}; create it, or use provision='group'"
        )
    return queue


async def bind_again(
    link: Link, connection: AbstractConnection, queues: Mapping[str, str], subscription: Subscription
) -> None:
    """Bind the queues of topics again. An exchange that was deleted and created again has lost its bindings.

    Raises:
        NotFound: an exchange is missing and may not be created.
    """
    left = dict(queues)

    async def bind_all(channel: Channel) -> None:
        while left:
            topic, queue = next(iter(left.items()))
            await channel.queue_bind(queue, topic, "#")
            del left[topic]

    while left:
        try:
            await link.run_on_channel(connection, "bind queues again", bind_all)
        except NotFound as error:
            topic = next(iter(left))
            queue = left.pop(topic)
            if not is_exchange_missing(error):
                continue  # The queue is gone, and the broker tells its consumer.
            await ensure_exchange(link, connection, topic, create=subscription.provision == "all")
            await _bind(link, connection, queue, topic)


def is_exchange_missing(error: NotFound) -> bool:
    """Whether an exchange is missing. The broker reports a missing queue with the same error."""
    return "no exchange '" in str(error)


async def declare_exclusive(link: Link, connection: AbstractConnection, queue: str) -> bool:
    """Declare an exclusive queue, which lives as long as this connection. False if another connection has it."""
    try:
        await _declare_queue(link, connection, queue, _CLASSIC, exclusive=True)
    except AccessDenied as error:
        if isinstance(error.__cause__, ChannelLockedResource):
            return False
        raise
    return True


async def ensure_own_queue(
    link: Link, connection: AbstractConnection, queue: str, provision: Provision, arguments: dict[str, Any]
) -> None:
    """Check that a durable queue of ours exists, and create it if ``provision`` allows it.

    Raises:
        NotFound: it is missing and may not be created.
    """
    if provision == "off" or await count_messages(link, connection, queue) is not None:
        return
    if provision == "check":
        raise NotFound(f"{link.url}: there is no queue {queue!r}; create it, or use provision='group'")
    await _declare_queue(link, connection, queue, _quorum({"x-delivery-limit": NO_LIMIT, **arguments}))


async def mark_stream(link: Link, connection: AbstractConnection, stream: str, marker: str) -> bool | None:
    """Bind a stream to an exchange that the broker deletes together with the stream. Nothing is published to it.

    AMQP 0-9-1 does not tell whether a stream was deleted and made anew. The exchange does: it is gone then.

    Returns:
        Whether the exchange was there, so the stream is the one that was marked. None if this user may not make one.
    """
    try:
        await link.run_on_channel(
            connection, f"find exchange {marker!r}", lambda c: c.exchange_declare(marker, passive=True)
        )
    except NotFound:
        pass
    except AccessDenied:
        return None
    else:
        return True

    async def mark(channel: Channel) -> None:
        await channel.queue_declare(stream, passive=True)  # An exchange without a queue would never be deleted.
        await channel.exchange_declare(marker, exchange_type="fanout", durable=True, auto_delete=True, internal=True)
        await channel.queue_bind(stream, marker)

    try:
        await link.run_on_channel(connection, f"mark stream {stream!r}", mark)
    except AccessDenied:
        with suppress(BrokerkitError):
            await link.run_on_channel(connection, f"delete exchange {marker!r}", lambda c: c.exchange_delete(marker))
        return None
    return False


async def open_delay(
    link: Link,
    connection: AbstractConnection,
    queue: str,
    topic: str,
    level: int,
    subscription: Subscription,
    named: str,
) -> str:
    """Provision the queue that holds messages for ``level`` seconds and returns them to ``queue``. Return its name.

    The name begins with ``named`` (see `retry_name`), or with the name of the queue for a broadcast.

    Raises:
        NotFound: it is missing and may not be created.
    """
    if subscription.broadcast:
        delay = f"{queue}.{delay_label(level)}"
        await _declare_queue(link, connection, delay, _CLASSIC | _delay_arguments(queue, level), exclusive=True)
        return delay
    delay = f"{named}.{delay_label(level)}"
    if subscription.provision == "off" or await count_messages(link, connection, delay) is not None:
        return delay
    if subscription.provision == "check":
        raise NotFound(f"{link.url}: there is no delay queue {delay!r}; create it, or use provision='group'")
    # Without this strategy, a message that expires while the target has no leader is lost. It needs the overflow setting.
    safe = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
    await _declare_queue(link, connection, delay, _quorum(_delay_arguments(queue, level) | safe))
    return delay


async def open_starts(link: Link, connection: AbstractConnection, queue: str) -> None:
    """Create the queue that counts the starts of one message, if it is missing."""
    if await count_messages(link, connection, queue) is None:
        await _declare_queue(link, connection, queue, _quorum({"x-expires": STARTS_KEPT}))


async def check_delays(
    link: Link,
    connection: AbstractConnection,
    queue: str,
    topic: str,
    subscription: Subscription,
    named: str,
) -> None:
    """Check that all delay queues exist, for ``provision="check"``.

    Raises:
        NotFound: one is missing.
    """
    for level in DELAY_LEVELS:
        await open_delay(link, connection, queue, topic, level, subscription, named)


def retry_name(topic: str, subscription: Subscription) -> str:
    """The prefix of the names of delay queues: ``topic.group.retry`` for a group, ``queue-retry`` for an existing queue."""
    return role_name(topic, None if subscription.is_queue else subscription.group, "retry")


async def _ensure_group_queue(
    link: Link, connection: AbstractConnection, queue: str, topic: str, subscription: Subscription
) -> None:
    arguments: dict[str, Any] = {
        "x-delivery-limit": NO_LIMIT,
        # brokerkit itself never lets a message expire or rejects it. A policy of the user may (a time to live).
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": role_name(topic, subscription.group, "dlq"),
    }
    if subscription.order == "strict":
        # A passive declaration does not show whether the queue has a single active consumer. An equal declaration does.
        arguments["x-single-active-consumer"] = True
        await _declare_strict_queue(link, connection, queue, _quorum(arguments))
    elif await count_messages(link, connection, queue) is None:
        await _declare_queue(link, connection, queue, _quorum(arguments))
    await _refuse_direct_exchange(link, connection, topic)
    await _bind(link, connection, queue, topic)


def _quorum(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"x-queue-type": "quorum", **arguments}


def _delay_arguments(queue: str, level: int) -> dict[str, Any]:
    # The time to live is that of the queue: with one for each message, a due message would wait behind one that is not.
    return {"x-message-ttl": level * 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


async def _declare_topic_exchange(link: Link, connection: AbstractConnection, topic: str) -> None:
    await link.run_on_channel(
        connection,
        f"create exchange {topic!r}",
        lambda c: c.exchange_declare(topic, exchange_type="topic", durable=True),
    )


async def _declare_queue(
    link: Link, connection: AbstractConnection, queue: str, arguments: dict[str, Any], *, exclusive: bool = False
) -> None:
    def declare(channel: Channel) -> Any:
        return channel.queue_declare(queue, durable=not exclusive, exclusive=exclusive, arguments=arguments)

    await link.run_on_channel(connection, f"create queue {queue!r}", declare)


async def _declare_strict_queue(
    link: Link, connection: AbstractConnection, queue: str, arguments: dict[str, Any]
) -> None:
    try:
        await _declare_queue(link, connection, queue, arguments)
    except ConnectionLost as error:
        if not isinstance(error.__cause__, ChannelPreconditionFailed):
            raise
        if arguments["x-delivery-limit"] == NO_LIMIT and "x-delivery-limit" in str(error.__cause__):
            await _declare_strict_queue(link, connection, queue, arguments | {"x-delivery-limit": OLD_LIMIT})
            return
        raise UnsupportedFeature(
            broker="RabbitMQ",
            feature=f"order='strict' with queue {queue!r} as it was declared ({error.__cause__})",
            alternative="delete the queue, choose another group, or use order='key'",
        ) from error


async def _bind(link: Link, connection: AbstractConnection, queue: str, topic: str) -> None:
    # On a topic exchange "#" matches everything. Fanout and headers exchanges ignore it.
    await link.run_on_channel(
        connection, f"bind queue {queue!r} to exchange {topic!r}", lambda c: c.queue_bind(queue, topic, "#")
    )


async def _refuse_direct_exchange(link: Link, connection: AbstractConnection, topic: str) -> None:
    """Refuse a direct exchange. There ``#`` is a key like any other: the group would never see a message.

    Only the refusal of a declaration with another type tells the type of an exchange.
    """
    try:
        await _declare_topic_exchange(link, connection, topic)
    except AccessDenied:
        return  # This user may not declare, so the type stays unknown.
    except ConnectionLost as error:
        found = _EXCHANGE_TYPE.search(str(error.__cause__))
        if not isinstance(error.__cause__, ChannelPreconditionFailed):
            raise
        if found and found[1] == "direct":
            raise UnsupportedFeature(
                broker="RabbitMQ",
                feature=f"reading everything from exchange {topic!r}, which is a direct exchange",
                alternative="bind a queue of your own by its keys, and read that one with queue=",
            ) from error
