"""A cluster loses a node while messages flow: nothing that was confirmed is lost."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from brokerkit import Bus
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.brokers._server import LocalServer
from tests.chaos import COUNT, figures
from tests.chaos.chaos import COMMON, Event, Workers, run
from tests.chaos.clusters import Cluster, kafka_cluster, rabbit_cluster
from tests.every_broker import until

MOVED: Final = re.compile(r"deals \[(\d)\]: migrating from broker \d to (\d) .*preferred replica")
"""What librdkafka logs when it goes on with another replica than the leader: the partition, and the node."""


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


async def test_nodes_of_rabbitmq_that_restart_one_after_another_lose_nothing(tmp_path: Path) -> None:
    """As for an upgrade: each node is stopped in order and started again, twice round."""
    cluster = rabbit_cluster()
    try:
        await asyncio.to_thread(cluster.start)
        hosts = ",".join(urlsplit(url).netloc.rpartition("@")[2] for url in cluster.urls)
        first = urlsplit(cluster.urls[0])
        url = first._replace(netloc=f"{first.netloc.rpartition('@')[0]}@{hosts}").geturl()
        workers = Workers(bus={**COMMON, "topic": "deals", "group": "wallet", "url": url}, folder=tmp_path, count=3)

        def restart(node: LocalServer) -> Event:
            async def event() -> None:
                workers.disturb("node restarted")
                await asyncio.to_thread(node.restart)

            return event

        begun = time.monotonic()
        again = await run(workers, COUNT, [restart(node) for node in (*cluster.nodes, *cluster.nodes)], pause=0.0)
        figures(
            f"cluster of three, rabbitmq, rolling restart: published {COUNT}, lost {COUNT - len(workers.seen)}, "
            f"out of order {workers.out_of_order}, handled again {workers.duplicates}, published again {again}, "
            f"{dict(workers.events)}, {time.monotonic() - begun:.0f} s"
        )
        assert len(workers.seen) == COUNT
    finally:
        await asyncio.to_thread(cluster.close)


async def test_a_reader_with_a_rack_reads_from_the_replica_in_it(caplog: pytest.LogCaptureFixture) -> None:
    """Each node leads one of the three partitions, and a reader in its rack goes to it for the other two."""
    cluster = kafka_cluster()
    caplog.set_level(logging.DEBUG, "brokerkit.adapters.kafka.librdkafka")
    try:
        await asyncio.to_thread(cluster.start)
        moved: dict[str, set[tuple[str, str]]] = {}
        seen: set[int] = set()
        for rack in ("rack-1", "rack-2", "rack-3", ""):
            seen.clear()
            options = {"debug": "fetch,topic", **({"client.rack": rack} if rack else {})}
            bus = Bus(
                cluster.urls[0],
                topic="deals",
                group=f"wallet-{rack}",
                provision="all",
                format="evenbet",
                options=options,
            )

            @bus.on("OnPlayerSeatedDown")
            async def handle(event: OnPlayerSeatedDown) -> None:
                seen.add(int(event.player_id or 0))

            caplog.clear()
            async with bus, bus.serving():
                # A client asks for the other replica once it has fetched from the leader.
                for number in range(300):
                    await bus.publish(OnPlayerSeatedDown(player_id=number), key=str(number))
                await until(lambda: len(seen) >= 300)
            moved[rack] = set(MOVED.findall(caplog.text))
        assert {rack: len(found) for rack, found in moved.items()} == {"rack-1": 2, "rack-2": 2, "rack-3": 2, "": 0}
        assert all({node for _, node in found} == {rack[-1]} for rack, found in moved.items() if rack)
    finally:
        await asyncio.to_thread(cluster.close)


async def _nothing(message: object) -> None:
    raise AssertionError("nothing is published yet")
