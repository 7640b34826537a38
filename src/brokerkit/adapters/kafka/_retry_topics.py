"""The retry topics of a group: one for each topic and level, created when the first retry needs it.

A thousand topics would have five thousand retry topics. Most would stay empty, and each partition that is read costs client
and broker something with every fetch. All members must read a new retry topic. They find it after a rebalance, and by a
search once a minute (docs/adr/0031-kafka-retry-topics.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from brokerkit.adapters.api import (
    DELAY_LEVELS,
    AccessDenied,
    BrokerkitError,
    Subscription,
    delay_label,
    derived_name,
    get_logger,
)
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._topics import NAME_STYLE, Topics

logger = get_logger(__name__)

CONFIG: Final = {"cleanup.policy": "delete", "retention.ms": str(7 * 86_400_000)}
"""A retry topic keeps its copies, whatever the cluster's defaults are."""

Waiting = tuple[str, int]
"""A topic, and a level in seconds."""


def retry_topic(topic: str, group: str | None, level: int, role: str = "retry") -> str:
    """The name of a retry topic. Replays go to the one with the shortest level."""
    return derived_name(topic, group, f"{role}.{delay_label(level)}", NAME_STYLE)


class RetryTopics:
    """The retry topics of one subscription. There are none for a broadcast or a dead-letter topic.

    With a strict order nothing is retried there, so there is only the first one, for replays.

    Args:
        role: the part of their names that says what they are.

    Attributes:
        sources: for each existing retry topic, the topic that it belongs to.
        delays: for each existing retry topic, the seconds that a message waits there.
    """

    def __init__(self, subscription: Subscription, admin: Callable[[], KafkaAdmin], role: str = "retry") -> None:
        self.sources: dict[str, str] = {}
        self.delays: dict[str, int] = {}
        self._admin = admin
        self._role = role
        self._subscription = subscription
        self._may_create = subscription.provision in ("group", "all")
        is_strict, has_none = subscription.order == "strict", subscription.broadcast or subscription.is_queue
        self._levels = () if has_none else DELAY_LEVELS[:1] if is_strict else DELAY_LEVELS
        self._missing = self._names(Topics(subscription.topics).named)
        self._there: dict[Waiting, str] = {}
        self._partitions: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<RetryTopics: {len(self._there)} there, {len(self._missing)} not>"

    @property
    def is_complete(self) -> bool:
        """Whether all retry topics exist."""
        return not self._missing

    @property
    def can_be_made(self) -> bool:
        """Whether those that do not exist can be created when they are needed, as far as this is known."""
        return self._may_create or not self._missing

    def get(self, topic: str, level: int) -> str | None:
        """The retry topic for a level, or None if it does not exist."""
        return self._there.get((self.sources.get(topic, topic), level))

    async def open(self, partitions: dict[str, int]) -> None:
        """Find the existing ones, and check that others could be created. ``partitions`` are those of the topics."""
        self._partitions = partitions
        if self._subscription.provision == "off":
            self._note(self._missing)  # No check: with "off", the user has created them.
            return
        await self.find()
        if not self._missing or self._there:
            return
        example = next(iter(self._missing))
        if self._may_create:
            try:
                await self._admin().create({example: 1}, CONFIG, only_try=True)
                return
            except AccessDenied as error:
                logger.warning("%s", error)
                self._may_create = False
        # A user that may only read a vendor's cluster can still consume. The core then holds long retries itself.
        logger.warning("without topics such as %s, long retries wait in this process", example)

    async def find(self) -> bool:
        """Search for missing retry topics. True if some were found."""
        if not self._missing:
            return False
        # A group that may not look at them does without.
        found = await self._admin().describe(list(self._missing), denied=set())
        self._note(found)
        return bool(found)

    async def make(self, wanted: Iterable[Waiting]) -> bool:
        """Create the missing retry topics among these. On failure they stay missing. True if there are new ones."""
        asked = {(self.sources.get(topic, topic), level) for topic, level in wanted}
        absent = {name: waiting for name, waiting in self._missing.items() if waiting in asked}
        if not absent or not self._may_create:
            return False
        admin = self._admin()
        try:
            # Another member may have created it. It gets as many partitions as its topic.
            found = await admin.describe(list(absent), denied=set())
            if unknown := [topic for topic, _ in absent.values() if topic not in self._partitions]:
                self._partitions |= await admin.describe(unknown)
            counts = {name: self._partitions.get(topic, -1) for name, (topic, _) in absent.items() if name not in found}
            await admin.create(counts, CONFIG)
        except BrokerkitError as error:
            self._may_create = self._may_create and not isinstance(error, AccessDenied)
            logger.error("a retry topic could not be created, so its messages wait in this process: %s", error)
            return False
        self._note(absent)
        return True

    def drop(self, name: str) -> None:
        """Do without a retry topic that this user may not read. The core holds its messages itself."""
        self._there = {waiting: one for waiting, one in self._there.items() if one != name}

    def add(self, topics: Iterable[str]) -> None:
        """Add retry topics for more topics."""
        new = self._names(topics)
        self._missing |= {name: waiting for name, waiting in new.items() if name not in self.sources}

    def _names(self, topics: Iterable[str]) -> dict[str, Waiting]:
        group = self._subscription.group
        return {
            retry_topic(topic, group, level, self._role): (topic, level) for topic in topics for level in self._levels
        }

    def _note(self, names: Iterable[str]) -> None:
        for name in list(names):
            if (waiting := self._missing.pop(name, None)) is not None:  # A search may have found it meanwhile.
                self._there[waiting] = name
                self.sources[name], self.delays[name] = waiting
