"""What topics, groups and delays become on RabbitMQ: exchanges, queues and bindings.

What exists is looked up first, and only what is missing is declared: a declaration with other arguments than those of
the existing queue would be refused, and nothing that exists is ever altered.
"""

from __future__ import annotations

import re
from typing import Any, Final
from uuid import uuid4

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import ChannelPreconditionFailed

from brokerkit._errors import AccessDenied, ConnectionLost, NotFound, UnsupportedFeature
from brokerkit._transport import Subscription
from brokerkit.adapters._delays import LEVELS, label
from brokerkit.adapters.rabbitmq._link import Link
from brokerkit.adapters.rabbitmq._wire import queue_name, role_name

DELIVERY_LIMIT: Final = 1000
"""Deliveries after which a group's quorum queue gives a message up; the core ends its attempts long before. Without a limit,
RabbitMQ 3 puts a released message at the back of the queue, and RabbitMQ 4 takes 20."""

STORED_LIMIT: Final = 1_000_000
"""The same for a queue of dead letters, which has no route for what it gives up."""

_EXCHANGE_TYPE: Final = re.compile(r"inequivalent arg 'type'.* but current is '?(\w+)'?")


async def ensure_exchange(link: Link, connection: AbstractConnection, topic: str, *, create: bool) -> None:
    """See that an exchange exists, of whatever type; create a durable topic exchange where allowed.

    Raises:
        NotFound: it is missing and may not be created.
        AccessDenied: the broker refuses to tell or to create.
    """
    try:
        await link.once(connection, f"find exchange {topic!r}", lambda c: c.exchange_declare(topic, passive=True))
    except NotFound as error:
        if not create:
            raise NotFound(f"{link.url}: there is no exchange {topic!r}; create it, or use provision='all'") from error
        await _declare_topic_exchange(link, connection, topic)


async def ensure_queue(link: Link, connection: AbstractConnection, queue: str, *, create: bool) -> None:
    """See that a queue exists, of whatever type; create a durable quorum queue where allowed.

    Raises:
        NotFound: it is missing and may not be created.
        AccessDenied: the broker refuses to tell or to create.
    """
    if await count_messages(link, connection, queue) is not None:
        return
    if not create:
        raise NotFound(f"{link.url}: there is no queue {queue!r}; create it, or allow brokerkit to")
    await _declare_queue(link, connection, queue, _quorum({"x-delivery-limit": STORED_LIMIT}))


async def count_messages(link: Link, connection: AbstractConnection, queue: str) -> int | None:
    """How many messages wait in a queue, or None where there is no such queue."""
    try:
        answer = await link.once(connection, f"find queue {queue!r}", lambda c: c.queue_declare(queue, passive=True))
    except NotFound:
        return None
    return answer.message_count or 0


async def open_queue(link: Link, connection: AbstractConnection, topic: str, subscription: Subscription) -> str:
    """Provision the queue that a subscription reads for one of its topics, and return its name.

    Raises:
        NotFound: something is missing that may not be created.
        UnsupportedFeature: the queue or exchange exists, and cannot do what was asked.
    """
    create = subscription.provision in ("group", "all")
    if subscription.stored:
        if subscription.provision != "off":
            await ensure_queue(link, connection, topic, create=subscription.provision == "all")
        return topic
    if subscription.provision != "off":
        await ensure_exchange(link, connection, topic, create=subscription.provision == "all")
    if subscription.broadcast:
        # A new name each time: after a cut the broker may hold the old one for a dead connection for a while.
        queue = role_name(topic, uuid4().hex, "broadcast")
        await _refuse_direct_exchange(link, connection, topic)
        await _declare_queue(link, connection, queue, {}, exclusive=True)
        await _bind(link, connection, queue, topic)
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


async def open_delay(
    link: Link, connection: AbstractConnection, queue: str, topic: str, level: int, subscription: Subscription
) -> str:
    """Provision the queue that holds messages for ``level`` seconds and gives them back to ``queue``; return its name.

    Raises:
        NotFound: it is missing and may not be created.
    """
    if subscription.broadcast:
        delay = f"{queue}.{label(level)}"
        await _declare_queue(link, connection, delay, _delay_arguments(queue, level), exclusive=True)
        return delay
    delay = delay_name(topic, subscription, level)
    if subscription.provision == "off" or await count_messages(link, connection, delay) is not None:
        return delay
    if subscription.provision == "check":
        raise NotFound(f"{link.url}: there is no delay queue {delay!r}; create it, or use provision='group'")
    # Without this strategy, what expires while the target has no leader is dropped; it asks for the overflow setting.
    safe = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
    await _declare_queue(link, connection, delay, _quorum(_delay_arguments(queue, level) | safe))
    return delay


async def check_delays(
    link: Link, connection: AbstractConnection, queue: str, topic: str, subscription: Subscription
) -> None:
    """See that all delay queues exist, for ``provision="check"``.

    Raises:
        NotFound: one is missing.
    """
    for level in LEVELS:
        await open_delay(link, connection, queue, topic, level, subscription)


def delay_name(topic: str, subscription: Subscription, level: int) -> str:
    """The queue of one delay level: ``topic.group.retry.10s``; of a stored queue ``queue-retry.10s``."""
    return f"{role_name(topic, None if subscription.stored else subscription.group, 'retry')}.{label(level)}"


async def _ensure_group_queue(
    link: Link, connection: AbstractConnection, queue: str, topic: str, subscription: Subscription
) -> None:
    arguments: dict[str, Any] = {
        "x-delivery-limit": DELIVERY_LIMIT,
        # Only a net: the core dead-letters by itself, and long before the limit.
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": role_name(topic, subscription.group, "dlq"),
    }
    if subscription.order == "strict":
        # A look would not tell whether an existing queue has a single active consumer; an equal declaration does.
        arguments["x-single-active-consumer"] = True
        await _declare_strict_queue(link, connection, queue, _quorum(arguments))
    elif await count_messages(link, connection, queue) is None:
        await _declare_queue(link, connection, queue, _quorum(arguments))
    await _refuse_direct_exchange(link, connection, topic)
    await _bind(link, connection, queue, topic)


def _quorum(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"x-queue-type": "quorum", **arguments}


def _delay_arguments(queue: str, level: int) -> dict[str, Any]:
    # One time for the whole queue: with a time for each message, one that is due would wait behind one that is not.
    return {"x-message-ttl": level * 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


async def _declare_topic_exchange(link: Link, connection: AbstractConnection, topic: str) -> None:
    await link.once(
        connection,
        f"create exchange {topic!r}",
        lambda c: c.exchange_declare(topic, exchange_type="topic", durable=True),
    )


async def _declare_queue(
    link: Link, connection: AbstractConnection, queue: str, arguments: dict[str, Any], *, exclusive: bool = False
) -> None:
    def declare(channel: Channel) -> Any:
        return channel.queue_declare(queue, durable=not exclusive, exclusive=exclusive, arguments=arguments)

    await link.once(connection, f"create queue {queue!r}", declare)


async def _declare_strict_queue(
    link: Link, connection: AbstractConnection, queue: str, arguments: dict[str, Any]
) -> None:
    try:
        await _declare_queue(link, connection, queue, arguments)
    except ConnectionLost as error:
        if not isinstance(error.__cause__, ChannelPreconditionFailed):
            raise
        raise UnsupportedFeature(
            broker="RabbitMQ",
            feature=f"order='strict' with queue {queue!r} as it was declared ({error.__cause__})",
            alternative="delete the queue, choose another group, or use order='key'",
        ) from error


async def _bind(link: Link, connection: AbstractConnection, queue: str, topic: str) -> None:
    # "#" is everything on a topic exchange; fanout and headers exchanges do not look at it.
    await link.once(
        connection, f"bind queue {queue!r} to exchange {topic!r}", lambda c: c.queue_bind(queue, topic, "#")
    )


async def _refuse_direct_exchange(link: Link, connection: AbstractConnection, topic: str) -> None:
    """On a direct exchange ``#`` is a key like any other: the group would wait for ever and never see a message.

    The type of an exchange can only be told from how the broker refuses a declaration with another one.
    """
    try:
        await _declare_topic_exchange(link, connection, topic)
    except AccessDenied:
        return  # may not declare, so nothing can be told
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
