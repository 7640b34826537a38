"""How new entries of streams are read: with a blocked command on one server, with news of the keys on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from redis.exceptions import ResponseError

from brokerkit.adapters.api import Delivery
from brokerkit.adapters.redis._client import Client, Command, ServerClient
from brokerkit.adapters.redis._cluster import ClusterClient
from brokerkit.adapters.redis._errors import code_of
from brokerkit.adapters.redis._stream import FIRST, Stream
from brokerkit.adapters.redis._watch import Spread, Taken

BLOCK: Final = 1.0
"""Seconds that one read waits: the most by which a retry parked by another member can be late."""

Take = Callable[[Stream, list[Any]], list[Delivery]]
"""Makes deliveries of entries, which are held from then on."""


class StreamReader(Protocol):
    """Reads what no member of a group has got yet."""

    @property
    def connected(self) -> bool:
        """Whether it can read."""
        ...

    async def connect(self) -> None:
        """Be ready to read, on new connections where the old ones may be broken."""
        ...

    def look_again(self) -> None:
        """Look at all streams at the next `read`."""
        ...

    async def read(self, limit: int, block: float) -> list[Delivery]:
        """Up to ``limit`` new entries; wait for up to ``block`` seconds for the first."""
        ...

    async def stop(self) -> None:
        """Have `read` return, now and from now on."""
        ...

    async def close(self) -> None:
        """Free everything."""
        ...


def reader_of(
    client: Client,
    streams: Sequence[Stream],
    member: Command,
    *,
    take: Take,
    release: Callable[[list[Delivery]], Awaitable[object]],
) -> StreamReader:
    """The reader that suits a client.

    Args:
        client: the client.
        streams: what is read.
        member: ``GROUP``, the group and the consumer.
        take: see `Take`.
        release: gives back what was read in excess.
    """
    if isinstance(client, ClusterClient):
        return _SpreadReader(client, streams, member, take)
    assert isinstance(client, ServerClient)
    return _BlockingReader(client, streams, member, take, release)


class _BlockingReader:
    """One blocked command for all streams."""

    def __init__(
        self,
        client: ServerClient,
        streams: Sequence[Stream],
        member: Command,
        take: Take,
        release: Callable[[list[Delivery]], Awaitable[object]],
    ) -> None:
        self._client = client
        self._line = client.line(BLOCK, streams[0].key)
        self._streams = list(streams)
        self._by_key = {stream.key: stream for stream in streams}
        self._member = member
        self._take = take
        self._release = release
        self._turn = 0
        self._silent = 0
        self._stopping = False

    @property
    def connected(self) -> bool:
        return self._line.connected

    async def connect(self) -> None:
        async with asyncio.timeout(self._client.connect_timeout):
            await self._line.connect()

    def look_again(self) -> None: ...

    async def read(self, limit: int, block: float) -> list[Delivery]:
        streams = self._streams
        if len(streams) <= limit:
            return await self._read(streams, limit // len(streams), block)
        # COUNT is for each stream: with fewer free slots than streams they take turns, until none has anything.
        while self._silent < len(streams):
            part = (streams[self._turn :] + streams[: self._turn])[:limit]
            self._turn = (self._turn + limit) % len(streams)
            self._silent += limit
            if got := await self._read(part, 1, None):
                return await self._read_on(got, limit)
        got = await self._read(streams, 1, block)
        if len(got) > limit:  # so many streams that were silent got something in this moment
            await self._release(got[limit:])
        return await self._read_on(got[:limit], limit)

    async def _read_on(self, got: list[Delivery], limit: int) -> list[Delivery]:
        """Read more of those of many streams that have something."""
        if not got:
            return got
        self._silent = 0
        streams = list(dict.fromkeys(delivery.token[0] for delivery in got))
        each = (limit - len(got)) // len(streams)
        return got + await self._read(streams, each, None) if each else got

    async def _read(self, streams: list[Stream], count: int, block: float | None) -> list[Delivery]:
        """Read what is new, at most ``count`` entries of each stream, and wait for up to ``block`` seconds, if at all."""
        if self._stopping:
            return []
        waiting = () if block is None else ("BLOCK", max(1, round(block * 1000)))
        answer = await self._line.call(
            *("XREADGROUP", *self._member, "COUNT", count, *waiting),
            *("STREAMS", *(stream.key for stream in streams), *((">",) * len(streams))),
        )
        got: list[Delivery] = []
        for key, entries in answer or ():
            taken = self._take(self._by_key[key], entries)
            got = got + taken if got else taken
        return got

    async def stop(self) -> None:
        self._stopping = True
        await self._client.unblock(self._line)

    async def close(self) -> None:
        await self._line.close()


class _SpreadReader:
    """One command for the streams of each slot, where there is something new."""

    connected = True

    def __init__(self, client: ClusterClient, streams: Sequence[Stream], member: Command, take: Take) -> None:
        self._client = client
        self._member = member
        self._take = take
        self._spread = Spread(client, {stream.key: stream for stream in streams}, look="XLEN", take=self._take_new)
        self._error: Exception | None = None

    async def connect(self) -> None:
        self.look_again()

    def look_again(self) -> None:
        self._spread.look_again()

    async def read(self, limit: int, block: float) -> list[Delivery]:
        self._error = None
        got = await self._spread.read(limit, block)
        if self._error is not None and not got:
            # Messages of other servers are handled. If there are none, report that a server is away.
            raise self._error
        return got

    async def _take_new(self, streams: list[Stream], count: int) -> Taken[Delivery]:
        slots: dict[int, list[Stream]] = {}
        taken = Taken[Delivery]()
        for stream in streams:
            if stream.history is None:
                slots.setdefault(self._client.slot(stream.key), []).append(stream)
            else:  # What was read when a connection broke comes first.
                taken.failed.add(stream.key)
        await self._read(list(slots.values()), count, taken)
        return taken

    async def _read(self, parts: list[list[Stream]], count: int, taken: Taken[Delivery]) -> None:
        answers = await self._client.pipeline([self._command(part, count) for part in parts])
        split: list[list[Stream]] = []
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, Exception):
                if code_of(answer) == "TRYAGAIN" and len(part) > 1:
                    split += [[stream] for stream in part]  # some have moved to another server, some have not yet
                else:
                    self._note(answer, part, taken)
                continue
            by_key = {stream.key: stream for stream in part}
            for key, entries in answer or ():
                taken.got += self._take(by_key[key], entries)
                taken.more.add(key)
        if split:
            await self._read(split, count, taken)

    def _command(self, part: list[Stream], count: int) -> Command:
        keys = [stream.key for stream in part]
        return ("XREADGROUP", *self._member, "COUNT", count, "STREAMS", *keys, *((">",) * len(keys)))

    def _note(self, error: Exception, part: list[Stream], taken: Taken[Delivery]) -> None:
        self._error = error
        for stream in part:
            taken.failed.add(stream.key)
            if not isinstance(error, ResponseError):
                # What the server had sent, if anything, is pending with us and unseen.
                stream.history = FIRST

    async def stop(self) -> None:
        self._spread.stop()

    async def close(self) -> None:
        await self._spread.close()
