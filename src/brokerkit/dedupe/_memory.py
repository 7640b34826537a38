"""A store in the memory of this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from brokerkit.dedupe._store import DONE, Done, Taken

_SWEEP: Final = 10_000
"""How many new keys are worth a look at which old ones have expired."""


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
        self._sweep_at = _SWEEP

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._entries)} keys>"

    async def open(self) -> None:
        """See `Store.open`: there is nothing to open."""

    async def close(self) -> None:
        """See `Store.close`: what is done stays done."""

    async def claim(self, key: str, *, lease: float, keep: float) -> _MemoryClaim | Taken | Done:
        """See `Store.claim`."""
        now = asyncio.get_running_loop().time()
        if (entry := self.find(key)) is not None:
            return DONE if entry.owner is None else Taken(entry.until - now)
        claim = _MemoryClaim(self, key, lease, keep)
        self._entries[key] = _Entry(claim, now + lease)
        if len(self._entries) >= self._sweep_at:
            self._entries = {name: one for name, one in self._entries.items() if one.until > now}
            self._sweep_at = len(self._entries) + _SWEEP
        return claim

    def find(self, key: str) -> _Entry | None:
        """What is known of a key, unless that has expired."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry.until > asyncio.get_running_loop().time() else None

    def set(self, key: str, owner: _MemoryClaim | None, seconds: float) -> None:
        """Note who has a key for how long; None for done."""
        self._entries[key] = _Entry(owner, asyncio.get_running_loop().time() + seconds)

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
        # A claim that ended and that nobody took over is no hindrance: the handler has run, and that is the truth.
        if entry is not None and entry.owner is not self:
            return False
        self._store.set(self._key, None, self._keep)
        return True

    async def release(self) -> None:
        entry = self._store.find(self._key)
        if entry is not None and entry.owner is self:
            self._store.remove(self._key)
