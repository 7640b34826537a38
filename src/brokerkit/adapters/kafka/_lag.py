"""Asks the cluster for the lag of a group, without the admin client.

An admin client that asks for a group's offsets while its broker goes away sometimes ends the whole process, by an assertion
or a segmentation fault (librdkafka 2.16, ``list_consumer_group_offsets``; its other requests do not). Lag is asked for again
and again, also while a broker fails. The calls of a consumer that are used here are safe.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from brokerkit.adapters.api import ConnectionLost
from brokerkit.adapters.kafka._client import LIBRDKAFKA, Partition, Settings
from brokerkit.adapters.kafka._errors import DENIED, kafka_error, translate, translated

TIMEOUT: Final = 2.0
"""Seconds for all requests of one query. `Bus.health` waits no longer either."""

_STEP: Final = 0.3
"""Seconds of the first wait for the group's commits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Offsets of one partition: its oldest message, its next message, and the group's commit, if there is one."""

    begin: int
    end: int
    committed: int | None


class LagQuery:
    """A consumer that only asks: it reads nothing and joins no group.

    Args:
        group: the group whose offsets are asked for.
    """

    def __init__(self, settings: Settings, *, group: str) -> None:
        self._settings = settings
        self._doing = f"{settings.where} does not tell the lag"
        self._group = group
        self._config = settings.configure_consumer(_ignore, group=group, commit=False, role="-lag")
        self._refusal: KafkaError | None = None
        self._made: Consumer | None = None
        # One thread, because a consumer admits one at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"brokerkit-kafka-lag-{group}")

    def __repr__(self) -> str:
        return f"<LagQuery {self._settings.where}>"

    async def extents(self, topics: Sequence[str]) -> dict[Partition, Extent]:
        """Ask for every partition of the topics.

        Raises:
            ConnectionLost: the cluster did not answer within `TIMEOUT`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, tuple(topics))

    async def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        """Ask for the offsets of the group; None where it has none. Waits for transactions that are being committed.

        Raises:
            ConnectionLost: the cluster did not answer within `TIMEOUT`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask_committed, tuple(partitions))

    def close(self) -> None:
        """End it, after the request that is under way."""
        self._thread.submit(self._leave)
        self._thread.shutdown(wait=False)

    @property
    def _consumer(self) -> Consumer:
        """The consumer. Only the thread uses it, and makes it: that may take seconds."""
        if self._made is None:
            with translated(self._doing):
                self._made = self._settings.login.make(Consumer, self._config, logger=LIBRDKAFKA)
        return self._made

    def _leave(self) -> None:
        if self._made is not None:
            self._made.close()

    def _ask(self, topics: Sequence[str]) -> dict[Partition, Extent]:
        deadline = time.monotonic() + TIMEOUT
        consumer = self._consumer
        needed = self._settings.needed("Describe", topics[0], group=self._group)
        with translated(self._doing, needed):
            self._poll()
            partitions = [(topic, partition) for topic in topics for partition in self._partitions(topic, deadline)]
            # An offset instead of a time: the broker accepts that too, and each node gets one request for all partitions.
            begins = consumer.offsets_for_times(_at(partitions, OFFSET_BEGINNING), timeout=_left(deadline))
            ends = consumer.offsets_for_times(_at(partitions, OFFSET_END), timeout=_left(deadline))
            committed = self._committed(partitions, deadline)
        found: dict[Partition, Extent] = {}
        for tp, begin, end, done in zip(partitions, begins, ends, committed, strict=True):
            for answer in (begin, end, done):
                if answer.error is not None:
                    needed = self._settings.needed("Describe", tp[0], group=self._group)
                    raise translate(answer.error, f"{self._doing} of {tp}", needed=needed)
            at = done.offset if done.offset >= 0 else None
            found[tp] = Extent(begin=begin.offset, end=end.offset, committed=at)
        return found

    def _committed(self, partitions: Sequence[Partition], deadline: float) -> list[TopicPartition]:
        """Ask for the group's commits.

        Without a right to the group, the client looks for its coordinator until the time is over. Only a poll tells why.
        """
        timeout = _STEP
        while True:
            try:
                found = self._consumer.committed(_at(partitions, 0), timeout=min(timeout, _left(deadline)))
            except KafkaException as error:
                if kafka_error(error).code() != KafkaError._TIMED_OUT:  # pyright: ignore[reportPrivateUsage]
                    raise
            else:
                self._refusal = None
                return found
            self._poll()
            if self._refusal is not None:
                raise KafkaException(self._refusal)
            timeout = TIMEOUT

    def _poll(self) -> None:
        """Have the client deliver log lines and errors. It tells of a refusal once, and repeats nothing."""
        while (message := self._consumer.poll(0)) is not None:
            if (error := message.error()) is not None and error.code() in DENIED:
                self._refusal = error
        self._settings.login.apply(self._consumer)

    def _ask_committed(self, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        try:
            self._poll()
            committed = self._committed(partitions, time.monotonic() + TIMEOUT)
        except KafkaException as error:
            raise translate(kafka_error(error), self._doing) from error
        for answer in committed:
            if answer.error is not None:
                raise translate(answer.error, self._doing)
        return {(one.topic, one.partition): one.offset if one.offset >= 0 else None for one in committed}

    def _partitions(self, topic: str, deadline: float) -> Sequence[int]:
        found = self._consumer.list_topics(topic, timeout=_left(deadline)).topics[topic]
        if found.error is not None:
            needed = self._settings.needed("Describe", topic)
            raise translate(found.error, f"{self._doing} of {topic!r}", needed=needed)
        return list(found.partitions)


def _at(partitions: Sequence[Partition], offset: int) -> list[TopicPartition]:
    return [TopicPartition(*tp, offset) for tp in partitions]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise ConnectionLost(f"no answer within {TIMEOUT:g} s")
    return left


def _ignore(_: KafkaError) -> None:
    """The consumers of the source report errors of the connection."""
