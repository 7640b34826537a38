"""Redis Cluster and Sentinel lose a primary while messages flow: nothing that was confirmed is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.redis_cluster import Guarded, Node, RedisCluster, cluster, guarded, until
from tests.chaos import COUNT, figures
from tests.chaos.chaos import COMMON, Workers, run

CUT_OFF = 15.0
"""Seconds for which what was done just before a primary died may come again: its replica may not know."""


@pytest.mark.parametrize("kind", ["", "+list"], ids=["streams", "list"])
@pytest.mark.parametrize("make", [cluster, guarded], ids=["cluster", "sentinel"])
async def test_a_primary_that_dies_takes_no_message_with_it(
    make: Callable[..., RedisCluster | Guarded], kind: str, tmp_path: Path
) -> None:
    servers = make(more="appendonly yes")
    bus: dict[str, Any] = {**COMMON, "topic": "deals", "group": "wallet"}
    if kind:
        bus["envelope"] = "brokerkit"
    try:
        await asyncio.to_thread(servers.start)
        bus["url"] = f"{servers.url(kind)}?wait_replicas=1"
        workers = Workers(bus=bus, folder=tmp_path, count=3, window=CUT_OFF)
        begun = time.monotonic()
        again = await run(workers, COUNT, _events(workers, servers), pause=0.0)
        figures(
            f"{make.__name__}{kind}: published {COUNT}, lost {COUNT - len(workers.seen)}, "
            f"out of order {workers.out_of_order}, handled again {workers.duplicates}, published again {again}, "
            f"{dict(workers.events)}, {time.monotonic() - begun:.0f} s"
        )
        assert len(workers.seen) == COUNT
    finally:
        await asyncio.to_thread(servers.close)


def _events(workers: Workers, servers: RedisCluster | Guarded) -> list[Callable[[], Awaitable[None]]]:
    """Two primaries die, workers die, and on a cluster the slot moves twice."""

    def primary() -> Node:
        return servers.owner("deals") if isinstance(servers, RedisCluster) else servers.primary

    async def die() -> None:
        victim = await asyncio.to_thread(primary)
        workers.disturb("primary killed")
        await asyncio.to_thread(victim.server.kill)
        await asyncio.to_thread(until, lambda: primary() is not victim)
        if isinstance(servers, Guarded):
            await asyncio.to_thread(servers.bring_back, victim)
        else:
            await asyncio.to_thread(victim.server.start)
            await asyncio.to_thread(servers.settled)

    async def move() -> None:
        assert isinstance(servers, RedisCluster)
        source = await asyncio.to_thread(servers.owner, "deals")
        to = next(each for each in servers.nodes if each is not source and each.is_primary)
        workers.events["slot moved"] += 1
        await asyncio.to_thread(servers.move, "deals", to)

    moves = [move] if isinstance(servers, RedisCluster) else []
    return [workers.kill, die, *moves, workers.kill, die, *moves, workers.kill]
