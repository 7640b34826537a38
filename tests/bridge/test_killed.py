"""A bridge that is killed five times loses nothing, and what it publishes twice was under way when it was killed."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from brokerkit import Bus, Message
from brokerkit._messages._outgoing import Receipt
from tests.bridge.pair import Pair
from tests.cli.program import PROGRAM
from tests.endurance import FULL, figures

PAIRS = [("rabbitmq", "kafka"), ("sqs-fifo", "kafka")]
if FULL:
    PAIRS += [("redis-streams", "sqs")]
COUNT = 100_000 if FULL else 600
KILLS = 5
KEYS = 50
IN_FLIGHT = 500 if FULL else 50
AHEAD = 2_000

Arrived = list[tuple[str, int]]
"""Key and number of each message, as they came."""


@asynccontextmanager
async def reading(pair: Pair) -> AsyncIterator[Arrived]:
    got: Arrived = []

    async def note(_: object, message: Message) -> None:
        assert message.body is not None
        assert message.id == message.body.decode()
        got.append((str(message.key), int(message.body)))

    bus = pair.new.bus(topic=pair.to_topic, format="json", order="none", concurrency=1)
    bus.handlers.forward(note, source="bus", events=("*", ""))
    async with bus, bus.serving():
        yield got


@asynccontextmanager
async def bridging(pair: Pair, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, until it is killed."""
    source, target = pair.urls
    source = source.replace("lease=4", "lease=2") + f"&max_in_flight={IN_FLIGHT}"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), "bridge", "--from", source, "--to", target),
            *("--topic", pair.topic, "--to-topic", pair.to_topic, "--group", "bridge", "--log-level", "warning"),
            cwd=log.parent,
            stdout=errors,
            stderr=errors,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        assert await process.wait() == -signal.SIGKILL, log.read_text()[-3000:]


async def arrive(got: Arrived, count: int, *, seconds: float) -> None:
    """Wait until so many different messages have come."""
    async with asyncio.timeout(seconds):
        while len(got) < count or len(set(got)) < count:
            await asyncio.sleep(0.005)


async def feed(producer: Bus, got: Arrived) -> None:
    """Publish all, never far ahead: every kill falls on a bridge that is busy."""
    for first in range(0, COUNT, 100):
        while first - len(got) > AHEAD:
            await asyncio.sleep(0.005)
        messages = [
            Message("E", b"%d" % number, key=f"k{number % KEYS}", id=f"{number}")
            for number in range(first, first + 100)
        ]
        for result in await producer.publish_many(messages):
            assert isinstance(result, Receipt), result


@pytest.mark.timeout(3_600 if FULL else 300)
@pytest.mark.parametrize("pair", PAIRS, indirect=True, ids="-to-".join)
async def test_killed_five_times_nothing_is_lost(pair: Pair, tmp_path: Path) -> None:
    log = tmp_path / "bridge.log"
    begun = time.monotonic()
    # The group of the bridge is there before the first message.
    async with pair.bridge() as bridge, bridge.serving():
        pass
    async with reading(pair) as got, pair.producer() as producer:
        feeding = asyncio.create_task(feed(producer, got))
        for kill in range(1, KILLS + 1):
            async with bridging(pair, log):
                await arrive(got, kill * COUNT // (KILLS + 1), seconds=600 if FULL else 60)
        async with bridging(pair, log):
            await feeding
            await arrive(got, COUNT, seconds=600 if FULL else 60)
    twice = len(got) - COUNT
    seconds = time.monotonic() - begun
    figures(f"bridge {pair.old.name} to {pair.new.name}: {COUNT:,} in {seconds:.1f} s, {KILLS} kills, {twice} twice")
    assert len(set(got)) == COUNT
    assert twice <= KILLS * IN_FLIGHT
    if pair.orders == {"group"}:
        first: defaultdict[str, list[int]] = defaultdict(list)
        for key, number in dict.fromkeys(got):
            first[key].append(number)
        assert all(numbers == sorted(numbers) for numbers in first.values())
