"""The consumer's retries, seen on the embedded broker."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from brokerkit import BrokerkitError, Message, Reject, Retry, RetryPolicy
from brokerkit._messages._outgoing import Outgoing
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.memory import MemoryAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.consuming.embedded import FAST, NAME, letters, over, seated
from tests.every_broker import Broker, until

pytestmark = pytest.mark.usefixtures("on_virtual_time")


async def test_an_except_around_a_publish_does_not_catch_a_handlers_answer(memory: Broker) -> None:
    """Many handlers catch `BrokerkitError` to go on without a publish: what they answer must not end there."""
    bus, caught = memory.bus(retry=FAST), list[BrokerkitError]()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        try:
            if message.attempt == 1:
                raise Retry(after=0.0)
            raise Reject("banned")
        except BrokerkitError as error:
            caught.append(error)

    async with asyncio.timeout(10), bus, bus.serving():
        await bus.publish(seated(1))
        await over(bus, 1)
    assert (bus.stats["bus"].retried, bus.stats["bus"].dead_lettered, caught) == (1, 1, [])
    assert await letters(memory, 1) == [("Reject", "banned")]
    assert not issubclass(Retry, BrokerkitError)
    assert not issubclass(Reject, BrokerkitError)


async def test_the_class_of_the_error_chooses_the_policy(memory: Broker) -> None:
    runs: dict[int, int] = {1: 0, 2: 0, 3: 0}
    errors = {1: ValueError("never"), 2: TimeoutError("often"), 3: KeyError("twice")}
    quick = RetryPolicy(attempts=4, first=0.0)
    bus = memory.bus(retry=RetryPolicy(attempts=2, first=0.0, by_error={ValueError: None, OSError: quick}))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        number = event.player_id or 0
        runs[number] += 1
        raise errors[number]

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2), seated(3)])
        await over(bus, 3)
    assert runs == {1: 1, 2: 4, 3: 2}


async def test_a_message_that_asks_for_no_wait_at_all_does_not_spin(memory: Broker) -> None:
    runs, others = 0, 0
    bus = memory.bus(retry=RetryPolicy(attempts=1_000_000))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        nonlocal runs, others
        if event.player_id == 2:
            others += 1
        else:
            runs += 1
            raise Retry(after=0)

    begun = asyncio.get_running_loop().time()
    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1), key="k")
        await until(lambda: runs == 5)
        await bus.publish(seated(2), key="other")
        await until(lambda: others == 1)
        took = asyncio.get_running_loop().time() - begun
        assert runs <= 1.1 + took / 0.05


async def test_a_wait_longer_than_the_broker_keeps_a_message_is_done_in_steps(memory: Broker) -> None:
    at = list[float]()
    bus = memory.bus(hold=0.0, retry=FAST, options={"durable_retry": 0.1, "copies_retries": False})

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        at.append(asyncio.get_running_loop().time())
        if len(at) == 1:
            raise Retry(after=0.6)

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await over(bus, 1)
        assert bus.stats["bus"].received > 3  # it came and went again in between
    assert at[1] - at[0] >= 0.55


@pytest.mark.parametrize("hold", [0.0, 10.0], ids=["durable", "held"])
async def test_attempts_are_counted_and_limited(memory: Broker, hold: float) -> None:
    attempts = list[int]()
    bus = memory.bus(retry=FAST, hold=hold)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        attempts.append(message.attempt)
        raise RuntimeError("always")

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await over(bus, 1)
    assert attempts == [1, 2, 3]
    assert await letters(memory, 1) == [("RuntimeError", "always")]


async def test_a_handler_with_more_attempts_than_its_source_gets_them(memory: Broker) -> None:
    """The limit of deliveries ends crash loops; it must not cut a policy short."""
    calls = 0
    bus = memory.bus(hold=0.0, retry=RetryPolicy(attempts=1))

    @bus.on(NAME, retry=RetryPolicy(attempts=12, first=0.001, cap=0.002))
    async def handle(event: OnPlayerSeatedDown) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await over(bus, 1)
    assert calls == 12


async def test_a_reject_skips_the_remaining_attempts(memory: Broker) -> None:
    calls = 0
    bus = memory.bus(retry=FAST)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        nonlocal calls
        calls += 1
        raise Reject("banned")

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await over(bus, 1)
    assert calls == 1
    assert await letters(memory, 1) == [("Reject", "banned")]


@pytest.mark.parametrize("hold", [0.0, 10.0], ids=["durable", "held"])
async def test_a_retry_waits_for_as_long_as_it_says(memory: Broker, hold: float) -> None:
    loop, times = asyncio.get_running_loop(), list[float]()
    bus = memory.bus(hold=hold)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        times.append(loop.time())
        if len(times) == 1:
            raise Retry(after=0.2)

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await over(bus, 1)
    assert 0.18 <= times[1] - times[0] < 1.0


@pytest.mark.parametrize("hold", [0.0, 10.0], ids=["durable", "held"])
async def test_a_retry_reruns_only_the_handlers_that_are_not_done(memory: Broker, hold: float) -> None:
    ran = list[str]()
    bus = memory.bus(hold=hold, retry=FAST)

    @bus.on("*")
    async def last(event: Any) -> None:
        ran.append("last")

    @bus.on(NAME)
    async def first(event: OnPlayerSeatedDown) -> None:
        ran.append("first")

    @bus.on(NAME)
    async def second(event: OnPlayerSeatedDown) -> None:
        ran.append("second")
        if ran.count("second") < 3:
            raise RuntimeError

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await over(bus, 1)
    assert ran == ["first", "second", "second", "second", "last"]


async def test_a_copy_that_another_process_made_says_which_handlers_are_done(memory: Broker) -> None:
    ran = list[Any]()
    bus = memory.bus()

    @bus.on(NAME)
    async def first(event: OnPlayerSeatedDown) -> None:
        ran.append("first")

    @bus.on(NAME)
    async def second(event: OnPlayerSeatedDown, message: Message) -> None:
        ran.append(("second", message.attempt, message.id, dict(message.headers)))

    done = next(iter(bus.handlers)).name
    headers = {"event": NAME, "bk-failures": "2", "bk-done": json.dumps([done]), "bk-origin": "id-1", "bk-copy": "1"}
    adapter = MemoryAdapter(Connection(url=Url.parse(memory.settings["url"])))
    async with asyncio.timeout(5), bus, bus.serving():
        await adapter.open()
        own = await adapter.own_queue(memory.topic(), "wallet", is_queue=False, create=True)
        await adapter.send([Outgoing(topic=own, body=b"{}", name=NAME, id="id-1~1", headers=headers)])
        await over(bus, 1)
    assert ran == [("second", 3, "id-1", {"event": NAME})]
