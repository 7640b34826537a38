"""The embedded broker: full semantics inside one process, for tests, demonstrations and code without a broker.

URL and options
    ``memory://`` or ``memory://NAME``: buses of one process that name the same broker share its topics. Options are
    fields of `Capabilities` (``attempts``, ``durable_retry``, ``lease``, ``pollers``, …) to imitate a weaker broker,
    and ``max_message_bytes`` (default 1,048,576).
What a topic and a group become
    A topic is a log that keeps its last 10,000 messages for groups that come later; a group is a queue with leases.
Delivery
    At least once while the process lives: what is not settled within its lease is delivered again.
Order
    By key, within a group; one consumer at a time sees a key only if the core keeps lanes, as everywhere.
Limits and escaping
    Any body and headers; nothing is escaped. Names are free.
Native access
    `Message.native` is the stored `Outgoing`.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import TypeAdapter, ValidationError

from brokerkit import _clock
from brokerkit._derived import NameStyle, derived_name
from brokerkit._errors import (
    BrokerkitError,
    Closed,
    ConfigError,
    InvalidMessage,
    MessageTooLarge,
    NotFound,
    UnsupportedFeature,
)
from brokerkit._message import CONTENT_TYPE, RELEASE, Delivery, Outcome, Outgoing, Receipt, RetryLater, Settled
from brokerkit._transport import Capabilities, Connection, Lost, Subscription

CAPABILITIES: Final = Capabilities(
    broker="memory",
    order="group",
    attempts="deliveries",
    lease=30.0,
    durable_retry=float("inf"),
    copies_retries=False,
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "routing_key", "type", "field"}),
    one_process="the embedded broker lives in one process, and each worker would have another",
    look="free",
    look_stored="free",
    default_provision="all",
)

_STYLE: Final = NameStyle(limit=1024)
_KEPT: Final = 10_000
_LIMIT: Final = "max_message_bytes"
_MAX_MESSAGE_BYTES: Final = 1_048_576


@dataclass(slots=True, eq=False)
class _Entry:
    """A message in one group."""

    message: Outgoing
    number: int
    time: float
    count: int = 0
    leased_until: float = 0.0


class _Queue:
    """The messages of one group, or of a stored queue.

    Attributes:
        unfinished: how many of them are not acknowledged: ready, delivered, or put off.
    """

    def __init__(self) -> None:
        self.unfinished = 0
        self.ready: deque[_Entry] = deque()
        self.readers: set[MemorySource] = set()

    def put(self, entries: Sequence[_Entry]) -> None:
        self.ready.extend(entries)
        self.unfinished += len(entries)
        for reader in self.readers:
            reader.wake()

    def put_back(self, entry: _Entry) -> None:
        """In front of what came later, so that a release keeps the order."""
        place = next((index for index, other in enumerate(self.ready) if other.number > entry.number), len(self.ready))
        self.ready.insert(place, entry)
        for reader in self.readers:
            reader.wake()


class _Topic:
    def __init__(self, name: str, *, stored: bool) -> None:
        self.name = name
        self.log: deque[_Entry] = deque(maxlen=_KEPT)
        self.watchers: set[asyncio.Event] = set()
        self.groups: dict[str, _Queue] = {"": _Queue()} if stored else {}


@dataclass(slots=True)
class _Broker:
    topics: dict[str, _Topic] = field(default_factory=dict[str, _Topic])
    numbers: Iterator[int] = field(default_factory=itertools.count)


_BROKERS: dict[str, _Broker] = {}


def forget(name: str) -> None:
    """Drop the broker of this name with all that it holds; nothing of it may be open."""
    _BROKERS.pop(name, None)


class MemoryAdapter:
    """The adapter for ``memory://``."""

    def __init__(self, connection: Connection, /) -> None:
        options = dict(connection.options)
        promised = {name: getattr(CAPABILITIES, name) for name in Capabilities.__dataclass_fields__}
        if strange := [name for name in options if name not in {_LIMIT, *promised}]:
            allowed = ", ".join(sorted({_LIMIT, *promised}))
            raise ConfigError(f"{connection.url}: option {strange[0]!r} is not known; allowed are {allowed}")
        try:
            self._limit = TypeAdapter(int).validate_python(options.pop(_LIMIT, _MAX_MESSAGE_BYTES))
            self._capabilities = TypeAdapter(Capabilities).validate_python({**promised, **options})
        except ValidationError as error:
            first = error.errors()[0]
            name = first["loc"][0] if first["loc"] else _LIMIT
            raise ConfigError(f"{connection.url}: option {name!r}: {first['msg']}") from error
        self._url = connection.url
        self._broker = _BROKERS.setdefault(",".join(connection.url.hosts), _Broker())
        self._open = False

    def __repr__(self) -> str:
        return f"<MemoryAdapter {self._url}: {'open' if self._open else 'closed'}, {len(self._broker.topics)} topics>"

    def capabilities(self, topic: str = "") -> Capabilities:
        """The same for every topic."""
        return self._capabilities

    async def open(self) -> None:
        """Nothing to connect to."""
        self._open = True

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        """See `Adapter.ensure`."""
        for topic in topics:
            if topic in self._broker.topics:
                continue
            if not create:
                raise NotFound(f'{self._url} has no topic {topic!r}; create it, or set provision = "all"')
            self.create(topic, stored=stored)

    def create(self, topic: str, *, stored: bool) -> None:
        """Create a topic (a queue, with ``stored``) where there is none of that name."""
        if topic not in self._broker.topics:
            self._broker.topics[topic] = _Topic(topic, stored=stored)

    def unfinished(self) -> int:
        """How many messages are not acknowledged yet by the groups that are read now, those that were put off included."""
        queues = [queue for topic in self._broker.topics.values() for queue in topic.groups.values()]
        return sum(queue.unfinished for queue in queues if queue.readers)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """See `Adapter.send`."""
        return [self.put(message) for message in batch]

    def put(self, message: Outgoing) -> Receipt | BrokerkitError:
        """Send one message."""
        if not self._open:
            return Closed(f"{self._url} is closed")
        try:
            names = sum(len(name.encode()) for name in message.headers)
            values = sum(len(value.encode() if isinstance(value, str) else value) for value in message.headers.values())
        except (UnicodeEncodeError, AttributeError, TypeError) as error:
            return InvalidMessage(f"a header of {message.name} is no text: {error}")
        size = len(message.body or b"") + names + values
        if size > self._limit:
            return MessageTooLarge(size=size, limit=self._limit, what=str(self._url))
        topic = self._broker.topics.get(message.topic)
        if topic is None:
            return NotFound(f"{self._url} has no topic {message.topic!r}")
        number, now = next(self._broker.numbers), _clock.now()
        topic.log.append(_Entry(message, number, now))
        for queue in topic.groups.values():
            queue.put([_Entry(message, number, now)])
        for watcher in topic.watchers:
            watcher.set()
        return Receipt(message.topic, message.id, str(number))

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """See `Adapter.derived`."""
        return derived_name(topic, group, role, _STYLE)

    def subscribe(self, subscription: Subscription, lost: Lost) -> MemorySource:
        """See `Adapter.subscribe`."""
        if subscription.broadcast and not self._capabilities.broadcast:
            raise UnsupportedFeature(broker=self._capabilities.broker, feature="broadcast", alternative="use a group")
        return MemorySource(self, self._broker, subscription, lost)

    async def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """See `Adapter.look`. Of a stored queue it gives what waits, of a topic what its log keeps."""
        await self.ensure(topics, stored=stored, create=False)
        seen = next(self._broker.numbers)
        news = asyncio.Event()
        found = [self._broker.topics[name] for name in topics]
        for topic in found:
            topic.watchers.add(news)
        try:
            if past:
                there = [
                    (topic, entry) for topic in found for entry in (topic.groups[""].ready if stored else topic.log)
                ]
                for topic, entry in sorted(there, key=lambda one: one[1].number):
                    yield _delivery(entry, topic.name, entry.count)
            while follow:
                news.clear()
                later = [(topic, entry) for topic in found for entry in topic.log if entry.number > seen]
                for topic, entry in sorted(later, key=lambda one: one[1].number):
                    seen = entry.number
                    yield _delivery(entry, topic.name, entry.count)
                if not later:
                    await news.wait()
        finally:
            for topic in found:
                topic.watchers.discard(news)

    async def close(self) -> None:
        """Messages stay: they belong to the process."""
        self._open = False


class MemorySource:
    """One subscription of the embedded broker."""

    def __init__(self, adapter: MemoryAdapter, broker: _Broker, subscription: Subscription, lost: Lost) -> None:
        self._adapter = adapter
        self._broker = broker
        self._subscription = subscription
        self._lost = lost
        self._copies = adapter.capabilities().copies_retries
        self._counts = adapter.capabilities().attempts == "deliveries"
        self._lease = subscription.lease if adapter.capabilities().lease is not None else None
        self._queues: list[tuple[str, _Queue]] = []
        self._held: dict[_Entry, tuple[Delivery, _Queue]] = {}
        self._wakeup = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._sweeper: asyncio.Task[None] | None = None
        self._own_group = f"broadcast-{uuid.uuid4().hex}" if subscription.broadcast else ""

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "open" if self._queues else "new"
        return f"<MemorySource {', '.join(self._subscription.topics)}: {state}, {len(self._held)} unsettled>"

    async def open(self) -> None:
        """See `Source.open`."""
        wanted = self._subscription
        create = wanted.provision in ("all", "off")
        await self._adapter.ensure(wanted.topics, stored=wanted.stored, create=create)
        group = "" if wanted.stored else self._own_group or wanted.group or "default"
        for name in wanted.topics:
            topic = self._broker.topics[name]
            if group not in topic.groups:
                if wanted.provision == "check" and not wanted.broadcast:
                    raise NotFound(f'topic {name!r} has no group {group!r} yet; provision = "group" creates it')
                queue = topic.groups[group] = _Queue()
                if wanted.start == "earliest" and not wanted.broadcast:
                    queue.put([replace(entry) for entry in topic.log])
            queue = topic.groups[group]
            queue.readers.add(self)
            self._queues.append((name, queue))
        if self._lease is not None:
            self._sweeper = asyncio.create_task(self._sweep(self._lease))

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Source.receive`."""
        while not self._stopped:
            if batch := self._take(limit):
                return batch
            self._wakeup.clear()
            await self._wakeup.wait()
        return []

    def wake(self) -> None:
        """Something was put into a queue that is read here."""
        self._wakeup.set()

    def _take(self, limit: int) -> list[Delivery]:
        until = self._loop.time() + (self._lease or 0.0)
        batch: list[Delivery] = []
        for name, queue in self._queues:
            for entry in [queue.ready.popleft() for _ in range(min(len(queue.ready), limit - len(batch)))]:
                entry.count += 1
                entry.leased_until = until
                delivery = _delivery(entry, name, entry.count if self._counts else 0)
                self._held[entry] = (delivery, queue)
                batch.append(delivery)
        return batch

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """See `Source.settle`."""
        return [self._settle(delivery, outcome) for delivery, outcome in pairs]

    def _settle(self, delivery: Delivery, outcome: Outcome) -> Settled:
        entry: _Entry = delivery.token
        held = self._held.get(entry)
        if held is None or held[0] is not delivery:
            return Settled.LOST
        del self._held[entry]
        queue = held[1]
        if isinstance(outcome, RetryLater):
            if self._copies:
                entry.message, entry.count = outcome.copy, 0
            self._loop.call_later(outcome.after, queue.put_back, entry)
        elif outcome is RELEASE:
            queue.put_back(entry)
        else:
            queue.unfinished -= 1
        return Settled.DONE

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`."""
        until = self._loop.time() + (self._lease or 0.0)
        answers: list[Settled] = []
        for delivery in deliveries:
            entry: _Entry = delivery.token
            if entry in self._held:
                entry.leased_until = until
            answers.append(Settled.DONE if entry in self._held else Settled.LOST)
        return answers

    async def _sweep(self, lease: float) -> None:
        """Put back what was not settled within its lease."""
        while True:
            await asyncio.sleep(lease / 4)
            now = self._loop.time()
            over = [entry for entry in self._held if entry.leased_until < now]
            if over:
                deliveries = [self._held[entry][0] for entry in over]
                for entry in over:
                    _, queue = self._held.pop(entry)
                    queue.put_back(entry)
                await self._lost(deliveries)

    async def lag(self) -> int | None:
        """See `Source.lag`."""
        return sum(len(queue.ready) for _, queue in self._queues)

    async def stop(self) -> None:
        """See `Source.stop`."""
        self._stopped = True
        self.wake()

    async def close(self) -> None:
        """See `Source.close`."""
        await self.stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
            self._sweeper = None
        for entry, (_, queue) in self._held.items():
            queue.put_back(entry)
        self._held.clear()
        for name, queue in self._queues:
            queue.readers.discard(self)
            if self._own_group:
                self._broker.topics[name].groups.pop(self._own_group, None)
        self._queues.clear()


def _delivery(entry: _Entry, topic: str, count: int) -> Delivery:
    message = entry.message
    headers = dict(message.headers)
    if message.content_type is not None:
        headers[CONTENT_TYPE] = message.content_type
    return Delivery(
        message.body,
        topic,
        message.key,
        headers,
        message.id,
        str(entry.number),
        entry.time,
        count,
        message,
        entry,
        message.routing_key or message.name,
        message.type,
    )
