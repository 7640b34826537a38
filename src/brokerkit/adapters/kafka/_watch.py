"""Watches whether topics that are read are still the same topics.

A topic that is deleted and made anew keeps its name and gets another id, and its offsets begin at 0. The client library
goes on at the old offset: messages before it are never read, and nothing tells (librdkafka 2.16). So the ids are compared at
intervals, with one question for all sources of an adapter.

A question without an answer also tells that a cluster hangs. The client tells that a minute later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from brokerkit.adapters.api import BrokerkitError, ConnectionLost, get_logger, start
from brokerkit.adapters.kafka._admin import Identity, KafkaAdmin

logger = get_logger(__name__)

LOOK: Final = 5.0
"""Seconds between two looks."""

_TOPICS_A_SECOND: Final = 50
"""With many topics the looks are rarer. An answer costs 50 µs for each topic."""


class Watcher(Protocol):
    """A source that reads topics. Its methods run on the event loop."""

    @property
    def watched(self) -> Iterable[str]:
        """The topics that it reads."""
        ...

    def looked(self, found: Mapping[str, Identity], denied: AbstractSet[str]) -> None:
        """The topics that exist now, and those at which this user may not look; those of other sources among them."""
        ...

    def unreachable(self, error: ConnectionLost) -> None:
        """The cluster did not answer within the connect timeout."""
        ...

    def broken(self, error: BaseException) -> None:
        """The watch has failed."""
        ...


class TopicWatch:
    """The watch of one adapter. It looks as long as a source wants it."""

    def __init__(self, admin: Callable[[], KafkaAdmin]) -> None:
        self._admin = admin
        self._watchers: dict[Watcher, None] = {}
        self._looking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<TopicWatch for {len(self._watchers)} sources>"

    def add(self, watcher: Watcher) -> None:
        """Watch the topics of a source, until `remove`."""
        self._watchers[watcher] = None
        if self._looking is None:
            self._looking = start(self._look(), self._fail)

    def remove(self, watcher: Watcher) -> None:
        """Watch them no more."""
        self._watchers.pop(watcher, None)
        if not self._watchers and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        while True:
            count = sum(len(set(watcher.watched)) for watcher in self._watchers)
            await asyncio.sleep(max(LOOK, count / _TOPICS_A_SECOND))
            denied: set[str] = set()
            try:
                found = await self._admin().identify(
                    {topic for one in self._watchers for topic in one.watched}, denied=denied
                )
            except ConnectionLost as error:
                for watcher in list(self._watchers):
                    watcher.unreachable(error)
                continue
            except BrokerkitError as error:
                logger.debug("the topics could not be watched: %s", error)
                continue
            for watcher in list(self._watchers):
                watcher.looked(found, denied)

    def _fail(self, error: BaseException) -> None:
        for watcher in list(self._watchers):
            watcher.broken(error)
