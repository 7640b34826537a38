"""A message that kills its process, among many, while other processes are killed too: it alone becomes a dead letter."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import COUNT, FULL, figures
from tests.chaos.chaos import COMMON, Workers, publish

BROKERS = {
    **({"kafka-share": "kafka_share_broker"} if FULL else {}),  # a minute, as groups take their time to begin
    "rabbitmq": "rabbit_broker",
    "redis-streams": "redis_broker",
    "sqs": "sqs_broker",
    "sqs-fifo": "sqs_broker",
    "sqlite": "",
}
WORKERS, KILLS = (3, 5) if FULL else (2, 1)


@pytest.mark.timeout(7_200 if FULL else 300)
@pytest.mark.parametrize("name", [name for name in BROKERS if FULL or name != "sqlite"])
async def test_only_the_message_that_kills_is_a_dead_letter(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    count = COUNT or 200
    topic = f"k{uuid.uuid4().hex[:10]}{'.fifo' if name == 'sqs-fifo' else ''}"
    url: str = request.getfixturevalue(BROKERS[name]).url if BROKERS[name] else f"sqlite:///{tmp_path}/broker.db"
    address = {"url": "sqs://us-east-1/", "endpoint": url} if name.startswith("sqs") else {"url": url}
    if name == "kafka-share":
        address = {"url": url.replace("kafka://", "kafka+share://")}
    bus: dict[str, Any] = {
        **COMMON,
        **address,
        "topic": topic,
        "group": "killed",
        # The locks of a share group cannot be renewed.
        "lease": 10.0 if name == "kafka-share" else 2.0,
        "retry": {"attempts": 1},
    }
    killer = f"message-{count // 3}"
    workers = Workers(bus=bus, folder=tmp_path, count=WORKERS, killer=killer)
    begun = time.monotonic()
    await workers.start()
    publishing = asyncio.create_task(publish(bus, count, pause=0.0))
    try:
        for kill in range(KILLS):
            await workers.until((count - 1) * (kill + 1) // (KILLS + 1))
            await workers.kill()
        await workers.until(count - 1, letters=1)
        await publishing
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await workers.stop()
    figures(
        f"{name}, with a killer: published {count}, handled {len(workers.seen)}, handled again {workers.duplicates}, dead "
        f"letters {len(workers.letters)}, {dict(workers.events)}, {time.monotonic() - begun:.0f} s"
    )
    assert set(workers.letters) == {killer}
    assert len(workers.seen) == count - 1
    assert workers.events["ended by the message"] >= 3
