"""A pause on every broker: nothing begins, nothing is lost, and each key goes on in its order."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from brokerkit import Message
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, Recorder, until

KEYS = 3
BEFORE, MEANWHILE = 6, 24
LEASE = 2.0


async def test_a_pause_begins_nothing_loses_nothing_and_keeps_the_order_of_keys(broker: Broker) -> None:
    running, finish, handled = asyncio.Event(), asyncio.Event(), defaultdict[int, list[int]](list)
    recorder = Recorder()

    @recorder.handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        number = event.player_id or 0
        running.set()
        await finish.wait()
        handled[number % KEYS].append(number)

    bus = broker.bus(concurrency=2, max_in_flight=4, lease=LEASE)
    async with recorder.serving(bus):
        for number in range(BEFORE):
            await bus.publish(OnPlayerSeatedDown(player_id=number), key=f"k{number % KEYS}")
        await asyncio.wait_for(running.wait(), 60)
        await bus.pause()
        begun = len(bus.runtime.consumers["bus"]._executor.running)
        finish.set()
        await until(lambda: not bus.runtime.consumers["bus"]._executor.are_busy, seconds=30)
        done = sum(map(len, handled.values()))
        assert done == begun <= 2
        for number in range(BEFORE, BEFORE + MEANWHILE):
            await bus.publish(OnPlayerSeatedDown(player_id=number), key=f"k{number % KEYS}")
        assert (await bus.health(lag=True)).sources["bus"].state == "paused"
        has_lease = bus.runtime.capabilities("bus").lease is not None
        await asyncio.sleep(1.5 * LEASE if has_lease else 0.3)  # what waits here stays ours
        assert sum(map(len, handled.values())) == done
        await bus.resume()
        if broker.at_most_once:
            return  # it keeps no more than fits
        await until(lambda: len({one for each in handled.values() for one in each}) == BEFORE + MEANWHILE, seconds=60)
        assert (await bus.health()).sources["bus"].state == "consuming"
    for key, numbers in handled.items():
        first = list(dict.fromkeys(numbers))
        assert sorted(numbers) == numbers or broker.name.startswith(("sqs", "sns")), (key, numbers)
        assert sorted(first) == list(range(key, BEFORE + MEANWHILE, KEYS))
