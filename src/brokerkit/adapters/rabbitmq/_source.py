"""Reads from RabbitMQ: one connection and one channel for each source, with one consumer for each queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from brokerkit.adapters.api import (
    BrokerkitError,
    ConnectionLost,
    Delivery,
    Lost,
    NotFound,
    Outcome,
    Release,
    RetryLater,
    Settled,
    State,
    Subscription,
    guarded,
    start,
    watch,
)
from brokerkit.adapters.rabbitmq._delaying import Delays
from brokerkit.adapters.rabbitmq._frames import consume
from brokerkit.adapters.rabbitmq._limits import Limits
from brokerkit.adapters.rabbitmq._link import (
    CLIENT_ERRORS,
    CLOSE_TIMEOUT,
    GIVES_BACK_FREELY,
    Link,
    discard,
    server_version,
    while_open,
)
from brokerkit.adapters.rabbitmq._prefetch import STRICT_TIMES, exhausted
from brokerkit.adapters.rabbitmq._settling import acknowledge, consumer_tag, flush, release
from brokerkit.adapters.rabbitmq._starts import Starts
from brokerkit.adapters.rabbitmq._topology import (
    bind_again,
    check_delays,
    count_consumers,
    count_from_outside,
    count_messages,
    open_queue,
    retry_name,
)
from brokerkit.adapters.rabbitmq._wire import read_message, split_prefix

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel
    from pamqp.commands import Basic

    from brokerkit.adapters.rabbitmq._publisher import Publisher

_READING: Final = "read"

_LOOK_EVERY: Final = 5.0
"""Seconds between two searches for a queue that is gone, while others are read."""

_BIND_EVERY: Final = 5.0
"""Seconds between two checks that the queues are bound."""

_BINDS_A_SECOND: Final = 5
"""With many queues the checks are rarer, so that an idle source with a thousand queues does next to nothing."""

_BEGUN: Final = (State.RUNNING, State.FINISHED)


class RabbitSource:
    """See `brokerkit.adapters.api.Source`.

    Delivery tags count within one channel. A delivery of an older channel is lost: the broker took it back when that channel
    ended. Its tag on the present channel would settle another message, or close the channel.
    """

    def __init__(
        self,
        link: Link,
        publisher: Publisher,
        subscription: Subscription,
        lost: Lost,
        *,
        opens: Callable[[Link, AbstractConnection, str, Subscription], Awaitable[str]] = open_queue,
        retries: Callable[[str, Subscription], str] = retry_name,
    ) -> None:
        self._opens = opens
        self._retry_name = retries
        self._link = link
        self._publisher = publisher
        self._subscription = subscription
        self._lost = lost
        self._starts = Starts(link, publisher, subscription)
        self._connection: AbstractConnection | None = None
        self._channel: Channel | None = None
        # By topic. The queue of a topic without a consumer is gone.
        self._consumers: dict[str, str] = {}
        self._queues: dict[str, str] = {}
        self._resting = set[str]()  # topics without a consumer because of a pause
        # The consumers that the broker has cancelled, by topic.
        self._cancelled: dict[str, str] = {}
        self._limits = Limits(link, subscription)
        self._delays = Delays(link, publisher, subscription, retries)
        # Tags are entered as they arrive, so they ascend.
        self._unsettled: dict[int, Delivery] = {}
        self._version: tuple[int, ...] = (0,)
        self._prefetch = 0
        # What the channel has now: it counts for consumers that are made later.
        self._qos = 0
        # Topics that are read one by one, and those whose next consumer does not do so. See `_widen_calm`.
        self._narrow, self._calm = set[str](), set[str]()
        # By topic: how many consumers this channel has had.
        self._made: dict[str, int] = {}
        # By topic: the first delivery tag that its present consumer can have.
        self._since: dict[str, int] = {}
        # Held while consumers change: nothing is acknowledged then.
        self._changing = asyncio.Lock()
        # The event loop's time from which on queues that are gone are looked for.
        self._look_again = 0.0
        self._ready: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._failure: BrokerkitError | None = None
        self._losing: asyncio.Future[Any] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._binding: asyncio.Task[None] | None = None
        # Whether an exchange was missing at the last check, and whether `receive` must report that it is back.
        self._unbound = self._bound_again = False
        self._stopped = self._paused = False
        # Topics whose queue others read too, when this source stops.
        self._shared: set[str] = set()

    async def open(self) -> None:
        """See `Source.open`."""
        await self._start()
        if self._subscription.provision in ("group", "all") and not self._subscription.is_queue:
            self._binding = start(self._keep_bound(), self._break)

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Source.receive`."""
        while not (self._stopped or self._paused):
            if self._cancelled and self._connection is not None and self._channel is not None:
                topic, consumer = self._cancelled.popitem()
                await self._find_out(self._connection, self._channel, topic, consumer)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            is_complete = len(self._consumers) == len(self._queues)
            if self._channel is None or not (is_complete or _now() < self._look_again):
                # A separate task, so that `stop` can end it without cancelling this call.
                self._opening = asyncio.create_task(self._restart())
                await asyncio.wait([self._opening])
                if not self._opening.cancelled():
                    self._opening.result()
                return []  # tells the core that the broker is back
            if self._bound_again:
                self._bound_again = False
                return []
            if ready := self._ready:
                if self._narrow and await self._widen_calm():
                    continue
                if len(ready) > limit:
                    return [ready.popleft() for _ in range(limit)]
                batch = list(ready)
                ready.clear()
                return batch
            if exhausted := self._find_exhausted():
                await self._widen(exhausted)
                continue
            self._wake.clear()
            with suppress(TimeoutError):
                # Queues that are gone are looked for again meanwhile, and the others are read.
                async with asyncio.timeout_at(None if is_complete else self._look_again):
                    await self._wake.wait()
        return []

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """See `Source.settle`."""
        answers = [Settled.LOST] * len(pairs)
        acks: dict[int, int] = {}
        releases: dict[int, int] = {}
        retries: dict[int, int] = {}
        for index, (one, outcome) in enumerate(pairs):
            if not self._is_ours(one):
                continue
            if isinstance(outcome, RetryLater):
                retries[one.token] = index
            elif isinstance(outcome, Release):
                releases[one.token] = index
            else:
                acks[one.token] = index
        # A retry takes a while. By then the attributes may be those of another channel, with equal tags.
        channel, unsettled = self._channel, self._unsettled
        if channel is None:
            return answers
        await self._send_settlements(channel, unsettled, answers, acks, releases)
        if retries:
            copied = await self.delay(answers, pairs, retries)
            await self._send_settlements(channel, unsettled, answers, copied, {})
        return answers

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`. A delivery is ours as long as its channel lives."""
        return [Settled.DONE if self._is_ours(one) else Settled.LOST for one in deliveries]

    async def begin_alone(self, delivery: Delivery) -> int:
        """See `LoneStarts.begin_alone`."""
        return await self._starts.begin(delivery)

    async def end_alone(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`."""
        await self._starts.end(delivery)

    def delivery_limit(self, topic: str) -> int | None:
        """See `LoneStarts.delivery_limit`."""
        return self._limits.deliveries(topic)

    async def lag(self) -> int | None:
        """See `Source.lag`."""
        if not self._queues:
            return await count_from_outside(self._link, self._subscription, self._opens)
        connection = self._connection
        if connection is None or self._channel is None:
            return None
        try:
            counts = [await count_messages(self._link, connection, queue) for queue in self._queues.values()]
        except BrokerkitError:
            return None
        return None if None in counts else sum(count for count in counts if count is not None)

    async def pause_reading(self) -> None:
        """See `PausesReading.pause_reading`. The broker gives new messages to others, or keeps them."""
        self._paused = True
        self._wake.set()
        async with self._changing:
            if (channel := self._channel) is not None:
                topics = {topic for topic in self._consumers if self._limits.may_rest(topic)}
                self._resting |= topics
                with suppress(*CLIENT_ERRORS):
                    for topic in topics:
                        await channel.basic_cancel(self._consumers.pop(topic), timeout=self._link.timeout)
                    await self._find_shared()
                    await self._release_unseen(channel, topics & self._shared)

    async def resume_reading(self) -> None:
        """See `PausesReading.resume_reading`. `receive` makes consumers again."""
        self._paused, self._look_again = False, 0.0

    async def stop(self) -> None:
        """See `Source.stop`."""
        self._stopped = True
        self._wake.set()
        for task in (self._opening, self._binding):
            if task is not None:
                task.cancel()
        channel = self._channel
        # With a single active consumer, another process would start as soon as we cancel, while handlers still run here.
        # To keep the order, the whole channel is given up at once, in `close`.
        if channel is None or self._subscription.order == "strict":
            return
        with suppress(*CLIENT_ERRORS):
            async with self._changing:
                for consumer in self._consumers.values():
                    await channel.basic_cancel(consumer, timeout=self._link.timeout)
            await self._find_shared()
            await self._release_unseen(channel, self._shared)
            self._ready.clear()

    async def _release_unseen(self, channel: Channel, topics: AbstractSet[str]) -> None:
        unseen = [one.token for one in self._ready if one.topic in topics]
        self._ready = deque(one for one in self._ready if one.topic not in topics)
        await while_open(channel, release(channel, self._unsettled, unseen))

    async def _find_shared(self) -> None:
        """Find the queues that others read. What we give back there is theirs at once; elsewhere nobody waits for it.

        A queue gives what comes back in the order in which it comes. So where nobody waits, everything goes back at the very
        end, in its order. The broker counts our cancelled consumers too, as long as something of theirs is unsettled.
        """
        if self._connection is not None:
            for topic, queue in self._queues.items():
                with suppress(BrokerkitError):
                    if await count_consumers(self._link, self._connection, queue) > self._made.get(topic, 0):
                        self._shared.add(topic)

    async def close(self) -> None:
        """See `Source.close`. With its channel, the broker takes back unsettled messages in their order.

        That counts as a delivery. From 4.3 on a message that is given back singly does not.
        """
        self._stopped = True
        self._wake.set()
        if self._binding is not None:
            self._binding.cancel()
        channel, consumers, unsettled = self._channel, self._consumers, self._unsettled
        self._forget()
        try:
            if self._losing is not None:
                await asyncio.wait([self._losing], timeout=self._subscription.drain_timeout)
            if channel is not None:
                with suppress(*CLIENT_ERRORS):
                    async with asyncio.timeout(CLOSE_TIMEOUT):
                        looked_at = await flush(
                            channel, [self._queues[topic] for topic in {*consumers, *self._resting}]
                        )
                        if self._version >= GIVES_BACK_FREELY and self._subscription.order != "strict":
                            await release(channel, {}, [*unsettled, *looked_at])
                        await channel.close()
        finally:
            await self._disconnect()

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "reading" if self._channel is not None else "disconnected"
        queues = ", ".join(self._queues.values()) or self._subscription.topics
        return f"<RabbitSource {queues}: {state}, {len(self._unsettled)} unsettled>"

    def _is_ours(self, one: Delivery) -> bool:
        return one.native.channel is self._channel and one.token in self._unsettled

    # Connecting, and losing the connection.

    async def _restart(self) -> None:
        # Wait for the lost handlers: a redelivery must not overtake its own message.
        if self._losing is not None:
            await asyncio.wait([self._losing], timeout=self._subscription.drain_timeout)
        connection, channel = self._connection, self._channel
        try:
            if connection is None or channel is None:
                await self._start()
                return
            for topic in self._queues.keys() - self._consumers.keys():
                queue = self._queues[topic] = await self._open_queue(connection, topic)
                self._limits.check(self._version, {topic: queue})
                if await count_messages(self._link, connection, queue) is None:
                    # To consume from it would end the channel, and with it the deliveries of the others.
                    raise NotFound(f"{self._link.url}: there is no queue {queue!r}")
                await self._begin(channel, topic)
        except NotFound as error:
            self._look_again = _now() + _LOOK_EVERY
            # It was there when the source was opened. Whoever deletes an exchange or a queue usually makes it anew.
            raise ConnectionLost(f"{error}; waiting for it") from error

    async def _find_out(self, connection: AbstractConnection, channel: Channel, topic: str, consumer: str) -> None:
        """Find out why the broker has cancelled a consumer, and let go of what it held.

        From 4.3 on the queue may still be there: a delivery was not settled in time. The broker has taken that one back, and
        ignores its settlement. The others are still ours. What no handler has begun goes back, so that all of it comes again
        in order; what runs is settled as usual.
        """
        queue = self._queues[topic]
        held = [one for one in self._unsettled.values() if one.topic == topic]
        unseen = {one.token for one in self._ready if one.topic == topic}
        self._ready = deque(one for one in self._ready if one.topic != topic)
        cancelled = f"{self._link.url}: the broker cancelled the consumer of {queue}"
        if not (held and self._limits.takes_back(topic)) or await count_messages(self._link, connection, queue) is None:
            for one in held:
                del self._unsettled[one.token]
            self._failure = ConnectionLost(f"{cancelled}; it is gone")
            self._report(held, unseen)
            return
        self._failure = ConnectionLost(
            f"{cancelled}: it has waited {self._link.consumer_timeout:g} s (consumer_timeout) for a settlement, and "
            "redelivers the message. Handlers must be faster"
        )
        self._report(held, unseen)
        await asyncio.sleep(0)  # The core drops at once what has not begun.
        with self._link.translated(_READING):
            # Otherwise the broker keeps the consumer, and later gives it messages that nobody sees.
            await channel.basic_cancel(consumer, timeout=self._link.timeout)
            back = [one.token for one in held if one.state not in _BEGUN]
            await while_open(channel, release(channel, self._unsettled, back))

    async def _start(self) -> None:
        await self._disconnect()
        connection = self._connection = await self._link.connect()
        try:
            self._delays.forget()
            # One after another: aiormq reuses the number of a channel at once when the broker has closed it.
            self._queues = {topic: await self._open_queue(connection, topic) for topic in self._subscription.topics}
            channel = self._channel = await self._open_channel(connection)
            self._version = server_version(channel)
            self._limits.check(self._version, self._queues)
            for topic in self._queues:
                await self._begin(channel, topic)
            self._calm.clear()
        except BaseException:
            self._forget()
            await self._disconnect()
            raise

    async def _keep_bound(self) -> None:
        """Bind the queues again at intervals, and report an exchange that is missing."""
        while True:
            await asyncio.sleep(max(_BIND_EVERY, len(self._queues) / _BINDS_A_SECOND))
            connection = self._connection
            if connection is None or self._channel is None:
                continue
            try:
                await bind_again(self._link, connection, self._queues, self._subscription)
            except NotFound as error:
                self._unbound, self._failure = True, ConnectionLost(str(error))
            except BrokerkitError:
                continue  # The channel that reads reports any other error.
            else:
                if not self._unbound:
                    continue
                self._unbound, self._bound_again = False, True
            self._wake.set()

    async def _open_queue(self, connection: AbstractConnection, topic: str) -> str:
        subscription = self._subscription
        queue = await self._opens(self._link, connection, topic, subscription)
        await self._limits.look_at(connection, topic, queue)
        if subscription.provision == "check" and not subscription.broadcast:
            await check_delays(
                self._link, connection, queue, topic, subscription, self._retry_name(topic, subscription)
            )
        return queue

    async def _open_channel(self, connection: AbstractConnection) -> Channel:
        with self._link.translated(_READING):
            channel = await self._link.channel(connection)
            channel.closing.add_done_callback(guarded(partial(self._died, channel), self._break))  # pyright: ignore[reportUnknownMemberType]
            channel.on_consumer_cancel_callbacks.add(guarded(partial(self._end_consumer, channel), self._break))
            # RabbitMQ applies the prefetch to each consumer. From 4.3 on it refuses one for a whole channel.
            self._prefetch = max(1, self._subscription.max_in_flight // len(self._queues))
            self._qos = 0
            return channel

    async def _begin(self, channel: Channel, topic: str) -> None:
        """Consume a queue, one by one at first where the broker takes messages away that came too often."""
        if self._paused:
            return  # It has no consumer then, and gets one when it is read again.
        self._narrow.discard(topic)
        if self._limits.is_low(topic) and topic not in self._calm:
            self._narrow.add(topic)
        await self._consume(channel, topic)

    async def _consume(self, channel: Channel, topic: str) -> None:
        prefetch = 1 if topic in self._narrow else self._prefetch
        if prefetch > 1 and self._limits.is_single(topic):
            prefetch *= STRICT_TIMES
        with self._link.translated(_READING):
            if prefetch != self._qos:
                await channel.basic_qos(prefetch_count=prefetch, timeout=self._link.timeout)
                self._qos = prefetch
            # Set before the call: the first deliveries may arrive before it returns.
            self._since[topic] = next(reversed(self._unsettled), 0) + 1
            arguments: dict[str, Any] = {}
            if self._limits.takes_back(topic):
                # It overrides what the broker would use, which nobody can ask for. Only quorum queues know it.
                arguments["x-consumer-timeout"] = int(self._link.consumer_timeout * 1000)
            tag = consumer_tag(sum(self._made.values()))
            arrived = guarded(partial(self._arrived, topic), self._break)
            await consume(
                channel, self._queues[topic], arrived, consumer_tag=tag, arguments=arguments, timeout=self._link.timeout
            )
            self._consumers[topic] = tag
            self._resting.discard(topic)
            self._made[topic] = self._made.get(topic, 0) + 1

    def _find_exhausted(self) -> list[str]:
        """Find the topics of which the core asks for more than their consumers may have. See `_widen`."""
        if len(self._unsettled) < self._prefetch or self._subscription.order == "strict":
            return []
        full = exhausted(self._unsettled, self._since, topics=self._consumers, prefetch=self._prefetch)
        return [topic for topic in full if not self._limits.is_single(topic)]

    async def _widen_calm(self) -> bool:
        """Read queues at full speed of which a message came seldom enough. False where there is none."""
        calm = {one.topic for one in self._ready if one.topic in self._narrow and self._limits.is_calm(one)}
        if single := {topic for topic in calm if self._limits.is_single(topic)}:
            calm -= single
            if len(self._unsettled) == len(self._ready):
                # A new consumer would wait behind those of other processes. So all goes back before anything has begun, in
                # its order, and comes again.
                self._calm |= single
                self._forget()
                return True
        self._narrow -= calm
        await self._widen([*calm])
        return bool(calm)

    async def _widen(self, topics: list[str]) -> None:
        """Have the broker send more. A prefetch cannot be changed, so a new consumer replaces the old one.

        The new one starts first, because a queue may be deleted with its last consumer. The old one already holds as much as
        its prefetch allows. It gets nothing more as long as nothing is acknowledged, so the order of the queue is kept.
        """
        async with self._changing:
            channel = self._channel
            if channel is None or self._stopped:
                return
            with suppress(*CLIENT_ERRORS, BrokerkitError):
                for topic in topics:
                    if (before := self._consumers.get(topic)) is None:
                        continue
                    await self._consume(channel, topic)
                    await channel.basic_cancel(before, timeout=self._link.timeout)

    def _arrived(self, topic: str, message: DeliveredMessage) -> None:
        if message.channel is not self._channel:
            return
        one = read_message(message, topic)
        self._unsettled[one.token] = one
        self._ready.append(one)
        self._wake.set()

    def _died(self, channel: Channel, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._lose(channel, ConnectionLost(str(self._link.error(error, _READING))))

    def _end_consumer(self, channel: Channel, frame: Basic.Cancel) -> None:
        """The broker has cancelled a consumer. `_find_out` asks why."""
        topics = [topic for topic, consumer in self._consumers.items() if consumer == frame.consumer_tag]
        if channel is not self._channel or not topics:
            return
        [topic] = topics
        self._cancelled[topic] = self._consumers.pop(topic)
        self._wake.set()

    def _lose(self, channel: Channel, failure: ConnectionLost) -> None:
        if channel is not self._channel:
            return
        unsettled, unseen = self._unsettled, self._ready
        self._forget()
        self._failure = failure
        self._report(unsettled.values(), {one.token for one in unseen})
        self._wake.set()

    def _report(self, lost: Iterable[Delivery], unseen: AbstractSet[int]) -> None:
        """Tell the core which of its deliveries are lost. It does not know the unseen ones."""
        if known := [one for one in lost if one.token not in unseen]:
            before = [self._losing] if self._losing is not None else []
            self._losing = asyncio.ensure_future(asyncio.gather(self._lost(known), *before))
            watch(self._losing, self._break)

    def _break(self, error: BaseException) -> None:
        """End the source: there is a defect here, or in the core's handling of lost deliveries."""
        self._failure = self._link.defect(error)
        self._wake.set()

    def _forget(self) -> None:
        # Each channel has its own dictionary. A settlement under way keeps the one that it began with.
        self._channel = None
        self._consumers = {}
        self._cancelled = {}
        self._made = {}
        self._unsettled = {}
        self._ready = deque()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await discard(connection)

    # Settling.

    async def _send_settlements(
        self,
        channel: Channel,
        unsettled: dict[int, Delivery],
        answers: list[Settled],
        acks: dict[int, int],
        releases: dict[int, int],
    ) -> None:
        """Acknowledge and release tags of one channel. Each tag maps to the index of its answer."""
        try:
            if releases:
                # After `stop`, messages that nobody waits for are given back in `close`.
                now = [tag for tag in sorted(releases) if not self._stopped or unsettled[tag].topic in self._shared]
                async with self._changing:
                    await while_open(channel, release(channel, unsettled, now))
                for index in releases.values():
                    answers[index] = Settled.DONE
            async with self._changing:
                last, singles = split_prefix(unsettled, acks.keys())
                await while_open(channel, acknowledge(channel, last, singles))
        except CLIENT_ERRORS:
            return
        for tag, index in acks.items():
            if unsettled.pop(tag, None) is not None:  # else its queue was deleted meanwhile
                answers[index] = Settled.DONE

    async def delay(
        self, answers: list[Settled], pairs: Sequence[tuple[Delivery, Outcome]], retries: dict[int, int]
    ) -> dict[int, int]:
        """See `Delays.put_off`."""
        return await self._delays.put_off(self._connection, self._queues, answers, pairs, retries)


def _now() -> float:
    return asyncio.get_running_loop().time()
