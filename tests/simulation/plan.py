"""What happens in a simulation: broker, settings, messages and faults, all from a seed, as values that can be left out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from brokerkit import Rate
from brokerkit.adapters.api import Capabilities, Order

Kind = Literal["queue", "log"]
Act = Literal["ok", "fail", "retry", "reject", "hang", "kill"]
FaultKind = Literal[
    "die", "break", "refuse settlements", "lose answers", "refuse publishes", "lose receipts", "take away", "rebalance",
    "rebalance with notice", "duplicate", "stop", "freeze", "clock", "slow", "refuse extensions", "refuse marks",
]  # fmt: skip

HORIZON: Final = 60.0
"""Seconds in which messages come and faults happen. After them everything heals."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a handler does in one attempt.

    Attributes:
        act: how it ends.
        seconds: how long it takes.
        after: the wait that it asks for.
    """

    act: Act
    seconds: float
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A message.

    Attributes:
        number: its number, which is in its body.
        at: when it is published.
        key: its key.
        steps: for each handler, what it does in its attempts; after them all is well.
    """

    number: int
    at: float
    key: str | None
    steps: tuple[tuple[Step, ...], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        at: when.
        kind: what.
        life: which process.
        seconds: how long, or how far for a clock.
        steps: after so many more callbacks of the loop.
    """

    at: float
    kind: FaultKind
    life: int
    seconds: float
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A broker, and the settings of those who read it.

    Attributes:
        kind: a queue settles each message; a log keeps one offset for each partition.
        promises: what the broker says about itself.
        fifo: a queue gives the messages of a key to one reader at a time, in order.
        repeats: an acknowledgement that comes twice is no error.
        counts_returns: a message that was given back has one delivery more.
        returns_last: a message that was given back comes behind those that wait.
        tells_lease_end: a reader is told when a lease of its own has ended.
        waits_block: a message that a queue keeps for later keeps the others of its key waiting.
        pulls_back: with a message that goes back, a reader takes back from the core those behind it in its key, as that of
            SQS does for FIFO queues, where messages can be held for hours. So none passes another.
        copied: how many partitions a log has.
        lives: how many processes there are.
        handlers: how many handlers each message has.
        disorder: how far the order of wake-ups is from the usual one.
        haste: how often a call of the broker takes no time.
        rates: the rate limits of the source and of each handler; nothing if there are none.
    """

    kind: Kind
    promises: Capabilities
    fifo: bool
    repeats: bool
    counts_returns: bool
    returns_last: bool
    tells_lease_end: bool
    waits_block: bool
    pulls_back: bool
    partitions: int
    lives: int
    handlers: int
    disorder: float
    haste: float
    order: Order
    concurrency: int
    max_in_flight: int
    attempts: int
    first: float
    cap: float
    hold: float
    timeout: float
    stop_timeout: float
    max_deliveries: int | None
    rates: tuple[Rate | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole simulation."""

    seed: str
    setup: Setup
    messages: tuple[Planned, ...]
    faults: tuple[Fault, ...]


def _promises(rng: random.Random, kind: Kind, order: Order) -> tuple[Capabilities, bool]:
    if kind == "log":
        durable = rng.choice([0.0, 30.0, float("inf")])
        return Capabilities(
            broker="simulated log", order="group", durable_retry=durable, own_queues=True, commits_offsets=True,
            stable_id=True, default_provision="all", name_places=frozenset({"routing_key"}),
        ), False  # fmt: skip
    fifo = rng.random() < 0.3
    leased = rng.random() < 0.5
    return Capabilities(
        broker="simulated queue",
        order="group" if fifo else "process",
        attempts="deliveries" if rng.random() < 0.6 else "none",
        lease=15.0 if leased else None,
        max_hold=rng.choice([None, None, 20.0]) if order != "strict" else None,
        durable_retry=rng.choice([0.0, 30.0, float("inf"), float("inf")]),
        copies_retries=rng.random() < 0.5,
        own_queues=True,
        stable_id=rng.random() < 0.8,
        pollers=rng.choice([1, 1, 2, 3]),
        default_provision="all",
        name_places=frozenset({"routing_key"}),
    ), fifo


def _setup(rng: random.Random, seed: str) -> Setup:
    kind: Kind = "log" if rng.random() < 0.35 else "queue"
    order: Order = rng.choice(["key", "key", "strict", "none"])
    promises, fifo = _promises(rng, kind, order)
    choices = random.Random(f"choices {seed}")
    first = rng.choice([0.5, 1.0, 3.0])
    concurrency = rng.choice([1, 2, 3, 5])
    return Setup(
        kind=kind,
        promises=promises,
        fifo=fifo,
        repeats=rng.random() < 0.5,
        counts_returns=choices.random() < 0.5,
        returns_last=choices.random() < 0.4 and not fifo,
        tells_lease_end=choices.random() < 0.5,
        waits_block=(waits_block := choices.random() < 0.5 and not promises.copies_retries),
        pulls_back=fifo and waits_block and order != "none" and choices.random() < 0.7 and promises.max_hold is None,
        partitions=rng.randint(1, 3),
        lives=rng.choice([1, 1, 2, 2, 3, 4]),
        handlers=rng.choice([1, 1, 1, 2]),
        disorder=rng.choice([0.0, 0.0, 0.2, 0.6]),
        haste=rng.choice([0.95, 0.6, 0.3]),
        order=order,
        concurrency=concurrency,
        max_in_flight=rng.choice([1, 2, 4, 20]),
        attempts=rng.choice([1, 2, 3, 5]),
        first=first,
        cap=rng.choice([first, 8.0, 25.0]),
        hold=rng.choice([0.0, 2.0, 10.0]),
        timeout=rng.choice([3.0, 10.0]),
        stop_timeout=rng.choice([2.0, 8.0]),
        max_deliveries=rng.choice([None, 2, 4]),
    )


def _rates(seed: str, handlers: int) -> tuple[Rate | None, ...]:
    rng = random.Random(f"rates {seed}")
    if rng.random() < 0.7:
        return ()
    return tuple(
        Rate(rng.choice([0.3, 1.0, 4.0, 20.0]), burst=rng.choice([1, 1, 3])) if rng.random() < 0.6 else None
        for _ in range(handlers + 1)
    )


def _steps(rng: random.Random, setup: Setup, trouble: float, kills: bool) -> tuple[Step, ...]:
    steps: list[Step] = []
    while rng.random() < trouble and len(steps) < 7:
        acts: list[Act] = ["fail", "fail", "fail", "retry", "retry", "hang", "reject"]
        if kills:
            acts.append("kill")
        act = rng.choice(acts)
        after = round(rng.choice([0.0, 1.0, 5.0, 25.0]), 1)
        steps.append(Step(act, round(rng.random() ** 3 * 2, 3), min(after, setup.promises.durable_retry or after)))
    if rng.random() < 0.1:
        steps.append(Step("ok", round(rng.uniform(1.0, setup.timeout * 0.8), 3)))
    return tuple(steps)


_QUEUE_FAULTS: Final[tuple[FaultKind, ...]] = (
    "die", "die", "break", "break", "refuse settlements", "lose answers", "refuse publishes", "lose receipts", "take away",
    "take away", "duplicate", "stop", "stop", "freeze", "clock", "slow", "refuse extensions", "refuse marks",
)  # fmt: skip
_LOG_FAULTS: Final[tuple[FaultKind, ...]] = (
    "die", "die", "break", "refuse settlements", "lose answers", "refuse publishes", "lose receipts", "rebalance",
    "rebalance", "rebalance with notice", "rebalance with notice", "stop", "stop", "freeze", "clock", "slow",
)  # fmt: skip


def _fault(rng: random.Random, setup: Setup, pace: float) -> Fault:
    kind = rng.choice(_QUEUE_FAULTS if setup.kind == "queue" else _LOG_FAULTS)
    seconds = round(rng.choice([0.2, 1.0, 4.0, 12.0]) * rng.uniform(0.5, 1.5), 3)
    if kind == "clock":
        seconds = rng.choice([-3600.0, -5.0, 5.0, 3600.0])
    return Fault(
        at=round(rng.uniform(0.0, pace * 1.2 + 4.0), 3),
        kind=kind,
        life=rng.randrange(setup.lives),
        seconds=seconds,
        steps=rng.randrange(60),
    )


def _refused_at_a_stop(seed: str, setup: Setup, pace: float) -> tuple[Fault, ...]:
    """A stop while dead letters are refused, which chance alone brings too seldom."""
    rng = random.Random(f"refused at a stop {seed}")
    if rng.random() > 0.04:
        return ()
    at, life = round(rng.uniform(0.0, pace + 2.0), 3), rng.randrange(setup.lives)
    stop = round(at + rng.uniform(0.5, 4.0), 3)
    return Fault(at, "refuse publishes", life, 20.0), Fault(stop, "stop", life, 0.0)


def plan_of(seed: str) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    setup = _setup(rng, seed)
    setup = replace(setup, rates=_rates(seed, setup.handlers))
    trouble = rng.choice([0.0, 0.1, 0.3, 0.6])
    kills = rng.random() < 0.15
    keys = [f"k{number}" for number in range(rng.randint(1, 4))]
    unkeyed = rng.choice([0.0, 0.3])
    pace = rng.choice([0.0, 2.0, 2.0, 15.0])
    messages = tuple(
        Planned(
            number=number,
            at=round(rng.uniform(0.0, pace), 3),
            key=None if rng.random() < unkeyed else rng.choice(keys),
            steps=tuple(_steps(rng, setup, trouble, kills) for _ in range(setup.handlers)),
        )
        for number in range(rng.choice([1, 3, 6, 12, 24]))
    )
    count = rng.choice([0, 1, 2, 3, 5, 8])
    faults = [*(_fault(rng, setup, pace) for _ in range(count)), *_refused_at_a_stop(seed, setup, pace)]
    faults.sort(key=lambda fault: fault.at)
    return Plan(seed, setup, messages, tuple(faults))


def smaller(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Leave out faults, messages, attempts and processes for as long as it still fails."""
    shrunk = True
    while shrunk:
        shrunk = False
        for candidate in _candidates(plan):
            if fails(candidate):
                plan, shrunk = candidate, True
                break
    return plan


def _candidates(plan: Plan) -> list[Plan]:
    found: list[Plan] = []
    for part in (2, 1):
        for name in ("faults", "messages"):
            items = getattr(plan, name)
            size = max(len(items) // 2, 1) if part == 2 else 1
            found += [
                replace(plan, **{name: items[:start] + items[start + size :]}) for start in range(0, len(items), size)
            ]
    setup = plan.setup
    if setup.lives > 1:
        fewer = tuple(replace(fault, life=min(fault.life, setup.lives - 2)) for fault in plan.faults)
        found.append(replace(plan, setup=replace(setup, lives=setup.lives - 1), faults=fewer))
    if setup.rates:
        found.append(replace(plan, setup=replace(setup, rates=())))
    if setup.disorder:
        found.append(replace(plan, setup=replace(setup, disorder=0.0)))
    if setup.haste < 1.0:
        found.append(replace(plan, setup=replace(setup, haste=1.0)))
    for index, message in enumerate(plan.messages):
        for handler, steps in enumerate(message.steps):
            if steps:
                less = (*message.steps[:handler], steps[:-1], *message.steps[handler + 1 :])
                changed = replace(message, steps=less)
                found.append(replace(plan, messages=(*plan.messages[:index], changed, *plan.messages[index + 1 :])))
    return [one for one in found if one.messages]
