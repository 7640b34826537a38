"""Reads partitions without a group: a consumer that is assigned its partitions and commits nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from brokerkit.adapters.api import AccessDenied, BrokerkitError
from brokerkit.adapters.kafka._client import LIBRDKAFKA, Partition, Settings
from brokerkit.adapters.kafka._errors import translate, translated

_PAUSE: Final = 0.01
"""Seconds between two checks for fetched messages."""

_READ_AHEAD: Final = {"queued.max.messages.kbytes": 16_384, "queued.min.messages": 10_000}
"""A small read-ahead: messages are fetched faster than they are looked at. The default is 64 MiB for each partition."""


class PartitionReader:
    """Reads each partition from one offset to another, or for ever. Close it after use.

    Args:
        doing: what to say in errors: ``"browse 'topic'"``.
        begins: the first offset of each partition.
        ends: the offset before which each partition ends; None to go on with new messages.
    """

    def __init__(
        self, settings: Settings, doing: str, begins: Mapping[Partition, int], ends: Mapping[Partition, int] | None
    ) -> None:
        self._doing = f"cannot {doing} on {settings.where}"
        self._settings = settings
        self._ends = ends
        self._topics = ", ".join(sorted({topic for topic, _ in begins}))
        self._open = {tp for tp, begin in begins.items() if ends is None or begin < ends[tp]}
        self._errors: list[BrokerkitError] = []
        # A consumer needs the name of a group, and asks who coordinates it. It never joins.
        config = settings.configure_consumer(self._on_error, group="brokerkit-look", commit=False, role="-look")
        # Offsets have gaps: there may be no message directly before an end.
        with translated(self._doing):
            config = {**config, **_READ_AHEAD, "enable.partition.eof": True}
            self._consumer = settings.login.make(Consumer, config, logger=LIBRDKAFKA)
            self._consumer.assign([TopicPartition(*tp, begins[tp]) for tp in self._open])

    def __repr__(self) -> str:
        return f"<PartitionReader of {len(self._open)} partitions>"

    @property
    def open(self) -> set[Partition]:
        """The partitions that are not at their end."""
        return self._open

    async def read(self, limit: int) -> list[tuple[Partition, Message[Any, Any]]]:
        """Wait for the next messages, in the order of each partition. Empty when all partitions are at their end.

        Raises:
            AccessDenied: the broker refuses.
            ConnectionLost: no broker can be reached.
        """
        found: list[tuple[Partition, Message[Any, Any]]] = []
        while self._open and not found:
            with translated(self._doing):
                # No wait, so that the event loop is never blocked.
                messages = self._consumer.consume(limit, 0)
            if self._errors:
                raise self._errors[0]
            if not messages:
                await asyncio.sleep(_PAUSE)
            for message in messages:
                self._sort(message, found)
        return found

    def _sort(self, message: Message[Any, Any], found: list[tuple[Partition, Message[Any, Any]]]) -> None:
        tp: Partition = (message.topic(), message.partition())  # type: ignore[assignment]
        if (error := message.error()) is not None:
            if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return  # Only a reader with a group needs that right.
            if error.code() != KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
                raise translate(error, self._doing, needed=self._settings.needed("Read", tp[0] or self._topics))
            if self._ends is not None:
                self._open.discard(tp)
            return
        offset: int = message.offset()  # type: ignore[assignment]
        if self._ends is None or offset < self._ends[tp]:
            found.append((tp, message))
        if self._ends is not None and offset >= self._ends[tp] - 1:
            self._open.discard(tp)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return
        found = translate(error, self._doing, needed=self._settings.needed("Read", self._topics))
        if isinstance(found, AccessDenied) or error.code() == KafkaError._ALL_BROKERS_DOWN:  # pyright: ignore[reportPrivateUsage]
            self._errors.append(found)

    async def close(self) -> None:
        """Free the consumer."""
        await asyncio.to_thread(self._consumer.close)
