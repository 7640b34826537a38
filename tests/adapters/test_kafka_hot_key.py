"""One hot key on Kafka: its partition waits for it, and the others do not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable

from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until

from brokerkit import Bus, Message
from brokerkit.events.evenbet import OnPlayerSeatedDown


async def test_a_partition_with_a_hot_key_is_paused_and_the_others_go_on(kafka_broker: KafkaBroker) -> None:
    name, room, go = f"test-{uuid.uuid4().hex[:12]}", 10, asyncio.Event()
    hot, others = range(12 * room), range(12 * room, 20 * room)
    handled = list[tuple[int, Message]]()
    bus = Bus(
        kafka_broker.url,
        topic=name,
        group="hot",
        provision="all",
        format="evenbet",
        max_in_flight=room,
        concurrency=5,
        stop_timeout=10.0,
    )

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        handled.append((event.player_id or 0, message))
        if event.player_id == 0:
            await go.wait()

    def seen(numbers: Iterable[int]) -> bool:
        return set(numbers) <= {number for number, _ in handled}

    async with bus:
        receipts = [await bus.publish(OnPlayerSeatedDown(player_id=0), key="hot")]
        receipts += [
            await bus.publish(OnPlayerSeatedDown(player_id=number), key="hot" if number in hot else f"key-{number}")
            for number in range(1, others.stop)
        ]
        places = [str(receipt.position).partition("@")[0] for receipt in receipts]
        settings_of_url = [number for number in others if places[number] != places[0]]
        assert settings_of_url
        async with bus.serving(), asyncio.timeout(60):
            await until(lambda: seen(settings_of_url), seconds=50)
            in_flight = (await bus.health()).sources["bus"].in_flight
            # The hot partition was paused at 40; what had been fetched by then came too.
            assert in_flight < 8 * room
            go.set()
            await until(lambda: len(handled) >= others.stop, seconds=50)
    assert sorted(number for number, _ in handled) == list(range(others.stop))
    assert [number for number, _ in handled if number in hot] == list(hot)
