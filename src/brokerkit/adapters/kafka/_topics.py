"""The topics that a source reads: those that it names, and those that its patterns match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from brokerkit.adapters.api import NameStyle, Subscription, compile_pattern, is_pattern
from brokerkit.adapters.kafka._client import check_group

NAME_STYLE: Final = NameStyle(illegal=re.compile(r"[^A-Za-z0-9._-]"), limit=249)
"""https://kafka.apache.org/documentation/#adminapi: letters, digits, dot, underscore, hyphen; 249 characters."""

_NEVER: Final = re.compile(r"^__|[.-](dlq|retry\.(1s|10s|1m|10m|1h|now)|share-starts|share-dropped)(-[0-9a-f]{16})?$")
"""Topics that no pattern matches: Kafka's own, and what any group derives from its topics (`_derived_names`)."""


class Topics:
    """The topics of one subscription.

    Attributes:
        named: topics given by name.
        patterns: compiled patterns.
        found: all topics to read: the named ones, and those that matched at the last `update`.
    """

    def __init__(self, topics: Sequence[str]) -> None:
        self.named = [topic for topic in topics if not is_pattern(topic)]
        self.patterns = [compile_pattern(topic) for topic in topics if is_pattern(topic)]
        self.found: list[str] = list(self.named)

    def __repr__(self) -> str:
        return f"<Topics: {len(self.found)} by {len(self.named)} names and {len(self.patterns)} patterns>"

    def update(self, there: Iterable[str]) -> bool:
        """Match the patterns with the topics of the cluster. True if `found` has changed."""
        found = [
            topic
            for topic in sorted(there)
            if topic not in self.named
            and not _NEVER.search(topic)
            and any(pattern.search(topic) for pattern in self.patterns)
        ]
        before, self.found = self.found, [*self.named, *found]
        return before != self.found


def group_of(subscription: Subscription) -> str:
    """The group that reads. Without a group, a dead-letter topic is read by a group with the name of the topic.

    Raises:
        ConfigError: there is no group, or Kafka does not allow its name.
    """
    group = subscription.group or (subscription.topics[0] if subscription.is_queue else "")
    check_group(group)
    return group
