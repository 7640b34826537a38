"""Moves the offsets of a group."""

from __future__ import annotations

import re
from typing import Final

from brokerkit.adapters.api import ConfigError, Move, SeekPlan, SeekTo
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Partition, Settings, check_group
from brokerkit.adapters.kafka._lag import Extent, LagQuery
from brokerkit.adapters.kafka._topics import Topics

_POSITION: Final = re.compile(r"(?:(\d+)@)?(\d+)", re.ASCII)
_NOTE: Final = "messages in the group's retry topics stay there, and come when they are due"


async def plan_offsets(settings: Settings, admin: KafkaAdmin, topics: Topics, group: str, to: SeekTo) -> SeekPlan:
    """See `Seekable.plan_seek`."""
    check_group(group)
    if topics.patterns:
        topics.update(await admin.topics())
    query = LagQuery(settings, group=group)
    try:
        extents = await query.extents(topics.found)
    finally:
        query.close()
    partition, offset = (to.partition, None) if to.offset is None else _position(to.offset, to.partition)
    chosen = {tp: extent for tp, extent in extents.items() if partition in (None, tp[1])}
    if not chosen:
        raise ConfigError(f"{', '.join(topics.found)} has no partition {partition}")
    times = {} if to.time is None else await admin.offsets_at(chosen, max(round(to.time * 1000), 0))
    moves = [
        Move(
            topic=tp[0],
            partition=tp[1],
            now=None if extent.committed is None else str(extent.committed),
            to=str(target),
            change=None if extent.committed is None else target - max(extent.committed, extent.begin),
        )
        for tp, extent in sorted(chosen.items())
        for target in [_target(tp, extent, to, times.get(tp, -1) if offset is None else offset)]
    ]
    return SeekPlan(moves=moves, members=await admin.members(group), while_active=False, notes=(_NOTE,))


async def move_offsets(admin: KafkaAdmin, group: str, plan: SeekPlan) -> None:
    """See `Seekable.seek`."""
    await admin.commit_for(group, {(move.topic, move.partition or 0): int(move.to) for move in plan.moves})


def _position(text: str, partition: int | None) -> tuple[int | None, int]:
    """Return partition and offset of ``OFFSET``, or of ``PARTITION@OFFSET`` as a receipt has it."""
    found = _POSITION.fullmatch(text)
    if found is None or (found[1] and partition not in (None, int(found[1]))):
        raise ConfigError(f"a position of Kafka is OFFSET or PARTITION@OFFSET, not {text!r}")
    return int(found[1]) if found[1] else partition, int(found[2])


def _target(tp: Partition, extent: Extent, to: SeekTo, offset: int) -> int:
    """Return the next offset to read. ``offset`` is that of the message to begin with; -1 if none is that late."""
    if to.edge is not None:
        return extent.begin if to.edge == "beginning" else extent.end
    if to.time is not None and offset < 0:
        return extent.end
    if not extent.begin <= offset <= extent.end:
        raise ConfigError(
            f"partition {tp[1]} of {tp[0]} has the offsets {extent.begin} to {extent.end}, and not {offset}; "
            "name one partition, or a time, which fits all of them"
        )
    return offset
