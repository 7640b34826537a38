"""Reads a queue that somebody else declared. Only the broker knows whether it is a queue or a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brokerkit.adapters.api import (
    AccessDenied,
    Delivery,
    Lost,
    NotFound,
    Outcome,
    PausesReading,
    Settled,
    Subscription,
    UnsupportedFeature,
)
from brokerkit.adapters.rabbitmq._facts import describe_queue
from brokerkit.adapters.rabbitmq._link import Link
from brokerkit.adapters.rabbitmq._publisher import Publisher
from brokerkit.adapters.rabbitmq._source import RabbitSource
from brokerkit.adapters.rabbitmq._starts import Starts
from brokerkit.adapters.rabbitmq._stream import OFFSET, StreamSource
from brokerkit.adapters.rabbitmq._topology import count_messages


class QueueSource:
    """See `brokerkit.adapters.api.Source`. Opening it decides whether it reads queues or streams.

    Args:
        found: is called with the name of each stream.
    """

    def __init__(
        self, link: Link, publisher: Publisher, subscription: Subscription, lost: Lost, *, found: Callable[[str], None]
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._subscription = subscription
        self._lost = lost
        self._found = found
        self._unsure = False
        self._starts = Starts(link, publisher, subscription)
        self._source: RabbitSource | StreamSource = RabbitSource(link, publisher, subscription, lost)

    async def open(self) -> None:
        """See `Source.open`."""
        topics = self._subscription.topics
        connection = await self._publisher.connection()
        types = {topic: (await describe_queue(self._link, connection, topic)).kind for topic in topics}
        unsure = [topic for topic, kind in types.items() if not kind]
        self._unsure = bool(unsure)
        streams = [topic for topic, kind in types.items() if kind == "stream"]
        if streams:
            if len(streams) < len(topics):
                raise UnsupportedFeature(
                    broker="RabbitMQ",
                    feature=f"reading the stream {streams[0]!r} together with queues",
                    alternative="make two sources",
                )
            for stream in streams:
                self._found(stream)
            self._source = StreamSource(self._link, self._publisher, self._subscription, self._lost)
        try:
            await self._source.open()
        except (NotFound, AccessDenied) as error:
            for topic in unsure:
                if await count_messages(self._link, connection, topic) is not None:
                    raise type(error)(
                        f"{error}; {topic!r} is read as a queue, because this user may not declare it: if it is a stream, "
                        "give the user the right to configure it"
                    ) from error
            raise

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Source.receive`."""
        batch = await self._source.receive(limit)
        if batch and self._unsure:
            self._unsure = False
            for one in batch:
                if OFFSET in one.headers and not isinstance(self._source, StreamSource):
                    raise AccessDenied(
                        f"{self._link.url}: {one.topic!r} is a stream, and this user may not declare it. Only a declaration "
                        "tells a stream from a queue before it is read: give the user the right to configure it"
                    )
        return batch

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """See `Source.settle`."""
        return await self._source.settle(pairs)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """See `Source.extend`."""
        return await self._source.extend(deliveries)

    async def begin_alone(self, delivery: Delivery) -> int:
        """See `LoneStarts.begin_alone`."""
        return await self._starts.begin(delivery)

    async def end_alone(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`."""
        await self._starts.end(delivery)

    def delivery_limit(self, topic: str) -> int | None:
        """See `LoneStarts.delivery_limit`."""
        return self._source.delivery_limit(topic) if isinstance(self._source, RabbitSource) else None

    async def lag(self) -> int | None:
        """See `Source.lag`."""
        return await self._source.lag()

    async def pause_reading(self) -> None:
        """See `PausesReading.pause_reading`. The reader of a stream keeps its place."""
        if isinstance(self._source, PausesReading):
            await self._source.pause_reading()

    async def resume_reading(self) -> None:
        """See `PausesReading.resume_reading`."""
        if isinstance(self._source, PausesReading):
            await self._source.resume_reading()

    async def stop(self) -> None:
        """See `Source.stop`."""
        await self._source.stop()

    async def close(self) -> None:
        """See `Source.close`."""
        await self._source.close()

    def __repr__(self) -> str:
        return f"<QueueSource {self._source!r}>"
