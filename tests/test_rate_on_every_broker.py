"""A rate limit on every broker: never more than may begin, nothing is lost, and each key keeps its order."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from brokerkit import Rate
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests import every_broker
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import Broker, Recorder, until

COUNT, KEYS = 24, 3
RATE = Rate(8, burst=2)
LEASE = 2.0


async def test_no_more_begin_than_may_and_all_are_handled_in_the_end(broker: Broker) -> None:
    await handle_all(broker)


async def test_the_same_holds_for_a_share_group(kafka_share_broker: KafkaBroker) -> None:
    await handle_all(every_broker.kafka_share(kafka_share_broker))


async def handle_all(broker: Broker) -> None:
    began, handled = list[float](), defaultdict[int, list[int]](list)
    recorder, loop = Recorder(), asyncio.get_running_loop()

    @recorder.handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        number = event.player_id or 0
        began.append(loop.time())
        handled[number % KEYS].append(number)

    # The last one waits for longer than its lease lasts.
    bus = broker.bus(rate=RATE, lease=LEASE)
    since = loop.time()
    async with recorder.serving(bus):
        for number in range(COUNT):
            await bus.publish(OnPlayerSeatedDown(player_id=number), key=f"k{number % KEYS}")
        await until(lambda: len({one for each in handled.values() for one in each}) == COUNT, seconds=60)
    assert bus.stats["bus"].dead_lettered == 0
    # Counted from before the first, this holds however long a handler was kept from running.
    for count, time in enumerate(began, 1):
        assert count <= RATE.at_once + RATE.per_second * (time - since + 0.001), (count, time - since)
    for key, numbers in handled.items():
        assert sorted(set(numbers)) == list(range(key, COUNT, KEYS))
        assert sorted(numbers) == numbers or broker.name.startswith(("sqs", "sns", "kafka-share")), (key, numbers)
