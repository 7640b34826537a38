"""Rate limits: how many begin, in which order, and what a pause, a stop and a failure do to those that wait."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from brokerkit import Breaker, Bus, ConfigError, Message, Rate, Retry, RetryPolicy
from brokerkit.events.evenbet import OnGameDone, OnPlayerSeatedDown
from brokerkit.metrics import PrometheusCollector
from tests.consuming.embedded import NAME, seated
from tests.every_broker import Broker, until
from tests.metrics.text import samples, total

COUNT, KEYS = 60, 4


class Starts:
    """A handler that notes when it began, by the clock of the limit."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.at: list[float] = []
        self.numbers: list[int] = []
        self.seconds = seconds

    async def handle(self, event: Any, message: Message) -> None:
        self.at.append(self.loop.time() - self.began)
        self.numbers.append(event.player_id or 0)
        await asyncio.sleep(self.seconds)

    def keep(self, per_second: float, burst: int) -> bool:
        """Whether no more began in any time than may: a stall only makes it fewer at that moment."""
        return kept(self.at, per_second, burst)


def kept(at: Sequence[float], per_second: float, burst: int) -> bool:
    return all(number <= burst + per_second * (time + 0.00001) for number, time in enumerate(at, 1))


def in_order(numbers: Sequence[int]) -> bool:
    by_key = defaultdict[int, list[int]](list)
    for number in numbers:
        by_key[number % KEYS].append(number)
    return all(each == sorted(each) for each in by_key.values())


async def publish(bus: Bus, count: int = COUNT) -> None:
    for number in range(count):
        await bus.publish(seated(number), key=f"k{number % KEYS}")


@pytest.mark.usefixtures("on_virtual_time")
async def test_a_source_begins_a_burst_and_then_one_message_after_another(memory: Broker) -> None:
    bus, starts = memory.bus(rate=Rate(10, burst=5)), Starts()
    bus.on(NAME)(starts.handle)
    async with bus.serving():
        starts.began = starts.loop.time()
        await publish(bus)
        await until(lambda: bus.stats["bus"].handled == COUNT, seconds=60)
    assert starts.at == pytest.approx([0.0] * 5 + [number / 10 for number in range(1, COUNT - 4)], abs=0.001)
    assert in_order(starts.numbers)
    assert sorted(starts.numbers) == list(range(COUNT))


@pytest.mark.usefixtures("on_virtual_time")
async def test_slow_handlers_do_not_lower_the_rate(memory: Broker) -> None:
    bus, starts = memory.bus(rate=10), Starts(seconds=2.0)
    bus.on(NAME)(starts.handle)
    async with bus.serving():
        for number in range(COUNT):
            await bus.publish(seated(number), key=f"k{number}")
        await until(lambda: bus.stats["bus"].handled == COUNT, seconds=60)
    assert starts.keep(10, 1)
    assert starts.at[-1] - starts.at[0] == pytest.approx((COUNT - 1) / 10, abs=0.01)


@pytest.mark.usefixtures("on_virtual_time")
async def test_others_go_on_while_a_handler_waits_but_none_of_its_keys(memory: Broker) -> None:
    bus, slow, quick = memory.bus(), Starts(), Starts()
    bus.on(NAME, rate=Rate(1, burst=1))(slow.handle)
    bus.on("OnGameDone")(quick.handle)
    async with bus.serving():
        for number in range(8):
            await bus.publish(seated(number), key=f"k{number}")
        await bus.publish(OnGameDone(player_id=100), key="k7")  # type: ignore[call-arg]
        await bus.publish(OnGameDone(player_id=101), key="other")  # type: ignore[call-arg]
        await until(lambda: bool(quick.at), seconds=1)
        await asyncio.sleep(0.5)
        assert (await bus.health()).sources["bus"].limited == 7
        await until(lambda: len(quick.at) == 2, seconds=60)
    assert slow.at == pytest.approx(range(8), abs=0.001)
    assert quick.at == pytest.approx([0.0, 7.0], abs=0.001)


@pytest.mark.usefixtures("on_virtual_time")
async def test_a_message_of_two_limited_handlers_waits_for_both_and_none_passes_it(memory: Broker) -> None:
    bus, both, first = memory.bus(concurrency=20), Starts(), Starts()
    bus.on(NAME, "OnGameDone", rate=Rate(4, burst=1))(both.handle)
    bus.on(NAME, rate=Rate(2, burst=1))(first.handle)
    async with bus.serving():
        for number in range(10):
            await bus.publish(seated(number))
            await bus.publish(OnGameDone(player_id=100 + number))  # type: ignore[call-arg]
        await until(lambda: bus.stats["bus"].handled == 20, seconds=60)
    assert kept(both.at, 4, 1)
    assert kept(first.at, 2, 1)
    assert [number for number in both.numbers if number < 100] == first.numbers == list(range(10))
    assert both.at[-1] == pytest.approx(4.75, abs=0.3)  # neither limit leaves the other one idle for long


@pytest.mark.usefixtures("on_virtual_time")
async def test_each_attempt_counts_and_handlers_that_are_done_do_not(memory: Broker) -> None:
    bus, done, tries = memory.bus(retry=RetryPolicy(attempts=4, first=0.1, cap=0.1)), Starts(), Starts()

    async def fail(event: OnPlayerSeatedDown, message: Message) -> None:
        await tries.handle(event, message)
        if message.attempt < 4:
            raise ConnectionError("not yet")

    bus.on(NAME, rate=Rate(0.01, burst=1))(done.handle)
    bus.on(NAME, rate=Rate(1, burst=1))(fail)
    async with bus.serving():
        await bus.publish(seated(1))
        await until(lambda: bus.stats["bus"].handled == 1, seconds=60)
    assert len(done.at) == 1
    assert tries.at == pytest.approx([0.0, 1.0, 2.0, 3.0], abs=0.001)
    assert bus.stats["bus"].dead_lettered == 0


@pytest.mark.usefixtures("on_virtual_time")
async def test_a_pause_keeps_what_waits_and_a_resume_goes_on_with_it(memory: Broker) -> None:
    bus, starts = memory.bus(rate=Rate(2, burst=1)), Starts()
    bus.on(NAME)(starts.handle)
    async with bus.serving():
        await publish(bus, 10)
        await until(lambda: len(starts.at) == 3, seconds=10)
        await bus.pause()
        await asyncio.sleep(20)
        assert len(starts.at) == 3
        source = (await bus.health()).sources["bus"]
        assert (source.state, source.in_flight, source.limited) == ("paused", 7, 4)  # the others wait behind their keys
        await bus.resume()
        await until(lambda: bus.stats["bus"].handled == 10, seconds=10)
    assert starts.numbers == list(range(10))
    assert starts.keep(2, 1)


@pytest.mark.usefixtures("on_virtual_time")
async def test_a_stop_waits_for_no_limit_and_gives_back_what_waits(memory: Broker) -> None:
    bus, starts = memory.bus(rate=Rate(0.05, burst=2), stop_timeout=30.0), Starts()
    bus.on(NAME)(starts.handle)
    async with bus:
        async with bus.serving():
            await publish(bus, 10)
            await until(lambda: len(starts.at) == 2, seconds=10)
            begun = starts.loop.time()
        assert starts.loop.time() - begun < 1
        assert bus.stats["bus"].released == 8
        async with bus.serving():
            starts.began = starts.loop.time()
            await until(lambda: len(starts.numbers) == 10, seconds=300)
    assert starts.numbers == list(range(10))
    assert bus.stats["bus"].dead_lettered == 0


@pytest.mark.usefixtures("on_virtual_time")
async def test_a_breaker_tries_no_faster_than_the_limit_allows(memory: Broker) -> None:
    bus = memory.bus(
        rate=Rate(0.2, burst=1), breaker=Breaker(minimum=1, probe_after=0.1, cap=0.1), retry=RetryPolicy(attempts=2)
    )
    starts = Starts()

    async def fail(event: OnPlayerSeatedDown, message: Message) -> None:
        await starts.handle(event, message)
        if len(starts.at) < 5:
            raise ConnectionError("away")

    bus.on(NAME)(fail)
    async with bus.serving():
        await publish(bus, 4)
        await until(lambda: bus.stats["bus"].handled == 4, seconds=120)
    assert starts.keep(0.2, 1)
    assert bus.stats["bus"].dead_lettered == 0


@pytest.mark.usefixtures("on_virtual_time")
async def test_no_more_is_fetched_than_may_begin_in_five_minutes(memory: Broker) -> None:
    bus, starts = memory.bus(rate=Rate(0.02, burst=1)), Starts()
    registry = CollectorRegistry()
    registry.register(PrometheusCollector(bus))
    bus.on(NAME)(starts.handle)
    async with bus.serving():
        for number in range(40):
            await bus.publish(seated(number), key="one key")
        await until(lambda: len(starts.at) == 3, seconds=300)
        await asyncio.sleep(1)  # it ends, and another one is fetched
        source = (await bus.health()).sources["bus"]
        assert source.in_flight == 6
        assert source.limited == 1  # the others wait behind it
        assert total(samples(generate_latest(registry).decode()), "brokerkit_limited_messages") == 1
    assert starts.numbers == [0, 1, 2]


@pytest.mark.usefixtures("on_virtual_time")
async def test_what_is_lost_while_it_waits_holds_up_nothing(memory: Broker) -> None:
    bus, starts = memory.bus(rate=Rate(1, burst=1)), Starts()
    bus.on(NAME)(starts.handle)
    async with bus.serving():
        await publish(bus, 6)
        await until(lambda: len(starts.at) == 1, seconds=10)
        consumer = bus.runtime.consumers["bus"]
        assert consumer._flow.limits is not None
        first = next(iter(consumer._flow.limits.waiting))
        await consumer._lose([first])
        await until(lambda: len(starts.numbers) == 5, seconds=60)
    assert starts.numbers == [0, 2, 3, 4, 5]
    assert starts.at == pytest.approx(range(5), abs=0.001)


async def test_handlers_of_batches_have_no_limit(memory: Broker) -> None:
    bus = memory.bus(rate=5)

    @bus.on_batch(NAME, size=10, within=1.0)
    async def many(events: list[OnPlayerSeatedDown]) -> None: ...

    with pytest.raises(ConfigError, match="rate counts single messages"):
        async with bus.serving():
            pass


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("rate = 0", "from 0.01 to 1,000,000 messages a second, got 0"),
        ("rate = -1", "got -1"),
        ("rate = nan", "got nan"),
        ("rate = inf", "got inf"),
        ("rate = true", "rate"),
        ('rate = "quick"', "'quick' is not a number of messages a second"),
        ("[bus.rate]\nburst = 3", "per_second is missing"),
        ("[bus.rate]\nper_second = 3\nburst = 0", "burst must be from 1 to 1,000,000"),
        ("[bus.rate]\nper_second = 3\nbursts = 1", "'bursts' is not known; allowed are per_second, burst"),
    ],
)
def test_a_wrong_limit_is_refused_with_what_is_allowed(tmp_path: Path, written: str, said: str) -> None:
    file = tmp_path / "brokerkit.toml"
    file.write_text(f'[bus]\nurl = "memory://"\ntopic = "t"\n{written}\n')
    with pytest.raises(ConfigError) as refused:
        Bus.from_config(file)
    assert said in str(refused.value)
    assert "rate" in str(refused.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rate = 5", Rate(5)),
        ("rate = 0.5", Rate(0.5)),
        ('rate = "5"', Rate(5)),
        ("[bus.rate]\nper_second = 5\nburst = 20", Rate(5, burst=20)),
    ],
)
def test_a_limit_is_a_number_or_a_table(tmp_path: Path, written: str, meant: Rate) -> None:
    file = tmp_path / "brokerkit.toml"
    file.write_text(f'[bus]\nurl = "memory://"\ntopic = "t"\n{written}\n')
    [source] = Bus.from_config(file).runtime.settings.sources.values()
    assert source.rate == meant


def test_a_handler_says_what_to_write_instead_of_a_number(memory: Broker) -> None:
    with pytest.raises(ConfigError, match=r"write rate=Rate\(5\)"):
        memory.bus().on(NAME, rate=5)  # type: ignore[call-overload]


@pytest.mark.usefixtures("on_virtual_time")
async def test_a_copy_that_is_given_back_while_it_waits_for_a_limit_keeps_its_failures(memory: Broker) -> None:
    attempts = list[int]()
    bus = memory.bus(
        rate=Rate(0.1, burst=1), hold=2.0, timeout=60.0, options={"max_hold": 100.0, "copies_retries": True}
    )

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if event.player_id == 2:
            return
        attempts.append(message.attempt)
        if message.attempt == 1:
            raise Retry(after=5)  # longer than `hold`: a copy
        if len(attempts) == 2:
            await asyncio.sleep(48)
            await bus.publish(seated(2))  # begins now, so that nothing else begins for ten seconds
            await asyncio.sleep(1)
            raise Retry(after=0)  # waits here, and longer than a message can be held

    async with bus.serving():
        await bus.publish(seated(1))
        await until(lambda: bus.stats["bus"].handled == 2, seconds=200)
        assert bus.stats["bus"].received == 4
    assert attempts == [1, 2, 3]
