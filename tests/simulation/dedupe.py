"""Handlers that run once for each message: their store is slow, refuses statements and loses answers, and processes die."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from brokerkit import Message
from brokerkit._consuming._idempotent import IdempotentHandler, Postponed
from brokerkit._errors import ConnectionLost
from brokerkit._handlers._handlers import Handler
from brokerkit.dedupe._dedupe import Dedupe
from tests.simulation.loop import LIFE, Endless, Life, SimulatedLoop, simulated
from tests.simulation.store import SimulatedStore
from tests.simulation.world import Outcome

_LEASE: Final = 6.0
_TIMEOUT: Final = 20.0
_REDELIVERY: Final = 5.0
"""Seconds after which another process gets what a dead one had."""
_LONGEST: Final = 2_000.0


@dataclass(frozen=True, slots=True)
class DedupePlan:
    """A simulation of one handler that runs once for each message.

    Attributes:
        seed: decides everything else that happens.
        disorder: how far the order of wake-ups is from the usual one.
        transactional: whether what the handler does is part of a transaction of the store.
        lives: how many processes there are.
        deliveries: when each delivery comes, and of which message; most messages come several times.
        away: from when until when the store refuses statements and loses answers.
        deaths: when a process dies, which, and after how many more callbacks.
        trouble: how often, between 0 and 1, an attempt fails or is cancelled.
    """

    seed: str
    disorder: float
    transactional: bool
    lives: int
    deliveries: tuple[tuple[float, int], ...]
    away: tuple[tuple[float, float], ...]
    deaths: tuple[tuple[float, int, int], ...]
    trouble: float


def dedupe_plan_of(seed: str) -> DedupePlan:
    """The plan of a seed."""
    rng = random.Random(f"dedupe {seed}")
    lives = rng.choice([1, 2, 2, 3])
    away = [round(rng.uniform(0.0, 20.0), 3) for _ in range(rng.choice([0, 0, 1, 2]))]
    return DedupePlan(
        seed=seed,
        disorder=rng.choice([0.0, 0.2, 0.6]),
        transactional=rng.random() < 0.5,
        lives=lives,
        deliveries=tuple(
            (round(rng.uniform(0.0, rng.choice([0.3, 20.0])), 3), number)
            for number in range(rng.choice([1, 2, 5]))
            for _ in range(rng.choice([1, 2, 3]))
        ),
        away=tuple((begin, begin + rng.choice([0.5, 3.0, 12.0])) for begin in away),
        deaths=tuple(
            (round(rng.uniform(0.0, 20.0), 3), rng.randrange(lives), rng.randrange(40))
            for _ in range(rng.choice([0, 0, 1, 3]))
        ),
        trouble=rng.choice([0.0, 0.2, 0.5]),
    )


class Failure(Exception):
    """What the handler raises."""


class _Process(Life):
    """A process with the handler.

    Attributes:
        over: set when it is dead.
    """

    def __init__(self, number: int, world: _World) -> None:
        super().__init__(number, world.loop)
        self.over = asyncio.Event()
        handler = Handler(
            function=world.run,
            name="handler",
            events=("*",),
            is_async=True,
            takes_message=True,
            retry=None,
            timeout=None,
            source=None,
        )
        dedupe = Dedupe(world.store, key=str, lease=_LEASE)
        self.handler = IdempotentHandler(handler, dedupe, scope="scope", timeout=_TIMEOUT)
        self.keeping = world.start(self, self.handler.keep())


@dataclass
class _World:
    plan: DedupePlan
    loop: SimulatedLoop
    rng: random.Random
    processes: list[_Process] = field(default_factory=list[_Process])
    effects: Counter[int] = field(default_factory=Counter[int])
    wrong: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.store = SimulatedStore(
            self.loop, self.rng, self.plan.away, self.blame, transactional=self.plan.transactional
        )
        self.processes = [_Process(number, self) for number in range(self.plan.lives)]

    def blame(self, what: str) -> None:
        self.loop.trace(f"WRONG: {what}")
        self.wrong.append(f"{self.loop.time():.3f} s: {what}")

    def start(self, process: Life, coroutine: Any) -> asyncio.Task[Any]:
        """Begin something in a process."""
        token = LIFE.set(process)
        task = self.loop.create_task(coroutine)
        LIFE.reset(token)
        return task

    # ---- the handler -----------------------------------------------------------------------------------------

    async def run(self, number: int, message: Message) -> None:
        """What the handler does in one attempt."""
        life = LIFE.get()
        assert life is not None
        self.loop.trace(f"begin {number} in {life.number}")
        self.store.check_begin(str(number))
        await asyncio.sleep(self.rng.choice([0.0, 0.01, 1.0, 5.0, 15.0]))
        if self.rng.random() < self.plan.trouble / 2:
            self.loop.trace(f"fail {number}")
            raise Failure
        self.loop.trace(f"effect {number}")
        if self.plan.transactional:
            message.session.append(number)  # type: ignore[attr-defined]
        else:
            self.effects[number] += 1
            self.store.note_effect(str(number))

    async def attempt(self, process: _Process, number: int) -> None:
        """Handle a message in a process until that says that it is done, as the core does."""
        message = Message("name", b"", id=str(number))
        while True:
            try:
                async with asyncio.timeout(
                    self.rng.uniform(0.0, _TIMEOUT) if self.rng.random() < self.plan.trouble else None
                ):
                    ran = await process.handler(number, message, self.run)
            except Postponed as error:
                await asyncio.sleep(error.wait)
            except (Failure, ConnectionLost, TimeoutError) as error:
                self.loop.trace(f"{type(error).__name__} {number}")
                self.store.check_given_back(str(number))
                await asyncio.sleep(0.5)
            else:
                self.loop.trace(f"acknowledge {number}: {ran}")
                self.store.check_done(str(number))
                return

    # ---- the world -------------------------------------------------------------------------------------------

    async def deliver(self, at: float, number: int) -> None:
        """Give a message to one process after another until one has acknowledged it."""
        await asyncio.sleep(at)
        while True:
            process = self.rng.choice(self.processes)
            task = self.start(process, self.attempt(process, number))
            over = self.loop.create_task(process.over.wait())
            await asyncio.wait([task, over], return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            if task.done():
                task.result()
                return
            await asyncio.sleep(_REDELIVERY)

    def die(self, number: int) -> None:
        """End a process at this point, and start it anew."""
        process = self.processes[number]
        self.loop.trace(f"kill {number}")
        process.dead = True
        self.store.died(process)
        process.over.set()
        self.processes[number] = _Process(number, self)

    def befall(self, number: int, steps: int) -> None:
        """Have a process die, some callbacks from now."""
        step = self.loop.steps + 1 + steps
        while step in self.loop.alarms:
            step += 1
        self.loop.alarms[step] = lambda: self.die(number)

    async def run_all(self) -> None:
        """Let everything happen, and wait until it is over."""
        for at, number, steps in self.plan.deaths:
            self.loop.call_at(at, self.befall, number, steps)
        deliveries = [self.loop.create_task(self.deliver(at, number)) for at, number in self.plan.deliveries]
        done, left = await asyncio.wait(deliveries, timeout=_LONGEST)
        for each in done:
            each.result()
        if left:
            self.blame(f"{len(left)} deliveries are never done with")
        for process in self.processes:
            process.keeping.cancel()
        effects = self.store.effects if self.plan.transactional else self.effects
        for number in {number for _, number in self.plan.deliveries}:
            most = 1 if self.plan.transactional else 1 + self.store.excuses[str(number)]
            if not 1 <= effects[number] <= most:
                self.blame(f"message {number} has had its effect {effects[number]} times, and {most} at most should be")


def simulate_dedupe(plan: DedupePlan, *, lines: bool = False) -> Outcome:
    """Run a plan, and return what came of it."""
    with simulated(plan.seed, plan.disorder) as loop:
        loop.lines = [] if lines else None
        asyncio._set_running_loop(loop)  # what is made before the first callback belongs to it too
        world = _World(plan, loop, random.Random(f"dedupe world {plan.seed}"))
        asyncio._set_running_loop(None)
        try:
            loop.run_until_complete(world.run_all())
        except Endless as error:
            world.blame(f"no end: {error}")
        return Outcome((*world.wrong, *loop.faults), loop.hash, loop.steps, tuple(loop.lines or ()))
