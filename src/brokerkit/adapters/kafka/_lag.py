"""How far a group is behind, asked of the cluster without the admin client.

An admin client that asks for a group's offsets while its broker goes away ends the whole process now and then, by an
assertion of its own or a segmentation fault (librdkafka 2.16, ``list_consumer_group_offsets``; its other questions
do not). Lag is asked again and again, also while a broker is in trouble; these calls of a consumer do not go that way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from brokerkit._errors import ConnectionLost
from brokerkit.adapters.kafka._client import LIBRDKAFKA, Settings, kafka_error, translate

TIMEOUT: Final = 2.0
"""Seconds for all questions of one look; `Bus.health` waits no longer either."""

Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """One partition: its oldest message, the one that comes next, and where the group stands, if it has committed."""

    begin: int
    end: int
    committed: int | None


class LagLook:
    """A consumer that reads nothing and joins no group: it asks.

    Args:
        group: whose offsets are meant.
    """

    def __init__(self, settings: Settings, *, group: str) -> None:
        self._where = settings.where
        config = settings.consumer(_ignore, group=group, commit=False, role="-lag")
        self._consumer = Consumer(config, logger=LIBRDKAFKA)
        # One thread, since a consumer lets one in at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"brokerkit-kafka-lag-{group}")

    def __repr__(self) -> str:
        return f"<LagLook {self._where}>"

    async def extents(self, topics: Sequence[str]) -> dict[Place, Extent]:
        """Every partition of the topics.

        Raises:
            ConnectionLost: the cluster did not answer within `TIMEOUT`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, tuple(topics))

    def close(self) -> None:
        """End it, after the question that is under way."""
        self._thread.submit(self._consumer.close)
        self._thread.shutdown(wait=False)

    def _ask(self, topics: Sequence[str]) -> dict[Place, Extent]:
        deadline = time.monotonic() + TIMEOUT
        consumer = self._consumer
        try:
            consumer.poll(0)  # Log lines and errors are served here.
            places = [(topic, partition) for topic in topics for partition in self._partitions(topic, deadline)]
            # Not a time but a place, which the broker takes here too: all partitions in one question for each node.
            begins = consumer.offsets_for_times(_at(places, OFFSET_BEGINNING), timeout=_left(deadline))
            ends = consumer.offsets_for_times(_at(places, OFFSET_END), timeout=_left(deadline))
            committed = consumer.committed(_at(places, 0), timeout=_left(deadline))
        except KafkaException as error:
            raise translate(kafka_error(error), f"cannot tell the lag on {self._where}") from error
        found: dict[Place, Extent] = {}
        for place, begin, end, done in zip(places, begins, ends, committed, strict=True):
            for answer in (begin, end, done):
                if answer.error is not None:
                    raise translate(answer.error, f"cannot tell the lag of {place} on {self._where}")
            at = done.offset if done.offset >= 0 else None
            found[place] = Extent(begin=begin.offset, end=end.offset, committed=at)
        return found

    def _partitions(self, topic: str, deadline: float) -> Sequence[int]:
        found = self._consumer.list_topics(topic, timeout=_left(deadline)).topics[topic]
        if found.error is not None:
            raise translate(found.error, f"cannot tell the lag of {topic!r} on {self._where}")
        return list(found.partitions)


def _at(places: Sequence[Place], offset: int) -> list[TopicPartition]:
    return [TopicPartition(*place, offset) for place in places]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise ConnectionLost(f"no answer within {TIMEOUT:g} s")
    return left


def _ignore(_: KafkaError) -> None:
    """The source's own consumers tell what happens to the connection."""
