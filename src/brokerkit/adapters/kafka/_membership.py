"""What the client library says of a member of a group, as far as transactions need it."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import Consumer

from brokerkit.adapters.api import BrokerkitError

_MAGIC: Final = b"CGMDv2:"


class Membership:
    """What a transaction needs to know of a member of a group. The consumer's thread writes it, and the event loop reads it.

    Attributes:
        known: not older than one turn of the thread. None while it is no member, or does not know whether partitions are
            still its own. The broker would accept a commit then, whoever has the partition: a transaction that names no
            generation is not checked at all.
    """

    def __init__(self) -> None:
        self.known: bytes | None = None
        self._doubt: Future[Any] | None = None

    def note(self, consumer: Consumer) -> None:
        """Ask the client."""
        if self._doubt is None or self._doubt.done():
            found: Any = consumer.consumer_group_metadata()
            self.known = found if generation_of(found) > 0 else None

    def doubt(self, until: Future[Any]) -> None:
        """Partitions are given up, and their owner has yet to be told."""
        self.known, self._doubt = None, until


def generation_of(metadata: bytes) -> int:
    """Return the generation in a ``ConsumerGroupMetadata``; below 1 for whoever has not joined.

    The library does not document these bytes. "CGMDv2:" and the number come first, in the byte order of the host (librdkafka
    2.16, ``rd_kafka_consumer_group_metadata_write``).

    Raises:
        BrokerkitError: they begin otherwise.
    """
    begin = len(_MAGIC)
    if not metadata.startswith(_MAGIC) or len(metadata) < begin + 4:
        raise BrokerkitError(
            "this version of confluent-kafka describes members in an unknown form; use one that is tested"
        )
    return int.from_bytes(metadata[begin : begin + 4], sys.byteorder, signed=True)
