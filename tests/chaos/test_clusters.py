"""A cluster loses a node while messages flow: nothing that was confirmed is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brokerkit import Bus
from tests.chaos import COUNT, figures
from tests.chaos.chaos import COMMON, Workers, run
from tests.chaos.clusters import Cluster, kafka_cluster, rabbit_cluster


@pytest.mark.parametrize("make", [kafka_cluster, rabbit_cluster])
async def test_a_node_that_dies_takes_no_message_with_it(make: Callable[[], Cluster], tmp_path: Path) -> None:
    cluster = make()
    bus: dict[str, Any] = {**COMMON, "topic": "deals", "group": "wallet"}
    kafka = make is kafka_cluster
    if kafka:
        bus["options"] = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 300}
    try:
        await asyncio.to_thread(cluster.start)
        # The topic, its queue and so its leader are made through the first node; everything else uses the second.
        first = Bus(**bus, url=cluster.urls[0])
        first.on("OnPlayerSeatedDown")(_nothing)
        async with first, first.serving():
            pass
        workers = Workers(bus={**bus, "url": cluster.urls[1]}, folder=tmp_path, count=3, window=1.0 if kafka else 0.3)

        async def kill_node() -> None:
            workers.disturb("node killed")
            await asyncio.to_thread(cluster.nodes[0].kill)

        async def bring_back() -> None:
            await asyncio.to_thread(cluster.nodes[0].start)

        begun = time.monotonic()
        again = await run(workers, COUNT, [workers.kill, kill_node, workers.kill, bring_back, workers.kill], pause=0.0)
        figures(
            f"cluster of three, {'kafka' if kafka else 'rabbitmq'}: published {COUNT}, lost {COUNT - len(workers.seen)}, "
            f"out of order {workers.out_of_order}, handled again {workers.duplicates}, published again {again}, "
            f"{dict(workers.events)}, {time.monotonic() - begun:.0f} s"
        )
        assert len(workers.seen) == COUNT
        if kafka:
            assert workers.out_of_order == 0
    finally:
        await asyncio.to_thread(cluster.close)


async def _nothing(message: object) -> None:
    raise AssertionError("nothing is published yet")
