"""A replay that is killed loses no dead letter, and repeats no more than what it had under way."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from brokerkit import RetryPolicy
from brokerkit._dead_letters._walk import BATCH
from tests.conftest import MADE_BY
from tests.dead_letters.test_replay import NAME, failing, listed, seated, serving
from tests.endurance import FULL, figures
from tests.every_broker import Broker, Recorder, until

ROOT: Final = Path(__file__).parents[2]
COUNT: Final = 10_000 if FULL else 400
KILLS: Final = 3
UNDER_WAY: Final = BATCH
"""Letters that a replay publishes at once."""


@pytest.fixture(params=["kafka", "rabbitmq", "redis-streams", "redis-list", "sqs", "sqs-fifo"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return MADE_BY[request.param](request)


@asynccontextmanager
async def replaying(broker: Broker) -> AsyncIterator[Process]:
    """The program; it is killed at the end of the block if it still runs."""
    options = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 300} if broker.name == "kafka" else {}
    settings: dict[str, Any] = {
        "topic": broker.topic(),
        "group": "wallet",
        "format": "evenbet",
        **broker.settings,
        "options": {**broker.settings.get("options", {}), **options},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.killed.replay", json.dumps(settings), cwd=ROOT
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def _killed_at(broker: Broker, recorder: Recorder, count: int) -> None:
    """Kill a replay when so many letters have come back."""
    while len(recorder.got) < count:
        # One that finds nothing, because it is hidden yet from the one before, has come to its end: another one goes on.
        async with replaying(broker) as process:
            ends = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(recorder.wait_for(count, seconds=600))]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


@pytest.mark.timeout(1_800 if FULL else 300)
async def test_a_killed_replay_loses_nothing_and_repeats_what_was_under_way(broker: Broker) -> None:
    async with serving(broker.bus(retry=RetryPolicy(attempts=1)), failing()) as bus:
        for result in await bus.publish_many([seated(number, key=str(number)) for number in range(COUNT)]):
            assert not isinstance(result, Exception)
        await until(lambda: bus.stats["bus"].dead_lettered == COUNT, seconds=600 if FULL else 60)
    recorder = Recorder().record(NAME)
    async with asyncio.timeout(1_200 if FULL else 200), recorder.serving(broker.bus()) as bus:
        # A group of Kafka may need seconds to form: in these a replay would come to its end, and not be killed.
        await bus.publish(seated(COUNT, key=str(COUNT)))
        await recorder.wait_for(1, seconds=60)
        recorder.got.clear()
        for kill in range(1, KILLS + 1):
            await _killed_at(broker, recorder, kill * COUNT // (KILLS + 2))
        # A replay that was killed late has published all of them, and taken out less.
        while len({event.player_id for _, event, _ in recorder.got} - {COUNT}) < COUNT or await listed(bus):
            async with replaying(broker) as process:
                assert await process.wait() == 0
    # The first message may come again: its acknowledgement was not waited for.
    handled = Counter(event.player_id for _, event, _ in recorder.got if event.player_id != COUNT)
    twice = handled.total() - COUNT
    figures(f"replay {broker.name}: {COUNT} letters, {KILLS} kills, {twice} twice")
    assert sorted(handled) == list(range(COUNT))
    # Kafka hears of what is done five times a second: what was published since then is repeated too, however much that is.
    assert broker.name == "kafka" or twice <= KILLS * UNDER_WAY
    assert all(message.attempt == 1 for _, _, message in recorder.got)
