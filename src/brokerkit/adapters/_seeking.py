"""Moving a group to another position of its topics, where the broker keeps positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekTo:
    """Where a group is to go on reading. Exactly one of the first three is set.

    Attributes:
        edge: before the oldest message, or behind the newest one that exists now.
        time: before the first message of this Unix time in seconds, or later.
        offset: before this message, as `Receipt.position` has it: ``PARTITION@OFFSET`` on Kafka, or an offset with
            ``partition``; the id of an entry on Redis.
        partition: move only this partition.
    """

    edge: Literal["beginning", "end"] | None = None
    time: float | None = None
    offset: str | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One position that changes.

    Attributes:
        topic: its topic.
        partition: its partition; None if the broker has none.
        now: the position as the broker has it; None if the group has none yet.
        to: the new position.
        change: how many messages are skipped; negative for messages that come again; None if the broker cannot tell.
    """

    topic: str
    partition: int | None
    now: str | None
    to: str
    change: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekPlan:
    """What a seek changes.

    Attributes:
        moves: all positions, also those that stay what they are.
        members: how many members of the group are active.
        while_active: whether the broker moves a group that has active members.
        notes: what stays as it is, in sentences for whoever decides.
    """

    moves: Sequence[Move]
    members: int
    while_active: bool
    notes: Sequence[str] = ()


@runtime_checkable
class Seekable(Protocol):
    """What an adapter can also do if its broker keeps a position for each group."""

    async def plan_seek(self, topics: Sequence[str], group: str, to: SeekTo) -> SeekPlan:
        """Return what `seek` would change. It changes nothing.

        Raises:
            ConfigError: there is no such position.
            NotFound: a topic or the group does not exist.
            AccessDenied: the broker refuses to tell.
            ConnectionLost: the broker did not answer.
        """
        ...

    async def seek(self, group: str, plan: SeekPlan) -> None:
        """Carry out a plan.

        Raises:
            AccessDenied: the broker refuses.
            ConnectionLost: the broker did not answer; some positions may have changed.
            BrokerkitError: the broker does not move a group that has members by now.
        """
        ...
