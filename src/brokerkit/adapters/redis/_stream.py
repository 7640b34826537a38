"""What a source knows of one stream that it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from brokerkit.adapters.api import NotFound, derived_name, wall_time
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._client import NAME_STYLE, Client, Command
from brokerkit.adapters.redis._errors import code_of
from brokerkit.adapters.redis._starts import Starts
from brokerkit.adapters.redis._wire import EntryDelivery, OwnEntryDelivery

FIRST: Final = b"0-0"
"""Before all entries."""


DEFAULT_GROUP: Final = "brokerkit"
"""Reads where nobody has named a group."""


class Stream:
    """One stream that a source reads: a topic, or the group's due retries of that topic."""

    __slots__ = ("claimed", "held", "history", "key", "kind", "later", "name", "retry", "starts", "topic", "waiting")

    def __init__(self, topic: str, name: str, *, retry: bool, waiting: str, starts: Starts, is_own: bool) -> None:
        self.topic = topic
        self.name = name
        self.key = name.encode()
        self.retry = retry
        self.kind = OwnEntryDelivery if is_own else EntryDelivery
        self.waiting = waiting
        """The sorted set of this topic's retries."""
        self.later = later_set(topic)
        self.starts = starts
        self.held: set[bytes] = set()
        """Entry ids that were handed to the core and are not settled."""
        self.history: bytes | None = None
        """Where reading our own pending entries goes on; None when that is done."""
        self.claimed: bytes = FIRST
        """Where claiming goes on; `FIRST` when a sweep is through."""


def waiting_set(topic: str, group: str) -> str:
    """The sorted set of a group's retries of a topic."""
    return derived_name(topic, group, "waiting", NAME_STYLE)


def later_set(topic: str) -> str:
    """The sorted set of what is published to a stream for later. Users of the topic have rights on ``{topic}.*``."""
    return derived_name(topic, "all", "later", NAME_STYLE)


def keep_back(topic: str, later: str, due: float, kind: str, *member: bytes, create: bool) -> Command:
    """The command that publishes for later, at Unix time ``due``, through the sorted set ``later``; see `KEEP_BACK`."""
    after = max(0, math.ceil((due - wall_time()) * 1000))
    return "EVAL", scripts.KEEP_BACK, 2, topic, later, after, int(create), kind, *member


def is_gone(error: ResponseError) -> bool:
    """Whether a stream or its group was deleted. A read that was blocked meanwhile gets UNBLOCKED, which a server that
    becomes a replica says too.
    """
    return code_of(error) == "NOGROUP" or str(error).startswith("UNBLOCKED the stream key no longer exists")


def missing_stream(client: Client, topic: str) -> NotFound:
    """The error where a topic must exist and does not."""
    return NotFound(
        f"{client.where}: there is no stream {topic!r}; Redis makes one with the first XADD, "
        "brokerkit makes an empty one with provision='all'"
    )


def by_name(flat: Sequence[Any]) -> dict[bytes, Any]:
    """An answer of XINFO, in which names and values alternate."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
