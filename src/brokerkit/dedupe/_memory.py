"""A store in the memory of this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from brokerkit.dedupe._store import DONE, Claim, Done, Taken

_SWEEP: Final = 100
"""Expired keys that one claim removes at most, so that no claim takes long. More come due for no claim."""


@dataclass(slots=True, eq=False)
class _Entry:
    """What is known of one key; the event loop's time says when that ends."""

    owner: _MemoryClaim | None
    """None: done."""
    until: float


class MemoryStore:
    """Remembers in this process alone: for tests, and where a restart may forget what is done."""

    transactional: bool = False

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        # When each key may have expired, earliest first. An entry that was renewed has a later time here too.
        self._ends: list[tuple[float, str]] = []

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._entries)} keys>"

    async def open(self) -> None:
        """See `Store.open`: there is nothing to open."""

    async def close(self) -> None:
        """See `Store.close`: what is done stays done."""

    async def claim(self, key: str, *, lease: float, keep: float) -> Claim | Taken | Done:
        """See `Store.claim`."""
        now = asyncio.get_running_loop().time()
        self._sweep(now)
        if (entry := self.find(key)) is not None:
            return DONE if entry.owner is None else Taken(entry.until - now)
        claim = _MemoryClaim(self, key, lease, keep)
        self.set(key, claim, lease)
        return claim

    def _sweep(self, now: float) -> None:
        """Remove keys that have expired."""
        ends = self._ends
        for _ in range(_SWEEP):
            if not ends or ends[0][0] > now:
                return
            key = heappop(ends)[1]
            if (entry := self._entries.get(key)) is not None and entry.until <= now:
                del self._entries[key]

    def find(self, key: str) -> _Entry | None:
        """What is known of a key, unless that has expired."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry.until > asyncio.get_running_loop().time() else None

    def set(self, key: str, owner: _MemoryClaim | None, seconds: float) -> None:
        """Note who has a key for how long; None for done."""
        until = asyncio.get_running_loop().time() + seconds
        self._entries[key] = _Entry(owner, until)
        heappush(self._ends, (until, key))

    def remove(self, key: str) -> None:
        """Forget a key."""
        del self._entries[key]


class _MemoryClaim:
    __slots__ = ("_keep", "_key", "_lease", "_store")

    session: None = None

    def __init__(self, store: MemoryStore, key: str, lease: float, keep: float) -> None:
        self._store = store
        self._key = key
        self._lease = lease
        self._keep = keep

    async def extend(self) -> bool:
        entry = self._store.find(self._key)
        if entry is None or entry.owner is not self:
            return False
        self._store.set(self._key, self, self._lease)
        return True

    async def done(self) -> bool:
        entry = self._store.find(self._key)
        # A claim may have ended without another claim after it. The handler has run all the same, so the key is done.
        if entry is not None and entry.owner is not self:
            return False
        self._store.set(self._key, None, self._keep)
        return True

    async def release(self) -> None:
        entry = self._store.find(self._key)
        if entry is not None and entry.owner is self:
            self._store.remove(self._key)
