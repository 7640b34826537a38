"""One view of every broker for tests that must hold on all of them: a test body does not know which one it has.

`Broker.plain` publishes as somebody else's program would, through the client library alone and without any header of
brokerkit's.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

import aio_pika
from confluent_kafka.admin import AdminClient, NewTopic

from brokerkit import Bus, Handlers, Message, adapters
from brokerkit._config._settings import ConnectionSettings
from brokerkit._messages._delivery import ACK, Delivery
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.api import Subscription
from tests.brokers.kafka import KafkaBroker
from tests.brokers.rabbitmq import LARGEST_MESSAGE, RabbitBroker

NONE: Final[Mapping[str, str]] = {}
SIGNING_KEY: Final = "a key that only the group has"


class Plain(Protocol):
    """Publishes names and bodies with a plain client.

    ``place`` says where the event name goes; ``headers`` go beside every body, where the broker has headers.
    """

    def __call__(
        self, topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> Awaitable[None]: ...


@dataclass(frozen=True, kw_only=True)
class Broker:
    """One broker as the tests see it.

    Attributes:
        name: of the adapter, and of the kind of topic where there are several.
        settings: what `Bus` needs to reach it.
        places: where a plain producer can put the event name, as ``name_from`` rules.
        wrong_password: settings that must be refused, where the stand-in checks passwords.
        unreachable: a URL where nobody listens.
        bad_option: settings with an option that the client library does not know.
        suffix: ending of topic names.
        lease: seconds, where a test does not say.
    """

    name: str
    settings: Mapping[str, Any]
    places: tuple[str, ...]
    plain: Plain
    create: Callable[[str], Awaitable[None]]
    unreachable: Mapping[str, Any]
    bad_option: Mapping[str, Any]
    wrong_password: Mapping[str, Any] | None = None
    suffix: str = ""
    lease: float = 4.0
    topics_must_exist: bool = True
    largest: int | None = None
    _prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")

    def topic(self, name: str = "events") -> str:
        """A topic of this test's own."""
        return f"{self._prefix}-{name}{self.suffix}"

    @property
    def at_most_once(self) -> bool:
        return self.name == "redis-pubsub"

    @property
    def one_group(self) -> bool:
        return self.name in ("sqs", "sqs-fifo", "redis-list")

    def bus(self, *, topic: str | list[str] | None = None, group: str | None = "wallet", **settings: Any) -> Bus:
        """A bus with the settings that suit tests: everything is created, leases last seconds."""
        defaults: dict[str, Any] = {
            "topic": topic or self.topic(),
            "group": group,
            "provision": "all",
            "lease": self.lease,
            "format": "evenbet",
            "stop_timeout": 10.0,
        }
        if self.name.startswith(("sqs", "sns")):
            defaults["signing_key"] = SIGNING_KEY  # without it the history of a replay is not believed
        merged = {**defaults, **self.settings, **settings}
        return Bus(merged.pop("url"), **merged)

    async def dead_letters(self, count: int, *, group: str = "wallet") -> list[Delivery]:
        """Take so many dead letters of this test's topic out of their queue."""
        settings = ConnectionSettings.model_validate(dict(self.settings))
        adapter = adapters.make(settings.connection())
        await adapter.open()
        place = adapter.derived(self.topic(), group, "dlq")
        reading = Subscription(topics=(place,), group="reader", is_queue=True, provision="group")
        source = adapter.subscribe(reading, _ignore)
        await source.open()
        letters: list[Delivery] = []
        async with asyncio.timeout(20):
            while len(letters) < count:
                letters += await source.receive(count - len(letters))
        await source.settle([(letter, ACK) for letter in letters])
        await source.stop()
        await source.close()
        await adapter.close()
        return letters


class Recorder:
    """Handlers that note what they get, and a way to wait for it."""

    def __init__(self) -> None:
        self.handlers = Handlers()
        self.got: list[tuple[str, Any, Message]] = []
        self._arrived = asyncio.Event()

    def note(self, name: str, event: Any, message: Message) -> None:
        self.got.append((name, event, message))
        self._arrived.set()

    def record(self, *names: str) -> Recorder:
        """Register for names, or for every name."""

        async def handle(event: Any, message: Message) -> None:
            self.note(message.name, event, message)

        self.handlers._on(*(names or ("*",)))(handle)
        return self

    async def wait_for(self, count: int, *, seconds: float = 30.0) -> list[tuple[str, Any, Message]]:
        """Wait until so many were noted."""
        async with asyncio.timeout(seconds):
            while len(self.got) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.got

    @asynccontextmanager
    async def serving(self, bus: Bus, *, on_source_failure: Literal["raise", "log"] = "raise") -> AsyncIterator[Bus]:
        """Serve a bus with these handlers for as long as the block lasts."""
        bus.include(self.handlers)
        async with bus, bus.serving(on_source_failure=on_source_failure):
            yield bus


async def until(true: Callable[[], bool], *, seconds: float = 45.0) -> None:
    """Wait until something that no event tells is true, looking often."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def until_async(true: Callable[[], Awaitable[bool]], *, seconds: float = 45.0) -> None:
    """The same for something that has to be asked for."""
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.05)


def complaints(errors: str) -> str:
    """What a program wrote to standard error, without the lines of a broker that a busy machine made slow."""
    return "".join(line for line in errors.splitlines(keepends=True) if "no confirmation for" not in line)


async def _ignore(_: object, *, gone: bool = True) -> None:
    """Nothing is lost while a test reads dead letters."""


def with_name(name: str, place: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a message that has its event name at a place."""
    return {**headers, place.partition(":")[2]: name} if place.startswith("header:") else {**headers}


def memory() -> Broker:
    name = uuid.uuid4().hex
    url = f"memory://{name}"

    async def create(topic: str) -> None:
        async with Bus(url, topic=topic):
            pass

    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        settings: dict[str, Any] = {"name_from": place, "format": "json"}
        async with Bus(url, topic=topic, **settings) as bus:
            await bus.publish_many([Message(name, body, headers=headers) for name, body in messages])

    return Broker(
        name="memory",
        settings={"url": url},
        places=("header:event", "key", "type"),
        plain=plain,
        create=create,
        unreachable={},
        bad_option={"url": url, "options": {"no_such_option": "1"}},
        largest=1_048_576,
    )


def sqlite() -> Broker:
    url = f"sqlite:///{tempfile.mkdtemp()}/broker.db"  # an absolute path begins with a slash of its own

    async def create(topic: str) -> None:
        async with Bus(url, topic=topic, provision="all"):
            pass

    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        adapter = adapters.make(ConnectionSettings.model_validate({"url": url}).connection())
        await adapter.open()
        for number, (name, body) in enumerate(messages):
            # Whoever else writes into the file fills in no more than this.
            outgoing = Outgoing(
                topic=topic, body=body, name="", id=f"{topic}-{number}", headers=with_name(name, place, headers)
            )
            outgoing.key = name if place == "key" else None
            outgoing.type = name if place == "type" else None
            [answer] = await adapter.send([outgoing])
            assert isinstance(answer, Receipt), answer
        await adapter.close()

    return Broker(
        name="sqlite",
        settings={"url": url},
        places=("header:event", "key", "type"),
        plain=plain,
        create=create,
        unreachable={"url": "sqlite:////no/such/folder/broker.db"},
        bad_option={"url": url, "options": {"no_such_option": "1"}},
        largest=16 * 1024 * 1024,
    )


def kafka(broker: KafkaBroker, *, protocol: str = "classic") -> Broker:
    async def create(topic: str) -> None:
        admin = AdminClient({"bootstrap.servers": broker.address})
        for created in admin.create_topics([NewTopic(topic, num_partitions=3)]).values():
            await asyncio.wrap_future(created)
        # The broker says that it is done a moment before it can tell others of the topic.
        await until(lambda: not admin.list_topics(topic).topics[topic].error)

    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        producer = broker.producer(**{"allow.auto.create.topics": False})
        for name, body in messages:
            settings_of_section = [
                (header, value.encode()) for header, value in with_name(name, place, headers).items()
            ]
            producer.produce(topic, body, key=name if place == "key" else None, headers=settings_of_section)
        assert await asyncio.to_thread(producer.flush, 10) == 0

    return Broker(
        name="kafka",
        settings={
            "url": broker.url,
            "options": {"topic.metadata.refresh.interval.ms": 500, "group.protocol": protocol},
        },
        places=("header:event", "key", "topic", "field:event"),
        plain=plain,
        create=create,
        unreachable={"url": "kafka://127.0.0.1:1"},
        bad_option={"url": f"{broker.url}?no.such.option=1"},
        wrong_password={
            "url": f"kafka://{broker.user}:{broker.wrong_password}@{broker.sasl_address}",
            "options": {"security.protocol": "sasl_plaintext"},
        },
        largest=1_000_000,
    )


def kafka_share(broker: KafkaBroker) -> Broker:
    def of_share(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**settings, "url": settings["url"].replace("kafka://", "kafka+share://")}

    plain = kafka(broker)
    # The broker decides the protocol of a share group.
    options = {name: value for name, value in plain.settings["options"].items() if name != "group.protocol"}
    return replace(
        plain,
        name="kafka-share",
        # The lock of a group stays what it was at first, and cannot be renewed.
        lease=10.0,
        settings={**of_share(plain.settings), "options": options},
        unreachable=of_share(plain.unreachable),
        bad_option=of_share(plain.bad_option),
        wrong_password=of_share(plain.wrong_password or {}),
    )


def rabbitmq(broker: RabbitBroker) -> Broker:
    async def create(topic: str) -> None:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            await channel.declare_exchange(topic, aio_pika.ExchangeType.TOPIC, durable=True)

    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel(on_return_raises=True)
            exchange = await channel.get_exchange(topic, ensure=False)
            for name, body in messages:
                settings_of_section: dict[str, Any] = {**with_name(name, place, headers)}
                message = aio_pika.Message(body, headers=settings_of_section, type=name if place == "type" else None)
                await exchange.publish(message, routing_key=name if place == "routing_key" else "any.thing")

    return Broker(
        name="rabbitmq",
        settings={"url": broker.url},
        places=("header:event", "routing_key", "type", "topic", "field:event"),
        plain=plain,
        create=create,
        unreachable={"url": "amqp://user:very-secret@127.0.0.1:1/"},
        bad_option={"url": f"{broker.url}?no_such_option=1"},
        wrong_password={"url": broker.wrong_password_url},
        largest=LARGEST_MESSAGE + 1,
    )
