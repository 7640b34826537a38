"""Handlers of batches on every real broker."""

from __future__ import annotations

import asyncio
import json

from brokerkit import Bus, FailedItems, Message, Reject, RetryPolicy
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until

NAME = "OnPlayerSeatedDown"
COUNT = 60


async def test_what_is_handled_in_batches_fails_and_succeeds_one_by_one(broker: Broker) -> None:
    done, batches = list[int](), list[int]()
    bus = broker.bus(retry=RetryPolicy(attempts=3, first=0.05, cap=0.2))

    @bus.on_batch(NAME, size=20, within=0.5)
    async def store(events: list[OnPlayerSeatedDown], messages: list[Message]) -> FailedItems:
        errors: dict[int, Exception] = {}
        batches.append(len(events))
        for position, (event, message) in enumerate(zip(events, messages, strict=True)):
            number = event.player_id or 0
            if number == 7:
                errors[position] = Reject("no such player")
            elif number % 10 == 3 and message.attempt == 1:
                errors[position] = RuntimeError("not yet")
            else:
                done.append(number)
        return FailedItems(errors)

    async with asyncio.timeout(120), bus, bus.serving():
        sent = [OnPlayerSeatedDown(player_id=number, table_id=number) for number in range(COUNT)]
        await bus.publish_many(sent)
        await until(lambda: len(set(done)) == COUNT - 1, seconds=60)
    assert set(done) == {*range(COUNT)} - {7}
    assert max(batches) > 1
    assert max(batches) <= 20
    if not broker.at_most_once:
        [letter] = await broker.dead_letters(1)
        assert json.loads(letter.body or b"")["params"]["playerId"] == 7


async def test_a_stop_handles_what_is_collected_and_nothing_of_it_comes_again(broker: Broker) -> None:
    done = list[int]()

    def make_bus(within: float) -> Bus:
        bus = broker.bus()

        @bus.on_batch(NAME, size=500, within=within)
        async def store(events: list[OnPlayerSeatedDown]) -> None:
            done.extend(event.player_id or 0 for event in events)

        return bus

    bus = make_bus(3600.0)
    async with asyncio.timeout(120):
        async with bus, bus.serving():
            await bus.publish_many([OnPlayerSeatedDown(player_id=number) for number in range(10)])
            stats = bus.stats["bus"]
            await until(lambda: stats.received >= 10, seconds=60)
        assert sorted(done) == list(range(10))
        bus = make_bus(0.2)
        async with bus, bus.serving():
            await bus.publish(OnPlayerSeatedDown(player_id=10))
            await until(lambda: 10 in done, seconds=60)
    assert sorted(done) == list(range(11))
