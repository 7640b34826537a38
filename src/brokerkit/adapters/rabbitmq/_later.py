"""Publishing later: queues behind one exchange that together keep a message for any number of seconds.

A broker without a delay for each message needs queues with one time to live each: otherwise a due message would wait behind
one that is not. So there is an exchange and a queue for each power of two. A message has a header for each, which says
whether it waits there. What has waited goes on to the next lower one, and from the last to its topic. Headers exchanges
leave the routing key alone, so the message comes with its own.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel

from brokerkit.adapters.api import NameStyle, Outgoing, derived_name, wall_time
from brokerkit.adapters.rabbitmq._link import Link
from brokerkit.adapters.rabbitmq._publisher import Publisher
from brokerkit.adapters.rabbitmq._wire import LATER_HEADERS, LONGEST_EXCHANGE, AddressedMessage, address_message

LONGEST: Final = (1 << len(LATER_HEADERS)) - 1
"""Seconds for which a message can wait."""

# Room for the number of a level.
_NAMES: Final = NameStyle(limit=LONGEST_EXCHANGE - 3)


class Later:
    """The waiting queues of the topics that one adapter publishes to.

    Args:
        link: to the broker.
        publisher: whose connection creates them.
    """

    def __init__(self, link: Link, publisher: Publisher) -> None:
        self._link = link
        self._publisher = publisher
        self._opening = asyncio.Lock()
        # How many levels of a topic are known to exist.
        self._levels: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Later for {len(self._levels)} topics>"

    async def address(self, message: Outgoing, due: float, now: datetime) -> AddressedMessage:
        """Address a message to the waiting queues of its topic. They are created if they are missing.

        Args:
            message: the message.
            due: Unix time in seconds at which it is to be in its topic, or up to a second later.
            now: the time of publishing.

        Raises:
            BrokerkitError: they cannot be created, or the message cannot be written.
        """
        made = address_message(message, now)
        seconds = min(math.ceil(due - wall_time()), LONGEST)
        if seconds < 1:
            return made
        levels = seconds.bit_length()
        await self._open(message.topic, levels)
        table: dict[str, Any] = made.properties.headers or {}
        table.update((LATER_HEADERS[level], "1" if seconds >> level & 1 else "0") for level in range(levels))
        made.properties.headers = table
        return replace(made, exchange=_name(message.topic, levels - 1))

    def forget(self, topic: str) -> None:
        """Create the waiting queues of a topic again: somebody deleted one."""
        self._levels.pop(topic, None)

    async def _open(self, topic: str, levels: int) -> None:
        async with self._opening:
            for level in range(self._levels.get(topic, 0), levels):
                await self._declare(await self._publisher.connection(), topic, level)
                self._levels[topic] = level + 1

    async def _declare(self, connection: AbstractConnection, topic: str, level: int) -> None:
        name, following = _name(topic, level), _name(topic, level - 1) if level else topic
        queue: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-message-ttl": 1000 << level,
            "x-dead-letter-exchange": following,
            # A message that nothing takes at the end of its time stays, and is tried again.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

        async def declare(channel: Channel) -> None:
            await channel.exchange_declare(name, exchange_type="headers", durable=True)
            await channel.queue_declare(name, durable=True, arguments=queue)
            await channel.queue_bind(name, name, arguments=_having(level, "1"))
            await channel.exchange_bind(destination=following, source=name, arguments=_having(level, "0"))

        await self._link.run_on_channel(connection, f"create the waiting queue {name!r}", declare)


def _name(topic: str, level: int) -> str:
    """The exchange and the queue of a level."""
    return f"{derived_name(topic, None, 'later', _NAMES)}.{level}"


def _having(level: int, value: str) -> dict[str, Any]:
    return {"x-match": "all", LATER_HEADERS[level]: value}
