"""Finds what an existing queue is: its type and the arguments that it was declared with.

AMQP cannot ask for them. But the broker refuses a declaration that differs from the queue, and names the first argument that
differs. So a declaration that cannot succeed repeats what the broker has named, until the broker names nothing else.
"""

from __future__ import annotations

import re
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel

from brokerkit.adapters.api import AccessDenied, ConnectionLost, NotFound
from brokerkit.adapters.rabbitmq._link import Link
from brokerkit.adapters.rabbitmq._queue_facts import Argument, QueueFacts

_MOST_ARGUMENTS: Final = 30
_WRONG: Final = "brokerkit-asks"
"""No queue type and no leader locator has this name. So a declaration with it never creates a missing queue."""
_TYPE: Final = re.compile(r"inequivalent arg 'x-queue-type'.* but current is (?:the value )?'?(\w+)'?")
_LOCATOR: Final = "inequivalent arg 'x-queue-leader-locator'"
_FLAG: Final = re.compile(r"inequivalent arg '(durable|auto_delete)'.* but current is '(\w+)'")
_ARGUMENT: Final = re.compile(
    r"inequivalent arg '(x-[\w-]+)'.* but current is (?:the value )?'([^']*)'(?: of type '(\w+)')?", re.DOTALL
)


async def describe_queue(link: Link, connection: AbstractConnection, queue: str) -> QueueFacts:
    """Find what a queue is.

    The broker compares arguments in a fixed order: the type comes behind the arguments of a classic queue. For a quorum
    queue it comes before ``x-delivery-limit`` and ``x-message-ttl``, and the leader locator behind those.
    """
    flags = {"durable": True, "auto_delete": False}
    arguments: dict[str, Argument] = {"x-queue-type": _WRONG}
    found: dict[str, Argument] = {}
    kind = ""

    def declare(channel: Channel) -> Any:
        return channel.queue_declare(
            queue, durable=flags["durable"], auto_delete=flags["auto_delete"], arguments={**arguments}
        )

    for _ in range(_MOST_ARGUMENTS):
        try:
            await link.run_on_channel(connection, f"find out about queue {queue!r}", declare)
        except ConnectionLost as error:
            text = str(error.__cause__)
        except (AccessDenied, NotFound):
            break
        else:
            break
        if match := _TYPE.search(text):
            kind = "classic" if match[1] == "none" else match[1]
            if kind != "quorum":
                break
            arguments |= {"x-queue-type": kind, "x-queue-leader-locator": _WRONG}
        elif _LOCATOR in text and "x-queue-leader-locator" in arguments:
            break
        elif match := _FLAG.search(text):
            flags[match[1]] = match[2] == "true"
        elif match := _ARGUMENT.search(text):
            name, value, kind_of_value = match.groups()
            found[name] = arguments[name] = _read(value, kind_of_value)
        else:
            break
    return QueueFacts(kind, found, flags["auto_delete"])


def _read(value: str, kind: str | None) -> Argument:
    if kind == "longstr":
        return value
    return int(value) if value.lstrip("-").isdigit() else value == "true"
