"""Runs a plan: processes that read a simulated broker, and everything that befalls them."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
from dataclasses import dataclass, field
from typing import Any, Final, Self

from brokerkit import Bus, Handlers, Message, Rate, Reject, Retry
from brokerkit._config._loading import BusSettings, from_keywords
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._errors import BrokerkitError
from brokerkit._messages._trace_context import HANDLED
from brokerkit._publishing._middleware import PublishInside
from brokerkit._runtime import Runtime
from brokerkit._status._hooks import Hooks
from brokerkit.adapters.api import Connection
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.simulation.ledger import Ledger, running_life
from tests.simulation.link import Link, SimulatedAdapter, SimulatedDelivery, checked
from tests.simulation.log_broker import LogBroker
from tests.simulation.loop import LIFE, Endless, Life, SimulatedLoop, quiet, simulated
from tests.simulation.plan import HORIZON, Fault, Plan, Setup
from tests.simulation.queue_broker import QueueBroker

_LONGEST: Final = 4_000.0
"""Seconds after the horizon in which everything must be over."""
_SOON: Final = 0.01
_GRACE: Final = 16.0
"""Seconds beyond the stop timeout in which a stop must end."""


class Failure(Exception):
    """What a handler raises."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan.

    Attributes:
        wrong: what must not have happened; nothing if all is well.
        hash: the digest of everything that happened.
        steps: how many callbacks ran.
        lines: what happened, if it was asked for.
    """

    wrong: tuple[str, ...]
    hash: str
    steps: int
    lines: tuple[str, ...] = ()


class _Runtime(Runtime):
    """A runtime that is not used again: a process that starts anew makes its own."""

    def renewed(self) -> Self:
        return self


class _Process(Life):
    """A process with its bus."""

    def __init__(self, number: int, world: World) -> None:
        super().__init__(number, world.loop)
        self.link = Link(self, world.loop, world.plan.setup, world.rng)
        self.stop = asyncio.Event()
        self.over = asyncio.Event()
        self.bus: Bus | None = None
        self.task: asyncio.Task[None] | None = None
        self.stop_at: float | None = None
        self.stop_by: float | None = None


@dataclass
class World:
    """A plan while it runs."""

    plan: Plan
    loop: SimulatedLoop
    rng: random.Random
    ledger: Ledger = field(init=False)
    processes: dict[int, _Process] = field(default_factory=dict[int, _Process])
    healed: bool = False

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.plan, self.loop)
        make = QueueBroker if self.plan.setup.kind == "queue" else LogBroker
        self.broker = make(self.plan.setup, self.loop, self.ledger, self.rng)
        self.settings = _settings(self.plan.setup)

    # ---- processes -------------------------------------------------------------------------------------------

    async def live(self, number: int) -> None:
        """Keep a process running: start it, and start it anew when it has ended."""
        while True:
            process = self.processes[number] = _Process(number, self)
            token = LIFE.set(process)
            process.task = self.loop.create_task(self._serve(process))
            LIFE.reset(token)
            await process.over.wait()
            await asyncio.sleep(self.rng.uniform(0.2, 3.0))

    async def _serve(self, process: _Process) -> None:
        self.loop.trace(f"start {process.number}")
        adapter = SimulatedAdapter(self.broker, process.link)

        def make(_: Connection) -> Any:
            return checked(adapter)

        # As the constructor does it, but that would look for an adapter among all installed packages, which takes longer
        # than everything else here.
        bus = process.bus = Bus.__new__(Bus)
        bus.handlers, bus.runtime, bus._inside = (
            Handlers(),
            _Runtime(self.settings, Hooks(), make=make),
            PublishInside(),
        )
        bus.include(_handlers(self.plan.setup.rates[1:] or (None,) * self.plan.setup.handlers))
        try:
            async with bus.serving(on_source_failure="log"):
                await process.stop.wait()
        except BrokerkitError as error:
            self.loop.trace(f"process {process.number} ends: {type(error).__name__}")
        self.loop.trace(f"end {process.number}")
        self._check_end(process)
        # After a close that was given up, the broker hears of it when the connection is gone.
        self.broker.died(process.link)
        process.over.set()

    def _check_end(self, process: _Process) -> None:
        if process.stop_by is not None and self.loop.time() > process.stop_by and not process.link.trouble > 0:
            self.ledger.blame(f"process {process.number} needed too long to stop")
        if self.ledger.runs(process):
            self.ledger.blame(f"process {process.number} has stopped, and its handlers run")
        if process.bus is not None:
            counted = sum(stats.failed for stats in process.bus.runtime.stats.values())
            self.ledger.check_failed(process, counted, until=-1.0 if process.stop_at is None else process.stop_at)

    def kill(self, process: _Process) -> None:
        """End a process at this point."""
        if process.dead or process.over.is_set():
            return
        self.loop.trace(f"kill {process.number}")
        process.dead = True
        process.link.snap(0.0)
        self.ledger.died(process)
        # After a close that was given up, the broker hears of it when the connection is gone.
        self.broker.died(process.link)
        process.over.set()

    # ---- what goes wrong -------------------------------------------------------------------------------------

    def befall(self, fault: Fault) -> None:
        """Have a fault happen, some steps from now."""
        step = self.loop.steps + 1 + fault.steps
        while step in self.loop.alarms:
            step += 1
        self.loop.alarms[step] = lambda: self._befall(fault)

    # one piece: a table of what each fault does
    def _befall(self, fault: Fault) -> None:
        if fault.life not in self.processes:
            return
        process, broker = self.processes[fault.life], self.broker
        if process.over.is_set() or self.healed:
            return
        self.loop.trace(f"fault {fault.kind} in {fault.life}")
        match fault.kind:
            case "die":
                self.kill(process)
            case "break":
                process.link.snap(fault.seconds)
                broker.snapped(process.link)
            case "take away":
                broker.take_away()
            case "duplicate":
                broker.duplicate()
            case "rebalance" | "rebalance with notice":
                broker.rebalance(notice=fault.kind == "rebalance with notice")
            case "stop":
                self.ask_to_stop(process)
            case "freeze":
                process.frozen = True
                process.link.note_trouble(fault.seconds + 5.0)
                self.loop.call_later(fault.seconds, self.loop.thaw, process)
            case "clock":
                process.skew += fault.seconds
            case _:
                process.link.suffer(fault.kind, fault.seconds)

    def ask_to_stop(self, process: _Process) -> None:
        """Stop a process in peace."""
        if process.stop_at is None:
            process.stop_at = self.loop.time()
        process.stop_by = self.loop.time() + self.plan.setup.stop_timeout + _GRACE
        process.stop.set()

    # ---- the run ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let everything happen, and wait until it is over."""
        setup = self.plan.setup
        keepers = [self.loop.create_task(self.live(number)) for number in range(setup.lives)]
        await asyncio.sleep(0)
        for message in self.plan.messages:
            self.loop.call_at(message.at, self.broker.publish, message.number, message.key)
        for fault in self.plan.faults:
            self.loop.call_at(fault.at, self.befall, fault)
        last = max([one.at for one in (*self.plan.messages, *self.plan.faults)], default=0.0)
        await asyncio.sleep(last + 1.0)
        while self.loop.time() < HORIZON * 3 and (self.loop.alarms or self._are_troubled):
            await asyncio.sleep(1.0)
        self.healed = True
        until = self.loop.time() + _LONGEST
        while self._are_busy and self.loop.time() < until and not self.ledger.wrong:
            await asyncio.sleep(1.0)
        await asyncio.sleep(8.0)
        if not self.ledger.wrong:
            await self._check_rest()
        for keeper in keepers:
            keeper.cancel()
        for process in self.processes.values():
            if not process.over.is_set():
                self.ask_to_stop(process)
        for process in self.processes.values():
            if not process.over.is_set():
                try:
                    async with asyncio.timeout(setup.stop_timeout + _GRACE):
                        await process.over.wait()
                except TimeoutError:
                    self.ledger.blame(f"process {process.number} does not stop")
        self.ledger.finish()

    @property
    def _are_troubled(self) -> bool:
        return any(process.frozen or process.link.trouble > self.loop.time() for process in self.processes.values())

    @property
    def _are_busy(self) -> bool:
        return bool(self.broker.unfinished()) or not all(one.is_over for one in self.ledger.accounts.values())

    async def _check_rest(self) -> None:
        """When everything is over and nothing is wrong, no process may have anything left."""
        if self.broker.unfinished():
            self.ledger.blame(f"{self.broker.unfinished()} messages are never acknowledged")
        for _ in range(60):  # what was taken away while it ran is noticed only when it is settled, or its lease renewed
            left = [found for process in self.processes.values() if (found := await self._rest_of(process))]
            if not left:
                return
            await asyncio.sleep(2.0)
        for found in left:
            self.ledger.blame(found)

    async def _rest_of(self, process: _Process) -> str:
        """What a process still has, although there is nothing to do; "" if it has nothing."""
        if process.bus is None or process.over.is_set() or not process.bus.runtime.consumers:
            return ""
        [consumer] = process.bus.runtime.consumers.values()
        flow = consumer._flow
        left = {
            "in flight": flow.in_flight,
            "ready": len(flow.ready),
            "lanes": len(flow.lanes),
            "backlog": len(flow.backlog) + flow.backlog.bytes,
            "held": len(consumer._retries.held),
            "limited": 0 if flow.limits is None else len(flow.limits.waiting),
            "settling": int(flow.settlement.is_busy),
            "isolated": int(consumer._isolation.on) + len(consumer._isolation.suspects),
        }
        if any(left.values()):
            return f"process {process.number} has nothing to do, and still {left}"
        health = await process.bus.health()
        return "" if health.ready else f"process {process.number} says that it is not ready: {health.reasons}"


WORLD: Final[list[World]] = []
"""The one that runs."""


async def _handle(number: int, handler: int, message: Message) -> None:
    world, life = WORLD[-1], running_life()
    setup, ledger, loop = world.plan.setup, world.ledger, world.loop
    delivery, begun = HANDLED.get(), loop.time()
    assert isinstance(delivery, SimulatedDelivery)
    if delivery.went_at == begun:
        ledger.excuse(number, "its partition went as it began")
    step = ledger.begin(life, number, handler, message.attempt)
    if delivery.is_known_lost:
        ledger.blame(f"message {number} begins although its process knows that it is lost")
    how: str = step.act
    wait: float | None = None
    try:
        if step.act == "kill":
            ledger.accounts[number].killed += 1
            loop.call_soon(world.kill, life)
            await loop.create_future()
        await asyncio.sleep(10_000 if step.act == "hang" else step.seconds)
        if step.act == "fail":
            raise Failure
        if step.act == "reject":
            raise Reject("never")
        if step.act == "retry":
            wait = step.after
            raise Retry(after=step.after)
    except asyncio.CancelledError:
        took = loop.time() - begun
        how = "timeout" if took > setup.timeout else "cut"
        stop_at = world.processes[life.number].stop_at
        if how == "cut" and (stop_at is None or loop.time() < stop_at + setup.stop_timeout - _SOON):
            ledger.blame(f"message {number} was cut short before the stop timeout")
        if how == "timeout" and world.processes[life.number].stop.is_set():
            ledger.excuse(number, "it was cut short or timed out")
        if took > setup.timeout * 1.15 + 1.0 and world.processes[life.number].link.trouble < begun:
            ledger.blame(f"message {number} was cancelled only after {took:.1f} s")
        raise
    finally:
        if not life.dead:
            ledger.end(life, number, handler, how, wait)


@functools.cache
def _handlers(rates: tuple[Rate | None, ...]) -> Handlers:
    handlers = Handlers()

    def add(index: int, rate: Rate | None) -> None:
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            await _handle(int(event.player_id or 0), index, message)

        handle.__qualname__ = handle.__name__ = f"handle{index}"
        handlers.on(OnPlayerSeatedDown, rate=rate)(handle)

    for index, rate in enumerate(rates):
        add(index, rate)
    return handlers


def _settings(setup: Setup) -> BusSettings:
    keywords: dict[str, Any] = {
        "url": "memory://simulation",
        "topic": "deals",
        "group": "g",
        "format": "evenbet",
        "order": setup.order,
        "concurrency": setup.concurrency,
        "max_in_flight": setup.max_in_flight,
        "lease": setup.promises.lease or 30.0,
        "retry": RetryPolicy(attempts=setup.attempts, first=setup.first, cap=setup.cap),
        "hold": setup.hold,
        "timeout": setup.timeout,
        "stop_timeout": setup.stop_timeout,
        "foreign": "handle",
    }
    if setup.rates and setup.rates[0] is not None:
        keywords["rate"] = setup.rates[0]
    if setup.max_deliveries is not None:
        keywords["max_deliveries"] = setup.max_deliveries
    return from_keywords(keywords, {})


@quiet()
def simulate(plan: Plan, *, lines: bool = False) -> Outcome:
    """Run a plan, and return what came of it."""
    gc.disable()
    try:
        with simulated(plan.seed, plan.setup.disorder) as loop:
            loop.lines = [] if lines else None
            world = World(plan, loop, random.Random(f"world {plan.seed}"))
            WORLD.append(world)
            try:
                loop.run_until_complete(world.run())
            except Endless as error:
                world.ledger.blame(f"no end: {error}")
            wrong = (*world.ledger.wrong, *loop.faults)
            return Outcome(wrong, loop.hash, loop.steps, tuple(loop.lines or ()))
    finally:
        WORLD.pop()
        gc.enable()
