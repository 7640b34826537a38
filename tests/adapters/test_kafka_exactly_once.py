"""Transactions of the Kafka adapter: members that come and go, errors of the broker, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until, until_async
from tests.kafka_relay import ADD_OFFSETS, END_TRANSACTION, PRODUCE, TRANSACTION_OFFSETS, Relay

from brokerkit import BrokerkitError, Bus, Message
from brokerkit._url import Url
from brokerkit.adapters.api import ACK, Connection, Part, Settled, Subscription
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._lag import LagQuery
from brokerkit.adapters.kafka._membership import generation_of
from brokerkit.events.evenbet import OnPlayerSeatedDown

SEATED, PAID = "OnPlayerSeatedDown", "OnUserLoggedIn"
KEYS: Final = 8
CLASSIC: Final = {"heartbeat.interval.ms": 300, "session.timeout.ms": 6000}
CONSUMER: Final = {"group.protocol": "consumer"}


class Scene:
    """Wallets in this process, and what somebody finds who reads what is committed."""

    def __init__(self, broker: KafkaBroker, folder: Path, *, url: str = "") -> None:
        self.broker = broker
        self.folder = folder
        self.url = url or broker.url
        self.name = f"eo-{uuid.uuid4().hex[:10]}"
        self.deals, self.paid = f"{self.name}-deals", f"{self.name}-paid"
        self.dealt = 0

    def bus(self, **options: Any) -> Bus:
        """A wallet."""
        path = self.folder / f"{uuid.uuid4().hex}.toml"
        shown = ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in options.items())
        here = f'url = "{self.url}"\noptions = {{{shown}}}\n'
        path.write_text(
            '[bus]\nformat = "evenbet"\nprovision = "all"\nstop_timeout = 10.0\n'
            f'[sources.deals]\n{here}topic = "{self.deals}"\ngroup = "{self.name}"\nexactly_once = true\n'
            f"retry = {{attempts = 2, first = 0.01, cap = 0.02}}\n"
            f'[targets.paid]\n{here}topic = "{self.paid}"\n'
            f'[targets.missing]\n{here}topic = "{self.name}-missing"\nprovision = "off"\n'
        )
        return Bus.from_config(path)

    @asynccontextmanager
    async def wallet(self, **options: Any) -> AsyncGenerator[Bus]:
        """A wallet that pays from the moment at which it consumes until the end of the block."""
        bus = self.bus(**options)

        @bus.on(SEATED)
        async def pay(event: OnPlayerSeatedDown, message: Message) -> None:
            await bus.publish(Message(PAID, b"x", key=message.key, id=f"{event.player_id}"), to="paid")

        async with bus, bus.serving():
            yield bus

    async def deal(self, count: int) -> None:
        """Publish so many more deals."""
        async with Bus(self.broker.url, topic=self.deals, format="evenbet", provision="all") as bus:
            for number in range(self.dealt, self.dealt + count):
                await bus.publish(OnPlayerSeatedDown(player_id=number), key=f"key-{number % KEYS}")
        self.dealt += count

    async def read(self, topic: str) -> dict[str, list[int]]:
        """The numbers of all results by their keys, in order."""
        adapter = KafkaAdapter(Connection(url=Url.parse(self.broker.url)))
        await adapter.open()
        found: dict[str, list[int]] = defaultdict(list)
        try:
            async with aclosing(adapter.browse([topic])) as messages:
                async for message in messages:
                    key = message.key.decode() if isinstance(message.key, bytes) else str(message.key)
                    found[key].append(int(str(message.id).partition("~")[0]))
        finally:
            await adapter.close()
        return found

    async def numbers(self) -> list[int]:
        """The numbers of all results."""
        return [number for numbers in (await self.read(self.paid)).values() for number in numbers]

    async def committed_lag(self) -> int:
        """What another process sees, which knows nothing but what is committed."""
        adapter = KafkaAdapter(Connection(url=Url.parse(self.broker.url)))
        query = LagQuery(adapter._settings, group=self.name)
        try:
            extents = await query.extents([self.deals])
        finally:
            query.close()
        return sum(each.end - (each.committed or each.begin) for each in extents.values())

    async def over(self) -> None:
        """Wait until everything is committed."""

        async def is_over() -> bool:
            return await self.committed_lag() == 0

        await until_async(is_over)

    async def check(self) -> None:
        """Each deal is paid once, in the order of its key."""
        await self.over()
        found = await self.read(self.paid)
        assert sorted(number for numbers in found.values() for number in numbers) == list(range(self.dealt))
        assert all(numbers == sorted(numbers) for numbers in found.values())


async def _ignore(deliveries: object, *, gone: bool = True) -> None:
    """What is lost here comes again."""


@pytest.fixture
def scene(kafka_broker: KafkaBroker, tmp_path: Path) -> Scene:
    return Scene(kafka_broker, tmp_path)


@pytest.mark.parametrize("protocol", [CLASSIC, CONSUMER], ids=["classic", "consumer"])
async def test_members_that_come_and_go_pay_each_deal_once(scene: Scene, protocol: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(90):
        members = [await stack.enter_async_context(AsyncExitStack()) for _ in range(2)]
        await scene.deal(KEYS)
        for turn in range(4):
            member = members[turn % 2]
            await member.aclose()
            dealing = asyncio.ensure_future(scene.deal(8 * KEYS))
            await member.enter_async_context(scene.wallet(**protocol))
            await dealing
        await scene.check()


@pytest.mark.parametrize("protocol", [CLASSIC, CONSUMER], ids=["classic", "consumer"])
async def test_the_generation_of_a_member_is_read_from_what_the_client_says(
    scene: Scene, protocol: dict[str, Any]
) -> None:
    await scene.deal(1)
    consumer = Consumer({"bootstrap.servers": scene.broker.address, "group.id": scene.name, **protocol})
    try:
        assert generation_of(consumer.consumer_group_metadata()) < 1
        consumer.subscribe([scene.deals])
        async with asyncio.timeout(30):
            while not consumer.assignment():
                await asyncio.to_thread(consumer.poll, 0.1)
        assert 1 <= generation_of(consumer.consumer_group_metadata()) < 100
    finally:
        await asyncio.to_thread(consumer.close)


@pytest.mark.parametrize("metadata", [b"", b"CGMDv2:", b"CGMDv2:123", b"CGMDv3:\x01\0\0\0group\0"])
def test_a_member_that_is_described_in_an_unknown_form_is_an_error(metadata: bytes) -> None:
    """A guess would be worse: the broker checks no commit that names no generation."""
    with pytest.raises(BrokerkitError, match="unknown form"):
        generation_of(metadata)


@pytest.fixture
async def relay(kafka_broker: KafkaBroker) -> AsyncIterator[Relay]:
    async with Relay(kafka_broker.address) as relay:
        yield relay


async def test_errors_in_a_transaction_are_tried_again_and_nothing_is_paid_twice(
    kafka_broker: KafkaBroker, relay: Relay, tmp_path: Path
) -> None:
    """Also where the broker has committed and the client is told that it is fenced: then nobody knows at first. And no
    message is blamed for what the broker says of its producer.
    """
    scene = Scene(kafka_broker, tmp_path, url=f"kafka://{relay.address}")
    await scene.deal(KEYS)
    async with scene.wallet(**CLASSIC, **{"retry.backoff.ms": 20}) as bus:
        for api, error in (
            (PRODUCE, KafkaError.INVALID_PRODUCER_EPOCH),
            (PRODUCE, KafkaError.PRODUCER_FENCED),
            (PRODUCE, KafkaError.INVALID_TXN_STATE),
            (PRODUCE, KafkaError.TRANSACTION_ABORTABLE),
            (ADD_OFFSETS, KafkaError.CONCURRENT_TRANSACTIONS),
            (ADD_OFFSETS, KafkaError.NOT_COORDINATOR),
            (TRANSACTION_OFFSETS, KafkaError.COORDINATOR_LOAD_IN_PROGRESS),
            (TRANSACTION_OFFSETS, KafkaError.ILLEGAL_GENERATION),
            (TRANSACTION_OFFSETS, KafkaError.REBALANCE_IN_PROGRESS),
            (END_TRANSACTION, KafkaError.COORDINATOR_NOT_AVAILABLE),
            (END_TRANSACTION, KafkaError.INVALID_PRODUCER_EPOCH),
            (END_TRANSACTION, KafkaError.INVALID_TXN_STATE),
            (END_TRANSACTION, KafkaError.UNKNOWN),
        ):
            rule = relay.answer(api, error)
            await scene.deal(KEYS)
            async with asyncio.timeout(20):
                await rule.given.wait()
        await scene.check()
        stats = bus.stats["deals"]
        assert (stats.failed, stats.dead_lettered) == (0, 0)


async def test_a_result_for_a_topic_that_does_not_exist_makes_its_message_a_dead_letter_alone(scene: Scene) -> None:
    await scene.deal(KEYS)
    bus = scene.bus(**CLASSIC)

    @bus.on(SEATED)
    async def pay(event: OnPlayerSeatedDown, message: Message) -> None:
        to = "missing" if event.player_id == 3 else "paid"
        await bus.publish(Message(PAID, b"x", key=message.key, id=str(event.player_id)), to=to)

    async with bus, bus.serving():
        await until(lambda: bus.stats["deals"].dead_lettered == 1, seconds=40)
        await scene.over()
    assert sorted(await scene.numbers()) == [number for number in range(KEYS) if number != 3]


async def test_only_the_message_whose_result_is_too_large_for_its_topic_becomes_a_dead_letter(scene: Scene) -> None:
    adapter = KafkaAdapter(Connection(url=Url.parse(scene.broker.url)))
    await adapter.open()
    await adapter.require_open().create({scene.paid: 2}, {"max.message.bytes": "4000"})
    await adapter.close()
    await scene.deal(200)
    bus = scene.bus(**CLASSIC)

    @bus.on(SEATED)
    async def pay(event: OnPlayerSeatedDown, message: Message) -> None:
        # Together they are too large for one batch of the topic, and all but one are not by themselves.
        size = 6_000 if event.player_id == 77 else 500
        await bus.publish(Message(PAID, b"x" * size, key=message.key, id=str(event.player_id)), to="paid")

    async with bus, bus.serving():
        await until(lambda: bus.stats["deals"].dead_lettered == 1, seconds=40)
        await scene.over()
    assert sorted(await scene.numbers()) == [number for number in range(200) if number != 77]
    stats = bus.stats["deals"]
    assert (stats.handled, stats.dead_lettered, stats.failed) == (199, 1, 2)


async def test_what_nobody_took_before_a_stop_comes_again(scene: Scene) -> None:
    """Its offsets are behind those of messages that are still settled after the stop."""
    await scene.deal(20 * KEYS)
    adapter = KafkaAdapter(Connection(url=Url.parse(scene.broker.url)))
    await adapter.open()
    wanted = Subscription(topics=(scene.deals,), group=scene.name, max_in_flight=1_000, exactly_once=True)
    source = adapter.subscribe(wanted, _ignore)
    query = LagQuery(adapter._settings, group=scene.name)
    try:
        await source.open()

        def have_come() -> bool:
            asyncio.ensure_future(source.receive(100)).cancel()
            source._reader.want(100)
            return source.in_flight > KEYS

        await until(have_come)
        first = (await source.receive(1))[0]
        await source.stop()
        assert await source.commit([Part(first, ACK)]) == [Settled.DONE]
        place = first.token.topic, first.token.partition
        assert await query.committed([place]) == {place: first.native.offset() + 1}
    finally:
        query.close()
        await source.close()
        await adapter.close()


async def test_offsets_without_messages_are_committed_too(scene: Scene) -> None:
    """The markers of the transactions in which the deals were written."""
    async with scene.wallet(**CLASSIC):
        producer = Producer({"bootstrap.servers": scene.broker.address, "transactional.id": scene.name})
        await asyncio.to_thread(producer.init_transactions)
        for commit in (True, False):
            producer.begin_transaction()
            for number in range(KEYS):
                body = json.dumps({"params": {"playerId": number}}).encode()
                producer.produce(scene.deals, body, key=f"key-{number}", headers={"event": SEATED})
            await asyncio.to_thread(producer.commit_transaction if commit else producer.abort_transaction)
        await scene.over()
