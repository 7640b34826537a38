"""Workers killed, connections cut and the broker restarted while messages flow, on every broker that keeps messages."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.chaos import COUNT, FULL, figures
from tests.chaos.chaos import KEYS, Event, Workers, run
from tests.chaos.disturbed import Disturbed, disturbed_broker

COUNTS = {
    "kafka": 2_000,
    "kafka-share": 1_000,
    "rabbitmq": 1_000,
    "redis-streams": 1_000,
    "redis-list": 1_000,
    "sqs": 400,
    "sqs-fifo": 400,
    "sqlite": 1_000,
}
SHORT = {"kafka": True, "rabbitmq": False, "redis-streams": False, "redis-list": False, "sqs": False, "sqs-fifo": True}
SHORT["sqlite"] = True
"""What the short form runs, and whether strict. Share groups take a minute; tests/adapters/kafka/share has kills."""
RUNS = [(name, strict) for name in COUNTS for strict in (False, True) if FULL or SHORT.get(name) is strict]
WORKERS, KILLS, CUTS, RESTARTS = (3, 20, 10, 2) if FULL else (2, 2, 1, 1)
PAUSE = 0.0 if FULL else 0.1


@pytest.fixture(params=RUNS, ids=lambda run: f"{run[0]}-{'strict' if run[1] else 'calm'}")
async def disturbed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Disturbed]:
    name, strict = request.param
    async with disturbed_broker(name, request, tmp_path, strict=strict) as made:
        yield made


def events(workers: Workers, disturbed: Disturbed) -> list[Event]:
    async def cut() -> None:
        assert disturbed.proxy is not None
        workers.disturb("cut")
        disturbed.proxy.cut()

    async def restart() -> None:
        workers.disturb("restarted")
        await disturbed.restart()

    planned: list[Callable[[], Awaitable[None]]] = [workers.kill] * KILLS
    if disturbed.proxy is not None:
        planned += [cut] * CUTS
    if disturbed.server is not None:
        planned += [restart] * RESTARTS
    random.shuffle(planned)
    return planned


@pytest.mark.timeout(7_200 if FULL else 300)
async def test_nothing_is_lost_whatever_dies(disturbed: Disturbed, tmp_path: Path) -> None:
    count = COUNT or COUNTS[disturbed.name]
    failing = 0.02 if disturbed.strict else 0.0
    workers = Workers(bus=disturbed.bus, folder=tmp_path, count=WORKERS, failing=failing, window=disturbed.window)
    begun = time.monotonic()
    again = await run(workers, count, events(workers, disturbed), pause=PAUSE)
    # A publisher that was cut off sends its round again, as the same messages.
    most = workers.most_duplicates + KEYS * (workers.events["cut"] + workers.events["restarted"])
    figures(
        f"{disturbed.name}{', strict and failing' if disturbed.strict else ''}: published {count}, "
        f"lost {count - len(workers.seen)}, out of order {workers.out_of_order}, "
        f"handled again {workers.duplicates} of at most {most}, published again {again}, "
        f"{dict(workers.events)}, {time.monotonic() - begun:.0f} s"
    )
    assert {number for _, number in workers.seen} == set(range(-(-count // KEYS)))
    assert len(workers.seen) == count
    if disturbed.ordered:
        assert workers.out_of_order == 0
    assert workers.duplicates <= most
