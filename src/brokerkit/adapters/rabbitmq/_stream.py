"""Reads RabbitMQ streams (``x-queue-type: stream``). A stream is a log: reading takes nothing out of it.

AMQP 0-9-1 has consumers of a stream and a first offset for each, but does not remember how far a group has read. So the
group's offset is kept in a separate queue of one message, and an exchange that is deleted with the stream tells whether it
is still the stream of that offset. The connection that reads holds an exclusive queue, because two readers of a group would
each get everything. An acknowledgement only lets the broker send more. A durable retry is a copy in a queue of the group,
which a `RabbitSource` reads beside the stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from pamqp.commands import Basic

from brokerkit.adapters.api import (
    RELEASE,
    Ack,
    BrokerkitError,
    ConnectionLost,
    Delivery,
    Lost,
    NotFound,
    Offsets,
    Outcome,
    RetryLater,
    Settled,
    Subscription,
    UnsupportedFeature,
    get_logger,
    guarded,
    start,
    watch,
)
from brokerkit.adapters.rabbitmq._link import CLIENT_ERRORS, CLOSE_TIMEOUT, Link, discard
from brokerkit.adapters.rabbitmq._source import RabbitSource
from brokerkit.adapters.rabbitmq._topology import declare_exclusive, ensure_own_queue, mark_stream
from brokerkit.adapters.rabbitmq._wire import read_message, role_name

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel

    from brokerkit.adapters.rabbitmq._publisher import Publisher

logger = get_logger(__name__)

OFFSET: Final = "x-stream-offset"
STREAM_RETRY: Final = "stream-retry"
"""The role of the queue in which a group has its retries of a stream."""
_READING: Final = "read a stream"
_STANDBY: Final = 1.0
"""Seconds between two checks whether the group's reader is gone."""
_COMMIT: Final = 0.2
"""Seconds for which settlements are collected before the offset is written."""
_BROWSE_PREFETCH: Final = 100
"""The prefetch of a browse."""
_QUIET: Final = 1.0
"""After this many seconds without a message, the last chunk of a stream counts as read."""


class StreamSource:
    """See `brokerkit.adapters.api.Source`."""

    def __init__(self, link: Link, publisher: Publisher, subscription: Subscription, lost: Lost) -> None:
        self._link = link
        self._subscription = subscription
        self._lost = lost
        self._retries = RabbitSource(link, publisher, subscription, lost, opens=_open_retry_queue, retries=_retry_queue)
        self._connection: AbstractConnection | None = None
        self._channel: Channel | None = None
        self._store: Channel | None = None
        # Of the present channel. A settlement for an older channel is too late.
        self._offsets: dict[str, Offsets[Delivery]] = {}
        # The next offset to read, by stream, as far as this process knows.
        self._positions: dict[str, int] = {}
        self._committed: dict[str, int] = {}
        # The last offset that arrived, or the one before the first that will arrive.
        self._seen: dict[str, int] = {}
        self._consumers: list[str] = []
        self._ready: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        # Set when the core asks for messages. Retries are fetched only then.
        self._wanted = asyncio.Event()
        self._back = False
        self._failure: BrokerkitError | None = None
        self._standby = False
        self._opening: asyncio.Task[None] | None = None
        self._losing: asyncio.Future[Any] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._retry_task: asyncio.Task[None] | None = None
        self._stopped = False

    async def open(self) -> None:
        """See `Source.open`."""
        if self._subscription.group is None:
            raise UnsupportedFeature(
                broker="RabbitMQ",
                feature=f"reading the stream {self._subscription.topics[0]!r} without a group",
                alternative="set group: the offset is kept under that name",
            )
        await self._start()
        await self._retries.open()
        self._retry_task = start(self._read_retries(), self._break)

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Source.receive`."""
        while not self._stopped:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._ready:
                return await self._hand_over(limit)
            self._wanted.set()
            if self._channel is None:
                # A separate task, so that `stop` can end it without cancelling this call.
                self._opening = asyncio.create_task(self._restart())
                await asyncio.wait([self._opening])
                if not self._opening.cancelled():
                    self._opening.result()
                return []  # tells the core that the broker is back
            if self._back:
                self._back = False
                return []
            self._wake.clear()
            await self._wake.wait()
        return []

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """See `Source.settle`."""
        answers = [Settled.LOST] * len(pairs)
        others: list[int] = []
        retries: dict[int, int] = {}
        again: list[Delivery] = []
        for index, (one, outcome) in enumerate(pairs):
            offsets = one.token
            if not isinstance(offsets, Offsets):
                others.append(index)
            elif not offsets.live:
                continue
            elif isinstance(outcome, RetryLater):
                retries[index] = index
            elif isinstance(outcome, Ack):
                answers[index] = self._done(one)
            else:
                answers[index] = Settled.DONE
                again.append(one)
        self._give_back(again)
        if others:
            found = await self._retries.settle([pairs[index] for index in others])
            for index, answer in zip(others, found, strict=True):
                answers[index] = answer
        if retries:
            for index in await self._retries.delay(answers, pairs, retries):
                answers[index] = self._done(pairs[index][0])
        if self._committing is None and not self._stopped:
            self._committing = start(self._commit_soon(), self._break)
        return answers

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`. No other process gets them."""
        return [Settled.DONE for _ in deliveries]

    async def lag(self) -> int | None:
        """See `Source.lag`. It is unknown: AMQP 0-9-1 does not tell where a stream ends."""
        return None

    async def stop(self) -> None:
        """See `Source.stop`."""
        self._stopped = True
        self._wake.set()
        self._wanted.set()
        if self._opening is not None:
            self._opening.cancel()
        self._ready = deque(one for one in self._ready if not isinstance(one.token, Offsets))
        await self._retries.settle([(one, RELEASE) for one in self._ready])
        self._ready.clear()
        if self._channel is not None:
            with suppress(*CLIENT_ERRORS):
                for consumer in self._consumers:
                    await self._channel.basic_cancel(consumer, timeout=self._link.timeout)
        await self._retries.stop()

    async def close(self) -> None:
        """See `Source.close`."""
        self._stopped = True
        self._wake.set()
        try:
            if self._committing is not None:
                self._committing.cancel()
            if self._losing is not None:
                await asyncio.wait([self._losing], timeout=self._subscription.drain_timeout)
            with suppress(*CLIENT_ERRORS, BrokerkitError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._commit()
        finally:
            await self._retries.close()
            if self._retry_task is not None:
                await asyncio.wait([self._retry_task], timeout=CLOSE_TIMEOUT)
            self._forget()
            await self._disconnect()

    def __repr__(self) -> str:
        state = (
            "stopped" if self._stopped else "standing by" if self._standby else "reading" if self._channel else "away"
        )
        return f"<StreamSource {', '.join(self._subscription.topics)}: {state}, at {self._positions}>"

    # Reading

    async def _hand_over(self, limit: int) -> list[Delivery]:
        """Return what has arrived, in order. Acknowledge it, done or not, so that the broker sends as much more."""
        batch = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        last = 0
        for one in batch:
            if not isinstance(one.token, Offsets):
                continue
            offsets = cast("Offsets[Delivery]", one.token)  # pyright: ignore[reportUnknownMemberType]
            if one.count > 1:
                offsets.again(_offset(one), one)
            else:
                offsets.add(_offset(one), one)
                last = one.native.delivery.delivery_tag
        if last and self._channel is not None:
            with suppress(*CLIENT_ERRORS):
                await self._channel.basic_ack(last, multiple=True, wait=False)
        return batch

    async def _arrived(self, topic: str, offsets: Offsets[Delivery], message: DeliveredMessage) -> None:
        # As in `RabbitSource`: they stay in order only as long as nothing is awaited here.
        if message.channel is not self._channel or self._stopped:
            return
        one = read(message, topic, self._seen.get(topic, -1) + 1)
        expected, found = self._seen.get(topic, -1) + 1, _offset(one)
        if found < expected:
            return  # The broker begins with a whole chunk, and this message is done.
        if found > expected and topic in self._seen:
            logger.warning(
                "stream %s: the retention of the stream deleted messages %d to %d before group %s had read them",
                topic,
                expected,
                found - 1,
                self._subscription.group,
            )
        self._seen[topic] = found
        one.token = offsets
        self._ready.append(one)
        self._wake.set()

    def _done(self, one: Delivery) -> Settled:
        offsets: Offsets[Delivery] = one.token
        offsets.done([_offset(one)])
        if (position := offsets.position) is not None:
            self._positions[offsets.topic] = position
        return Settled.DONE

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put released messages back into the buffer. The broker would not send them again."""
        for one in sorted(deliveries, key=_offset, reverse=True):
            if self._stopped:
                one.token.release(_offset(one))
            else:
                again = read(one.native, one.token.topic, _offset(one))
                again.token, again.count = one.token, 2
                self._ready.appendleft(again)
        self._wake.set()

    async def _read_retries(self) -> None:
        """Add the messages of the group's retry queue to those of the streams."""
        while not self._stopped:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                batch = await self._retries.receive(self._subscription.max_in_flight)
            except ConnectionLost as error:
                self._failure = error
            else:
                self._ready.extend(batch)
                self._back = not batch
            self._wake.set()

    # Connecting, and losing the connection

    async def _restart(self) -> None:
        if self._losing is not None:
            await asyncio.wait([self._losing], timeout=self._subscription.drain_timeout)
        if self._standby:
            await asyncio.sleep(_STANDBY)
        try:
            await self._start()
        except NotFound as error:
            # It was there when the source was opened. Whoever deletes a stream usually makes it anew.
            raise ConnectionLost(f"{error}; waiting for it") from error

    async def _start(self) -> None:
        try:
            if not self._standby:
                await self._disconnect()
                self._connection = await self._link.connect()
            assert self._connection is not None
            connection, group = self._connection, self._subscription.group
            for topic in self._subscription.topics:
                if not await declare_exclusive(self._link, connection, role_name(topic, group, "reader")):
                    if not self._standby:
                        logger.warning(
                            "stream %s: another process of group %s reads it; this process stands by", topic, group
                        )
                    self._standby = True
                    return
            if self._standby:
                logger.warning("stream %s: this process now reads it for group %s", self._subscription.topics[0], group)
                self._standby = False
            with self._link.translated(_READING):
                self._store = await self._link.channel(connection)
            for topic in self._subscription.topics:
                await self._find_position(connection, topic)
            await self._consume(connection)
        except BaseException:
            self._standby = False
            self._forget()
            await self._disconnect()
            raise

    async def _find_position(self, connection: AbstractConnection, topic: str) -> None:
        group = self._subscription.group
        queue = role_name(topic, group, "offset")
        await ensure_own_queue(self._link, connection, queue, self._subscription.provision, {"x-max-length": 1})
        stored = await self._stored_offset(queue)
        if await self._is_anew(connection, topic) and (stored is not None or topic in self._positions):
            logger.warning("stream %s was deleted and made anew; group %s begins at its first message", topic, group)
            self._positions.pop(topic, None)
            stored = 0
            await self._write(topic, stored)
        known = max((each for each in (stored, self._positions.get(topic)) if each is not None), default=None)
        if known is None and self._subscription.start == "latest":
            known = await find_end(self._link, connection, topic)
            await self._write(topic, known)
        self._seen.pop(topic, None)
        if known is not None:
            self._positions[topic] = known
            self._seen[topic] = known - 1

    async def _is_anew(self, connection: AbstractConnection, topic: str) -> bool:
        """Whether this is not the stream of which the group has an offset. It is marked then."""
        if self._subscription.provision not in ("group", "all"):
            return False
        marker = role_name(topic, self._subscription.group, "stream")
        return await mark_stream(self._link, connection, topic, marker) is False

    async def _stored_offset(self, queue: str) -> int | None:
        """Read the group's offset. A get takes it out of its queue, so it is written again before it is acknowledged."""
        assert self._store is not None
        store, found, last = self._store, None, 0
        with self._link.translated(f"read the offset in {queue!r}"):
            while not isinstance(
                (message := await store.basic_get(queue, timeout=self._link.timeout)).delivery, Basic.GetEmpty
            ):
                if not message.body.isdigit():
                    raise BrokerkitError(
                        f"{self._link.url}: {queue!r} holds {message.body[:40]!r}, which is not an offset; empty that "
                        "queue, and the group begins again"
                    )
                last = cast("Basic.GetOk", message.delivery).delivery_tag or 0
                found = max(found or 0, int(message.body))
            if found is not None:
                await self._publish_offset(queue, found)
                await store.basic_ack(last, multiple=True)
        return found

    async def _consume(self, connection: AbstractConnection) -> None:
        with self._link.translated(_READING):
            channel = await self._link.channel(connection)
            channel.closing.add_done_callback(guarded(partial(self._died, channel), self._break))  # pyright: ignore[reportUnknownMemberType]
            channel.on_consumer_cancel_callbacks.add(guarded(partial(self._cancelled, channel), self._break))
            await channel.basic_qos(
                prefetch_count=max(1, self._subscription.max_in_flight // len(self._subscription.topics)),
                timeout=self._link.timeout,
            )
            self._channel = channel
            for topic in self._subscription.topics:
                offsets = self._offsets[topic] = Offsets[Delivery](topic, 0)
                answer = await channel.basic_consume(
                    topic,
                    partial(self._arrived, topic, offsets),
                    arguments={OFFSET: self._positions.get(topic, "first")},
                    timeout=self._link.timeout,
                )
                self._consumers.append(answer.consumer_tag or "")

    def _died(self, channel: Channel, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._lose(channel, ConnectionLost(str(self._link.error(error, _READING))))

    def _cancelled(self, channel: Channel, frame: Basic.Cancel) -> None:
        self._lose(
            channel, ConnectionLost(f"{self._link.url}: the broker cancelled the consumer of a stream; it is gone")
        )

    def _lose(self, channel: Channel, failure: ConnectionLost) -> None:
        if channel is not self._channel:
            return
        known = [one for offsets in self._offsets.values() for one in offsets.unsettled]
        self._forget()
        self._failure = failure
        if known:
            self._losing = asyncio.ensure_future(self._lost(known))
            watch(self._losing, self._break)
        self._wake.set()

    def _break(self, error: BaseException) -> None:
        self._failure = self._link.defect(error)
        self._wake.set()

    def _forget(self) -> None:
        for offsets in self._offsets.values():
            offsets.revoke()
        self._offsets = {}
        self._channel = self._store = None
        self._consumers = []
        self._ready = deque(one for one in self._ready if not isinstance(one.token, Offsets))

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await discard(connection)

    # Committing

    async def _commit_soon(self) -> None:
        await asyncio.sleep(_COMMIT)
        self._committing = None
        with suppress(
            *CLIENT_ERRORS, BrokerkitError
        ):  # Then the stream is read again from the last offset that was written.
            await self._commit()

    async def _commit(self) -> None:
        for topic, position in list(self._positions.items()):
            if self._store is not None and self._committed.get(topic) != position:
                await self._write(topic, position)

    async def _write(self, topic: str, position: int) -> None:
        with self._link.translated(f"write the offset of stream {topic!r}"):
            await self._publish_offset(role_name(topic, self._subscription.group, "offset"), position)
        self._committed[topic] = position

    async def _publish_offset(self, queue: str, position: int) -> None:
        # On the connection that holds the right to read. A process that has lost it cannot write an offset.
        if self._store is None:
            raise ConnectionLost(f"{self._link.url}: the connection is closed")
        await self._store.basic_publish(
            str(position).encode(),
            routing_key=queue,
            properties=Basic.Properties(delivery_mode=2),
            mandatory=True,
            timeout=self._link.timeout,
        )


def read(message: DeliveredMessage, stream: str, expected: int) -> Delivery:
    """Convert a message of a stream. ``expected`` is its offset if the header with the offset cannot be read."""
    offset = (message.header.properties.headers or {}).get(OFFSET)
    one = read_message(message, stream, (0, offset if isinstance(offset, int) else expected))
    one.headers = {name: value for name, value in one.headers.items() if name != OFFSET}
    one.count = 1
    return one


def _offset(one: Delivery) -> int:
    assert isinstance(one.position, tuple)
    return one.position[1]


async def find_end(link: Link, connection: AbstractConnection, queue: str) -> int:
    """Find the offset of the next message of a stream. The broker does not tell it, so the last chunk is read."""
    end = 0
    async with aclosing(_read_from(link, connection, queue, "last", quiet=_QUIET)) as found:
        async for one in found:
            end = _offset(one) + 1
    return end


async def browse_stream(link: Link, queue: str) -> AsyncGenerator[Delivery, None]:
    """Yield the messages of a stream, oldest first, up to its present end. No consumer notices."""
    connection = await link.connect()
    try:
        if not (end := await find_end(link, connection, queue)):
            return
        async with aclosing(_read_from(link, connection, queue, "first", quiet=link.timeout)) as found:
            async for one in found:
                yield one
                if _offset(one) >= end - 1:
                    return
    finally:
        await discard(connection)


async def _read_from(
    link: Link, connection: AbstractConnection, queue: str, first: str, *, quiet: float
) -> AsyncGenerator[Delivery, None]:
    """Yield the messages of a stream from ``first`` on, until none has come for ``quiet`` seconds."""
    arrived = asyncio.Queue[Any]()
    with link.translated(f"browse the stream {queue!r}"):
        channel = await link.channel(connection)
        await channel.basic_qos(prefetch_count=_BROWSE_PREFETCH, timeout=link.timeout)
        await channel.basic_consume(queue, arrived.put, arguments={OFFSET: first}, timeout=link.timeout)
        try:
            expected = 0
            while True:
                try:
                    async with asyncio.timeout(quiet):
                        message = await arrived.get()
                except TimeoutError:
                    return
                await channel.basic_ack(message.delivery.delivery_tag, wait=False)
                one = read(message, queue, expected)
                expected = _offset(one) + 1
                yield one
        finally:
            with suppress(*CLIENT_ERRORS):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await channel.close()


async def _open_retry_queue(link: Link, connection: AbstractConnection, topic: str, subscription: Subscription) -> str:
    queue = _retry_queue(topic, subscription)
    await ensure_own_queue(link, connection, queue, subscription.provision, {})
    return queue


def _retry_queue(topic: str, subscription: Subscription) -> str:
    return role_name(topic, subscription.group, STREAM_RETRY)
