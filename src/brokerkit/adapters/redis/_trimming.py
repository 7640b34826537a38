"""Keeping a stream small: what every group has settled leaves it from the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, cast

from redis.exceptions import ResponseError

from brokerkit.adapters.api import ConfigError, Subscription, Url, get_logger
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._client import Client, ask_parts, in_slots
from brokerkit.adapters.redis._errors import is_denied
from brokerkit.adapters.redis._stream import Stream

logger = get_logger(__name__)

KEEP: Final = 100_000
"""Settled entries that stay in a stream of ours, for a look and for a group that is made later."""

FIRST: Final = 60.0
"""Seconds for which a source trims nothing: groups of other programs that start together with it are made meanwhile."""

EVERY: Final = 5.0
"""Seconds between two looks at what can be trimmed."""

AT_ONCE: Final = 10_000
"""Entries that one look removes at most. It holds up the server for about a millisecond."""

Kept = int | Literal["all"] | None
"""The option ``keep_settled``: how many settled entries stay; None to trim `KEEP` where the stream is ours."""


def kept_of(url: Url, value: object) -> Kept:
    """Check the option ``keep_settled``.

    Raises:
        ConfigError: it is neither a whole number nor ``all``.
    """
    if value is None:
        return None
    if value == "all":
        return "all"
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"{url}: the option 'keep_settled' must be a whole number, 0 or more, or \"all\"")
    return int(text)


def trimming_of(client: Client, streams: Sequence[Stream], subscription: Subscription, kept: Kept) -> Trimming | None:
    """Return what trims the topics of a source, or None where nothing may be trimmed.

    A queue holds dead letters, which stay until somebody removes them. A source that does not begin at the first entry has
    not handled what was before: another group may still be made for that.
    """
    if kept == "all" or subscription.is_queue or subscription.broadcast:
        return None
    if kept is None:
        if subscription.provision != "all" or subscription.start != "earliest":
            return None
        kept = KEEP
    return Trimming(client, streams, subscription.group or "", kept)


def _key(stream: Stream) -> bytes:
    return stream.key


class Trimming:
    """Removes what every group has settled, except the latest entries.

    Args:
        client: to the server, or to the cluster.
        streams: the topics of one source.
        group: of that source.
        kept: how many entries stay at least.
    """

    def __init__(self, client: Client, streams: Sequence[Stream], group: str, kept: int) -> None:
        self._client = client
        self._group = group
        self._kept = kept
        self._parts = in_slots(client, streams, _key)
        self._told = set[tuple[str, bytes]]()
        self._at: float | None = None

    async def turn(self, now: float) -> None:
        """Trim, if it is time for that.

        Args:
            now: the time of the event loop, in seconds.
        """
        if self._at is None:
            self._at = now + FIRST
        if now < self._at:
            return
        self._at = now + EVERY
        parts = [(part, [stream.key for stream in part], [self._kept, AT_ONCE]) for part in self._parts]
        try:
            looks = await ask_parts(self._client, scripts.TRIM, parts)
        except ResponseError as error:
            if not is_denied(error):
                raise
            self._at = math.inf
            logger.info("%s: this user trims no stream: %s", self._client.where, error)
            return
        for part, (removed, kept_back) in looks:
            if removed > AT_ONCE // 2:
                self._at = now  # there is more
            for index, group, length in cast("list[tuple[int, bytes, int]]", kept_back):
                self._tell(part[index], group, length)

    def _tell(self, stream: Stream, group: bytes, length: int) -> None:
        # Our own backlog is no surprise, and somebody else's is none while it is short.
        if group == self._group.encode() or length - self._kept < max(self._kept, AT_ONCE):
            return
        if (stream.name, group) not in self._told:
            self._told.add((stream.name, group))
            logger.warning(
                "%s: the stream %s has %d entries and is not trimmed, because the group %s has not settled the first; "
                "if nobody reads as that group any more, destroy it: XGROUP DESTROY %s %s",
                *(self._client.where, stream.name, length, group.decode(errors="backslashreplace")),
                *(stream.name, group.decode(errors="backslashreplace")),
            )
