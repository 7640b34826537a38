"""A Redis list that a member takes from: its keys, and what the member knows of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from brokerkit.adapters.api import Delivery, derived_name
from brokerkit.adapters.redis._client import NAME_STYLE
from brokerkit.adapters.redis._wire import OwnValueDelivery, ValueDelivery


def later_set(topic: str) -> str:
    """The sorted set of what is published to a list for later."""
    return derived_name(topic, None, "later", NAME_STYLE)


def own_list(topic: str) -> str:
    """The list of due retries and replays of a topic. Only the topic's readers write to it."""
    return derived_name(topic, None, "due", NAME_STYLE)


@dataclass(frozen=True, slots=True)
class Finishing:
    """Values of one list that are dropped from the processing list in one call.

    Attributes:
        mark: what the server keeps of this call, so that it does nothing when it is made again.
        epoch: that of the list.
    """

    mark: bytes
    epoch: int
    deliveries: tuple[Delivery, ...]


class List:
    """One list that a source reads, and this member's keys beside it.

    Args:
        topic: what its values say they were read from.
        key: the list, if it is not the topic.
        is_own: only the topic's readers write to it.
    """

    __slots__ = ("_base", "doubt", "epoch", "held", "key", "kind", "later", "members", "missing", "topic", "waiting")

    def __init__(self, topic: str, *, key: str | None = None, is_own: bool = False) -> None:
        self.topic = topic
        self.key = key or topic
        self.kind = OwnValueDelivery if is_own else ValueDelivery
        self._base = derived_name(self.key, None, "taken", NAME_STYLE)
        self.members = derived_name(self.key, None, "members", NAME_STYLE)
        self.waiting = derived_name(topic, None, "retry", NAME_STYLE)
        self.later = later_set(topic)
        self.held: Counter[bytes] = Counter()
        """Values that were handed to the core and are not settled; equal ones are counted."""
        self.epoch = 0
        """Goes up when our processing list was taken over: what was handed out before is not ours any more."""
        self.doubt: Finishing | None = None
        """The call whose answer was lost. Until it is known what it did, nothing else of this list is settled."""
        self.missing = True
        """Whether the processing list may hold values that were never handed out."""

    def taken(self, member: str) -> str:
        return f"{self._base}:{member}"

    def heartbeat(self, member: str) -> str:
        return f"{self._base}:{member}:alive"

    def mark(self, member: str) -> str:
        return f"{self._base}:{member}:done"
