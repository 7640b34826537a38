"""The connection between a simulated process and its broker: it is slow, it breaks, and answers get lost on it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from brokerkit._errors import BrokerkitError, ConnectionLost, PublishError
from brokerkit._messages._delivery import RELEASE, Delivery, Outcome, RetryLater, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.api import Adapter, Capabilities, Cursor, Lost, NameStyle, Source, Subscription, derived_name
from tests.simulation.loop import Life, SimulatedLoop
from tests.simulation.plan import FaultKind, Setup

if TYPE_CHECKING:
    from tests.simulation.ledger import Ledger

OWN = "own"
_STYLE = NameStyle(limit=1024)
_NO_HINDRANCE: Final[tuple[FaultKind, ...]] = ("refuse publishes", "lose receipts", "refuse extensions", "refuse marks")
"""What keeps no message from being acknowledged or given back."""


class Link:
    """One process's connection.

    Attributes:
        generation: how often it has broken.
        down_until: when it can be made again.
        trouble: until when something was wrong with it, or with the process.
        hindered: until when that may keep a settlement from the broker.
    """

    def __init__(self, life: Life, loop: SimulatedLoop, setup: Setup, rng: random.Random) -> None:
        self.life = life
        self.loop = loop
        self._setup = setup
        self.rng = rng
        self.generation = 0
        self.down_until = 0.0
        self.trouble = self.hindered = float("-inf")
        self._until: dict[FaultKind, float] = {}
        self.broken = asyncio.Event()

    def suffer(self, kind: FaultKind, seconds: float) -> None:
        """Have something go wrong for a while."""
        self._until[kind] = max(self._until.get(kind, 0.0), self.loop.time() + seconds)
        self.note_trouble(seconds, hinders=kind not in _NO_HINDRANCE)

    def note_trouble(self, seconds: float, *, hinders: bool = True) -> None:
        self.trouble = max(self.trouble, self.loop.time() + seconds)
        if hinders:
            self.hindered = max(self.hindered, self.loop.time() + seconds)

    def has(self, kind: FaultKind) -> bool:
        """Whether something goes wrong now."""
        return self.loop.time() < self._until.get(kind, 0.0)

    @property
    def is_down(self) -> bool:
        return self.loop.time() < self.down_until

    def snap(self, seconds: float) -> None:
        """Break."""
        self.generation += 1
        self.down_until = max(self.down_until, self.loop.time() + seconds)
        self.note_trouble(seconds + 3.0)
        self.broken.set()
        self.broken = asyncio.Event()

    async def travel(self) -> None:
        """Take some time, or none."""
        chance = self.rng.random()
        if chance > self._setup.haste:
            await asyncio.sleep(self.rng.choice([0.0, 0.0, 0.001, 0.02, 0.3]))
        if self.has("slow"):
            await asyncio.sleep(self.rng.uniform(0.5, 3.0))


class SimulatedBroker:
    """What all simulated brokers have in common: dead letters."""

    def __init__(self, setup: Setup, loop: SimulatedLoop, ledger: Ledger, rng: random.Random) -> None:
        self.setup = setup
        self.loop = loop
        self.ledger = ledger
        self.rng = rng
        self.letters: list[Outgoing] = []

    def put(self, outgoing: Outgoing) -> None:
        """Store a dead letter."""
        self.letters.append(outgoing)
        self.ledger.letter(number_of(outgoing.body), outgoing)

    def publish(self, number: int, key: str | None) -> None:
        """Take a message of a producer."""
        raise NotImplementedError

    def put_in(self, message: Outgoing) -> None:
        """Take any message for its topic."""
        raise NotImplementedError

    def unfinished(self) -> int:
        """How many messages are not acknowledged."""
        raise NotImplementedError

    def subscribe(self, link: Link, subscription: Subscription, lost: Lost) -> Source:
        """Return a source."""
        raise NotImplementedError

    def died(self, link: Link) -> None:
        """A process has died, and its connection with it."""
        raise NotImplementedError

    def snapped(self, link: Link) -> None:
        """A connection has broken."""

    def take_away(self) -> None:
        """Take a delivery from whoever has it."""

    def duplicate(self) -> None:
        """Deliver a message twice."""

    def rebalance(self, *, notice: bool) -> None:
        """Give partitions to others."""


def number_of(body: bytes | None) -> int:
    """The number of a message."""
    assert body is not None
    return int(body[len(b'{"player_id": ') : -1])


def body_of(number: int) -> bytes:
    """The body of a message."""
    return b'{"player_id": %d}' % number


def message_of(number: int, key: str | None) -> Outgoing:
    """The message of a producer."""
    return Outgoing(topic="deals", body=body_of(number), name="OnPlayerSeatedDown", id=f"m{number}", key=key)


class SimulatedAdapter:
    """The adapter of one process."""

    def __init__(self, broker: SimulatedBroker, link: Link) -> None:
        self._broker = broker
        self._link = link

    def capabilities(self, topic: str = "") -> Capabilities:
        return self._broker.setup.promises

    async def open(self) -> None:
        await self._link.travel()
        if self._link.is_down:
            raise ConnectionLost("the simulated broker is away")

    async def ensure(self, topics: Any, *, is_queue: bool, create: bool) -> None:
        await self._link.travel()

    async def send(self, batch: Any) -> list[Receipt | BrokerkitError]:
        link, results = self._link, list[Receipt | BrokerkitError]()
        generation = link.generation
        await link.travel()
        for outgoing in batch:
            if link.is_down or link.generation != generation:
                results.append(ConnectionLost("the connection broke"))
            elif link.has("refuse publishes") and link.rng.random() < 0.7:
                results.append(PublishError("the simulated broker refuses"))
            else:
                self._broker.put(outgoing)
                if link.has("lose receipts") and link.rng.random() < 0.7:
                    self._broker.ledger.excuse(number_of(outgoing.body), "the receipt of its letter was lost")
                    results.append(ConnectionLost("no receipt came"))
                else:
                    results.append(Receipt(outgoing.topic, outgoing.id))
        await link.travel()
        if link.generation != generation:
            for outgoing, result in zip(batch, results, strict=True):
                if isinstance(result, Receipt):
                    self._broker.ledger.excuse(number_of(outgoing.body), "the receipt of its letter was lost")
            return [ConnectionLost("the connection broke")] * len(batch)
        return results

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, _STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        await self._link.travel()
        return OWN

    def subscribe(self, subscription: Subscription, lost: Lost) -> Source:
        return self._broker.subscribe(self._link, subscription, lost)

    def browse(self, topics: Any, *, is_queue: bool = False, past: bool = True, follow: bool = False) -> Any:
        raise NotImplementedError

    def cursor(self, queue: str) -> Cursor:
        raise NotImplementedError

    async def close(self) -> None:
        await self._link.travel()


def checked(adapter: SimulatedAdapter) -> Adapter:
    """The adapter as the core sees it."""
    return adapter


class SimulatedDelivery(Delivery):
    """A delivery whose place in a set is the same in each run.

    Attributes:
        lineage: the number of its message, also in a copy.
        has_arrived: its process has received it.
        is_known_lost: its process was told, before a handler began, that it is no longer its own.
        went_at: when its reader gave up waiting for it; None if it did not.
    """

    __slots__ = ("_is_ours", "_number", "has_arrived", "is_known_lost", "lineage", "went_at")

    def __init__(self, loop: SimulatedLoop, message: Outgoing, *, is_ours: bool, **fields: Any) -> None:
        self._number = loop.count()
        self._is_ours = is_ours
        self.lineage = number_of(message.body)
        self.has_arrived = self.is_known_lost = False
        self.went_at: float | None = None
        super().__init__(
            body=message.body,
            topic="deals",
            key=message.key,
            headers=message.headers,
            id=message.id,
            routing_key=message.routing_key or message.name,
            type=message.type,
            native=message,
            **fields,
        )

    def __hash__(self) -> int:
        return self._number

    @property
    def is_ours(self) -> bool:
        return self._is_ours

    @property
    def broker_id(self) -> str | None:
        return self._broker_id(OWN if self._is_ours else self.topic)


async def settle_over(broker: SimulatedBroker, link: Link, pairs: Any, apply: Any, gone: Settled) -> list[Settled]:
    """Settle over a connection on which requests and answers get lost.

    Args:
        apply: does it at the broker.
        gone: what is answered if the connection breaks.
    """
    generation = link.generation
    await link.travel()
    if link.is_down or link.generation != generation:
        for delivery, outcome in pairs:
            _not_released(broker, link, delivery, outcome)
        return [gone] * len(pairs)
    answers: list[Settled] = []
    for delivery, outcome in pairs:
        is_refused = link.has("refuse settlements") or (
            link.has("refuse publishes") and isinstance(outcome, RetryLater)
        )
        if is_refused and link.rng.random() < 0.7:
            answers.append(Settled.FAILED)
            if (
                outcome is RELEASE
            ):  # Each is given back again after a wait of its own, and they may come in another order.
                broker.ledger.given_back(link.life, delivery.lineage)
        else:
            answer = apply(delivery, outcome)
            if answer is Settled.DONE and link.has("lose answers") and link.rng.random() < 0.7:
                answer = Settled.FAILED
                if isinstance(outcome, RetryLater):
                    broker.ledger.excuse(delivery.lineage, "the answer to its retry was lost")
            answers.append(answer)
    await link.travel()
    if link.generation == generation:
        return answers
    for (delivery, outcome), answer in zip(pairs, answers, strict=True):
        if answer is Settled.DONE and isinstance(outcome, RetryLater):
            broker.ledger.excuse(delivery.lineage, "the answer to its retry was lost")
    return [gone] * len(pairs)


def _not_released(broker: SimulatedBroker, link: Link, delivery: SimulatedDelivery, outcome: Outcome) -> None:
    """Each one is given back again after a wait of its own, so they may come in another order."""
    if outcome is RELEASE:
        broker.ledger.given_back(link.life, delivery.lineage)
