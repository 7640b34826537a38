"""One walk through a dead-letter topic, which removes some of the dead letters.

It uses no group, so a dead member cannot keep partitions. Dead letters that stay are not written again. Records in the topic
itself say which of them are removed (`brokerkit.adapters.kafka._removals`, docs/adr); these records are read first.
Everything before the first dead letter that stays is deleted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from brokerkit.adapters.api import AccessDenied, BrokerkitError, Delivery, NotFound, Outgoing, Receipt, get_logger
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Partition, Settings
from brokerkit.adapters.kafka._delivery import KafkaDelivery
from brokerkit.adapters.kafka._lag import LagQuery
from brokerkit.adapters.kafka._reader import PartitionReader
from brokerkit.adapters.kafka._removals import ID, KEY, from_body, is_removal, to_body

logger = get_logger(__name__)

_READ: Final = 2_000
_PAUSE: Final = 0.2
"""Seconds between two requests."""
_LETTER: Final = 1
_REMOVED: Final = 2


class Send(Protocol):
    """The adapter's `send`, to one partition."""

    def __call__(
        self, batch: Sequence[Outgoing], /, *, partition: int
    ) -> Awaitable[list[Receipt | BrokerkitError]]: ...


class _Marks:
    """What the offsets of a partition hold, one byte for each: 0 no dead letter, `_LETTER`, or `_REMOVED`.

    Offsets outside are ignored: the topic may be deleted and made anew during a walk.
    """

    def __init__(self, begin: int, end: int) -> None:
        self._begin = begin
        self._held = bytearray(max(end - begin, 0))

    def extend(self, end: int) -> None:
        """Have a place for every offset before this one."""
        self._held.extend(bytes(max(end - self._begin - len(self._held), 0)))

    def note(self, offset: int) -> None:
        """Note that a dead letter is here."""
        at = offset - self._begin
        if 0 <= at < len(self._held) and self._held[at] != _REMOVED:
            self._held[at] = _LETTER

    def remove(self, run: range) -> None:
        """Note that dead letters were removed. A record can name any offset."""
        for at in range(max(run.start - self._begin, 0), min(run.stop - self._begin, len(self._held))):
            self._held[at] = _REMOVED

    def is_removed(self, offset: int) -> bool:
        at = offset - self._begin
        return 0 <= at < len(self._held) and self._held[at] == _REMOVED

    @property
    def left(self) -> int:
        """The number of dead letters that stay."""
        return self._held.count(_LETTER)

    @property
    def first(self) -> int | None:
        """The offset of the first dead letter that stays."""
        at = self._held.find(_LETTER)
        return None if at < 0 else self._begin + at


class KafkaCursor:
    """A `brokerkit.adapters.api.Cursor` of a dead-letter topic of brokerkit."""

    def __init__(self, settings: Settings, admin: Callable[[], KafkaAdmin], send: Send, topic: str) -> None:
        self._settings = settings
        self._admin = admin
        self._send = send
        self._topic = topic
        self._begins: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        # By partition: what its offsets hold; how many dead letters `fetch` has not given yet.
        self._marks: dict[Partition, _Marks] = {}
        self._left: dict[Partition, int] = {}
        self._reader: PartitionReader | None = None
        self._has_removed = False

    def __repr__(self) -> str:
        return f"<KafkaCursor of {self._topic} on {self._settings.where}: {self.unseen} unseen>"

    @property
    def unseen(self) -> int:
        """See `Cursor.unseen`."""
        return sum(self._left.values())

    async def open(self) -> None:
        """See `Cursor.open`. Note the ends of the partitions, and read which dead letters are removed."""
        admin = self._admin()
        counts = await admin.describe([self._topic])
        if self._topic not in counts:
            raise NotFound(f"{self._settings.where} has no topic {self._topic!r}")
        partitions = [(self._topic, partition) for partition in range(counts[self._topic])]
        self._ends = await admin.ends(partitions)
        self._begins = await admin.ends(partitions, first=True)
        if any(self._begins[tp] < self._ends[tp] for tp in partitions):
            for tp, offset in (await self._committed()).items():
                self._begins[tp] = max(self._begins.get(tp, 0), offset)
        self._marks = {tp: _Marks(self._begins[tp], self._ends[tp]) for tp in partitions}
        await self._note(self._begins, self._ends)
        self._left = {tp: marks.left for tp, marks in self._marks.items()}
        live = {tp: begin for tp, begin in self._begins.items() if self._left[tp]}
        if live:
            doing = f"read {self._topic!r}"
            self._reader = await asyncio.to_thread(PartitionReader, self._settings, doing, live, self._ends)

    async def _committed(self) -> Mapping[Partition, int]:
        """The offsets that an earlier brokerkit committed. It read the topic with a group of the topic's name."""
        query = LagQuery(self._settings, group=self._topic)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._settings.connect_timeout
        try:
            while True:
                try:
                    extents = await query.extents([self._topic])
                    return {tp: extent.committed or 0 for tp, extent in extents.items()}
                except AccessDenied:
                    return {}  # Without the right to use that group, nothing was committed.
                except BrokerkitError:
                    # A cluster that has just started, or lost a node, may not know yet which node coordinates the group.
                    if loop.time() > give_up:
                        raise
                await asyncio.sleep(_PAUSE)
        finally:
            query.close()

    async def _note(self, begins: Mapping[Partition, int], ends: Mapping[Partition, int]) -> None:
        """Note which offsets hold dead letters, and which of them are removed."""
        reader = await asyncio.to_thread(PartitionReader, self._settings, f"read {self._topic!r}", begins, ends)
        try:
            while batch := await reader.read(_READ):
                for tp, message in batch:
                    marks = self._marks[tp]
                    if message.key() == KEY and is_removal(delivery := KafkaDelivery(message, self._topic, tp)):
                        for run in from_body(delivery.body):
                            marks.remove(run)
                    else:
                        marks.note(message.offset())  # type: ignore[arg-type]
        finally:
            await reader.close()

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """See `Cursor.fetch`; within a partition in the order of the offsets."""
        found: list[Delivery] = []
        if self._reader is None:
            return found
        while not found and (batch := await self._reader.read(limit)):
            for tp, message in batch:
                delivery = KafkaDelivery(message, self._topic, tp)
                if not (is_removal(delivery) or self._marks[tp].is_removed(message.offset())):  # type: ignore[arg-type]
                    self._left[tp] -= 1
                    found.append(delivery)
        for tp in self._left:
            if tp not in self._reader.open:
                self._left[tp] = 0  # Those that were not given are gone: removed, or expired by retention.
        return found

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """See `Cursor.remove`."""
        offsets: dict[Partition, list[int]] = defaultdict(list)
        for delivery in deliveries:
            offsets[delivery.token].append(delivery.native.offset())
        self._has_removed = True
        for tp, gone in offsets.items():
            record = Outgoing(topic=self._topic, body=to_body(gone), name="", id=ID, key=KEY)
            [result] = await self._send([record], partition=tp[1])
            if isinstance(result, BrokerkitError):
                raise result
            for offset in gone:
                self._marks[tp].remove(range(offset, offset + 1))

    async def close(self) -> None:
        """See `Cursor.close`."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        if self._has_removed:
            self._has_removed = False
            try:
                await self._delete()
            except BrokerkitError as error:
                logger.warning(
                    "removed dead letters of %s stay on the disk until its retention ends: %s", self._topic, error
                )

    async def _delete(self) -> None:
        """Delete everything before the first dead letter that stays. If none stays, also delete the records of removals."""
        admin = self._admin()
        empty = {tp: self._ends[tp] for tp, marks in self._marks.items() if marks.first is None}
        ends = await admin.ends(empty)
        for tp, end in ends.items():
            self._marks[tp].extend(end)
        await self._note(empty, ends)
        firsts = {tp: ends.get(tp, 0) if marks.first is None else marks.first for tp, marks in self._marks.items()}
        heads = {tp: first for tp, first in firsts.items() if first > self._begins[tp]}
        if heads:
            await admin.delete_before(heads)
