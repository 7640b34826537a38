"""Reading from RabbitMQ: one connection and one channel for each source, with a consumer for each queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiormq.exceptions import ChannelInvalidStateError

from brokerkit._errors import BrokerkitError, ConnectionLost, NotFound
from brokerkit._message import Delivery, Outcome, Release, RetryLater, Settled
from brokerkit._transport import Lost, Subscription
from brokerkit.adapters._delays import level_for
from brokerkit.adapters.rabbitmq._link import CLIENT_ERRORS, CLOSE_TIMEOUT, Link, discard
from brokerkit.adapters.rabbitmq._topology import check_delays, count_messages, open_delay, open_queue
from brokerkit.adapters.rabbitmq._wire import Letter, delivery, retry_letter, split_prefix

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel
    from pamqp.commands import Basic

    from brokerkit.adapters.rabbitmq._publisher import Publisher

_READING: Final = "read"


class RabbitSource:
    """See `brokerkit._transport.Source`.

    Delivery tags count within one channel. A delivery whose channel is not the present one is lost: the broker took it
    back when that channel died, and settling its tag elsewhere would settle another message, or close the channel.
    """

    def __init__(self, link: Link, publisher: Publisher, subscription: Subscription, lost: Lost) -> None:
        self._link = link
        self._publisher = publisher
        self._subscription = subscription
        self._lost = lost
        self._connection: AbstractConnection | None = None
        self._channel: Channel | None = None
        # By topic. A topic without a consumer has lost its queue.
        self._consumers: dict[str, str] = {}
        self._queues: dict[str, str] = {}
        self._delays: dict[tuple[str, int], str] = {}
        # Tags are entered as they arrive, so this dict ascends.
        self._unsettled: dict[int, Delivery] = {}
        self._ready: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._failure: BrokerkitError | None = None
        self._losing: asyncio.Future[Any] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._stopped = False

    async def open(self) -> None:
        """See `Source.open`."""
        await self._start()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Source.receive`."""
        while not self._stopped:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._channel is None or len(self._consumers) < len(self._queues):
                # A task of its own, so that `stop` can end it without cancelling this call.
                self._opening = asyncio.create_task(self._restart())
                await asyncio.wait([self._opening])
                if not self._opening.cancelled():
                    self._opening.result()
                return []  # so that the core knows that the broker is back
            if ready := self._ready:
                if len(ready) > limit:
                    return [ready.popleft() for _ in range(limit)]
                batch = list(ready)
                ready.clear()
                return batch
            self._wake.clear()
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
        # A retry takes a while; by then these may be those of another channel, with tags that look the same.
        channel, unsettled = self._channel, self._unsettled
        if channel is None:
            return answers
        await self._tell(channel, unsettled, answers, acks, releases)
        if retries:
            stored = await self._delay(answers, pairs, retries)
            await self._tell(channel, unsettled, answers, stored, {})
        return answers

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`: a delivery stays ours for as long as its channel lives."""
        return [Settled.DONE if self._is_ours(one) else Settled.LOST for one in deliveries]

    async def lag(self) -> int | None:
        """See `Source.lag`."""
        connection = self._connection
        if connection is None or self._channel is None:
            return None
        try:
            counts = [await count_messages(self._link, connection, queue) for queue in self._queues.values()]
        except BrokerkitError:
            return None
        return None if None in counts else sum(count for count in counts if count is not None)

    async def stop(self) -> None:
        """See `Source.stop`."""
        self._stopped = True
        self._wake.set()
        if self._opening is not None:
            self._opening.cancel()
        channel = self._channel
        # With a single active consumer, the next one would start as soon as we cancel, beside what still runs here:
        # order lets us go only as a whole, when the channel closes.
        if channel is None or self._subscription.order == "strict":
            return
        with suppress(*CLIENT_ERRORS):
            for consumer in self._consumers.values():
                await channel.basic_cancel(consumer, timeout=self._link.timeout)
            ready = [one.token for one in self._ready]
            self._ready.clear()
            await _while_open(channel, self._release(channel, self._unsettled, ready))

    async def close(self) -> None:
        """See `Source.close`. The broker takes back what is unsettled, in its order."""
        self._stopped = True
        self._wake.set()
        channel, consumers = self._channel, self._consumers
        self._forget()
        try:
            if self._losing is not None:
                await asyncio.wait([self._losing], timeout=self._subscription.drain_timeout)
            if channel is not None:
                with suppress(*CLIENT_ERRORS):
                    async with asyncio.timeout(CLOSE_TIMEOUT):
                        await self._flush(channel, consumers)
                        await channel.close()
        finally:
            await self._disconnect()

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "reading" if self._channel is not None else "disconnected"
        queues = ", ".join(self._queues.values()) or self._subscription.topics
        return f"<RabbitSource {queues}: {state}, {len(self._unsettled)} unsettled>"

    def _is_ours(self, one: Delivery) -> bool:
        return one.native.channel is self._channel and one.token in self._unsettled

    async def _flush(self, channel: Channel, topics: Iterable[str]) -> None:
        """Return when the queues have every acknowledgement.

        The client would drop what it has not written yet, and a broker's channel what it holds back: of a quorum
        queue's acknowledgements it keeps 32 under way and forgets the others when it closes (measured on 3.10). Another
        consumer goes through the same log, behind them. What it is given goes back with the channel; that is one
        message at most, and none where the active consumer is single.
        """
        await channel.basic_qos(prefetch_count=1)
        for topic in topics:
            await channel.basic_consume(self._queues[topic], partial(self._arrived, topic))

    # Connecting, and losing the connection.

    async def _restart(self) -> None:
        # What still runs would be overtaken by its own redelivery.
        if self._losing is not None:
            await asyncio.wait([self._losing], timeout=self._subscription.drain_timeout)
        connection, channel = self._connection, self._channel
        if connection is None or channel is None:
            await self._start()
            return
        for topic in self._queues.keys() - self._consumers.keys():
            self._queues[topic] = await self._open_queue(connection, topic)
            await self._consume(channel, topic)

    async def _start(self) -> None:
        await self._disconnect()
        connection = self._connection = await self._link.connect()
        try:
            self._delays.clear()
            self._queues = {topic: await self._open_queue(connection, topic) for topic in self._subscription.topics}
            channel = self._channel = await self._open_channel(connection)
            for topic in self._queues:
                await self._consume(channel, topic)
        except BaseException:
            self._forget()
            await self._disconnect()
            raise

    async def _open_queue(self, connection: AbstractConnection, topic: str) -> str:
        subscription = self._subscription
        queue = await open_queue(self._link, connection, topic, subscription)
        if subscription.provision == "check" and not subscription.broadcast:
            await check_delays(self._link, connection, queue, topic, subscription)
        return queue

    async def _open_channel(self, connection: AbstractConnection) -> Channel:
        with self._link.translated(_READING):
            channel = await self._link.channel(connection)
            channel.closing.add_done_callback(partial(self._died, channel))  # pyright: ignore[reportUnknownMemberType]
            channel.on_consumer_cancel_callbacks.add(partial(self._cancelled, channel))
            # RabbitMQ counts for each consumer, and from 4.3 on refuses to count for a whole channel.
            prefetch = max(1, self._subscription.max_in_flight // len(self._queues))
            await channel.basic_qos(prefetch_count=prefetch, timeout=self._link.timeout)
            return channel

    async def _consume(self, channel: Channel, topic: str) -> None:
        with self._link.translated(_READING):
            answer = await channel.basic_consume(
                self._queues[topic], partial(self._arrived, topic), timeout=self._link.timeout
            )
            self._consumers[topic] = answer.consumer_tag or ""

    async def _arrived(self, topic: str, message: DeliveredMessage) -> None:
        # Each message comes in a task of its own; only without an await do they stay in order.
        if message.channel is not self._channel:
            return
        one = delivery(message, topic)
        self._unsettled[one.token] = one
        self._ready.append(one)
        self._wake.set()

    def _died(self, channel: Channel, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._lose(channel, ConnectionLost(str(self._link.error(error, _READING))))

    def _cancelled(self, channel: Channel, frame: Basic.Cancel) -> None:
        """One queue is gone, with what it had: its deliveries are lost, and those of the others are not."""
        topics = [topic for topic, consumer in self._consumers.items() if consumer == frame.consumer_tag]
        if channel is not self._channel or not topics:
            return
        [topic] = topics
        del self._consumers[topic]
        unseen, self._ready = self._ready, deque(one for one in self._ready if one.topic != topic)
        gone = [one for one in self._unsettled.values() if one.topic == topic]
        for one in gone:
            del self._unsettled[one.token]
        queue = self._queues[topic]
        self._report(
            gone, unseen, ConnectionLost(f"{self._link.url}: the broker ended the reading of {queue}; it is gone")
        )

    def _lose(self, channel: Channel, failure: ConnectionLost) -> None:
        if channel is not self._channel:
            return
        unsettled, unseen = self._unsettled, self._ready
        self._forget()
        self._report(unsettled.values(), unseen, failure)

    def _report(self, lost: Iterable[Delivery], unseen: Iterable[Delivery], failure: ConnectionLost) -> None:
        """Have the core know what is lost of that which it has seen, and why."""
        tags = {one.token for one in unseen}
        self._failure = failure
        if known := [one for one in lost if one.token not in tags]:
            before = [self._losing] if self._losing is not None else []
            self._losing = asyncio.ensure_future(asyncio.gather(self._lost(known), *before))
        self._wake.set()

    def _forget(self) -> None:
        # A dictionary for each channel: a settlement under way keeps the one that it began with.
        self._channel = None
        self._consumers = {}
        self._unsettled = {}
        self._ready = deque()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await discard(connection)

    # Settling.

    async def _tell(
        self,
        channel: Channel,
        unsettled: dict[int, Delivery],
        answers: list[Settled],
        acks: dict[int, int],
        releases: dict[int, int],
    ) -> None:
        """Acknowledge and release tags of one channel, and note the answers at the index that each tag maps to."""
        try:
            if releases:
                # After `stop` a strict source leaves them to the end of its channel, see there.
                if not (self._stopped and self._subscription.order == "strict"):
                    await _while_open(channel, self._release(channel, unsettled, sorted(releases)))
                for index in releases.values():
                    answers[index] = Settled.DONE
            last, singles = split_prefix(unsettled, acks.keys())
            await _while_open(channel, self._acknowledge(channel, last, singles))
        except CLIENT_ERRORS:
            return
        for tag, index in acks.items():
            if unsettled.pop(tag, None) is not None:  # else its queue has gone meanwhile
                answers[index] = Settled.DONE

    @staticmethod
    async def _acknowledge(channel: Channel, last: int, singles: list[int]) -> None:
        if last:
            await channel.basic_ack(last, multiple=True, wait=False)
        for tag in singles:
            await channel.basic_ack(tag, wait=False)

    @staticmethod
    async def _release(channel: Channel, unsettled: dict[int, Delivery], tags: list[int]) -> None:
        """Put messages back. One by one and ascending: ``multiple`` would take those below that are being handled."""
        for tag in tags:
            unsettled.pop(tag, None)
            await channel.basic_nack(tag, requeue=True, wait=False)

    async def _delay(
        self, answers: list[Settled], pairs: Sequence[tuple[Delivery, Outcome]], retries: dict[int, int]
    ) -> dict[int, int]:
        """Put copies into delay queues; return the tags, with their index, whose copy the broker has."""
        letters: list[Letter] = []
        addressed: list[tuple[int, int]] = []
        for tag, index in retries.items():
            one, outcome = pairs[index]
            assert isinstance(outcome, RetryLater)
            answers[index] = Settled.FAILED
            try:
                queue = await self._delay_queue(one.topic, level_for(outcome.after))
                letters.append(retry_letter(outcome.copy, one, queue))
            except BrokerkitError:
                continue
            addressed.append((tag, index))
        stored: dict[int, int] = {}
        for (tag, index), letter, error in zip(addressed, letters, await self._publisher.send(letters), strict=True):
            if error is None:
                stored[tag] = index
                answers[index] = Settled.LOST
            elif isinstance(error, NotFound):
                # Somebody deleted the delay queue: look again next time.
                self._delays = {key: queue for key, queue in self._delays.items() if queue != letter.routing_key}
        return stored

    async def _delay_queue(self, topic: str, level: int) -> str:
        name = self._delays.get((topic, level))
        if name is None:
            if self._connection is None:
                raise ConnectionLost(f"{self._link.url}: the connection is closed")
            name = self._delays[topic, level] = await open_delay(
                self._link, self._connection, self._queues[topic], topic, level, self._subscription
            )
        return name


async def _while_open(channel: Channel, writing: Coroutine[Any, Any, None]) -> None:
    """Write to a channel, and give it up when the channel ends.

    The client queues ten frames for each connection. Who waits for a place there when the connection breaks is never
    told, and would wait for ever (aiormq 7.2.4).

    Raises:
        ChannelInvalidStateError: the channel ended first.
    """
    task: asyncio.Future[Any] = asyncio.ensure_future(writing)
    closing: asyncio.Future[Any] = channel.closing  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    try:
        await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ChannelInvalidStateError("the channel ended before everything was written")
    finally:
        task.cancel()
    task.result()
