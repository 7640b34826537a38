"""Looking at Kafka topics: a consumer that is given its partitions, joins no group and commits nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from brokerkit._errors import AccessDenied, BrokerkitError, NotFound
from brokerkit._message import Delivery
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import LIBRDKAFKA, Settings, kafka_error, translate
from brokerkit.adapters.kafka._delivery import KafkaDelivery

_PAUSE: Final = 0.02
"""Seconds between two looks at what has been fetched."""

_BATCH: Final = 500


async def look_at_topics(
    settings: Settings, admin: KafkaAdmin, topics: Sequence[str], *, past: bool, follow: bool
) -> AsyncGenerator[Delivery, None]:
    """See `Adapter.look`. Within a partition the order is that of the offsets."""
    counts = await admin.describe(topics)
    if missing := [topic for topic in topics if topic not in counts]:
        raise NotFound(f"{settings.where} has no topic {', '.join(map(repr, missing))}")
    places = [(topic, partition) for topic, count in counts.items() for partition in range(count)]
    ends = await admin.ends(places)
    begins = await admin.ends(places, first=True) if past else ends
    wanted = places if follow else [place for place in places if begins[place] < ends[place]]
    if not wanted:
        return
    trouble: list[BrokerkitError] = []

    def on_error(error: KafkaError) -> None:
        found = translate(error, f"cannot look at {', '.join(topics)} on {settings.where}")
        if isinstance(found, AccessDenied) or error.code() == KafkaError._ALL_BROKERS_DOWN:  # pyright: ignore[reportPrivateUsage]
            trouble.append(found)

    # A consumer cannot be made without the name of a group; this one is never told to the broker.
    config = settings.consumer(on_error, group="brokerkit-look", commit=False, role="-look")
    # Offsets have gaps: what lies before an end need not be a message.
    consumer = Consumer({**config, "enable.partition.eof": True}, logger=LIBRDKAFKA)
    try:
        consumer.assign([TopicPartition(*place, begins[place]) for place in wanted])
        open_places = set(wanted)
        while open_places:
            # Without waiting, so that it never blocks the event loop.
            messages = consumer.consume(_BATCH, 0)
            if trouble:
                raise trouble[0]
            if not messages:
                await asyncio.sleep(_PAUSE)
            for message in messages:
                place: tuple[str, int] = (message.topic(), message.partition())  # type: ignore[assignment]
                if (error := message.error()) is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
                        raise translate(error, f"cannot look at {place[0]!r} on {settings.where}")
                    if not follow:
                        open_places.discard(place)
                    continue
                offset: int = message.offset()  # type: ignore[assignment]
                if follow or offset < ends[place]:
                    yield KafkaDelivery(message, place[0], None)
                if not follow and offset >= ends[place] - 1:
                    open_places.discard(place)
    except KafkaException as error:
        raise translate(kafka_error(error), f"cannot look at {', '.join(topics)} on {settings.where}") from error
    finally:
        await asyncio.to_thread(consumer.close)
