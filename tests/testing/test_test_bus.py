"""The test bus: it takes over any bus, waits for the end of everything, and says well what did not happen."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from brokerkit import Bus, Closed, ConfigError, Message, Reject, Retry, RetryPolicy, WrongNameRule
from brokerkit.adapters import memory
from brokerkit.events.evenbet import OnGameDone, OnPlayerSeatedDown
from brokerkit.testing import TestBus

NAME = "OnPlayerSeatedDown"
URLS = {
    "kafka": "kafka://127.0.0.1:1",
    "rabbitmq": "amqp://127.0.0.1:1/",
    "sqs": "sqs://eu-north-1/",
    "sns": "sns://eu-north-1/",
    "redis-streams": "redis://127.0.0.1:1/0",
    "redis-pubsub": "redis+pubsub://127.0.0.1:1/0?envelope=brokerkit",
    "redis-list": "redis+list://127.0.0.1:1/0?envelope=brokerkit",
    "memory": "memory://theirs",
}


def a_bus(url: str = "kafka://127.0.0.1:1", **settings: Any) -> Bus:
    return Bus(url, **{"topic": "poker", "group": "wallet", "format": "evenbet", "provision": "check", **settings})


@pytest.mark.parametrize("url", URLS.values(), ids=URLS.keys())
async def test_a_bus_of_any_broker_handles_publishes_retries_and_buries_without_it(url: str) -> None:
    bus = a_bus(url)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if event.player_id == 2:
            raise Reject("banned")
        if message.attempt < 3:
            raise Retry(after=600)

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1}, key="k", headers={"tenant": "a"})
        await test.deliver(OnPlayerSeatedDown(player_id=2), key="k2")
        await test.settled()
        handled = test.assert_handled(NAME, times=1, player_id=1)
        assert (handled.key, handled.headers["tenant"]) == ("k", "a")
        letter = test.assert_dead_lettered(NAME, error=Reject, times=1, attempts=1, key="k2")
        assert letter.error == "banned"
        assert letter.handler.endswith("handle")
        assert b'"playerId":2' in (letter.body or b"").replace(b" ", b"")
        assert not test.published
    assert repr(bus).startswith("<Bus: closed")
    assert not [name for name in memory._BROKERS if name.startswith("test-")]


async def test_what_handlers_publish_through_the_bus_is_captured_with_its_event() -> None:
    bus = a_bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        await bus.publish(OnGameDone(game_id=event.player_id), key="table-1", headers={"tenant": "a"})

    @bus.on("OnGameDone")
    async def end(event: OnGameDone) -> None: ...

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 7})
        await test.settled()
        sent = test.assert_published("OnGameDone", key="table-1", to="bus", times=1, game_id=7)
        assert isinstance(sent.event, OnGameDone)
        assert (sent.headers["tenant"], sent.topic) == ("a", "poker")
        test.assert_handled("OnGameDone", game_id=7)
        test.assert_not_published(NAME)
        test.assert_no_dead_letters()


async def test_a_bus_without_sources_captures_what_it_publishes_in_every_format() -> None:
    for wire in ("cloudevents", "cloudevents-structured", "json"):
        bus = Bus("amqp://127.0.0.1:1/", format=wire)
        async with TestBus(bus) as test:
            await bus.publish(OnGameDone(game_id=7))
            assert test.assert_published("OnGameDone", game_id=7).event == OnGameDone(game_id=7), wire


async def test_failed_assertions_say_what_happened() -> None:
    bus = a_bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        raise Reject("no such table")

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1})
        await test.settled()
        with pytest.raises(
            AssertionError, match=r"OnGameDone game_id=7: expected published at least once, got 0(?s:.*)no such"
        ):
            test.assert_published("OnGameDone", game_id=7)
        with pytest.raises(AssertionError, match="expected dead-lettered for 'ValueError' at least once, got 0"):
            test.assert_dead_lettered(NAME, error=ValueError)
        with pytest.raises(AssertionError, match="expected dead-lettered 2 times, got 1"):
            test.assert_dead_lettered(NAME, times=2)
        with pytest.raises(AssertionError, match="there are 1 dead letters:\n.*no such table"):
            test.assert_no_dead_letters()
        with pytest.raises(AssertionError, match="expected handled"):
            test.assert_handled(NAME)


async def test_a_crash_brings_back_what_was_not_acknowledged_and_only_that() -> None:
    began = list[int | None]()
    started, gate = asyncio.Event(), asyncio.Event()
    bus = a_bus("sqs://eu-north-1/")

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        began.append(event.player_id)
        if event.player_id == 2 and began.count(2) == 1:
            started.set()
            await gate.wait()

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1})
        await test.settled()
        await test.deliver(NAME, {"playerId": 2})
        await started.wait()
        await test.crash()
        await test.settled()
        assert began == [1, 2, 2]
        test.assert_handled(NAME, times=1, player_id=2)
        test.assert_no_dead_letters()


async def test_a_crash_loop_ends_at_the_limit_where_the_broker_counts() -> None:
    started = asyncio.Event()
    bus = a_bus("sqs://eu-north-1/", max_deliveries=3, retry=RetryPolicy(attempts=2))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        started.set()
        await asyncio.Event().wait()

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1})
        for _ in range(3 + 3):
            await started.wait()
            started.clear()
            await test.crash()
        await test.settled()
        test.assert_dead_lettered(NAME, error="started 3 times while nothing else of its source ran")


async def test_failures_survive_a_crash_where_the_broker_keeps_them_in_a_copy() -> None:
    attempts = list[int]()
    failed = asyncio.Event()
    bus = a_bus("amqp://127.0.0.1:1/", hold=0.0, retry=RetryPolicy(attempts=2, first=60))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        attempts.append(message.attempt)
        raise ValueError("no")

    bus.add_hook(lambda notice: failed.set())
    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1})
        await failed.wait()
        await asyncio.sleep(1)
        await test.crash()
        await test.settled()
        assert attempts == [1, 2]
        test.assert_dead_lettered(NAME, error=ValueError, attempts=2)


async def test_with_exactly_once_only_what_is_settled_is_published() -> None:
    """Nothing of an attempt that fails, and nothing of one that a crash interrupts."""
    started, gate = asyncio.Event(), asyncio.Event()
    begun = list[int]()
    bus = a_bus(exactly_once=True, retry=RetryPolicy(attempts=2))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        begun.append(message.attempt)
        await bus.publish(OnGameDone(game_id=len(begun)), key="table-1")
        if len(begun) == 1:
            raise ValueError("no")
        if len(begun) == 2:
            started.set()
            await gate.wait()

    @bus.on("OnGameDone")
    async def end(event: OnGameDone) -> None: ...

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1})
        await started.wait()
        test.assert_not_published("OnGameDone")
        await test.crash()
        await test.settled()
        test.assert_published("OnGameDone", times=1, game_id=3)
        test.assert_not_published("OnGameDone", game_id=1)
        test.assert_not_published("OnGameDone", game_id=2)
        test.assert_no_dead_letters()
    assert begun == [1, 2, 1]


async def test_a_second_delivery_is_handled_a_second_time_with_the_same_id() -> None:
    ids = list[str | None]()
    bus = a_bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        ids.append(message.id)

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1}, times=2)
        await test.settled()
    assert len(ids) == 2
    assert ids[0] == ids[1]


async def test_plain_handlers_run_in_threads_and_are_waited_for() -> None:
    threads = list[str]()
    bus = a_bus(timeout=5)

    @bus.on(NAME)
    def handle(event: OnPlayerSeatedDown) -> None:
        threads.append(threading.current_thread().name)
        threading.Event().wait(0.2)

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1})
        await test.settled()
        test.assert_handled(NAME, times=1)
        test.assert_no_dead_letters()
    assert threads[0].startswith("brokerkit-")


async def test_dead_letters_leave_the_file_of_the_service_alone(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    bus = a_bus(dead_letter=file.as_uri())
    before = bus.runtime.settings

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        raise Reject("no")

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1})
        await test.settled()
        assert test.assert_dead_lettered(NAME).stored_in == "poker.wallet.dlq"
    assert not file.exists()
    assert bus.runtime.settings is before


async def test_an_error_that_ends_a_source_is_raised_by_settled() -> None:
    bus = a_bus(max_in_flight=2, max_deliveries=5)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None: ...

    async with TestBus(bus) as test:
        for _ in range(3):
            await test.deliver(Message("Nonsense", b"{}"))
        with pytest.raises(WrongNameRule):
            await test.settled()


async def test_settled_says_what_is_left_when_it_gives_up() -> None:
    gate = asyncio.Event()
    bus = a_bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        await gate.wait()

    async with TestBus(bus) as test:
        await test.deliver(NAME, {"playerId": 1})
        with pytest.raises(AssertionError, match="1 messages are not settled after 20 s"):
            await test.settled(timeout=20)
        gate.set()
        await test.settled()


async def test_two_tests_of_one_bus_see_nothing_of_each_other() -> None:
    bus = a_bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None: ...

    for number in (1, 2):
        async with TestBus(bus) as test:
            await test.deliver(NAME, {"playerId": number})
            await test.settled()
            assert [one.event.player_id for one in test.handled] == [number]
    with pytest.raises(Closed):
        await bus.publish(OnGameDone(game_id=1))


async def test_an_open_bus_and_an_unknown_source_are_refused() -> None:
    async with Bus("memory://refused", topic="t") as bus:
        with pytest.raises(ConfigError, match="this one is open"):
            async with TestBus(bus):
                pass
    bus = a_bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None: ...

    async with TestBus(bus) as test:
        with pytest.raises(ConfigError, match="no source 'other'; there are bus"):
            await test.deliver(NAME, {"playerId": 1}, source="other")
