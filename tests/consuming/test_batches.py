"""Handlers of batches: which messages come together, and what becomes of each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brokerkit import Bus, ConfigError, FailedItems, HandlerTimeout, Message, Reject, Retry, RetryPolicy
from brokerkit.dedupe import Dedupe, MemoryStore
from brokerkit.events.evenbet import OnGameDone, OnPlayerSeatedDown
from brokerkit.testing import TestBus
from tests.consuming.embedded import FAST, NAME, seated
from tests.every_broker import until


def make_bus(**settings: Any) -> Bus:
    defaults: dict[str, Any] = {"topic": "events", "group": "wallet", "format": "evenbet", "retry": FAST}
    return Bus("memory://batches", **{**defaults, **settings})


class Batches:
    """A handler of batches that notes what it gets."""

    def __init__(self, bus: Bus, *, size: int = 4, within: float = 5.0, act: Any = None, **options: Any) -> None:
        self.got: list[list[int]] = []
        self.attempts: list[list[int]] = []
        self.times: list[float] = []

        @bus.on_batch(NAME, size=size, within=within, **options)
        async def handle(events: list[OnPlayerSeatedDown], messages: list[Message]) -> FailedItems | None:
            numbers = [event.player_id or 0 for event in events]
            self.got.append(numbers)
            self.attempts.append([message.attempt for message in messages])
            self.times.append(asyncio.get_running_loop().time())
            return None if act is None else await act(numbers, messages)


async def deliver(test: TestBus, *numbers: int, key: str | None = None) -> None:
    for number in numbers:
        await test.deliver(seated(number), key=key)


async def test_a_batch_has_its_size_or_comes_when_its_time_is_over() -> None:
    bus = make_bus()
    batches = Batches(bus, size=4, within=5.0)
    async with TestBus(bus) as test:
        stats = bus.stats["bus"]
        begun = asyncio.get_running_loop().time()
        await deliver(test, *range(6))
        await test.settled()
    assert batches.got == [[0, 1, 2, 3], [4, 5]]
    assert batches.times[0] - begun < 1.0
    assert 5.0 <= batches.times[1] - begun < 5.5
    assert sorted(each.event.player_id for each in test.handled) == list(range(6))
    assert stats.handled == 6


async def test_messages_of_one_key_are_in_one_batch_in_their_order_and_later_ones_wait() -> None:
    bus, running = make_bus(), 0

    async def slow(numbers: list[int], _: object) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(3)
        running -= 1

    batches = Batches(bus, size=4, within=1.0, act=slow)
    async with TestBus(bus) as test:
        await deliver(test, *range(10), key="k")
        await test.settled()
    assert batches.got == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_message_of_another_event_keeps_its_place_between_those_of_its_key() -> None:
    bus, order = make_bus(), list[str]()

    async def note(numbers: list[int], _: object) -> None:
        order.append(f"batch {numbers}")

    Batches(bus, size=10, within=0.5, act=note)

    @bus.on("OnGameDone")
    async def single(event: OnGameDone) -> None:
        order.append(f"single {event.game_id}")

    async with TestBus(bus) as test:
        await deliver(test, 1, 2, key="k")
        await test.deliver(OnGameDone(game_id=3), key="k")
        await deliver(test, 4, 5, key="k")
        await deliver(test, 6, key="other")
        await test.settled()
    mine = [each.replace(", 6", "") for each in order]
    assert mine == ["batch [1, 2]", "single 3", "batch [4, 5]"]


async def test_if_the_handler_raises_each_message_follows_its_retries_and_its_key_stays_in_order() -> None:
    bus = make_bus(order="strict")

    async def fail_first(numbers: list[int], messages: list[Message]) -> None:
        if messages[0].attempt == 1 and 0 in numbers:
            raise RuntimeError("the database is away")

    batches = Batches(bus, size=3, within=0.1, act=fail_first)
    async with TestBus(bus) as test:
        stats = bus.stats["bus"]
        await deliver(test, 0, 1, 2, 3, 4, key="k")
        await test.settled()
    flat = [number for batch in batches.got[1:] for number in batch]
    assert batches.got[0] == [0, 1, 2]
    assert flat == [0, 1, 2, 3, 4]
    assert stats.failed == 3
    test.assert_no_dead_letters()


async def test_only_those_that_the_handler_names_fail() -> None:
    bus = make_bus()

    async def act(numbers: list[int], messages: list[Message]) -> FailedItems:
        errors: dict[int, Exception] = {}
        for position, (number, message) in enumerate(zip(numbers, messages, strict=True)):
            if number == 1:
                errors[position] = Reject("no such player")
            elif number == 2 and message.attempt == 1:
                errors[position] = Retry(after=7.0)
        return FailedItems(errors)

    batches = Batches(bus, size=4, within=0.1, act=act)
    async with TestBus(bus) as test:
        await deliver(test, 0, 1, 2, 3)
        await test.settled()
    assert batches.got == [[0, 1, 2, 3], [2]]
    assert batches.attempts[1] == [2]
    assert 7.0 <= batches.times[1] - batches.times[0] < 7.5
    test.assert_dead_lettered(NAME, error=Reject, times=1)
    assert sorted(each.event.player_id for each in test.handled) == [0, 2, 3]


async def test_a_failed_message_keeps_its_key_waiting_and_the_others_of_its_batch_are_done() -> None:
    bus = make_bus()

    async def act(numbers: list[int], messages: list[Message]) -> FailedItems | None:
        return FailedItems({1: RuntimeError("not yet")}) if len(numbers) == 3 else None

    batches = Batches(bus, size=3, within=0.01, act=act, retry=RetryPolicy(attempts=3, first=2.0))
    async with TestBus(bus) as test:
        await deliver(test, 0, 1, 2, 3, key="k")
        await test.settled()
    assert batches.got in ([[0, 1, 2], [1, 3]], [[0, 1, 2], [1], [3]])


async def test_an_event_that_cannot_be_read_is_a_dead_letter_and_the_rest_of_its_batch_is_handled() -> None:
    bus = make_bus()
    batches = Batches(bus, size=3, within=0.1)
    async with TestBus(bus) as test:
        await deliver(test, 0)
        await test.deliver(Message(NAME, b'{"event": "OnPlayerSeatedDown", "playerId": ["no"]}'))
        await deliver(test, 2)
        await test.settled()
    assert batches.got == [[0, 2]]
    test.assert_dead_lettered(NAME, times=1)


@pytest.mark.parametrize("answer", [[1], {0: "no"}, True, FailedItems({9: ValueError("no such position")})])
async def test_an_answer_that_means_nothing_fails_the_batch(answer: Any) -> None:
    bus = make_bus(retry=RetryPolicy(attempts=1))

    async def act(*_: object) -> Any:
        return answer

    Batches(bus, size=2, within=0.1, act=act)
    async with TestBus(bus) as test:
        await deliver(test, 0, 1)
        await test.settled()
    assert len(test.dead_letters) == 2
    assert not test.handled


async def test_a_batch_that_takes_too_long_has_failed() -> None:
    bus = make_bus(retry=RetryPolicy(attempts=1))

    async def act(*_: object) -> None:
        await asyncio.sleep(100)

    Batches(bus, size=2, within=0.1, act=act, timeout=1.0)
    async with TestBus(bus) as test:
        await deliver(test, 0, 1)
        await test.settled()
    test.assert_dead_lettered(NAME, error=HandlerTimeout, times=2)


async def test_each_attempt_of_a_batch_has_all_of_the_timeout() -> None:
    bus, ended = make_bus(concurrency=2, retry=RetryPolicy(attempts=4, first=0.1, cap=0.1)), list[int]()

    async def slow(_: list[int], messages: list[Message]) -> None:
        await asyncio.sleep(0.7)
        ended.append(messages[0].attempt)
        if messages[0].attempt < 4:
            raise ValueError("not yet")

    Batches(bus, size=1, act=slow, timeout=1.0)
    async with TestBus(bus) as test:
        await deliver(test, 1)
        await test.settled()
    assert ended == [1, 2, 3, 4]


async def test_a_plain_function_takes_messages_in_a_thread_and_answers() -> None:
    bus, bodies = make_bus(), list[bytes | None]()

    @bus.on_batch(NAME, size=2, within=0.1)
    def handle(messages: list[Message]) -> FailedItems | None:
        bodies.extend(message.body for message in messages)
        return FailedItems({0: Reject("no")})

    async with TestBus(bus) as test:
        await deliver(test, 0, 1)
        await test.settled()
    assert len(bodies) == 2
    assert len(test.dead_letters) == len(test.handled) == 1


async def test_handlers_of_single_messages_run_before_those_of_batches_and_only_once() -> None:
    bus, order = make_bus(), list[str]()

    async def fail_once(numbers: list[int], messages: list[Message]) -> None:
        order.append(f"batch {numbers}")
        if messages[0].attempt == 1:
            raise RuntimeError("once")

    Batches(bus, size=2, within=0.1, act=fail_once)

    @bus.on(NAME)
    async def single(event: OnPlayerSeatedDown) -> None:
        order.append(f"single {event.player_id}")

    @bus.on_batch(NAME, size=5, within=0.1)
    async def second(events: list[OnPlayerSeatedDown]) -> None:
        order.append(f"second {sorted(event.player_id or 0 for event in events)}")

    async with TestBus(bus) as test:
        await deliver(test, 0, 1)
        await test.settled()
    assert order[:3] == ["single 0", "single 1", "batch [0, 1]"]
    assert order[-1].startswith("second")
    assert sum(each.startswith("single") for each in order) == 2
    assert len(test.handled) == 2


@pytest.mark.parametrize("taken", [False, True])
async def test_a_message_without_a_value_passes_handlers_of_both_kinds(taken: bool) -> None:
    bus, seen = make_bus(), list[str | None]()
    first, second = Batches(bus, size=2, within=0.1), Batches(bus, size=2, within=0.1)

    @bus.on(NAME)
    async def one(event: OnPlayerSeatedDown) -> None: ...

    if taken:

        @bus.on(NAME)
        async def null(event: OnPlayerSeatedDown | None, message: Message) -> None:
            seen.append(message.id)

    async with TestBus(bus) as test:
        await test.deliver(Message(NAME, None, id="m-1"))
        await deliver(test, 7)
        await test.settled()
        stats = bus.stats["bus"]
        assert (stats.tombstones, stats.handled, stats.dead_lettered) == ((0, 2, 0) if taken else (1, 1, 0))
    assert first.got == second.got == [[7]]
    assert seen[:1] == (["m-1"] if taken else [])


async def test_a_batch_is_handled_when_there_is_no_room_for_more() -> None:
    bus = make_bus(max_in_flight=10)
    batches = Batches(bus, size=500, within=1000.0)
    async with TestBus(bus) as test:
        begun = asyncio.get_running_loop().time()
        await deliver(test, *range(20))
        await test.settled()
        assert asyncio.get_running_loop().time() - begun < 10
    assert [len(batch) for batch in batches.got] == [10, 10]


@pytest.mark.usefixtures("on_virtual_time")
async def test_a_batch_is_handled_before_its_messages_would_have_to_be_given_back() -> None:
    bus = make_bus(options={"max_hold": 8.0})
    batches = Batches(bus, size=10, within=3600.0)
    async with bus, bus.serving():
        stats = bus.stats["bus"]
        await bus.publish_many([seated(number) for number in range(4)], key="k")
        await until(lambda: stats.handled == 4, seconds=60)
        assert stats.released == 0
    assert batches.got == [[0, 1, 2, 3]]


async def test_a_stop_handles_a_batch_that_has_begun_to_fill_at_once() -> None:
    bus = make_bus()
    batches = Batches(bus, size=500, within=1000.0)
    async with TestBus(bus) as test:
        stats = bus.stats["bus"]
        await deliver(test, *range(3), key="k")
        await until(lambda: stats.received == 3)
    assert batches.got == [[0, 1, 2]]
    assert stats.handled == 3


async def test_a_message_that_comes_again_is_left_out_of_its_batch_if_its_handler_is_done_with_it() -> None:
    bus = make_bus()

    async def act(numbers: list[int], messages: list[Message]) -> FailedItems | None:
        position = numbers.index(1) if 1 in numbers else -1
        return (
            FailedItems({position: RuntimeError("no")}) if position >= 0 and messages[position].attempt == 1 else None
        )

    batches = Batches(bus, size=3, within=0.1, act=act, dedupe=Dedupe(MemoryStore(), key=lambda event: event.player_id))
    async with TestBus(bus) as test:
        stats = bus.stats["bus"]
        await deliver(test, 0, 1, 2)
        await test.settled()
        await deliver(test, 0, 2, 3)
        await test.settled()
    assert batches.got == [[0, 1, 2], [1], [3]]
    assert stats.duplicates == 2


async def test_with_dedupe_a_handler_that_raises_gives_its_claims_back() -> None:
    bus = make_bus()

    async def act(numbers: list[int], messages: list[Message]) -> None:
        if messages[0].attempt == 1:
            raise RuntimeError("once")

    batches = Batches(bus, size=2, within=0.1, act=act, dedupe=Dedupe(MemoryStore(), key=lambda event: event.player_id))
    async with TestBus(bus) as test:
        await deliver(test, 0, 1)
        await test.settled()
    assert sorted(number for batch in batches.got[1:] for number in batch) == [0, 1]
    test.assert_no_dead_letters()


async def test_a_crash_while_a_batch_is_collected_or_handled_loses_nothing() -> None:
    bus, begun = make_bus(), asyncio.Event()

    async def act(numbers: list[int], _: object) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(1000)

    batches = Batches(bus, size=2, within=0.5, act=act, timeout=2000.0)
    async with TestBus(bus) as test:
        await deliver(test, *range(3))
        await begun.wait()
        await test.crash()
        await test.settled()
        assert sorted(each.event.player_id for each in test.handled) == [0, 1, 2]
    assert {0, 1} <= {number for batch in batches.got[1:] for number in batch}


async def test_what_a_handler_of_batches_does_not_go_together_with_is_said_before_anything_connects() -> None:
    bus = make_bus()
    Batches(bus)

    async def middleware(attempt: Any, proceed: Any) -> None:
        await proceed()

    bus.add_middleware(middleware)
    with pytest.raises(
        ConfigError, match=r"Batches.*takes batches, and the middleware .*middleware runs around single"
    ):
        async with TestBus(bus):
            pass


async def test_a_pause_begins_no_batch_and_its_end_handles_what_was_collected() -> None:
    bus = make_bus()
    batches = Batches(bus, size=3, within=1.0)
    async with TestBus(bus) as test:
        stats = bus.stats["bus"]
        await deliver(test, 0, 1, key="k")
        await until(lambda: stats.received == 2)
        await bus.pause()
        await asyncio.sleep(60)
        assert not batches.got
        await bus.resume()
        await deliver(test, 2, key="k")
        await test.settled()
    assert [number for batch in batches.got for number in batch] == [0, 1, 2]


def test_a_handler_of_batches_is_described_like_one_of_single_messages() -> None:
    many, one = make_bus(), make_bus()
    Batches(many)
    one.on(NAME)(lambda event: None)
    assert many.asyncapi() == one.asyncapi()
