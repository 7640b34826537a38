"""The simulated brokers of `tests.simulation`, as the members of a model see a broker."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal

from brokerkit.adapters.api import Adapter, Capabilities, Outgoing, Receipt
from tests.simulation.ledger import Account, Ledger
from tests.simulation.link import Link, SimulatedAdapter, checked
from tests.simulation.log_broker import LogBroker
from tests.simulation.loop import LIFE, Life, simulated
from tests.simulation.plan import Plan, Planned, Setup, plan_of
from tests.simulation.queue_broker import QueueBroker


class _Unheeded(Ledger):
    """A ledger for messages without handlers: the model looks after them."""

    def __init__(self, plan: Plan, loop: Any) -> None:
        super().__init__(plan, loop)
        self.accounts = defaultdict(lambda: Account(Planned(0, 0.0, None, ())))

    def _nothing(self, *_: object) -> None: ...

    publish = received = given_back = acknowledge = acknowledge_offset = letter = died = _nothing


class SimulatedWorld:
    """A simulated broker that promises what a real one does.

    Args:
        promises: what it promises.
        seed: decides the rest.
    """

    topic = "deals"
    lease = 2.0
    drain = 5.0
    is_abrupt = True
    fetches_ahead = False
    bury: Literal["at once", "last", "never"] = "never"

    def __init__(self, promises: Capabilities, seed: str) -> None:
        self._rng = random.Random(seed)
        self._promises = replace(promises, lease=None if promises.lease is None else self.lease, browse="none")
        self._stack = ExitStack()
        setup = self._setup(seed)
        self._loop = self._stack.enter_context(simulated(seed, setup.disorder))
        ledger = _Unheeded(Plan(seed, setup, (), ()), self._loop)
        make = LogBroker if setup.kind == "log" else QueueBroker
        self.broker = make(setup, self._loop, ledger, self._rng)
        self._setup_ = setup
        self._lives: dict[int, Life] = {}
        self._links: dict[int, Link] = {}
        self._numbers = itertools.count()

    def _setup(self, seed: str) -> Setup:
        found = plan_of(seed).setup
        promises = self._promises
        return replace(
            found,
            kind="log" if promises.commits_offsets else "queue",
            promises=promises,
            fifo=promises.order == "group" and not promises.commits_offsets,
        )

    @property
    def promises(self) -> Capabilities:
        return self._promises

    def now(self) -> float:
        return self._loop.time()

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(coroutine)

    async def begin(self) -> None:
        """It exists."""

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[object]:
        for outgoing in batch:
            self.broker.put_in(outgoing)
            await asyncio.sleep(0)
        return [Receipt(outgoing.topic, outgoing.id) for outgoing in batch]

    async def connect(self, slot: int) -> Adapter:
        life = self._lives[slot] = Life(next(self._numbers), self._loop)
        self._links[slot] = Link(life, self._loop, self._setup_, self._rng)
        return checked(SimulatedAdapter(self.broker, self._links[slot]))

    async def cut(self, slot: int) -> None:
        self._lives[slot].dead = True
        self._links[slot].snap(0.0)
        self.broker.died(self._links[slot])

    def spawn(self, slot: int, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        token = LIFE.set(self._lives[slot])
        try:
            return self._loop.create_task(coroutine)
        finally:
            LIFE.reset(token)

    async def end(self) -> None:
        """It is gone with its loop."""

    def close(self) -> None:
        self._stack.close()
