"""A large backlog and a slow handler: a consumer keeps what is in flight in memory, and not the backlog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brokerkit import Message
from tests.endurance import FULL, figures
from tests.endurance.hostile import NAME
from tests.endurance.process import Process
from tests.every_broker import Broker, until_async

BACKLOG = (192 if FULL else 24) * 2**20
"""Bytes that wait, all bodies together."""
IN_FLIGHT = 25
AHEAD = 2 * 2**20
"""Bytes that the client library may fetch ahead: librdkafka's own buffer, 64 MiB unless it is told otherwise."""
MARGIN = 8 * 2**20
"""Bytes for what the first messages cost in any case: connections, imports, the allocator's reserve."""


async def test_a_backlog_stays_at_the_broker(broker: Broker, tmp_path: Path) -> None:
    if broker.name == "memory":
        pytest.skip("not promised: the embedded broker is in the process, and its backlog too")
    if broker.at_most_once:
        pytest.skip("not promised: Pub/Sub has no backlog; what comes beyond max_in_flight is dropped and counted")
    slow = "endpoint" in broker.settings  # ElasticMQ and moto: fewer messages, and larger ones
    count = (4_000 if slow else 100_000) if FULL else (500 if slow else 12_000)
    size = BACKLOG // count
    settings: dict[str, Any] = {
        "topic": broker.topic(),
        "group": "wallet",
        "provision": "all",
        "format": "evenbet",
        "name_from": ["header:event"],
        "max_in_flight": IN_FLIGHT,
        "concurrency": 10,
        "lease": 30.0,
        "stop_timeout": 5.0,
        **broker.settings,
    }
    if broker.name == "kafka":
        settings["options"] = {"queued.max.messages.kbytes": AHEAD // 1024, "fetch.max.bytes": AHEAD // 2}
    async with Process([settings], folder=tmp_path, seconds=0.2) as worker:
        async with broker.bus(name_from=["header:event"], publish_timeout=120.0) as bus:

            def message(number: int) -> Message:
                body = json.dumps({"playerId": number, "tableId": 1, "note": "x" * (size - 60)}).encode()
                return Message(NAME, body, key=f"key-{number % 1000}")

            await bus.publish_many([message(number) for number in range(10)])

            async def is_working() -> bool:
                return bool((await worker.status())["buses"][0]["handled"])

            await until_async(is_working)
            before = (await worker.status())["resident"]
            for start in range(0, count, 500):
                results = await bus.publish_many([message(number) for number in range(start, start + 500)])
                assert not [result for result in results if isinstance(result, Exception)]

        async def is_full() -> bool:
            # All slots were taken several times over.
            return bool((await worker.status())["buses"][0]["handled"] >= 2 * IN_FLIGHT)

        await until_async(is_full)
        status = await worker.status()
    grown = status["resident"] - before
    figures(f"waiting {broker.name}: {count} messages of {size} bytes, resident memory grew by {grown / 2**20:.1f} MiB")
    # The bytes, and what the client library makes of them: for SQS an answer, its text, and the text of each body.
    in_flight = (6 if slow else 2) * IN_FLIGHT * size
    assert grown < in_flight + MARGIN + (2 * AHEAD if broker.name == "kafka" else 0)
