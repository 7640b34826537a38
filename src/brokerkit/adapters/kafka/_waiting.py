"""Counts the retries of a group that wait in its retry topics."""

from __future__ import annotations

from collections.abc import Sequence

from brokerkit.adapters.api import DELAY_LEVELS, WaitingRetries
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Settings
from brokerkit.adapters.kafka._lag import LagQuery
from brokerkit.adapters.kafka._retry_topics import retry_topic
from brokerkit.adapters.kafka._topics import Topics


async def count_retries(
    settings: Settings, admin: KafkaAdmin, topics: Sequence[str], group: str, *, reader: str, role: str = "retry"
) -> list[WaitingRetries]:
    """Return what waits in each retry topic that exists. What is due and has not been committed counts too.

    Args:
        settings: of the clients.
        admin: finds the retry topics.
        topics: what the group reads; patterns are allowed.
        group: whose retries they are.
        reader: the consumer group that reads the retry topics.
        role: see `retry_topic`.

    Raises:
        BrokerkitError: as `LagQuery.extents` and `KafkaAdmin.describe` do.
    """
    read = Topics(topics)
    if read.patterns:
        read.update(await admin.topics())
    levels = {retry_topic(topic, group, level, role): level for topic in read.found for level in DELAY_LEVELS}
    there = sorted(await admin.describe(levels, denied=set()), key=lambda name: (levels[name], name))
    if not there:
        return []
    query = LagQuery(settings, group=reader)
    try:
        extents = await query.extents(there)
    finally:
        query.close()
    counts = dict.fromkeys(there, 0)
    for (topic, _), extent in extents.items():
        counts[topic] += max(extent.end - max(extent.committed or 0, extent.begin), 0)
    return [
        WaitingRetries(place=topic, count=count, wait=float(levels[topic]), exact=False)
        for topic, count in counts.items()
    ]
