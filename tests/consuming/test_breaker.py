"""A handler whose database is away for a minute, with a circuit breaker and without one."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from brokerkit import Breaker, Bus, ConfigError, Message, Notice, RetryPolicy
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.consuming.embedded import NAME, over, seated
from tests.every_broker import Broker, until

pytestmark = pytest.mark.usefixtures("on_virtual_time")

COUNT, KEYS = 300, 10
RETRY = RetryPolicy(attempts=3, first=1.0, cap=2.0)


class Database:
    """Works, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.tries = 0
        self.attempts = Counter[int]()
        self.written: dict[int, list[int]] = defaultdict(list)

    async def write(self, event: OnPlayerSeatedDown, message: Message) -> None:
        number = event.player_id or 0
        await asyncio.sleep(0.02)
        self.tries += 1
        if self.away:
            raise ConnectionError("no route to the database")
        self.attempts[message.attempt] += 1
        self.written[number % KEYS].append(number)


def serving(memory: Broker, database: Database, **settings: object) -> Bus:
    bus = memory.bus(retry=RETRY, concurrency=8, hold=60.0, **settings)
    bus.on(NAME)(database.write)
    return bus


async def publish_while_it_is_away(bus: Bus, database: Database, numbers: range) -> None:
    """A minute without the database, and messages all the time."""
    database.away = True
    for number in numbers:
        await bus.publish(seated(number), key=f"k{number % KEYS}")
        await asyncio.sleep(60 / len(numbers))
    database.away = False


async def test_with_a_breaker_nothing_becomes_a_dead_letter_and_keys_stay_in_order(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    database, notices = Database(), list[Notice]()
    bus = serving(memory, database, breaker=Breaker(minimum=4, errors=(ConnectionError,), probe_after=5, cap=20))
    bus.add_hook(notices.append)
    with caplog.at_level(logging.WARNING, "brokerkit"):
        async with bus, bus.serving():
            for number in range(20):
                await bus.publish(seated(number), key=f"k{number % KEYS}")
            await over(bus, 20)
            away = asyncio.ensure_future(publish_while_it_is_away(bus, database, range(20, COUNT)))
            await until(lambda: any(one.kind == "paused" for one in notices))
            before = database.tries
            await asyncio.sleep(30)
            health = await bus.health(lag=True)
            found = health.sources["bus"]
            assert (health.ready, found.state) == (False, "paused")
            assert "circuit breaker: 4 of 4 attempts failed" in found.error
            assert "ConnectionError" in found.error
            assert found.waiting
            # What ran when it opened, and one message after 5 and after 15 seconds.
            assert database.tries - before <= 8 + 2
            await away
            await until(lambda: sum(map(len, database.written.values())) == COUNT, seconds=600)
            assert (await bus.health()).ready
    stats = bus.stats["bus"]
    assert (stats.dead_lettered, stats.handled) == (0, COUNT)
    assert stats.retried < 4
    # Only those that failed before it opened have used up an attempt.
    assert sum(count for attempt, count in database.attempts.items() if attempt > 1) < 4
    for key, numbers in database.written.items():
        assert numbers == list(range(key, COUNT, KEYS))
    assert [one.kind for one in notices if one.kind in ("paused", "resumed")] == ["paused", "resumed"]


async def test_without_a_breaker_messages_become_dead_letters_after_their_attempts(memory: Broker) -> None:
    database = Database()
    bus = serving(memory, database)
    async with bus, bus.serving():
        await publish_while_it_is_away(bus, database, range(100))
        await over(bus, 100)
    stats = bus.stats["bus"]
    assert stats.dead_lettered > 50
    assert stats.dead_lettered + stats.handled == 100


async def test_other_errors_do_not_open_it_and_one_bad_message_does_not_keep_it_open(memory: Broker) -> None:
    handled, failing = list[int](), {"all": False}

    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 1:
            raise ConnectionError("always for this one")
        if event.player_id == 2:
            raise ValueError("a bad message")
        if failing["all"]:
            raise ConnectionError("away")
        handled.append(event.player_id or 0)

    breaker = Breaker(minimum=3, errors=(ConnectionError,), probe_after=1.0)
    bus = memory.bus(retry=RetryPolicy(attempts=2, first=0.1), breaker=breaker, concurrency=1)
    bus.on(NAME)(handle)
    async with bus, bus.serving():
        await bus.publish_many([seated(2), *map(seated, range(10, 14))])
        await over(bus, 5)
        assert bus.stats["bus"].dead_lettered == 1
        assert (await bus.health()).ready
        failing["all"] = True
        await bus.publish_many([seated(1), *map(seated, range(20, 30))])
        consumer = bus.runtime.consumers["bus"]
        await until(lambda: consumer.pause.is_open)
        failing["all"] = False
        await over(bus, 16)
        assert not consumer.pause.is_on
    assert sorted(handled) == [*range(10, 14), *range(20, 30)]
    assert bus.stats["bus"].dead_lettered == 2


async def test_a_bad_message_that_fails_whole_batches_becomes_a_dead_letter_and_the_source_goes_on(
    memory: Broker,
) -> None:
    handled = list[int]()
    bus = memory.bus(retry=RetryPolicy(attempts=3, first=0.1), breaker=Breaker(minimum=4, probe_after=1.0, cap=10.0))

    @bus.on_batch(NAME, size=20, within=0.3)
    async def store(events: list[OnPlayerSeatedDown]) -> None:
        numbers = [event.player_id or 0 for event in events]
        if 7 in numbers:
            raise RuntimeError("a constraint is violated")
        handled.extend(numbers)

    async with bus, bus.serving():
        await bus.publish_many(map(seated, range(10)))
        await asyncio.sleep(600)
        assert bus.stats["bus"].dead_lettered == 0  # nothing has come that could show that it is this message
        for number in range(10, 15):
            await bus.publish(seated(number))
            await asyncio.sleep(60)
        assert bus.stats["bus"].dead_lettered == 1
        assert (await bus.health()).ready
    assert sorted(handled) == [one for one in range(15) if one != 7]


async def test_a_pause_that_was_asked_for_outlasts_an_open_breaker_and_a_resume_ends_both(memory: Broker) -> None:
    database = Database()
    bus = serving(memory, database, breaker=Breaker(minimum=2, probe_after=1.0))
    async with bus, bus.serving():
        database.away = True
        await bus.publish_many([seated(number) for number in range(5)])
        consumer = bus.runtime.consumers["bus"]
        await until(lambda: consumer.pause.is_open)
        await bus.pause()
        database.away, before = False, database.tries
        await asyncio.sleep(600)
        assert database.tries - before <= 5
        assert (await bus.health()).sources["bus"].error == "paused by the program"
        await bus.resume()
        await over(bus, 5)
    assert bus.stats["bus"].dead_lettered == 0


async def test_a_stop_while_it_is_open_is_prompt_and_the_next_run_handles_everything(memory: Broker) -> None:
    database, loop = Database(), asyncio.get_running_loop()
    bus = serving(memory, database, breaker=Breaker(minimum=2))
    async with bus, bus.serving():
        database.away = True
        await bus.publish_many([seated(number) for number in range(30)], key="one")
        await until(lambda: bus.runtime.consumers["bus"].pause.is_open)
        begun = loop.time()
    assert loop.time() - begun < 2
    database.away = False
    async with bus, bus.serving():
        await over(bus, 30)
    assert bus.stats["bus"].dead_lettered == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("failures = 0", "failures must be above 0"),
        ("failures = 1.5", "at most 1"),
        ("minimum = 0", "minimum must be at least 1"),
        ("window = 0", "window must be above 0"),
        ("after = 3", "'after' is not known; allowed are failures"),
        ('errors = ["NoSuchError"]', "errors: there is no 'NoSuchError'"),
        ('errors = "OSError"', "errors must be a list"),
    ],
)
async def test_a_wrong_table_is_refused_with_its_key(tmp_path: Path, wrong: str, said: str) -> None:
    file = tmp_path / "brokerkit.toml"
    file.write_text(f'[bus]\nurl = "memory://"\ntopic = "t"\n[bus.breaker]\n{wrong}\n')
    with pytest.raises(ConfigError, match="breaker") as refused:
        Bus.from_config(file)
    assert said in str(refused.value)


async def test_a_table_in_a_file_names_the_classes_of_errors(tmp_path: Path) -> None:
    file = tmp_path / "brokerkit.toml"
    file.write_text(
        '[bus]\nurl = "memory://"\ntopic = "t"\n[bus.breaker]\nfailures = 0.8\n'
        'errors = ["OSError", "asyncio.TimeoutError"]\n'
    )
    [source] = Bus.from_config(file).runtime.settings.sources.values()
    assert source.breaker == Breaker(failures=0.8, errors=(OSError, TimeoutError))
