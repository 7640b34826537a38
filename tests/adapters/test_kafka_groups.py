"""Members of a Kafka group: the move to the newer group protocol, static members, and racks."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import pytest
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until, until_async

from brokerkit import Bus, Message
from brokerkit._errors import BrokerkitError
from brokerkit.adapters.kafka._source import KafkaSource
from brokerkit.events.evenbet import OnPlayerSeatedDown

KEYS: Final = 12
CLASSIC: Final = {"heartbeat.interval.ms": 300, "session.timeout.ms": 6000}
CONSUMER: Final = {"group.protocol": "consumer"}


class Group:
    """A group on one topic, whose members are buses of this process, and all that they have handled."""

    def __init__(self, broker: KafkaBroker) -> None:
        self.broker = broker
        self.topic = f"groups-{uuid.uuid4().hex[:10]}"
        self.name = f"wallet-{uuid.uuid4().hex[:10]}"
        self.published = 0
        self.handled: dict[str, list[int]] = defaultdict(list)

    @property
    def seen(self) -> int:
        return sum(len(set(numbers)) for numbers in self.handled.values())

    def bus(self, **options: Any) -> Bus:
        return Bus(
            self.broker.url, topic=self.topic, group=self.name, provision="all", format="evenbet", options=options
        )

    @asynccontextmanager
    async def member(self, **options: Any) -> AsyncGenerator[Bus]:
        """A member from the moment at which it consumes until the end of the block."""
        bus = self.bus(**options)

        @bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            self.handled[message.key.decode() if isinstance(message.key, bytes) else str(message.key)].append(
                int(event.player_id or 0)
            )

        async with bus, bus.serving():
            yield bus

    async def load(self, stop: asyncio.Event) -> None:
        """Publish numbered messages of every key until told to stop."""
        async with self.bus() as bus:
            while not stop.is_set():
                number = self.published // KEYS
                await asyncio.gather(
                    *(bus.publish(OnPlayerSeatedDown(player_id=number), key=f"key-{key}") for key in range(KEYS))
                )
                self.published += KEYS
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await stop.wait()


async def ready(bus: Bus) -> bool:
    return (await bus.health()).ready


@pytest.mark.parametrize("settled", [False, True], ids=["new group", "group that has rebalanced"])
async def test_a_group_moves_to_the_newer_protocol_member_by_member_and_loses_nothing(
    kafka_broker: KafkaBroker, *, settled: bool
) -> None:
    """Of a group that has rebalanced, the newer members wait until the last classic one has left: the broker will not mix
    them, because the classic members of librdkafka then send data of their assignor.
    """
    group, stop = Group(kafka_broker), asyncio.Event()
    async with AsyncExitStack() as stack, asyncio.timeout(100):
        loading = asyncio.ensure_future(group.load(stop))
        members = [AsyncExitStack() for _ in range(3)]
        for each in members:
            await stack.enter_async_context(each)
            await each.enter_async_context(group.member(**CLASSIC))
            if not settled:
                continue
            await until(lambda: group.seen >= group.published - 5 * KEYS > 0)
        buses: list[Bus] = []
        for each in members:
            before = group.seen
            await each.aclose()
            buses.append(await each.enter_async_context(group.member(**CONSUMER)))
            await until(lambda: group.seen > before + 10 * KEYS, seconds=30)  # noqa: B023
        stop.set()
        await loading
        await until(lambda: group.seen == group.published, seconds=30)
        for bus in buses:
            await until_async(lambda: ready(bus))  # noqa: B023
    for numbers in group.handled.values():
        first = list(dict.fromkeys(numbers))
        assert first == sorted(first)
        assert len(first) == group.published // KEYS


def moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[KafkaSource, str, list[tuple[str, int]]]]:
    """What the sources of this process are assigned and lose from now on."""
    seen: list[tuple[KafkaSource, str, list[tuple[str, int]]]] = []
    assigned, revoked = KafkaSource.assigned, KafkaSource.revoked

    def note_assigned(self: KafkaSource, partitions: Any) -> None:
        seen.append((self, "assigned", list(partitions)))
        assigned(self, partitions)

    async def note_revoked(self: KafkaSource, partitions: Any, **words: Any) -> Any:
        seen.append((self, "revoked", list(partitions)))
        return await revoked(self, partitions, **words)

    monkeypatch.setattr(KafkaSource, "assigned", note_assigned)
    monkeypatch.setattr(KafkaSource, "revoked", note_revoked)
    return seen


@pytest.mark.parametrize("protocol", [CLASSIC, CONSUMER], ids=["classic", "consumer"])
async def test_a_static_member_that_restarts_causes_no_rebalance(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch, protocol: dict[str, Any]
) -> None:
    group, stop = Group(kafka_broker), asyncio.Event()
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        loading = asyncio.ensure_future(group.load(stop))
        # A static member that is away for longer than its session is replaced.
        if protocol is CLASSIC:
            protocol = {**protocol, "session.timeout.ms": 45_000}
        first = await stack.enter_async_context(AsyncExitStack())
        await first.enter_async_context(group.member(**protocol, **{"group.instance.id": "one"}))
        await until(lambda: group.seen > KEYS)
        seen = moves(monkeypatch)
        await stack.enter_async_context(group.member(**protocol, **{"group.instance.id": "two"}))
        await until(lambda: any(what == "assigned" and len(which) == 2 for _, what, which in seen))
        mine = {partition for _, what, which in seen if what == "revoked" for partition in which}
        seen.clear()
        await first.aclose()
        await first.enter_async_context(group.member(**protocol, **{"group.instance.id": "one"}))
        stop.set()
        await loading
        await until(lambda: group.seen == group.published)
        sources = {source for source, _, _ in seen}
        again = {partition for _, what, which in seen if what == "assigned" for partition in which}
    assert len(sources) == 2, "the other member was asked to do something"
    assert len(again) == 2 and not again & mine


@pytest.mark.parametrize("protocol", [CLASSIC, CONSUMER], ids=["classic", "consumer"])
async def test_two_members_with_one_static_name_are_a_clear_error(
    kafka_broker: KafkaBroker, protocol: dict[str, Any]
) -> None:
    """The newer one expels the older one; with the newer protocol it is refused itself."""
    group = Group(kafka_broker)
    name = {"group.instance.id": "one"}
    with pytest.raises(BrokerkitError, match="another member of the group has this group.instance.id"):
        async with asyncio.timeout(30), group.member(**protocol, **name) as first:
            await first.publish(OnPlayerSeatedDown(player_id=1), key="k")
            await until(lambda: group.seen == 1)
            async with group.member(**protocol, **name):
                await asyncio.Event().wait()
