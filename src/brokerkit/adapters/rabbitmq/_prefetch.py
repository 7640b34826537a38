"""How many unsettled messages the consumers of a channel may have, and which have as many. Pure, without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from brokerkit.adapters.api import Delivery

STRICT_TIMES: Final = 4
"""With a single active consumer the prefetch cannot grow later. The factor leaves room for messages that wait for a
key."""

_LEAST_WINDOW: Final = 10
"""With many queues on one source, the prefetch may be so small that the consumer would change with each message."""


def exhausted(
    unsettled: dict[int, Delivery], since: Mapping[str, int], *, topics: Iterable[str], prefetch: int
) -> list[str]:
    """Find the topics whose consumers hold as many unsettled messages as their prefetch allows.

    The core still asks for more where the messages of one key wait for each other.

    Args:
        unsettled: the unsettled deliveries by their tags, which ascend.
        since: by topic, the first tag that its present consumer can have.
        topics: those that have a consumer.
        prefetch: of each consumer.
    """
    counts = dict.fromkeys(topics, 0)
    first = min(since.values(), default=0)
    for tag, one in reversed(unsettled.items()):
        if tag < first:
            break
        if tag >= since.get(one.topic, tag + 1) and one.topic in counts:
            counts[one.topic] += 1
    return [topic for topic, count in counts.items() if count >= max(prefetch, _LEAST_WINDOW)]
