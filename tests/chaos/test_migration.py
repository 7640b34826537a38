"""A Kafka group moves to the newer group protocol (KIP-848) by members that die, one after another, while messages flow.

Meanwhile its connections break, and the broker restarts.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import ConsumerGroupType
from confluent_kafka.admin import AdminClient

from tests.chaos import COUNT, FULL, figures
from tests.chaos.chaos import COMMON, KEYS, Event, Workers, run
from tests.chaos.proxied import kafka_behind_proxy

CLASSIC: Final = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 300}
CONSUMER: Final = {"group.protocol": "consumer"}
MEMBERS = 3 if FULL else 2


@pytest.mark.timeout(7_200 if FULL else 300)
async def test_a_group_whose_members_are_replaced_by_newer_ones_loses_nothing(tmp_path: Path) -> None:
    """In the full form it also goes back."""
    async with kafka_behind_proxy() as (broker, proxy):
        group = f"moved-{uuid.uuid4().hex[:10]}"
        bus: dict[str, Any] = {**COMMON, "url": f"kafka://{proxy.address}", "topic": f"c{group}", "group": group}
        classic, consumer = {**bus, "options": CLASSIC}, {**bus, "options": CONSUMER}
        # Those that stay may be expelled and begin again, with what they had in flight.
        workers = Workers(bus=classic, folder=tmp_path, count=MEMBERS, window=1.0)

        def replaced_by(settings: dict[str, Any]) -> Event:
            async def event() -> None:
                workers.bus = settings
                workers.disturb("moved")
                await workers.kill(oldest=True)

            return event

        async def cut() -> None:
            workers.disturb("cut")
            proxy.cut()

        async def restart() -> None:
            workers.disturb("restarted")
            await asyncio.to_thread(broker.restart)

        def moved(wanted: ConsumerGroupType) -> Event:
            """Kafka moves a group when a member of the other kind has joined, and not because it was started. On a busy
            machine the older ones can be done with everything by then.
            """

            async def event() -> None:
                admin: Any = AdminClient({"bootstrap.servers": broker.address})
                async with asyncio.timeout(120):
                    while True:
                        listed = await asyncio.to_thread(admin.list_consumer_groups().result, 30)
                        if [each.type for each in listed.valid if each.group_id == group] == [wanted]:
                            return
                        await workers.look_after()

            return event

        there, back = replaced_by(consumer), replaced_by(classic)
        events: list[Event] = [there, cut, restart, there]
        if FULL:
            events += [there, moved(ConsumerGroupType.CONSUMER), workers.kill, cut, workers.kill]
            events += [back, cut, restart, back, cut, back, workers.kill]
        last = moved(ConsumerGroupType.CLASSIC if FULL else ConsumerGroupType.CONSUMER)
        await _move(workers, events, last)
        assert workers.out_of_order == 0


async def _move(workers: Workers, events: Sequence[Event], last: Event) -> None:
    """Publish and handle while the events happen. Nothing may be lost, and no more come again than was in flight."""
    count = COUNT or 800
    begun = time.monotonic()
    again = await run(workers, count, events, pause=0.0 if FULL else 0.1, last=last)
    # A publisher that was cut off sends its round again, as the same messages.
    most = workers.most_duplicates + KEYS * (workers.events["cut"] + workers.events["restarted"])
    figures(
        f"kafka, protocol migration: published {count}, lost {count - len(workers.seen)}, "
        f"out of order {workers.out_of_order}, handled again {workers.duplicates} of at most {most}, "
        f"published again {again}, {dict(workers.events)}, {time.monotonic() - begun:.0f} s"
    )
    assert {number for _, number in workers.seen} == set(range(-(-count // KEYS)))
    assert len(workers.seen) == count
    assert workers.duplicates <= most
