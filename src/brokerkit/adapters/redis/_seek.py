"""Moves the last delivered entry of consumer groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from redis.exceptions import ResponseError

from brokerkit.adapters.api import ConfigError, Move, NotFound, SeekPlan, SeekTo
from brokerkit.adapters.redis._client import Client
from brokerkit.adapters.redis._errors import translated
from brokerkit.adapters.redis._stream import by_name, missing_stream

_ACTIVE: Final = 30.0
"""Seconds within which a consumer that runs has sent some command: it reads, renews leases or looks for idle entries."""
_ID: Final = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
_LAST: Final = 2**64 - 1
"""The highest number of an entry of one millisecond."""
_NOTE: Final = "retries that wait stay there, and come when they are due"


async def plan_ids(client: Client, topics: Sequence[str], group: str, to: SeekTo) -> SeekPlan:
    """See `Seekable.plan_seek`."""
    if to.partition is not None:
        raise ConfigError("a Redis stream has no partitions")
    moves, pending, active = list[Move](), 0, set[bytes]()
    for topic in topics:
        with translated(client.where, f"asking for the groups of {topic!r}"):
            if await client.call("TYPE", topic) != b"stream":
                raise missing_stream(client, topic)
            found = [by_name(each) for each in await client.call("XINFO", "GROUPS", topic)]
            ours = [each for each in found if each[b"name"] == group.encode()]
            if not ours:
                names = ", ".join(sorted(each[b"name"].decode(errors="backslashreplace") for each in found)) or "none"
                raise NotFound(f"{client.where}: the stream {topic!r} has no group {group!r}; its groups: {names}")
            consumers = [by_name(each) for each in await client.call("XINFO", "CONSUMERS", topic, group)]
            newest = by_name(await client.call("XINFO", "STREAM", topic))[b"last-generated-id"].decode()
        pending += ours[0][b"pending"]
        active |= {each[b"name"] for each in consumers if each[b"idle"] < 1000 * _ACTIVE}
        now = ours[0][b"last-delivered-id"].decode()
        moves.append(Move(topic=topic, partition=None, now=now, to=_target(to, newest), change=None))
    notes = [_NOTE]
    if pending:
        notes.append(f"{pending} entries were delivered and are not acknowledged: they come again in any case")
    return SeekPlan(moves=moves, members=len(active), while_active=True, notes=notes)


async def move_ids(client: Client, group: str, plan: SeekPlan) -> None:
    """See `Seekable.seek`."""
    for move in plan.moves:
        with translated(client.where, f"moving the group {group!r} of {move.topic!r}"):
            try:
                await client.call("XGROUP", "SETID", move.topic, group, move.to)
            except ResponseError as error:
                if "NOGROUP" in str(error) or "requires the key to exist" in str(error):
                    raise NotFound(f"{client.where}: {error}") from error
                raise


def _target(to: SeekTo, newest: str) -> str:
    """Return the id of the last entry that is not to come. It is never above the newest: what follows is not skipped."""
    if to.edge is not None:
        return "0-0" if to.edge == "beginning" else newest
    if to.time is not None:
        return _text(min(_before(max(round(to.time * 1000), 0), 0), _parts(newest)))
    wanted = _parts(to.offset or "")
    if wanted > _parts(newest):
        raise ConfigError(f"the newest entry is {newest}, and {to.offset} is above it")
    return _text(_before(*wanted))


def _parts(text: str) -> tuple[int, int]:
    found = _ID.fullmatch(text)
    if found is None:
        raise ConfigError(f"a position of a Redis stream is the id of an entry, such as 1796093425000-0, not {text!r}")
    return int(found[1]), int(found[2] or 0)


def _before(milliseconds: int, number: int) -> tuple[int, int]:
    """Return the highest id below this one; the lowest of all has none."""
    if number:
        return milliseconds, number - 1
    return (milliseconds - 1, _LAST) if milliseconds else (0, 0)


def _text(parts: tuple[int, int]) -> str:
    return "-".join(map(str, parts))
