"""The circuit breaker on real brokers: what its handlers need is away, and comes back."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from brokerkit import Breaker, FailedItems, RetryPolicy
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests import every_broker, every_redis
from tests.every_broker import Broker, Recorder, until

COUNT, KEYS = 60, 3

MADE_BY = {
    "kafka": lambda request: every_broker.kafka(request.getfixturevalue("kafka_broker")),
    "rabbitmq": lambda request: every_broker.rabbitmq(request.getfixturevalue("rabbit_broker")),
    "redis-streams": lambda request: every_redis.redis_streams(request.getfixturevalue("redis_broker")),
}


@pytest.fixture(params=MADE_BY)
def real(request: pytest.FixtureRequest) -> Broker:
    """Brokers that settle in three ways."""
    return MADE_BY[request.param](request)


async def test_nothing_becomes_a_dead_letter_keys_stay_in_order_and_all_is_worked_off(real: Broker) -> None:
    away, failed, handled = [True], list[int](), defaultdict[int, list[int]](list)
    recorder = Recorder()

    @recorder.handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        number = event.player_id or 0
        if away[0]:
            failed.append(number)
            raise ConnectionError("no route to the database")
        handled[number % KEYS].append(number)

    breaker = Breaker(minimum=2, errors=(ConnectionError,), probe_after=0.2, cap=0.4)
    bus = real.bus(retry=RetryPolicy(attempts=3, first=0.5, cap=0.5), breaker=breaker, concurrency=4)
    async with recorder.serving(bus):
        for number in range(COUNT):
            await bus.publish(OnPlayerSeatedDown(player_id=number), key=f"k{number % KEYS}")
        pause = bus.runtime.consumers["bus"].pause
        await until(lambda: pause.is_open, seconds=60)
        tried = len(failed)
        await until(lambda: len(failed) >= tried + 4, seconds=60)  # more tries than anybody has attempts
        assert (await bus.health()).sources["bus"].state == "paused"
        away[0] = False
        await until(lambda: sum(map(len, handled.values())) == COUNT, seconds=60)
    assert bus.stats["bus"].dead_lettered == 0
    for key, numbers in handled.items():
        assert numbers == list(range(key, COUNT, KEYS))


@pytest.mark.parametrize("order", ["group", "strict"])
async def test_those_of_one_key_in_a_batch_stay_in_order_when_it_opens(real: Broker, order: str) -> None:
    away, failed, handled = [True], list[int](), defaultdict[int, list[int]](list)
    settings = {"order": order} if order == "strict" else {}
    breaker = Breaker(minimum=4, errors=(ConnectionError,), probe_after=0.2, cap=0.4)
    bus = real.bus(retry=RetryPolicy(attempts=3, first=0.5, cap=0.5), breaker=breaker, concurrency=4, **settings)

    @bus.on_batch("OnPlayerSeatedDown", size=10, within=0.3)
    async def store(events: list[OnPlayerSeatedDown]) -> FailedItems:
        numbers = [event.player_id or 0 for event in events]
        if away[0]:
            failed.extend(numbers)
            return FailedItems(dict.fromkeys(range(len(numbers)), ConnectionError("no route to the database")))
        await asyncio.sleep(0.01)
        for number in numbers:
            handled[number % KEYS].append(number)
        return FailedItems()

    async with bus, bus.serving():
        for number in range(COUNT):
            await bus.publish(OnPlayerSeatedDown(player_id=number), key=f"k{number % KEYS}")
        await until(lambda: bus.runtime.consumers["bus"].pause.is_open, seconds=60)
        tried = len(failed)
        await until(lambda: len(failed) >= tried + 4, seconds=60)
        away[0] = False
        await until(lambda: sum(map(len, handled.values())) == COUNT, seconds=60)
    assert bus.stats["bus"].dead_lettered == 0
    for key, numbers in handled.items():
        assert numbers == list(range(key, COUNT, KEYS))
