"""What buses with the same ``memory://`` name share: topics, groups, and the messages that are under way in them."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from brokerkit.adapters.api import Outgoing

_KEPT: Final = 10_000
_LOOKED_AT: Final = 20
"""If others have keys, this many messages are looked at for each one that may be taken."""


class Reader(Protocol):
    """A source, as a queue sees it."""

    def wake(self) -> None:
        """Something can be taken from a queue that is read here."""
        ...

    def keys_of(self, queue: Queue) -> set[str | bytes | None]:
        """The keys of what this reader has of a queue."""
        ...


@dataclass(slots=True, eq=False)
class Entry:
    """A message in one group.

    Attributes:
        own: it is a retry's copy or was sent to the group's own queue.
    """

    message: Outgoing
    number: int
    time: float
    count: int = 0
    starts: int = 0
    leased_until: float = 0.0
    own: bool = False


class Queue:
    """The messages of one group, or of a stored queue.

    Attributes:
        unfinished: how many of them are not acknowledged: ready, delivered, or put off.
    """

    def __init__(self) -> None:
        self.unfinished = 0
        self.ready: deque[Entry] = deque()
        self.readers: set[Reader] = set()

    def put(self, entries: Sequence[Entry]) -> None:
        self.ready.extend(entries)
        self.unfinished += len(entries)
        for reader in self.readers:
            reader.wake()

    def take(self, reader: Reader, limit: int) -> list[Entry]:
        """Take the first entries. A key that another reader has is left to it."""
        others: set[str | bytes | None] = set()
        if len(self.readers) > 1:
            others.update(*(other.keys_of(self) for other in self.readers if other is not reader))
            others.discard(None)
        if not others:
            return [self.ready.popleft() for _ in range(min(len(self.ready), limit))]
        taken: list[Entry] = []
        left: list[Entry] = []
        while self.ready and len(taken) < limit and len(left) < _LOOKED_AT * limit:
            entry = self.ready.popleft()
            (left if entry.message.key in others else taken).append(entry)
        self.ready.extendleft(reversed(left))
        return taken

    def let_go(self) -> None:
        """A reader has one entry less: others may take the next one of its key."""
        if len(self.readers) > 1 and self.ready:
            for reader in self.readers:
                reader.wake()

    def put_back(self, entry: Entry) -> None:
        """Put an entry back, in front of those that came later."""
        index = next((index for index, other in enumerate(self.ready) if other.number > entry.number), len(self.ready))
        self.ready.insert(index, entry)
        for reader in self.readers:
            reader.wake()


class Topic:
    def __init__(self, name: str, *, is_queue: bool) -> None:
        self.name = name
        self.log: deque[Entry] = deque(maxlen=_KEPT)
        self.watchers: set[asyncio.Event] = set()
        self.groups: dict[str, Queue] = {"": Queue()} if is_queue else {}


@dataclass(slots=True)
class Broker:
    """What buses with the same name share.

    Attributes:
        later: how many messages are kept back until they are due.
        own: the own queues of groups. What is sent to one is put before the messages that the group gets from its topic.
    """

    topics: dict[str, Topic] = field(default_factory=dict[str, Topic])
    own: dict[str, Queue] = field(default_factory=dict[str, Queue])
    later: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)
