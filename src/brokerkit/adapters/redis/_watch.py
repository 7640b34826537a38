"""News of many keys of a cluster, without a blocked command for each.

A command that blocks can wait for keys of one slot alone, and holds its connection meanwhile. So nothing blocks on a
cluster. Each server is asked to tell when a key changes (CLIENT TRACKING, from Redis 6 on): one connection reads the length
of each key, which makes the server remember it, and another one is told of the next change, once. A server that refuses
this is asked again and again, `POLL`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from redis.exceptions import ClusterDownError, RedisError, ResponseError

from brokerkit.adapters.api import get_logger, start, wait_for_event
from brokerkit.adapters.redis._client import Line
from brokerkit.adapters.redis._cluster import AWAY, Address, ClusterClient
from brokerkit.adapters.redis._errors import is_transient

logger = get_logger(__name__)

T = TypeVar("T")
M = TypeVar("M")

POLL: Final = 0.2
"""Seconds between two looks at keys of which no server tells."""

RECHECK: Final = 5.0
"""Seconds between two looks at all keys: the most that lost news cost."""

_CHANNEL: Final = "__redis__:invalidate"


class _Ear:
    """Two connections to one server: over one the keys are read, over the other their changes are told."""

    __slots__ = ("armed", "asks", "listens", "task")

    def __init__(self, asks: Line, listens: Line) -> None:
        self.asks = asks
        self.listens = listens
        self.armed: set[bytes] = set()
        self.task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.listens.connect()
        await self.listens.write("SUBSCRIBE", _CHANNEL)
        await self.listens.read()
        await self.asks.connect()
        await self.asks.call("CLIENT", "TRACKING", "ON", "REDIRECT", self.listens.id)

    async def hang_up(self) -> None:
        await self.asks.close()
        await self.listens.close()

    async def close(self) -> None:
        if self.task is None:
            await self.hang_up()
        else:  # which hangs up
            self.task.cancel()
            await asyncio.wait([self.task])


class KeyWatch:
    """Tells that keys have changed.

    Args:
        client: the cluster.
        look: the command that reads a key and changes nothing, such as XLEN.
    """

    def __init__(self, client: ClusterClient, look: str) -> None:
        self._client = client
        self._look = look
        self._ears: dict[Address, _Ear] = {}
        self._deaf: dict[Address, float] = {}
        self._changed: set[bytes] = set()
        self._news = asyncio.Event()
        self._version = client.map.version
        self._refused = False

    def has(self, key: bytes) -> bool:
        """Whether the next change of a key will be told."""
        return any(key in ear.armed for ear in self._ears.values())

    async def arm(self, keys: Iterable[bytes]) -> None:
        """Be told of the next change of each of these keys, where the servers do that."""
        if self._refused:
            return
        by_server: dict[Address, list[bytes]] = {}
        for key in keys:
            with suppress(ClusterDownError):
                by_server.setdefault(self._client.map.owner(self._client.slot(key)), []).append(key)
        await asyncio.gather(*(self._arm_at(address, found) for address, found in by_server.items()))

    async def _arm_at(self, address: Address, keys: Sequence[bytes]) -> None:
        ear = self._ears.get(address)
        try:
            if ear is None and (ear := await self._listen(address)) is None:
                return
            # What changes from here on is told; it must not be forgotten again below.
            ear.armed.update(keys)
            answers = await ear.asks.pipeline([(self._look, key) for key in keys])
        except (RedisError, OSError) as error:
            await self._give_up(address, error)
            return
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, BaseException):
                ear.armed.discard(key)  # the slot has moved, or moves
                if not isinstance(answer, ResponseError):
                    await self._give_up(address, answer)

    async def _listen(self, address: Address) -> _Ear | None:
        """Begin to listen to a server; None if it was away a moment ago."""
        if asyncio.get_running_loop().time() < self._deaf.get(address, 0.0):
            return None
        ear = _Ear(self._client.line_to(address), self._client.line_to(address))
        try:
            async with asyncio.timeout(self._client.connect_timeout):
                await ear.connect()
        except BaseException:
            await ear.close()
            raise
        self._ears[address] = ear
        ear.task = start(self._hear(address, ear), lambda error: self._lose(ear), name="brokerkit-redis-watch")
        return ear

    async def _hear(self, address: Address, ear: _Ear) -> None:
        try:
            while True:
                push = await ear.listens.read()
                # None stands for every key: the database was emptied.
                self._ring(ear, ear.armed.copy() if push[-1] is None else push[-1])
        except (RedisError, OSError) as error:
            logger.debug("%s: %s:%d does not tell of changes any more: %s", self._client.where, *address, error)
            self._lose(ear)
        finally:
            await ear.hang_up()

    def _ring(self, ear: _Ear, keys: Iterable[bytes]) -> None:
        for key in keys:
            ear.armed.discard(key)
            self._changed.add(key)
        self._news.set()

    def _lose(self, ear: _Ear) -> None:
        """Have the keys looked at of which nothing more is told."""
        for address, known in list(self._ears.items()):
            if known is ear:
                del self._ears[address]
        self._ring(ear, ear.armed.copy())

    async def _give_up(self, address: Address, error: BaseException) -> None:
        self._deaf[address] = asyncio.get_running_loop().time() + AWAY
        if (ear := self._ears.get(address)) is not None:
            self._lose(ear)
            await ear.close()
        if isinstance(error, ResponseError) and not is_transient(error):
            self._refused = True
            logger.info(
                "%s: the server does not tell of changes (%s); streams and lists are looked at every %g s",
                *(self._client.where, error, POLL),
            )

    def forget(self) -> None:
        """Watch no key any more, until it is armed again."""
        for ear in self._ears.values():
            ear.armed.clear()

    async def wait(self, seconds: float) -> set[bytes]:
        """Wait for a change or for `wake`, at most this many seconds. Return the keys that may have changed."""
        await wait_for_event(self._news, seconds)
        self._news.clear()
        if self._version != self._client.map.version:
            self._version = self._client.map.version
            self._follow()
        changed, self._changed = self._changed, set()
        return changed

    def _follow(self) -> None:
        """Have keys looked at whose slots are at another server now."""
        for address, ear in self._ears.items():
            moved = [key for key in ear.armed if self._client.map.known(self._client.slot(key)) != address]
            self._ring(ear, moved)
        self._news.clear()

    def wake(self) -> None:
        """End a `wait`."""
        self._news.set()

    async def close(self) -> None:
        """Listen no more."""
        ears, self._ears = list(self._ears.values()), {}
        for ear in ears:
            await ear.close()


@dataclass(slots=True)
class Taken(Generic[M]):
    """What a look at some keys has found.

    Attributes:
        got: new messages.
        more: keys that may have more.
        failed: keys that could not be looked at, or not yet.
    """

    got: list[M] = field(default_factory=list[M])
    more: set[bytes] = field(default_factory=set[bytes])
    failed: set[bytes] = field(default_factory=set[bytes])


Take = Callable[[list[T], int], Awaitable[Taken[M]]]
"""Takes up to this many new messages from each of some keys."""


class Spread(Generic[T, M]):
    """Takes what is new from keys in any slots: in turns, and without a look at those that have nothing new.

    Args:
        client: the cluster.
        items: what is read, by its key.
        look: see `KeyWatch`.
        take: see `Take`.
    """

    def __init__(self, client: ClusterClient, items: dict[bytes, T], *, look: str, take: Take[T, M]) -> None:
        self._items = items
        self._take = take
        self._watch = KeyWatch(client, look)
        self._dirty = dict.fromkeys(items)
        self._unwatched: dict[bytes, None] = {}
        self._recheck_at = 0.0
        self._stopping = False

    def look_again(self) -> None:
        """Look at all keys at the next `read`."""
        self._dirty = dict.fromkeys(self._items)

    async def read(self, limit: int, block: float) -> list[M]:
        """Up to ``limit`` new messages; wait for up to ``block`` seconds for the first."""
        if (now := asyncio.get_running_loop().time()) >= self._recheck_at:
            self._recheck_at = now + RECHECK
            # A server that has lost the connection on which it was asked tells nothing, and does not say so.
            self._watch.forget()
            self.look_again()
        got = await self._take_dirty(limit)
        if not got and self._unwatched:
            await self._watch.arm(self._unwatched)
            self._look_at_unwatched()  # for what came before
            got = await self._take_dirty(limit)
        if got or self._stopping:
            return got
        changed = await self._watch.wait(min(block, POLL) if self._unwatched else block)
        self._dirty.update(dict.fromkeys(key for key in changed if key in self._items))
        self._look_at_unwatched()
        return await self._take_dirty(limit)

    def _look_at_unwatched(self) -> None:
        self._dirty.update(self._unwatched)
        self._unwatched.clear()

    async def _take_dirty(self, limit: int) -> list[M]:
        while self._dirty and not self._stopping:
            keys = list(self._dirty)[:limit]
            taken = await self._take([self._items[key] for key in keys], max(1, limit // len(keys)))
            for key in keys:
                del self._dirty[key]
                if key in taken.more:
                    self._dirty[key] = None  # behind the others
                elif key in taken.failed or not self._watch.has(key):
                    self._unwatched[key] = None
            if taken.got:
                return taken.got
        return []

    def stop(self) -> None:
        """Have `read` return, now and from now on."""
        self._stopping = True
        self._watch.wake()

    async def close(self) -> None:
        """Free everything."""
        await self._watch.close()
