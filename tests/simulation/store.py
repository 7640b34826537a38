"""A simulated store of what handlers have done. Its connection is slow, refuses statements, and loses answers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from brokerkit._errors import ConnectionLost
from brokerkit.dedupe._store import DONE, Claim, Done, Taken
from tests.simulation.loop import LIFE, Life, SimulatedLoop, outside

_NOTICED = 1.0
"""Seconds after which the store notices that the process behind a transaction is gone."""
_MARGIN = 2.5
"""Seconds that an extension may take on its way."""


class SimulatedStore:
    """A store that all processes share.

    Args:
        away: from when until when it is hard to reach.
        blame: called with what must not have happened.
        transactional: whether a claim is a transaction, which ends with its connection, and not a lease.

    Attributes:
        effects: for each message, how often what its handler did was committed.
        excuses: for each key, how often a handler may have run once more.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        rng: random.Random,
        away: Sequence[tuple[float, float]],
        blame: Callable[[str], None],
        *,
        transactional: bool,
    ) -> None:
        self.loop = loop
        self.rng = rng
        self.transactional = transactional
        self.effects: Counter[Any] = Counter()
        self.excuses: Counter[str] = Counter()
        self.owners: dict[str, SimulatedClaim] = {}
        self.done: set[str] = set()
        self.blame = blame
        self._away = away

    @property
    def is_away(self) -> bool:
        return any(begin <= self.loop.time() < end for begin, end in self._away)

    def was_away(self, since: float) -> bool:
        """Whether it was hard to reach at any time since then."""
        return any(begin <= self.loop.time() and end > since for begin, end in self._away)

    async def travel(self) -> None:
        """Take a statement to the store, or its answer back."""
        if self.rng.random() < 0.3:
            await asyncio.sleep(self.rng.choice([0.0, 0.001, 0.1, 0.4]))
        if self.is_away and self.rng.random() < 0.5:
            raise ConnectionLost("the simulated store is away")

    def excuse(self, key: str, why: str) -> None:
        """Note why a handler may run once more for a message."""
        self.loop.trace(f"excuse {key}: {why}")
        self.excuses[key] += 1

    def note_effect(self, key: str) -> None:
        """A handler has done its work, which only the mark will say: until then a death, a cancellation or the end of the
        claim has it done again.
        """
        claim = self.owners.get(key)
        if claim is None or claim.task is not asyncio.current_task():
            self.excuse(key, "its claim had ended")
        else:
            claim.has_effect = True

    # ---- what is checked -------------------------------------------------------------------------------------

    def check_begin(self, key: str) -> None:
        """A handler may only begin with a claim."""
        claim = self.owners.get(key)
        if key in self.done or claim is None or claim.task is not asyncio.current_task():
            self.blame(f"the handler begins with {key} without a claim on it")

    def check_given_back(self, key: str) -> None:
        """The attempt of this task has failed: its claim must not keep others away."""
        claim = self.owners.get(key)
        if claim is not None and claim.task is asyncio.current_task() and not claim.is_troubled:
            self.blame(f"the claim on {key} is kept although its attempt is over")

    def check_done(self, key: str) -> None:
        """A message is acknowledged."""
        if key not in self.done:
            self.blame(f"message {key} is acknowledged, and the store does not say that it is done")

    # ---- the store -------------------------------------------------------------------------------------------

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def claim(self, key: str, *, lease: float, keep: float) -> Claim | Taken | Done:
        key = key.rpartition(", ")[2].strip('"]')
        life = LIFE.get()
        assert life is not None
        await self.travel()
        if key in self.done:
            return DONE
        if (owner := self.owners.get(key)) is not None:
            return Taken(max(owner.until - self.loop.time(), 0.1))
        claim = self.owners[key] = SimulatedClaim(self, key, life, lease)
        self.loop.trace(f"claim {key} in {life.number}")
        try:
            await self.travel()
        except BaseException:
            claim.lose_connection()
            raise
        return claim

    def died(self, life: Life) -> None:
        """A process is dead, and its connections with it."""
        for claim in list(self.owners.values()):
            if claim.life is life:
                if claim.has_effect and not self.transactional:
                    self.excuse(claim.key, "its process died before the mark")
                claim.lose_connection()


class SimulatedClaim:
    """A claim: a lease, or a transaction.

    Attributes:
        task: the attempt that has it.
        until: when the lease ends.
        has_effect: the handler has done its work under it.
        is_troubled: the store refused a statement of it, or its answer was lost.
    """

    def __init__(self, store: SimulatedStore, key: str, life: Life, lease: float) -> None:
        self._store = store
        self._number = store.loop.count()
        self.key = key
        self.life = life
        self._lease = lease
        self.until = store.loop.time() + lease
        self.has_effect = False
        self.is_troubled = False
        self.task = asyncio.current_task()
        self.session: Any = [] if store.transactional else None
        if not store.transactional:
            self._look_later()

    def __hash__(self) -> int:
        return self._number  # so that its place in a set is the same in each run

    @property
    def _is_ours(self) -> bool:
        return self._store.owners.get(self.key) is self

    def _look_later(self) -> None:
        outside(self._store.loop.call_at, self.until, self._look)

    def _look(self) -> None:
        store = self._store
        if not self._is_ours:
            return
        if self.until > store.loop.time():
            self._look_later()
            return
        if not (self.life.dead or self.is_troubled or store.was_away(self.until - self._lease - _MARGIN)):
            store.blame(f"the claim on {self.key} has ended although its holder could have extended it")
        self._end("its lease ended")

    def _end(self, why: str) -> None:
        if self._is_ours:
            del self._store.owners[self.key]
            if not self._store.transactional:
                self._store.excuse(self.key, why)

    def lose_connection(self) -> None:
        """The connection is gone: a transaction is rolled back as soon as the store notices, and a lease stays."""
        self.is_troubled = True
        if self._store.transactional:
            outside(self._store.loop.call_later, _NOTICED, self._end, "its connection is gone")

    async def _state(self) -> None:
        try:
            await self._store.travel()
        except BaseException:
            self.lose_connection()
            raise

    async def extend(self) -> bool:
        await self._state()
        if not self._is_ours:
            return False
        self.until = self._store.loop.time() + self._lease
        await self._state()
        return True

    async def done(self) -> bool:
        store = self._store
        try:
            await self._state()
        except asyncio.CancelledError:
            if self._is_ours and not store.transactional:
                store.excuse(self.key, "its mark was cut short")
            raise
        if (self.key in store.done or self.key in store.owners or store.transactional) and not self._is_ours:
            return False
        store.loop.trace(f"done {self.key}")
        store.owners.pop(self.key, None)
        store.done.add(self.key)
        if store.transactional:
            store.effects.update(self.session)
        await self._state()
        return True

    async def release(self) -> None:
        store = self._store
        if self._is_ours and self.has_effect and not store.transactional:
            store.excuse(self.key, "it was given back after its handler")
        await self._state()
        if self._is_ours:
            store.loop.trace(f"release {self.key}")
            del store.owners[self.key]
        await self._state()
