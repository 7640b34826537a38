"""Kafka, through confluent-kafka (librdkafka).

URL and options
    ``kafka://h1:9092,h2:9092``, port 9092 if none is given. A user in the URL means SASL PLAIN over TLS
    (``kafka://user:password@host``); the option ``security.protocol=SASL_PLAINTEXT`` sends the password in clear, which
    only a broker on the same host deserves, ``sasl.mechanism`` chooses another mechanism. Options are librdkafka's
    settings for producer and consumer alike; each client gets those that are its own. brokerkit's defaults, all of
    which an option overrides: idempotent producer with ``acks=all``, the Java client's partitioner, a publish given up
    after 30 s, cooperative-sticky assignment, offsets committed every 200 ms, a full read-ahead looked at again after
    100 ms. What is published together leaves at once; with ``linger.ms`` it waits that long for more.
    ``group.protocol=consumer`` (KIP-848) works with brokers from Kafka 4.0. With ``group.instance.id`` the member that
    reads the retry topics adds ``-retry`` to it.

What a topic and a group become
    A Kafka topic and a consumer group. Retries that must survive a crash are copied to ``topic.group.retry.1s``,
    ``10s``, ``1m``, ``10m`` and ``1h``, topics of this group alone with as many partitions as the topic, created with
    ``provision="group"`` or ``"all"``, kept for seven days, and read by a second member of the same group. There are
    none with ``order="strict"``, for a broadcast and for a dead-letter topic. A broadcast is a group with a random name
    that never commits: the broker forgets it by itself some minutes after the process is gone.

Delivery
    At least once. A partition's offset is committed up to the first message that is not done, about every 200 ms, and
    at once when the partition goes to another member or the source closes. A released message is not committed and does
    not come again in this session: whoever gets the partition next begins with it. After a kill the broker waits for
    ``session.timeout.ms`` (45 s) before others take over. Kafka does not count deliveries. With ``start="latest"`` a
    group begins at the end that the topic had when the source was opened.

Order
    By key across the group: one partition, one member. While partitions move, the member that loses them finishes what
    it has begun before the other one starts. A copy in a retry topic lets later messages of its key pass.

Limits and escaping
    ``message.max.bytes`` of the client (1,000,000, key, headers and overhead counted in), then the topic's own
    ``max.message.bytes``. A null body stays null. The message id travels as header ``bk-id``, the media type as
    ``content-type``. Header values are bytes, a null one is empty; of several headers with one name the last is seen.
    A topic that does not exist is created by the first message where the broker's ``auto.create.topics.enable`` is on.

Native access
    `Message.native` is the `confluent_kafka.Message`, with all headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, cast

from confluent_kafka import KafkaError, KafkaException

from brokerkit._derived import KAFKA, derived_name
from brokerkit._errors import BrokerkitError, Closed, ConnectionLost, InvalidMessage, MessageTooLarge, NotFound
from brokerkit._message import CONTENT_TYPE, ID_HEADER, Delivery, Outgoing, Receipt
from brokerkit._transport import Capabilities, Connection, Lost, Subscription
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import LOG, Settings, kafka_error, translate
from brokerkit.adapters.kafka._look import look_at_topics
from brokerkit.adapters.kafka._producer import Flight, ProducerThread
from brokerkit.adapters.kafka._source import KafkaSource

__all__ = ["KafkaAdapter"]

SILENCE: Final = 5.0
"""Seconds for which a message is still waited for that the client should have reported as lost; it looks every second."""

PAUSE: Final = 0.001
"""Seconds between two looks whether the client's queue has become shorter."""

FLUSH: Final = 3.5
"""Seconds that `close` waits for confirmations; with the end of the thread, less than the bus waits for an adapter."""

PART: Final = 500
"""Messages of a large batch after which those that were handed over begin to leave."""

OVERHEAD: Final = 36
"""Bytes that librdkafka reckons for each message beside key, value and headers."""

CAPABILITIES: Final = Capabilities(
    broker="Kafka",
    prefix=True,
    order="group",
    durable_retry=7 * 86_400.0,
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "field"}),
    max_in_flight=1_000,
    look="free",
    look_stored="free",
)
_STATIC: Final = replace(
    CAPABILITIES, one_process="group.instance.id is the name of one member, and a second one throws it out"
)


class KafkaAdapter:
    """A Kafka cluster. See the module for what it promises, `brokerkit._transport.Adapter` for how it is used."""

    def __init__(self, connection: Connection, /) -> None:
        self._settings = Settings(connection)
        self._admin: KafkaAdmin | None = None
        self._producer: ProducerThread | None = None
        self._broken = False

    def __repr__(self) -> str:
        state = "open" if self._producer else "closed"
        return f"<KafkaAdapter {self._settings.where}: {state}, {len(self._producer or ())} unconfirmed>"

    def capabilities(self, topic: str = "") -> Capabilities:
        return _STATIC if self._settings.static else CAPABILITIES

    async def open(self) -> None:
        if self._producer is not None:
            return
        admin = KafkaAdmin(self._settings)
        await admin.reach()
        self._admin = admin
        self._producer = ProducerThread(self._settings, self._on_error)

    def _on_error(self, error: KafkaError) -> None:
        """News about connections: librdkafka goes on trying, and every message has a result of its own."""
        LOG.warning("producer of %s: %s", self._settings.where, error.str())
        self._broken = self._broken or error.fatal()

    def _replace_broken(self) -> None:
        """Build a new producer in place of one that had a fatal error: that one takes nothing any more."""
        if self._broken and self._producer is not None:
            self._producer.abandon()
            self._producer.close()
            self._producer = ProducerThread(self._settings, self._on_error)
            self._broken = False

    def _opened(self) -> KafkaAdmin:
        if self._admin is None:
            raise Closed(f"the connection to {self._settings.where} is not open")
        return self._admin

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        admin = self._opened()
        there = await admin.describe(topics)
        missing = [topic for topic in dict.fromkeys(topics) if topic not in there]
        if missing and not create:
            raise NotFound(
                f"{self._settings.where} has no topic {', '.join(map(repr, missing))}; create it, or use provision='all'"
            )
        await admin.create(dict.fromkeys(missing, -1))

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        if self._producer is None:
            return [Closed(f"the connection to {self._settings.where} is not open") for _ in batch]
        if not batch:
            return []
        self._replace_broken()
        flight, producer = Flight(batch), self._producer
        await self._produce(flight, producer)
        late = asyncio.get_running_loop().call_later(
            self._settings.delivery_timeout + SILENCE, self._give_up, flight, producer
        )
        try:
            await flight.landed
        finally:
            late.cancel()
        if flight.failed:
            for index, result in enumerate(flight.results):
                if isinstance(result, KafkaError):
                    flight.results[index] = await self._failure(flight, index, result)
        return cast("list[Receipt | BrokerkitError]", flight.results)

    def _give_up(self, flight: Flight, producer: ProducerThread) -> None:
        """The client should have reported these messages as lost by now, and has not (librdkafka 2.16.1).

        It was seen where a message was handed over while its topic was being deleted. The producer does not get over it.
        """
        if flight.landed.done():
            return  # Both were due in one turn of an event loop that had stood still.
        LOG.error("%r: the client says nothing of messages that it should have given up; it gets a new producer", self)
        self._broken = self._broken or producer is self._producer
        flight.give_up(ConnectionLost(f"{self._settings.where} has not confirmed: it may have the message or not"))

    async def _produce(self, flight: Flight, producer: ProducerThread) -> None:
        produce, report, handed_over = producer.produce, flight.report, 0
        for index, outgoing in enumerate(flight.batch):
            try:
                headers = _headers(outgoing)
            except InvalidMessage as error:
                flight.results[index] = error
                continue
            while True:
                if producer is not self._producer:
                    flight.results[index] = self._gone()
                    break
                try:
                    produce(
                        outgoing.topic,
                        outgoing.body,
                        outgoing.key,
                        headers=headers,
                        on_delivery=partial(report, index),
                    )
                except BufferError:
                    # The client's queue is full of what was not confirmed yet: that is back pressure.
                    producer.flush()
                    await asyncio.sleep(PAUSE)
                    continue
                except KafkaException as error:
                    flight.results[index] = self._refusal(outgoing, kafka_error(error))
                    break
                handed_over += 1
                break
            if index % PART == PART - 1:
                producer.flush()
        producer.flush()
        flight.expect(handed_over)

    def _gone(self) -> BrokerkitError:
        """What a message gets whose producer was closed, or replaced, while it waited for room in the queue."""
        if self._producer is None:
            return Closed(f"the connection to {self._settings.where} was closed")
        # The new one would take it, before those that the old one has just lost are sent again.
        return ConnectionLost(f"the producer of {self._settings.where} was replaced before it took this message")

    def _refusal(self, outgoing: Outgoing, error: KafkaError) -> BrokerkitError:
        """What the client itself would not take."""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            limit = self._settings.message_limit
            return MessageTooLarge(size=_size(outgoing), limit=limit, what="the Kafka client (message.max.bytes)")
        return translate(error, f"cannot publish to {outgoing.topic!r} on {self._settings.where}", sending=True)

    async def _failure(self, flight: Flight, index: int, result: KafkaError) -> Receipt | BrokerkitError:
        outgoing = flight.batch[index]
        if result.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return await self._too_large(outgoing, result, alone=len(flight.batch) == 1)
        return translate(result, f"cannot publish to {outgoing.topic!r} on {self._settings.where}", sending=True)

    async def _too_large(self, outgoing: Outgoing, error: KafkaError, *, alone: bool) -> Receipt | BrokerkitError:
        """The broker measures what the client packed together, so small messages fail beside or because of others."""
        size = _size(outgoing)
        try:
            limit = await self._opened().message_limit(outgoing.topic)
        except BrokerkitError:
            limit = None
        if limit is not None and size > limit:
            return MessageTooLarge(size=size, limit=limit, what=f"topic {outgoing.topic!r} (max.message.bytes)")
        if not alone:
            return (await self.send([outgoing]))[0]
        return translate(error, f"cannot publish to {outgoing.topic!r} on {self._settings.where}", sending=True)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, KAFKA)

    def subscribe(self, subscription: Subscription, lost: Lost) -> KafkaSource:
        return KafkaSource(subscription, lost, self._settings, self._opened, self.send)

    def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        return look_at_topics(self._settings, self._opened(), topics, past=past, follow=follow)

    async def close(self) -> None:
        producer, self._producer, self._admin = self._producer, None, None
        if producer is None:
            return
        producer.flush()  # News of a broker that is away may wait there as well.
        try:
            async with asyncio.timeout(FLUSH):
                while len(producer):
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            LOG.warning("%r: given up, the broker may have %d messages or not", self, len(producer))
            producer.abandon()
        finally:
            producer.close()
        await asyncio.to_thread(producer.join)


def _headers(outgoing: Outgoing) -> dict[str, str | bytes | None]:
    """The headers as the client takes them.

    Raises:
        InvalidMessage: one is no text or bytes, or has a name with a NUL. The client library itself crashes the process
            over a lone surrogate in a name (confluent-kafka 2.16.1).
    """
    headers: dict[str, str | bytes | None] = {}
    try:
        for name, value in outgoing.headers.items():
            if not name.isascii():
                name.encode()
            # The client ends text at its first NUL. Values go as bytes; for names there is no other way.
            if "\0" in name:
                raise InvalidMessage(f"Kafka's client would cut the header name {name!r} at its NUL")
            headers[name] = value if isinstance(value, bytes) else value.encode()
        headers[ID_HEADER] = outgoing.id.encode()
        if outgoing.content_type is not None:
            headers[CONTENT_TYPE] = outgoing.content_type.encode()
        if isinstance(outgoing.key, str):
            outgoing.key.encode()
        outgoing.topic.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"a header, the key or the topic is not valid Unicode: {error}") from error
    except AttributeError as error:
        raise InvalidMessage("header names are text, header values are text or bytes") from error
    return headers


def _size(outgoing: Outgoing) -> int:
    """The bytes that librdkafka reckons for a message."""
    size = OVERHEAD + len(outgoing.body or b"") + len(_bytes(outgoing.key or b""))
    for name, value in _headers(outgoing).items():
        for part in (name, value or b""):
            length = len(_bytes(part))
            # Each length is written as a zigzag varint.
            size += length + 1 + (length > 63) + (length > 8_191) + (length > 1_048_575)
    return size


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
