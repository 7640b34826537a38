"""A chaos run that is watched by metrics alone: what they said at the end is what happened, on every broker.

Counters end with their process. So they say exactly what a process did that stopped in order; of one that was killed they
say what it had done when it was asked last.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from brokerkit import Bus
from brokerkit.metrics import PrometheusCollector
from tests.chaos import COUNT, FULL, figures
from tests.chaos.chaos import Event, Workers, run
from tests.chaos.disturbed import Disturbed, disturbed_broker
from tests.chaos.watch import Watch, happened
from tests.metrics.text import samples, total

SHORT = {"kafka": 600, "rabbitmq": 600, "redis-streams": 600, "sqs": 240, "sqlite": 600}
NAMES = [*SHORT, *(["kafka-share", "redis-list", "sqs-fifo"] if FULL else [])]
WORKERS, ENDS, KILLS, CUTS, RESTARTS = (3, 10, 10, 10, 2) if FULL else (2, 1, 1, 1, 0)
FAILED = "brokerkit_failed_attempts_total"
SPOILED, ATTEMPTS = 60, 3
"""Each message of so many fails as often as it may."""


def events(workers: Workers, watch: Watch, disturbed: Disturbed) -> list[Event]:
    async def end() -> None:
        await workers.end(watch.last_look)

    async def cut() -> None:
        assert disturbed.proxy is not None
        workers.disturb("cut")
        disturbed.proxy.cut()

    async def restart() -> None:
        workers.disturb("restarted")
        await disturbed.restart()

    planned: list[Event] = [end] * ENDS + [workers.kill] * KILLS
    planned += [cut] * CUTS if disturbed.proxy is not None else []
    planned += [restart] * RESTARTS if disturbed.server is not None else []
    random.shuffle(planned)
    return planned


@pytest.mark.timeout(7_200 if FULL else 300)
@pytest.mark.parametrize("name", NAMES)
async def test_metrics_say_at_the_end_what_happened(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    count = COUNT or SHORT[name]
    letters = -(-count // SPOILED)
    publishing: list[PrometheusCollector] = []

    def met(bus: Bus) -> None:
        publishing.append(PrometheusCollector(bus))

    async with disturbed_broker(name, request, tmp_path, strict=False) as disturbed:
        bus = {**disturbed.bus, "retry": {"attempts": ATTEMPTS, "first": 0.01, "cap": 0.05}}
        workers = Workers(bus=bus, folder=tmp_path, count=WORKERS, spoiled=SPOILED, watched=True)
        watch, begun = Watch(workers), time.monotonic()
        looking = asyncio.create_task(watch.keep_looking())

        async def end_all() -> None:
            await workers.end_all(watch.last_look)

        try:
            planned = events(workers, watch, disturbed)
            pause = 0.0 if FULL else 0.1
            again = await run(workers, count, planned, pause=pause, letters=letters, met=met, last=end_all)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    killed = workers.did.keys() - watch.drained
    done, seen = sum(workers.did.values(), Counter()), watch.sum_of({*workers.did})
    unseen = {name: happened(done)[name] - seen[name] for name in happened(done)}
    figures(
        f"{name}, watched: published {count}, handled {done['handled']}, failed {happened(done)[FAILED]}, "
        f"dead letters {done['letter']}; {len(watch.drained)} stopped and {len(killed)} were killed, of whom was not seen: "
        f"{unseen}; {dict(workers.events)}, {time.monotonic() - begun:.0f} s"
    )
    # Nothing was lost, so that there was something to be seen.
    assert len(workers.seen) == count - letters
    assert set(workers.letters) == {f"message-{number}" for number in range(0, count, SPOILED)}
    for pid in watch.drained:
        assert watch.seen[pid] == happened(workers.did[pid])
    for pid in killed:
        said, did = watch.seen.get(pid, {}), happened(workers.did[pid])
        assert all(said[name] <= did[name] for name in said), (said, did)
    found = samples(publishing[0].text())
    sent = found["messaging_client_sent_messages_total"]
    assert total(found, "messaging_client_sent_messages_total", error_type="") == count
    assert sum(value for _, value in sent) == count + again
