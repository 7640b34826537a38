"""What was delivered too often runs alone: seen on the embedded broker, with processes that are gone for its
deliveries."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from typing import Any, Final

import pytest

from brokerkit import AccessDenied, Bus, ConnectionLost, Message, RetryPolicy
from brokerkit._config._settings import ConnectionSettings
from brokerkit._consuming import _isolation
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit.adapters import make
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.memory import _BROKERS, MemoryAdapter, MemorySource
from brokerkit.dedupe import Dedupe, MemoryStore
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until

NAME: Final = "OnPlayerSeatedDown"
ONCE: Final = RetryPolicy(attempts=1)
MOST: Final = 2


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Lone starts by message, less those that were taken back."""
    counted = Counter[str]()
    begin, end = MemorySource.begin_alone, MemorySource.end_alone

    async def begin_alone(self: MemorySource, delivery: Delivery) -> int:
        counted[delivery.id or ""] += 1
        return await begin(self, delivery)

    async def end_alone(self: MemorySource, delivery: Delivery) -> None:
        del counted[delivery.id or ""]
        await end(self, delivery)

    monkeypatch.setattr(MemorySource, "begin_alone", begin_alone)
    monkeypatch.setattr(MemorySource, "end_alone", end_alone)
    return counted


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


async def publish(memory: Broker, *messages: tuple[int, str], vainly: int = 0) -> None:
    """Publish numbers with keys; then let processes fetch all that is there, so many times, and be gone."""
    async with memory.bus() as bus:
        for number, key in messages:
            await bus.publish(seated(number), key=key, id=f"m{number}")
    adapter = make(ConnectionSettings.model_validate(dict(memory.settings)).connection())
    await adapter.open()
    for _ in range(vainly):
        source = adapter.subscribe(Subscription(topics=(memory.topic(),), group="wallet", provision="all"), _ignore)
        await source.open()
        await source.receive(1000)
        await source.stop()
        await source.close()
    await adapter.close()


async def _ignore(deliveries: object, *, gone: bool = True) -> None:
    """Lost with its process."""


def serving(memory: Broker, handle: Any, **settings: Any) -> Bus:
    bus = memory.bus(**{"max_deliveries": MOST, "retry": ONCE, **settings})
    bus.on(NAME)(handle)
    return bus


async def test_suspects_run_alone_in_the_order_of_their_keys_and_the_rest_follows(
    memory: Broker, starts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    await publish(memory, (1, "a"), (2, "b"), (3, "a"), vainly=MOST)
    await publish(memory, (4, "a"), (5, "c"))
    ran, running, seen = list[int](), set[int](), list[tuple[int, int, int]]()

    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        number = event.player_id or 0
        assert message.attempt == 1
        running.add(number)
        seen.append((number, len(running), (await bus.health(lag=False)).sources["bus"].suspects))
        await asyncio.sleep(0.01)
        running.discard(number)
        ran.append(number)

    bus = serving(memory, handle)
    with caplog.at_level(logging.WARNING, "brokerkit"):
        async with asyncio.timeout(30), bus, bus.serving():
            await until(lambda: len(ran) == 5)
            await until(lambda: not starts)
    assert [number for number, *_ in seen[:3]] == [1, 2, 3]
    assert seen[:3] == [(1, 1, 3), (2, 1, 2), (3, 1, 1)]
    assert {number for number, _, suspects in seen[3:] if not suspects} == {4, 5}
    assert [ran.index(number) for number in (1, 3, 4)] == sorted(ran.index(number) for number in (1, 3, 4))
    told = [record.getMessage() for record in caplog.records]
    assert [("more than max_deliveries = 2" in line, "3 ran alone" in line) for line in told] == [
        (True, False),
        (False, True),
    ]


async def test_what_runs_finishes_before_a_suspect_begins_and_nothing_new_is_fetched(
    memory: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = MemorySource._take

    def take_suspect(self: MemorySource, limit: int) -> list[Delivery]:
        batch = take(self, limit)
        for delivery in batch:
            delivery.count = 30 if delivery.id == "m2" else 1
        return batch

    monkeypatch.setattr(MemorySource, "_take", take_suspect)
    begun, finish, fetched = list[int](), asyncio.Event(), list[int]()

    async def handle(event: OnPlayerSeatedDown) -> None:
        begun.append(event.player_id or 0)
        fetched.append(bus.stats["bus"].received)
        if event.player_id == 1:
            await finish.wait()

    bus = serving(memory, handle, max_in_flight=2)  # so that they come one by one
    async with asyncio.timeout(30), bus, bus.serving():
        await publish(memory, (1, "a"))
        await until(lambda: begun)
        await publish(memory, (2, "b"), (3, "c"))
        await until(lambda: bus.stats["bus"].received == 2)
        await asyncio.sleep(0.05)
        assert begun == [1]
        finish.set()
        await until(lambda: len(begun) == 3)
    assert begun == [1, 2, 3]
    assert fetched == [1, 2, 3]


def queue_of(memory: Broker) -> Any:
    """That of the group."""
    broker = _BROKERS[str(memory.settings["url"]).removeprefix("memory://")]
    return broker.topics[memory.topic()].groups["wallet"]


async def test_a_thread_that_runs_on_after_its_timeout_is_not_held_against_a_suspect(
    memory: Broker, starts: Counter[str]
) -> None:
    await publish(memory, (1, "a"), (2, "b"), vainly=MOST)
    stuck, ran = threading.Event(), list[tuple[int, dict[str, int]]]()

    def handle(event: OnPlayerSeatedDown) -> None:
        ran.append((event.player_id or 0, dict(starts)))
        if event.player_id == 1:
            stuck.wait(60)

    bus = serving(memory, handle, timeout=1.0)
    try:
        async with asyncio.timeout(30), bus, bus.serving():
            await until(lambda: len(ran) == 2)
    finally:
        stuck.set()
    assert ran[0] == (1, {"m1": 1})
    assert "m2" not in ran[1][1]


async def test_a_broker_that_is_away_is_asked_again_before_a_suspect_begins(
    memory: Broker, starts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(memory, (1, "a"), vainly=MOST)
    begin, failures, marked = MemorySource.begin_alone, 2, list[bool]()

    async def begin_alone(self: MemorySource, delivery: Delivery) -> int:
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionLost("away")
        return await begin(self, delivery)

    monkeypatch.setattr(MemorySource, "begin_alone", begin_alone)

    async def handle(event: OnPlayerSeatedDown) -> None:
        marked.append(bool(starts))

    bus = serving(memory, handle)
    async with asyncio.timeout(30), bus, bus.serving():
        await until(lambda: marked)
    assert marked == [True]


async def test_where_starts_cannot_be_counted_suspects_run_alone_and_it_is_said_once(
    memory: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(memory, (1, "a"), (2, "b"), (3, "c"), vainly=30)

    async def begin_alone(self: MemorySource, delivery: Delivery) -> int:
        raise AccessDenied("tags are not yours")

    monkeypatch.setattr(MemorySource, "begin_alone", begin_alone)
    ran = list[int]()

    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)

    bus = serving(memory, handle)
    async with asyncio.timeout(30), bus, bus.serving():
        await until(lambda: len(ran) == 3)
    assert ran == [1, 2, 3]
    assert bus.stats["bus"].dead_lettered == 0
    assert sum("tags are not yours" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("ignores", [False, True])
async def test_a_stop_takes_the_start_back_of_what_it_cancels(
    memory: Broker, starts: Counter[str], *, ignores: bool
) -> None:
    await publish(memory, (1, "a"), vainly=MOST)
    begun, end = asyncio.Event(), asyncio.Event()

    async def handle(event: OnPlayerSeatedDown) -> None:
        begun.set()
        while True:
            try:
                await end.wait()
            except asyncio.CancelledError:
                if not ignores:
                    raise
            else:
                return

    bus = serving(memory, handle, stop_timeout=0.05)
    async with asyncio.timeout(30):
        async with bus, bus.serving():
            await begun.wait()
            assert starts == {"m1": 1}
        assert not starts
    end.set()


async def test_a_stop_gives_back_suspects_that_have_not_begun_in_their_order(memory: Broker) -> None:
    await publish(memory, *((number, "k") for number in range(1, 6)), vainly=MOST)
    begun = asyncio.Event()

    async def wait(event: OnPlayerSeatedDown) -> None:
        begun.set()
        await asyncio.Event().wait()

    bus = serving(memory, wait, stop_timeout=0.05)
    async with asyncio.timeout(30), bus, bus.serving():
        await begun.wait()
    ran = list[int]()

    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)

    bus = serving(memory, handle)
    async with asyncio.timeout(30), bus, bus.serving():
        await until(lambda: len(ran) == 5)
    assert ran == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("order", ["key", "strict", "none"])
@pytest.mark.parametrize("hold", [0.0, 10.0], ids=["durable", "held"])
async def test_a_failing_suspect_follows_its_retry_policy(
    memory: Broker, starts: Counter[str], order: Any, hold: float
) -> None:
    await publish(memory, (1, "k"), (2, "k"), vainly=MOST)
    attempts, others = list[int](), list[int]()

    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if event.player_id == 1:
            attempts.append(message.attempt)
            raise RuntimeError("always")
        others.append(len(attempts))

    policy = RetryPolicy(attempts=7, first=0.01, cap=0.02)
    bus = serving(memory, handle, order=order, hold=hold, retry=policy)
    async with asyncio.timeout(30), bus, bus.serving():
        await until(lambda: bus.stats["bus"].dead_lettered and others)
        await until(lambda: not starts)
    assert attempts == [1, 2, 3, 4, 5, 6, 7]
    if order == "strict":
        assert others == [7]
    [letter] = await memory.dead_letters(1)
    assert as_text(letter.headers["bk-error-type"]) == "RuntimeError"


async def test_what_fails_once_in_every_process_ends_all_the_same(memory: Broker) -> None:
    await publish(memory, (1, "k"), vainly=MOST)

    async def handle(event: OnPlayerSeatedDown) -> None:
        raise RuntimeError("here and everywhere")

    policy = RetryPolicy(attempts=4, first=60.0, cap=60.0)
    for _ in range(4):
        bus = serving(memory, handle, hold=100.0, retry=policy)
        async with asyncio.timeout(30), bus, bus.serving():
            await until(lambda bus=bus: bus.stats["bus"].failed)
            assert bus.stats["bus"].dead_lettered == 0
    bus = serving(memory, handle, hold=100.0, retry=policy)
    async with asyncio.timeout(30), bus, bus.serving():
        await until(lambda: bus.stats["bus"].dead_lettered)
        assert bus.stats["bus"].failed == 0
    [letter] = await memory.dead_letters(1)
    assert str(as_text(letter.headers["bk-error"])).startswith("started 4 times while nothing else of its source ran")


async def test_a_lease_that_ends_while_a_suspect_runs_holds_nothing_up(memory: Broker, starts: Counter[str]) -> None:
    await publish(memory, (1, "a"), (2, "b"), vainly=MOST)
    ran = list[int]()

    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        if ran == [1]:
            # Both are with somebody else now, and come again.
            [source] = queue_of(memory).readers
            held = list(source._held.items())
            source._held.clear()
            for entry, (_, queue) in held:
                queue.put_back(entry)
            await source._lost([delivery for _, (delivery, _) in held if delivery.id == "m2"])

    bus = serving(memory, handle)
    async with asyncio.timeout(30), bus, bus.serving():
        # The first one is done here: it is only acknowledged.
        await until(lambda: bus.stats["bus"].duplicates == 1 and bus.stats["bus"].handled == 2)
        await until(lambda: not starts)
    assert ran == [1, 2]
    assert bus.stats["bus"].dead_lettered == 0


async def test_what_somebody_else_is_at_is_not_held_against_it(memory: Broker, starts: Counter[str]) -> None:
    await publish(memory, (1, "a"), vainly=MOST)
    store, ran = MemoryStore(), list[int]()

    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)

    bus = memory.bus(max_deliveries=MOST, retry=ONCE, dedupe=Dedupe(store, key=lambda event: "one"))
    bus.on(NAME)(handle)
    async with asyncio.timeout(30), bus, bus.serving():
        await until(lambda: ran)
        await until(lambda: not starts)
    assert bus.stats["bus"].dead_lettered == 0


async def test_two_sources_of_a_process_run_their_suspects_in_turn(memory: Broker) -> None:
    await publish(memory, (1, "a"), (2, "b"), vainly=MOST)
    running, most, done = 0, 0, 0

    async def handle(event: OnPlayerSeatedDown) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        done += 1

    buses = [serving(memory, handle, max_in_flight=1) for _ in range(2)]
    async with asyncio.timeout(30), buses[0], buses[1], buses[0].serving(), buses[1].serving():
        await until(lambda: done == 2)
    assert most == 1


async def test_letters_that_are_refused_do_not_hold_up_what_is_not_suspect(
    memory: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(memory, (1, "a"), vainly=MOST)
    await publish(memory, (2, "b"))
    ran = list[int]()

    async def begin_alone(self: MemorySource, delivery: Delivery) -> int:
        return _isolation.FEWEST_STARTS + 1

    monkeypatch.setattr(MemorySource, "begin_alone", begin_alone)

    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)

    bus = serving(memory, handle)
    async with asyncio.timeout(30), bus:
        monkeypatch.setattr(MemoryAdapter, "send", _refuse)
        async with bus.serving():
            await until(lambda: ran == [2])


async def _refuse(self: MemoryAdapter, batch: list[object]) -> list[ConnectionLost]:
    return [ConnectionLost("full")] * len(batch)
