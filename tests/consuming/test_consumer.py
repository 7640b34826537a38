"""The consumer: order, retries, limits, unknown names, lost deliveries and the stop, seen on the embedded broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

import brokerkit.adapters
from brokerkit import (
    BrokerkitError,
    Bus,
    ConfigError,
    ConnectionLost,
    Message,
    Notice,
    Receipt,
    Reject,
    Retry,
    RetryPolicy,
    WrongNameRule,
)
from brokerkit._messages._delivery import RELEASE, Delivery, Outcome, Settled
from brokerkit._messages._headers import as_text
from brokerkit._messages._outgoing import Outgoing
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Lost, Subscription
from brokerkit.adapters.memory import MemoryAdapter, MemorySource
from brokerkit.events.evenbet import OnGameDone, OnPlayerSeatedDown
from brokerkit.testing import virtual_time
from tests import every_broker
from tests.every_broker import Broker, Recorder, until, until_async

NAME: Final = "OnPlayerSeatedDown"
FAST = RetryPolicy(attempts=3, first=0.01, cap=0.02)


@pytest.fixture(autouse=True)
async def _virtual_time() -> AsyncIterator[None]:
    """Time passes only while nothing else is to be done: a busy machine brings no retry before its time."""
    with virtual_time():
        yield


@pytest.fixture
def memory() -> Broker:
    return every_broker.memory()


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


def raw(name: str, number: int = 0) -> Message:
    return Message(name, json.dumps({"playerId": number, "tableId": 10 + number}).encode())


async def over(bus: Bus, count: int) -> None:
    """Wait until so many messages have come to an end."""
    stats = bus.stats["bus"]
    await until(lambda: stats.handled + stats.dead_lettered + stats.skipped >= count, seconds=8)


async def letters(memory: Broker, count: int) -> list[tuple[str, str]]:
    """Type and text of the errors of so many dead letters."""
    found = await memory.dead_letters(count)
    return [(str(as_text(one.headers["bk-error-type"])), str(as_text(one.headers["bk-error"]))) for one in found]


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


# ---- order and limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "expected"), [("strict", [1, 1, 2]), ("key", [1, 2, 1])])
async def test_a_strict_order_holds_the_key_where_the_usual_one_lets_it_go_on(
    memory: Broker, order: Any, expected: list[int]
) -> None:
    ran = list[int]()
    bus = memory.bus(order=order, hold=0.0, concurrency=4)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        if ran == [1]:
            raise Retry(after=0.1)

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2)], key="k")
        await over(bus, 2)
    assert ran == expected


async def test_a_short_retry_holds_its_key_and_no_other(memory: Broker) -> None:
    ran = list[tuple[str, int]]()
    bus = memory.bus(concurrency=4)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        ran.append((str(message.key), event.player_id or 0))
        if ran == [("k", 1)]:
            raise Retry(after=0.1)

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2)], key="k")
        await bus.publish(seated(3), key="other")
        await over(bus, 3)
    assert ran == [("k", 1), ("other", 3), ("k", 1), ("k", 2)]


async def test_without_order_messages_of_one_key_run_side_by_side(memory: Broker) -> None:
    together = asyncio.Barrier(2)
    bus = memory.bus(order="none", concurrency=2)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        await together.wait()

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2)], key="k")
        await over(bus, 2)


async def test_no_more_than_max_in_flight_are_taken_and_consuming_goes_on_afterwards(memory: Broker) -> None:
    gate = asyncio.Event()
    bus = memory.bus(max_in_flight=10, concurrency=4)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        await gate.wait()

    async with asyncio.timeout(5), bus, bus.serving():
        stats = bus.stats["bus"]
        await bus.publish_many([seated(number) for number in range(50)])
        await until(lambda: stats.received == 10)
        await bus.publish(seated(50))
        assert stats.received == 10
        gate.set()
        await over(bus, 51)


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


async def test_a_strict_order_cuts_a_wait_that_cannot_be_held_and_says_so(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    notices, runs = list[Notice](), list[int]()
    bus = memory.bus(order="strict", retry=FAST, options={"max_hold": 0.2})
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        runs.append(event.player_id or 0)
        if runs == [1]:
            raise Retry(after=3600)

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2)], key="k")
        await over(bus, 2)
    assert runs == [1, 1, 2]
    assert notices[0].wait == 0.2
    assert "can be held for only 0.2 s, not for 3.6e+03 s" in caplog.text


@pytest.mark.parametrize("order", ["key", "strict", "none"])
async def test_what_waits_for_half_of_the_longest_hold_comes_again_in_order(memory: Broker, order: str) -> None:
    runs = list[int]()
    bus = memory.bus(order=order, concurrency=1, options={"max_hold": 0.4}, max_deliveries=1000, retry=1)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        runs.append(event.player_id or 0)
        await asyncio.sleep(0.1)

    async with asyncio.timeout(20), bus, bus.serving():
        await bus.publish_many([seated(number) for number in range(10)], key="k")
        await over(bus, 10)
    assert sorted(runs) == list(range(10))
    assert order == "none" or runs == list(range(10))
    assert bus.stats["bus"].released > 0


@pytest.mark.parametrize(("order", "waits"), [("strict", True), ("key", False)])
async def test_under_a_strict_order_the_key_waits_until_a_dead_letter_is_stored(
    memory: Broker, adapters: list[_Adapter], order: Any, waits: bool
) -> None:
    runs = list[tuple[str, int]]()
    bus = memory.bus(order=order, retry=FAST)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        runs.append((str(message.key), event.player_id or 0))
        if event.player_id == 1:
            raise Reject("not this one")

    async with asyncio.timeout(8), bus, bus.serving():
        adapters[0].stores = False
        await bus.publish_many([seated(1), seated(2)], key="k")
        await until(lambda: adapters[0].refused > 0)
        await bus.publish(seated(3), key="other")
        await until(lambda: ("other", 3) in runs)
        assert (("k", 2) not in runs) is waits
        adapters[0].stores = True
        await over(bus, 3)
    assert ("k", 2) in runs


async def test_held_messages_never_stop_the_source(memory: Broker) -> None:
    """Every slot would be taken by messages that wait: half of them are left to the broker."""
    done = asyncio.Event()
    bus = memory.bus(max_in_flight=4)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 9:
            done.set()
        elif not done.is_set():
            raise Retry(after=0.5)

    async with asyncio.timeout(3), bus, bus.serving():
        await bus.publish_many([seated(number) for number in range(4)])
        await bus.publish(seated(9))
        await asyncio.wait_for(done.wait(), 0.4)


# ---- retries -------------------------------------------------------------------------------------------------


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


# ---- names, keys, ids, times ---------------------------------------------------------------------------------


async def test_keys_and_ids_are_taken_from_where_the_rules_say(memory: Broker) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(key_from="field:tableId", id_from="field:playerId")) as bus:
        await bus.publish(raw(NAME, 5))
        [(_, _, message)] = await recorder.wait_for(1, seconds=5)
    assert (message.key, message.id) == ("15", "5")


async def test_times_without_a_zone_get_the_one_of_the_source(memory: Broker) -> None:
    recorder = Recorder().record("OnGameDone")
    async with recorder.serving(memory.bus(tz="Europe/Malta")) as bus:
        await bus.publish(Message("OnGameDone", b'{"gameStart": "2024-07-01 12:00:00"}'))
        [(_, event, _)] = await recorder.wait_for(1, seconds=5)
    assert isinstance(event, OnGameDone)
    assert event.game_start == datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Malta"))
    assert event.game_start == datetime(2024, 7, 1, 10, tzinfo=UTC)


async def test_names_of_the_producers_own_are_translated(memory: Broker) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(names={"seat.taken": NAME})) as bus:
        await bus.publish(Message("x", b"{}", headers={"event": "seat.taken"}))
        [(name, _, _)] = await recorder.wait_for(1, seconds=5)
    assert name == NAME


@pytest.mark.parametrize(
    ("unknown", "expected"), [("reject", [("Reject", 1)]), ("retry", [("BrokerkitError", 3)]), ("ack", [])]
)
async def test_messages_with_an_unknown_name_go_where_the_source_says(
    memory: Broker, unknown: Any, expected: list[tuple[str, int]]
) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(unknown=unknown, retry=FAST)) as bus:
        stats = bus.stats["bus"]
        await bus.publish(seated(1))  # until the first known name everything waits
        await bus.publish(raw("Nobody'sEvent"))
        await until(lambda: stats.dead_lettered + stats.skipped + stats.handled == 2, seconds=5)
        assert (stats.dead_lettered, stats.skipped) == ((1, 0) if expected else (0, 1))
    found = await memory.dead_letters(1) if expected else []
    assert [as_text(one.headers["bk-error-type"]) for one in found] == [kind for kind, _ in expected]
    if unknown == "retry":
        assert found[0].headers["bk-failures"] == "3"


async def test_a_message_without_any_name_is_a_dead_letter(memory: Broker) -> None:
    recorder = Recorder().record("*")
    adapter = MemoryAdapter(Connection(url=Url.parse(memory.settings["url"])))
    async with recorder.serving(memory.bus(name_from="header:event", unknown="ack")) as bus:
        await adapter.open()
        await adapter.send([Outgoing(topic=memory.topic(), body=b"{}", name="", id="1")])
        await over(bus, 1)
    [(kind, reason)] = await letters(memory, 1)
    assert (kind, "no event name" in reason) == ("DecodeError", True)


async def test_unknown_names_wait_until_the_first_known_one_and_are_acknowledged_then(memory: Broker) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus()) as bus:
        stats = bus.stats["bus"]
        await bus.publish_many([raw("Strange"), raw("Stranger")])
        await until(lambda: stats.received == 2)
        assert stats.skipped == 0
        await bus.publish(seated(1))
        await until(lambda: stats.skipped == 2 and stats.handled == 1)


async def test_a_stop_before_the_first_known_name_acknowledges_nothing(memory: Broker) -> None:
    async with Recorder().record(NAME).serving(memory.bus()) as bus:
        stats = bus.stats["bus"]
        await bus.publish(raw("Strange"))
        await until(lambda: stats.received == 1)
    assert (stats.skipped, stats.released) == (0, 1)


async def test_a_wrong_name_rule_ends_the_source_and_shows_a_message(memory: Broker) -> None:
    bus = memory.bus(max_in_flight=3)
    bus.include(Recorder().record(NAME).handlers)
    async with asyncio.timeout(5), bus:
        await bus.publish_many([raw("Strange", number) for number in range(5)])
        with pytest.raises(WrongNameRule, match=r"header:event.*playerId") as error:
            await bus.serve()
    assert "nothing was acknowledged" in str(error.value)


async def test_a_source_that_ended_for_its_name_rule_acknowledges_nothing_that_comes_then(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """A known name behind the hundred unknown ones comes too late: the user was told that nothing is gone."""
    bus = memory.bus()
    bus.include(Recorder().record(NAME).handlers)
    async with asyncio.timeout(5), bus:
        await bus.publish_many([*(raw("Strange", number) for number in range(100)), raw(NAME)])
        async with bus.serving(on_source_failure="log"):
            stats = bus.stats["bus"]
            await until(lambda: stats.received == 101)
            await until(lambda: "WrongNameRule" in caplog.text)
    assert (stats.skipped, stats.handled, stats.released) == (0, 0, 101)


async def test_a_private_group_for_each_process_gets_everything_from_now_on(memory: Broker) -> None:
    first, second = Recorder().record(NAME), Recorder().record(NAME)
    private: dict[str, Any] = {"broadcast": True, "group": None}
    async with memory.bus() as bus:
        await bus.publish(seated(0))
    async with first.serving(memory.bus(**private)) as bus, second.serving(memory.bus(**private)):
        await bus.publish(seated(1))
        await first.wait_for(1, seconds=5)
        await second.wait_for(1, seconds=5)
    assert [event.player_id for _, event, _ in first.got + second.got] == [1, 1]


# ---- the bus around it ---------------------------------------------------------------------------------------


async def test_serving_without_a_source_or_handlers_or_twice_is_refused(memory: Broker) -> None:
    with pytest.raises(ConfigError, match="no source"):
        await Bus(memory.settings["url"]).serve()
    with pytest.raises(ConfigError, match="no handlers"):
        await memory.bus().serve()
    async with Recorder().record(NAME).serving(memory.bus()) as bus:
        with pytest.raises(ConfigError, match="already"):
            await bus.serve()


async def test_a_start_that_failed_can_be_tried_again(memory: Broker) -> None:
    """The second error must be the first one again, not that the bus consumes already."""
    bus = memory.bus(format="json")
    bus.include(Recorder().record("thrillpots:OptInEvent").handlers)
    bus.include(Recorder().record("thrillconnect:OptInEvent").handlers)
    async with bus:
        for _ in range(2):
            with pytest.raises(ConfigError, match="cannot tell"):
                await bus.serve()


# ---- what only another adapter shows -------------------------------------------------------------------------


class _Source(MemorySource):
    """The memory source, with settlements that may fail and deliveries that may be taken away."""

    failures = 0
    released: tuple[Delivery, ...] = ()

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        if self.failures > 0:
            self.failures -= 1
            return [Settled.FAILED] * len(pairs)
        self.released += tuple(delivery for delivery, outcome in pairs if outcome is RELEASE)
        return await super().settle(pairs)

    async def take_away(self) -> None:
        """As after a rebalance: everything unsettled is somebody else's."""
        lost = [delivery for delivery, _ in self._held.values()]
        self._held.clear()
        await self._lost(lost)


class _Adapter(MemoryAdapter):
    source: _Source
    stores = True
    refused = 0

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        if not self.stores and batch[0].is_queue:
            self.refused += 1
            return [ConnectionLost("no letters now") for _ in batch]
        return await super().send(batch)

    def subscribe(self, subscription: Subscription, lost: Lost) -> MemorySource:
        self.source = _Source(self, self._broker, subscription, lost)
        return self.source


@pytest.fixture
def adapters(monkeypatch: pytest.MonkeyPatch) -> list[_Adapter]:
    made: list[_Adapter] = []

    def make(connection: Connection) -> _Adapter:
        made.append(_Adapter(connection))
        return made[-1]

    monkeypatch.setattr(brokerkit.adapters, "make", make)
    return made


async def test_a_settlement_that_fails_is_tried_again(memory: Broker, adapters: list[_Adapter]) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(stop_timeout=2)) as bus:
        source = adapters[0].source
        source.failures = 2
        await bus.publish(seated(1))
        await until(lambda: len(recorder.got) == 1 and not source._held, seconds=5)
    assert len(recorder.got) == 1


async def test_a_broker_that_is_away_for_long_gets_every_settlement_in_the_end(
    memory: Broker, adapters: list[_Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokerkit._consuming._settlement._LONGEST_PAUSE", 0.01)
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(stop_timeout=2)) as bus:
        source = adapters[0].source
        source.failures = 30
        await bus.publish(seated(1))
        await until(lambda: len(recorder.got) == 1 and not source._held, seconds=5)
    assert source.failures == 0
    assert len(recorder.got) == 1


@pytest.mark.parametrize("keys", [1, 2])
async def test_a_stop_with_full_lanes_ends_in_peace_and_the_rest_comes_in_order(
    memory: Broker, caplog: pytest.LogCaptureFixture, keys: int
) -> None:
    ran, started, gate = list[int](), asyncio.Event(), asyncio.Event()
    bus = memory.bus(concurrency=2)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        started.set()
        await gate.wait()

    async with asyncio.timeout(5), bus:
        for number in range(8):
            await bus.publish(seated(number), key=str(number % keys))
        async with bus.serving():
            stats = bus.stats["bus"]
            await until(lambda: stats.received == 8 and len(ran) == keys)
            asyncio.get_running_loop().call_later(0.2, gate.set)  # the released ones are settled before
    assert (stats.handled, stats.released) == (keys, 8 - keys)
    assert "ends" not in caplog.text
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus()):
        got = await recorder.wait_for(8 - keys, seconds=5)
    for key in range(keys):
        assert [event.player_id for _, event, _ in got if event.player_id % keys == key] == list(
            range(keys + key, 8, keys)
        )


async def test_a_stop_gives_back_the_messages_of_a_key_in_order(memory: Broker, adapters: list[_Adapter]) -> None:
    ran, gate = list[int](), asyncio.Event()
    bus = memory.bus(concurrency=2)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        if ran[-1] == 1:
            raise Retry(after=0.1)
        await gate.wait()

    async def is_its_turn() -> bool:
        health = (await bus.health()).sources["bus"]
        return ran == [1, 4, 5] and health.held == 0

    async with asyncio.timeout(5), bus:
        for number, key in enumerate("aaabca", 1):
            await bus.publish(seated(number), key=key)
        async with bus.serving():
            # It is the turn of 1 in its lane again, 2, 3 and 6 wait behind it, and both workers are at others.
            await until_async(is_its_turn)
            asyncio.get_running_loop().call_later(0.1, gate.set)
    released = [json.loads(delivery.body or b"")["params"]["playerId"] for delivery in adapters[0].source.released]
    assert released == [1, 2, 3, 6]


async def test_what_is_lost_before_it_began_is_not_handled_and_its_key_goes_on(
    memory: Broker, adapters: list[_Adapter]
) -> None:
    ran, gate = list[int](), asyncio.Event()
    bus = memory.bus(concurrency=1, max_in_flight=3)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        await gate.wait()

    async with asyncio.timeout(5), bus, bus.serving():
        stats = bus.stats["bus"]
        await bus.publish_many([seated(1), seated(2)], key="k")
        await bus.publish(seated(3), key="other")
        await until(lambda: stats.received == 3 and ran == [1])
        taking = asyncio.ensure_future(adapters[0].source.take_away())
        await until(lambda: stats.lost == 2)
        assert not taking.done()  # one is being handled: whoever takes over must not overtake it
        gate.set()
        await taking
        await bus.publish(seated(4), key="k")
        await bus.publish_many([seated(5), seated(6), seated(7)])  # all three slots are free again
        await until(lambda: len(ran) == 5)
    assert sorted(ran) == [1, 4, 5, 6, 7]
    assert stats.lost == 3


async def test_what_is_lost_while_it_is_held_lets_its_key_go_on(memory: Broker, adapters: list[_Adapter]) -> None:
    ran = list[int]()
    bus = memory.bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        if event.player_id == 1:
            raise Retry(after=5)

    async with asyncio.timeout(4), bus, bus.serving():
        stats = bus.stats["bus"]
        await bus.publish(seated(1), key="k")
        await until(lambda: stats.retried == 1)
        await adapters[0].source.take_away()
        await bus.publish(seated(2), key="k")
        await over(bus, 1)
    assert ran == [1, 2]
