"""``brokerkit seek``: move a group to another position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from brokerkit import BrokerkitError, Bus, ConfigError, UnsupportedFeature
from brokerkit._config._settings import SourceSettings
from brokerkit._preflight import refuse_missing_group
from brokerkit.adapters.api import Move, Seekable, SeekPlan, SeekTo
from brokerkit.cli._browsing import connected, run_until_interrupted
from brokerkit.cli._output import Table, UsageError, say_aside, say_json
from brokerkit.cli._target import bus_or_url

Names = Annotated[list[str] | None, Parameter(negative="")]

_ALTERNATIVE: Final = (
    "it forgets a message that is acknowledged. What failed comes again with 'brokerkit dlq replay', "
    "what was recorded with 'brokerkit replay'"
)
_ALTERNATIVES: Final = {
    "Kafka (share group)": "stop the members, and use Kafka's kafka-share-groups.sh --reset-offsets",
    "ThrillConnect's WebSocket": "it sends an event once, to those who are connected",
    "RabbitMQ": "a queue forgets a message that is acknowledged; a stream can be read from its beginning by another group. "
    "What failed comes again with 'brokerkit dlq replay', what was recorded with 'brokerkit replay'",
    "Redis Pub/Sub": "it sends a message once, to those who are connected",
}
"""By the name of the broker, where `_ALTERNATIVE` does not fit."""


def seek(
    bus: str | None = None,
    /,
    *,
    to: Literal["beginning", "end"] | None = None,
    time: datetime | None = None,
    offset: str | None = None,
    partition: int | None = None,
    source: str | None = None,
    config: Path | None = None,
    topic: Names = None,
    group: str | None = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    while_active: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Move a group to another position of its topics, on Kafka and Redis Streams. Without `--yes`, only show what changes.

    Messages behind the new position come again, and are handled again; messages before it are skipped.

    Args:
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        to: the `beginning` of what the broker still has, or the `end` that there is now.
        time: the first message of this time or later, such as `2026-11-30T12:00+01:00`; without an offset it is local time.
        offset: this message: PARTITION@OFFSET, or an offset, on Kafka; the id of an entry on Redis.
        partition: move this partition alone.
        source: the source, if the bus has several.
        config: a configuration file.
        topic: the topic, with a URL; may be repeated.
        group: the group, with a URL.
        yes: move it.
        while_active: move it although the group has active members, where the broker does that.
        json: write one line of JSON for each position.
    """
    ways = [way for way in (to, time, offset) if way is not None]
    if len(ways) != 1:
        raise UsageError("say where to: give one of --to, --time and --offset")
    where = SeekTo(edge=to, time=None if time is None else time.timestamp(), offset=offset, partition=partition)
    given: dict[str, Any] = {"topic": topic, "group": group}
    found = bus_or_url(bus, config, {name: one for name, one in given.items() if one is not None})
    run_until_interrupted(_seek(found, source, where, yes=yes, while_active=while_active, json=json))


async def _seek(bus: Bus, source: str | None, to: SeekTo, *, yes: bool, while_active: bool, json: bool) -> None:
    name = bus.runtime.source_name(source)
    settings = bus.runtime.settings.sources[name]
    topics, group = _positions(bus, name, settings)
    async with connected(settings) as adapter:
        assert isinstance(adapter, Seekable)  # another one of the same class
        plan = await adapter.plan_seek(topics, group, to)
        _show(plan.moves, group, json=json)
        for note in plan.notes:
            say_aside(f"note: {note}")
        if plan.members:
            _refuse_members(plan, group, yes=yes, while_active=while_active)
        if not yes:
            say_aside("nothing was moved; --yes moves it")
            return
        await adapter.seek(group, plan)
        say_aside(f"moved the group {group}")


def _positions(bus: Bus, name: str, settings: SourceSettings) -> tuple[Sequence[str], str]:
    """Return the topics and the group of a source that has positions.

    Raises:
        UnsupportedFeature: its broker, or its kind, keeps none.
    """
    adapter = bus.runtime.source_adapter(name)
    promises = bus.runtime.capabilities(name)
    if not isinstance(adapter, Seekable):
        raise UnsupportedFeature(
            broker=promises.broker,
            feature="moving a group",
            alternative=_ALTERNATIVES.get(promises.broker, _ALTERNATIVE),
        )
    if settings.queue:
        raise ConfigError(
            f"source {name!r} reads a queue, whose messages are gone when they are settled; seek is for topics"
        )
    if settings.broadcast:
        raise ConfigError(
            f"source {name!r} is a broadcast, whose group ends with its process; start= says where it begins"
        )
    refuse_missing_group(name, settings, promises, certain=True)
    assert settings.group is not None
    return settings.topic, settings.group


def _refuse_members(plan: SeekPlan, group: str, *, yes: bool, while_active: bool) -> None:
    """Refuse to move a group that is being read, unless that was asked for and works."""
    several = f"the group {group} has {plan.members} active member{'s' if plan.members > 1 else ''}"
    if not plan.while_active:
        advice = "stop them: this broker moves no group that has members"
    elif while_active:
        return
    else:
        advice = "stop them, or pass --while-active: what they have in hand is handled, and then they go on from there"
    if yes:
        raise BrokerkitError(f"{several}; {advice}. Nothing was moved")
    say_aside(f"warning: {several}; {advice}")


def _show(moves: Sequence[Move], group: str, *, json: bool) -> None:
    if json:
        for move in moves:
            say_json({"group": group, **asdict(move)})
        return
    with Table(
        "topic", "partition", "now", "then", "messages", right=["partition", "now", "then", "messages"]
    ) as table:
        for move in moves:
            partition = "" if move.partition is None else str(move.partition)
            table.row(move.topic, partition, move.now or "none", move.to, _change(move))


def _change(move: Move) -> str:
    if move.change is None:
        return "unknown" if move.now != move.to else "unchanged"
    if not move.change:
        return "unchanged"
    return f"{-move.change:,} again" if move.change < 0 else f"{move.change:,} skipped"
