"""Topics by pattern on Kafka."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import strategies as st
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until, until_async

from brokerkit import Bus, ConfigError, Message, RetryPolicy
from brokerkit.adapters._delays import DELAY_LEVELS, delay_label
from brokerkit.adapters._derived_names import derived_name
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.kafka import KafkaAdapter, _source
from brokerkit.adapters.kafka._retry_topics import RetryTopics
from brokerkit.adapters.kafka._topics import NAME_STYLE, Topics
from brokerkit.events.evenbet import OnPlayerSeatedDown


class Scene:
    def __init__(self, broker: KafkaBroker) -> None:
        self.broker = broker
        self.brand = f"brand{uuid.uuid4().hex[:8]}"
        self.pattern = f"^{self.brand}[.]"
        self.handled: list[tuple[int | None, str, int]] = []
        self.failing: set[int | None] = set()
        self.fail_first: set[int | None] = set()

    def bus(self, topic: str | Sequence[str] = "", **settings: Any) -> Bus:
        bus = Bus(
            self.broker.url,
            topic=topic or self.pattern,
            group="wallet",
            format="json",
            name_from="header:event",
            hold=0.1,
            retry=RetryPolicy(attempts=2, first=1, jitter=False),
            options={"heartbeat.interval.ms": 300},
            **settings,
        )

        @bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            if event.player_id in self.failing or (event.player_id in self.fail_first and message.attempt == 1):
                raise RuntimeError("no")
            self.handled.append((event.player_id, message.topic, message.attempt))

        return bus

    async def create(self, *names: str) -> None:
        async with Bus(self.broker.url, topic=f"{self.brand}.x", format="json", provision="off") as bus:
            await bus.adapter().ensure([f"{self.brand}.{name}" for name in names], is_queue=False, create=True)

    def write(self, name: str, *numbers: int) -> None:
        producer = self.broker.producer()
        for number in numbers:
            body = json.dumps({"playerId": number, "tableId": 1}).encode()
            producer.produce(f"{self.brand}.{name}", body, headers={"event": "OnPlayerSeatedDown"})  # type: ignore[arg-type]
        producer.flush()


@pytest.fixture
async def scene(kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(_source, "FINDING", 0.5)
    scene = Scene(kafka_broker)
    yield scene
    client = AdminClient({"bootstrap.servers": kafka_broker.address})
    ours = [topic for topic in client.list_topics(timeout=10).topics if scene.brand in topic]
    for deletion in client.delete_topics(ours).values() if ours else ():
        deletion.exception(30)


async def test_every_topic_that_the_pattern_finds_is_read_and_new_ones_from_their_beginning(scene: Scene) -> None:
    await scene.create("one", "two")
    scene.write("one", 1)
    bus = scene.bus()
    async with bus, bus.serving():
        scene.write("two", 2)
        await until(lambda: len(scene.handled) == 2)
        await scene.create("three")
        scene.write("three", 3)
        await until(lambda: len(scene.handled) == 3)

        async def is_done() -> bool:
            health = (await bus.health(lag=True)).sources["bus"]
            return (health.lag, health.state) == (0, "consuming")

        await until_async(is_done)
    assert sorted(scene.handled, key=str) == [
        (number, f"{scene.brand}.{name}", 1) for number, name in enumerate(("one", "two", "three"), 1)
    ]


async def test_a_pattern_that_finds_nothing_yet_waits_and_a_topic_that_is_deleted_ends_nothing(scene: Scene) -> None:
    bus = scene.bus()
    async with bus, bus.serving():
        await scene.create("one", "two")
        scene.write("one", 1)
        await until(lambda: len(scene.handled) == 1)
        client = AdminClient({"bootstrap.servers": scene.broker.address})
        await asyncio.to_thread(client.delete_topics([f"{scene.brand}.one"])[f"{scene.brand}.one"].result, 30)
        await asyncio.sleep(1)  # What the client says of the deleted topic must not end the source.
        scene.write("two", 2)
        await until(lambda: len(scene.handled) == 2)
        assert (await bus.health()).ready


async def test_retries_and_dead_letters_of_a_pattern_are_not_found_by_it_and_come_from_the_topic_itself(
    scene: Scene,
) -> None:
    await scene.create("one")
    scene.fail_first, scene.failing = {1}, {2}
    scene.write("one", 1, 2)
    bus = scene.bus()
    async with bus, bus.serving():
        await until(lambda: bus.stats["bus"].dead_lettered == 1 and len(scene.handled) == 1, seconds=60)
        # A look at the cluster with all that was made since: nothing of it is read as a topic of the pattern.
        await asyncio.sleep(1.2)
        stats = bus.stats["bus"]
        assert stats.received == 4  # both, and both again
        assert scene.handled == [(1, f"{scene.brand}.one", 2)]
        scene.failing.clear()
        [letter] = [letter async for letter in bus.dead_letters()]
        assert letter.topic == f"{scene.brand}.one"
        assert await bus.dead_letters().replay() == 1
        await until(lambda: len(scene.handled) == 2)
    assert scene.handled[1] == (2, f"{scene.brand}.one", 1)


async def test_names_and_patterns_go_together_and_what_is_there_can_be_looked_at(scene: Scene) -> None:
    await scene.create("one", "two")
    other = f"{scene.brand}-other"
    async with Bus(scene.broker.url, topic=other, format="json", provision="all"):
        pass
    scene.write("one", 1)
    scene.write("two", 2)
    bus = scene.bus([other, scene.pattern])
    async with bus:
        looked = [delivery.topic async for delivery in bus.adapter().browse([other, scene.pattern])]
        async with bus.serving():
            await until(lambda: len(scene.handled) == 2)

            async def is_empty() -> bool:
                return (await bus.health(lag=True)).sources["bus"].lag == 0

            await until_async(is_empty)
    assert sorted(looked) == [f"{scene.brand}.one", f"{scene.brand}.two"]


@pytest.mark.parametrize("pattern", ["^[", "^(", "^*", "^a{99999999999999999999}"])
def test_a_pattern_that_is_no_regular_expression_is_refused_when_the_bus_is_made(pattern: str) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        Bus("kafka://127.0.0.1", topic=["fine", pattern], group="wallet", format="json")


async def test_a_pattern_cannot_be_published_to(scene: Scene) -> None:
    async with scene.bus() as bus:
        with pytest.raises(ConfigError, match="target"):
            await bus.publish(OnPlayerSeatedDown(player_id=1, table_id=1))


def test_a_bridge_of_a_pattern_needs_a_topic_to_publish_to_which_the_pattern_does_not_find() -> None:
    kafka = "kafka://127.0.0.1"
    with pytest.raises(ConfigError, match="to_topic"):
        Bus.bridge(kafka, "memory://", topic="^brand[.]", group="bridge")
    with pytest.raises(ConfigError, match="read what it publishes"):
        Bus.bridge(kafka, kafka, topic="^brand[.]", group="bridge", to_topic="brand.all")
    Bus.bridge(kafka, kafka, topic="^brand[.]", group="bridge", to_topic="all-brands")


NAMES = st.text("ab.-_0", min_size=1, max_size=200)


@given(topic=NAMES, group=st.none() | st.text(min_size=1, max_size=60))
def test_no_pattern_finds_what_brokerkit_derives_for_any_topic_and_group(topic: str, group: str | None) -> None:
    every = Topics(["^"])
    levels = [f"retry.{delay_label(level)}" for level in DELAY_LEVELS]
    roles = ["dlq", *levels, *(f"share-{role}" for role in (*levels, "retry.now", "starts", "dropped"))]
    derived = [derived_name(topic, group, role, NAME_STYLE) for role in roles]
    every.update([*derived, "__consumer_offsets"])
    assert every.found == []
    every.update(["plain"])
    assert every.found == ["plain"]


async def test_a_search_may_find_a_retry_topic_before_its_maker_knows_of_it(scene: Scene) -> None:
    """Each search is about what other members have made, and this one goes on meanwhile."""
    await scene.create("one")
    topic = f"{scene.brand}.one"
    async with Bus(scene.broker.url, topic=topic, format="json") as bus:
        adapter = bus.adapter()
        assert isinstance(adapter, KafkaAdapter)
        admin = adapter.require_open()
        retries = RetryTopics(Subscription(topics=(topic,), group="wallet"), lambda: admin)
        await retries.open({topic: 4})
        making = asyncio.ensure_future(retries.make([(topic, 1)]))
        async with asyncio.timeout(30):
            while retries.get(topic, 1) is None:
                await retries.find()
        await making
        assert retries.delays == {derived_name(topic, "wallet", "retry.1s", NAME_STYLE): 1}
