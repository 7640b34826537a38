"""The embedded broker: full semantics inside one process, for tests, demonstrations and code without a broker.

URL and options
    ``memory://`` or ``memory://NAME``. Buses of one process that use the same name share its topics. Options are fields
    of `Capabilities` (``attempts``, ``durable_retry``, ``lease``, ``pollers``, …), to imitate a weaker broker, and
    ``max_message_bytes`` (default 1,048,576).
What a topic and a group become
    A topic is a log that keeps its last 10,000 messages for groups that come later. A group is a queue with leases.
Delivery
    At least once while the process lives. A message that is not settled within its lease is delivered again.
Order
    By key, across all readers of a group: while one has a message of a key, no other gets that key.
Limits and escaping
    Any body and headers. Nothing is escaped. Topics may have any name.
Native access
    `Message.native` is the stored `Outgoing`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError

from brokerkit.adapters.api import (
    CONTENT_TYPE,
    RELEASE,
    BrokerkitError,
    Capabilities,
    Closed,
    ConfigError,
    Connection,
    Delivery,
    InvalidMessage,
    Lost,
    MessageTooLarge,
    NameStyle,
    NotFound,
    Outcome,
    Outgoing,
    Part,
    Receipt,
    RetryLater,
    Settled,
    Subscription,
    UnsupportedFeature,
    derived_name,
    describe,
    get_logger,
    guarded,
    start,
    wall_time,
)
from brokerkit.adapters.memory._queues import Broker, Entry, Queue, Topic

logger = get_logger(__name__)

CAPABILITIES: Final = Capabilities(
    broker="memory",
    order="group",
    attempts="deliveries",
    lease=30.0,
    durable_retry=float("inf"),
    copies_retries=False,
    own_queues=True,
    delays=float("inf"),
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "routing_key", "type", "field"}),
    one_process="the embedded broker lives in one process, and each worker would have another",
    browse="free",
    browse_queue="free",
    default_provision="all",
    transactions=True,
)

_STYLE: Final = NameStyle(limit=1024)
_DEFAULT_GROUP: Final = "default"
_LIMIT: Final = "max_message_bytes"
_MAX_MESSAGE_BYTES: Final = 1_048_576


_BROKERS: dict[str, Broker] = {}


def forget(name: str) -> None:
    """Drop the broker of this name and all its messages. None of its adapters may be open."""
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
        self._broker = _BROKERS.setdefault(",".join(connection.url.hosts), Broker())
        self._open = False

    def __repr__(self) -> str:
        return f"<MemoryAdapter {self._url}: {'open' if self._open else 'closed'}, {len(self._broker.topics)} topics>"

    def capabilities(self, topic: str = "") -> Capabilities:
        """The same for every topic."""
        return self._capabilities

    async def open(self) -> None:
        """Nothing to connect to."""
        self._open = True

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        """See `Adapter.ensure`."""
        for topic in topics:
            if topic in self._broker.topics:
                continue
            if not create:
                raise NotFound(f'{self._url} has no topic {topic!r}; create it, or set provision = "all"')
            self.create(topic, is_queue=is_queue)

    def create(self, topic: str, *, is_queue: bool) -> None:
        """Create a topic (a queue, with ``is_queue``) where there is none of that name."""
        if topic not in self._broker.topics:
            self._broker.topics[topic] = Topic(topic, is_queue=is_queue)

    def unfinished(self) -> int:
        """How many messages the groups that are read now have not acknowledged yet, including those that were put off or
        are published later.
        """
        queues = [queue for topic in self._broker.topics.values() for queue in topic.groups.values()]
        return self._broker.later + sum(queue.unfinished for queue in queues if queue.readers)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """See `Adapter.send`."""
        return [self.put(message) for message in batch]

    def refusal(self, message: Outgoing) -> BrokerkitError | None:
        """Why a message would not be sent; None if it would."""
        if not self._open:
            return Closed(f"{self._url} is closed")
        try:
            size = len(message.body or b"")
            for name, value in message.headers.items():
                size += len(name.encode()) + len(value.encode() if isinstance(value, str) else value)
        except (UnicodeEncodeError, AttributeError, TypeError) as error:
            return InvalidMessage(f"a header of {message.name} is not text: {error}")
        if size > self._limit:
            return MessageTooLarge(size=size, limit=self._limit, what=str(self._url))
        if message.topic not in self._broker.topics and message.topic not in self._broker.own:
            return NotFound(f"{self._url} has no topic {message.topic!r}")
        return None

    def put(self, message: Outgoing) -> Receipt | BrokerkitError:
        """Send one message."""
        if (error := self.refusal(message)) is not None:
            return error
        if (own := self._broker.own.get(message.topic)) is not None:
            number = next(self._broker.numbers)
            own.put([Entry(message, number, wall_time(), own=True)])
            return Receipt(message.topic, message.id, str(number))
        topic = self._broker.topics[message.topic]
        if message.due is not None:
            self._broker.later += 1
            wait = max(message.due - wall_time(), 0.0)
            asyncio.get_running_loop().call_later(wait, guarded(self._bring_later, self._fail), topic, message)
            return Receipt(message.topic, message.id)
        return self._append(topic, message)

    def _fail(self, error: BaseException) -> None:
        logger.error("%r: a message that was published for later is lost: %s", self, describe(error))

    def _bring_later(self, topic: Topic, message: Outgoing) -> None:
        self._broker.later -= 1
        self._append(topic, message)

    def _append(self, topic: Topic, message: Outgoing) -> Receipt:
        number, now = next(self._broker.numbers), wall_time()
        topic.log.append(Entry(message, number, now))
        for queue in topic.groups.values():
            queue.put([Entry(message, number, now)])
        for watcher in topic.watchers:
            watcher.set()
        return Receipt(message.topic, message.id, str(number))

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """See `Adapter.derived`."""
        return derived_name(topic, group, role, _STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        """See `Adapter.own_queue`."""
        found = self._broker.topics.get(topic)
        queue = None if found is None else found.groups.get("" if is_queue else group or _DEFAULT_GROUP)
        if queue is None:
            raise NotFound(f"{self._url} has no topic {topic!r} with a group {group!r}; start the group once")
        name = self.derived(topic, group, "own")
        self._broker.own[name] = queue
        return name

    def subscribe(self, subscription: Subscription, lost: Lost) -> MemorySource:
        """See `Adapter.subscribe`."""
        if subscription.broadcast and not self._capabilities.broadcast:
            raise UnsupportedFeature(broker=self._capabilities.broker, feature="broadcast", alternative="use a group")
        return MemorySource(self, self._broker, subscription, lost)

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """See `Adapter.browse`. Of a stored queue it gives what waits, of a topic what its log keeps."""
        await self.ensure(topics, is_queue=is_queue, create=False)
        seen = next(self._broker.numbers)
        news = asyncio.Event()
        found = [self._broker.topics[name] for name in topics]
        for topic in found:
            topic.watchers.add(news)
        try:
            if past:
                there = [
                    (topic, entry) for topic in found for entry in (topic.groups[""].ready if is_queue else topic.log)
                ]
                for topic, entry in sorted(there, key=lambda one: one[1].number):
                    yield _EntryDelivery(entry, topic.name, entry.count)
            while follow:
                news.clear()
                later = [(topic, entry) for topic in found for entry in topic.log if entry.number > seen]
                for topic, entry in sorted(later, key=lambda one: one[1].number):
                    seen = entry.number
                    yield _EntryDelivery(entry, topic.name, entry.count)
                if not later:
                    await news.wait()
        finally:
            for topic in found:
                topic.watchers.discard(news)

    def cursor(self, queue: str) -> MemoryCursor:
        """See `Adapter.cursor`."""
        return MemoryCursor(self, self._broker, queue)

    async def close(self) -> None:
        """Messages stay: they belong to the process."""
        self._open = False


class MemorySource:
    """One subscription of the embedded broker."""

    def __init__(self, adapter: MemoryAdapter, broker: Broker, subscription: Subscription, lost: Lost) -> None:
        self._adapter = adapter
        self._broker = broker
        self._subscription = subscription
        self._lost = lost
        self._copies = adapter.capabilities().copies_retries
        self._counts = adapter.capabilities().attempts == "deliveries"
        self._own_queues = adapter.capabilities(subscription.topics[0]).own_queues
        self._lease = subscription.lease if adapter.capabilities().lease is not None else None
        self._queues: list[tuple[str, Queue]] = []
        self._held: dict[Entry, tuple[Delivery, Queue]] = {}
        self._wakeup = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._sweeper: asyncio.Task[None] | None = None
        self._failure: BrokerkitError | None = None
        self._own_group = f"broadcast-{uuid.uuid4().hex}" if subscription.broadcast else ""

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "open" if self._queues else "new"
        return f"<MemorySource {', '.join(self._subscription.topics)}: {state}, {len(self._held)} unsettled>"

    async def open(self) -> None:
        """See `Source.open`."""
        wanted = self._subscription
        create = wanted.provision in ("all", "off")
        await self._adapter.ensure(wanted.topics, is_queue=wanted.is_queue, create=create)
        group = "" if wanted.is_queue else self._own_group or wanted.group or _DEFAULT_GROUP
        for name in wanted.topics:
            topic = self._broker.topics[name]
            if group not in topic.groups:
                if wanted.provision == "check" and not wanted.broadcast:
                    raise NotFound(f'topic {name!r} has no group {group!r} yet; provision = "group" creates it')
                queue = topic.groups[group] = Queue()
                if wanted.start == "earliest" and not wanted.broadcast:
                    queue.put([Entry(entry.message, entry.number, entry.time) for entry in topic.log])
            queue = topic.groups[group]
            queue.readers.add(self)
            self._queues.append((name, queue))
        if self._lease is not None:
            self._sweeper = start(self._sweep(self._lease), self._fail)

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Source.receive`."""
        while not self._stopped:
            if self._failure is not None:
                raise self._failure
            if batch := self._take(limit):
                return batch
            self._wakeup.clear()
            await self._wakeup.wait()
        return []

    def _fail(self, error: BaseException) -> None:
        self._failure = BrokerkitError(f"the embedded broker failed: {type(error).__name__}: {describe(error)}")
        self._failure.__cause__ = error
        self._wakeup.set()

    def wake(self) -> None:
        """Something can be taken from a queue that is read here."""
        self._wakeup.set()

    def keys_of(self, queue: Queue) -> set[str | bytes | None]:
        """The keys of what this reader has of a queue."""
        return {entry.message.key for entry, (_, source) in self._held.items() if source is queue}

    def _take(self, limit: int) -> list[Delivery]:
        until, all_ours = self._loop.time() + (self._lease or 0.0), self._subscription.is_queue
        batch: list[Delivery] = []
        for name, queue in self._queues:
            for entry in queue.take(self, limit - len(batch)):
                entry.count += 1
                entry.leased_until = until
                is_ours = (entry.own or all_ours) and self._own_queues
                kind = _OwnEntryDelivery if is_ours else _EntryDelivery
                delivery = kind(entry, name, entry.count if self._counts else 0)
                self._held[entry] = (delivery, queue)
                batch.append(delivery)
        return batch

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """See `Source.settle`."""
        return [self._settle(delivery, outcome) for delivery, outcome in pairs]

    def check(self, outgoing: Outgoing) -> None:
        """See `Transactional.check`."""
        if (error := self._adapter.refusal(outgoing)) is not None:
            raise error

    async def commit(self, parts: Sequence[Part]) -> list[Settled | BrokerkitError]:
        """See `Transactional.commit`: nobody sees anything in between, because nothing is awaited."""
        answers: list[Settled | BrokerkitError] = []
        for part in parts:
            entry: Entry = part.delivery.token
            held = self._held.get(entry)
            refused = next(filter(None, map(self._adapter.refusal, part.messages)), None)
            if held is None or held[0] is not part.delivery:
                answers.append(Settled.LOST)
            elif refused is not None:
                answers.append(refused)
            else:
                for outgoing in part.messages:
                    self._adapter.put(outgoing)
                answers.append(self._settle(part.delivery, part.outcome))
        return answers

    def _settle(self, delivery: Delivery, outcome: Outcome) -> Settled:
        entry: Entry = delivery.token
        held = self._held.get(entry)
        if held is None or held[0] is not delivery:
            return Settled.LOST
        del self._held[entry]
        queue = held[1]
        if isinstance(outcome, RetryLater):
            if self._copies:
                entry.message, entry.count, entry.starts, entry.own = outcome.copy, 0, 0, True
            self._loop.call_later(outcome.after, guarded(queue.put_back, self._fail), entry)
        elif outcome is RELEASE:
            queue.put_back(entry)
        else:
            queue.unfinished -= 1
        queue.let_go()
        return Settled.DONE

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`."""
        until = self._loop.time() + (self._lease or 0.0)
        answers: list[Settled] = []
        for delivery in deliveries:
            entry: Entry = delivery.token
            if entry in self._held:
                entry.leased_until = until
            answers.append(Settled.DONE if entry in self._held else Settled.LOST)
        return answers

    async def begin_alone(self, delivery: Delivery) -> int:
        """See `LoneStarts.begin_alone`; they are kept as long as the message."""
        entry: Entry = delivery.token
        entry.starts += 1
        return entry.starts

    async def end_alone(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`."""
        entry: Entry = delivery.token
        entry.starts = 0

    def delivery_limit(self, topic: str) -> int | None:
        """See `LoneStarts.delivery_limit`."""
        return None

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


class MemoryCursor:
    """A walk through a stored queue of the embedded broker; see `Cursor`."""

    def __init__(self, adapter: MemoryAdapter, broker: Broker, name: str) -> None:
        self._adapter = adapter
        self._broker = broker
        self._name = name
        self._queue = Queue()
        self._entries: deque[Entry] = deque()
        self._elsewhere = 0

    def __repr__(self) -> str:
        return f"<MemoryCursor of {self._name}: {self.unseen} unseen>"

    @property
    def unseen(self) -> int:
        """See `Cursor.unseen`: what a reader has in hand cannot be seen."""
        return len(self._entries) + self._elsewhere

    async def open(self) -> None:
        """See `Cursor.open`."""
        await self._adapter.ensure([self._name], is_queue=True, create=False)
        self._queue = self._broker.topics[self._name].groups[""]
        self._entries = deque(self._queue.ready)
        self._elsewhere = self._queue.unfinished - len(self._entries)

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """See `Cursor.fetch`."""
        entries = [self._entries.popleft() for _ in range(min(limit, len(self._entries)))]
        return [_EntryDelivery(entry, self._name, entry.count) for entry in entries]

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """See `Cursor.remove`."""
        ready = self._queue.ready
        gone = {id(delivery.token) for delivery in deliveries}
        before = len(ready)
        while ready and id(ready[0]) in gone:
            ready.popleft()
        if before - len(ready) < len(gone):
            left = [entry for entry in ready if id(entry) not in gone]
            ready.clear()
            ready.extend(left)
        self._queue.unfinished -= before - len(ready)

    async def close(self) -> None:
        """See `Cursor.close`."""
        self._entries.clear()


class _EntryDelivery(Delivery):
    """The delivery of an entry."""

    __slots__ = ()

    def __init__(self, entry: Entry, topic: str, count: int) -> None:
        message = entry.message
        headers = dict(message.headers)
        if message.content_type is not None:
            headers[CONTENT_TYPE] = message.content_type
        # A call of the class by keyword takes twice as long as this one (CPython 3.11).
        Delivery.__init__(
            self,
            body=message.body,
            topic=topic,
            key=message.key,
            headers=headers,
            id=message.id,
            time=entry.time,
            count=count,
            native=message,
            token=entry,
            routing_key=message.routing_key or message.name,
            type=message.type,
        )

    @property
    def position(self) -> str:
        """See `Delivery`."""
        return str(self.token.number)


class _OwnEntryDelivery(_EntryDelivery):
    """The delivery of an entry that only this group gets. Its number is unlike all others, whatever its topic."""

    __slots__ = ()

    @property
    def is_ours(self) -> bool:
        """See `Delivery`."""
        return True
