"""A Kafka group moves to the newer group protocol (KIP-848) by members that die, one after another, while messages flow."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import ConsumerGroupType
from confluent_kafka.admin import AdminClient

from tests.brokers.kafka import KafkaBroker
from tests.chaos import COUNT, FULL, figures
from tests.chaos.chaos import COMMON, KEYS, Event, Workers, run

CLASSIC: Final = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 300}
CONSUMER: Final = {"group.protocol": "consumer"}
MEMBERS = 3 if FULL else 2


@pytest.mark.timeout(7_200 if FULL else 300)
async def test_a_group_whose_members_are_replaced_by_newer_ones_loses_nothing(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    """In the full form it also goes back."""
    count = COUNT or 800
    group = f"moved-{uuid.uuid4().hex[:10]}"
    bus: dict[str, Any] = {**COMMON, "url": kafka_broker.url, "topic": f"c{uuid.uuid4().hex[:10]}", "group": group}
    classic, consumer = {**bus, "options": CLASSIC}, {**bus, "options": CONSUMER}
    # Those that stay may be expelled and begin again, with what they had in flight.
    workers = Workers(bus=classic, folder=tmp_path, count=MEMBERS, window=1.0)

    def replaced_by(settings: dict[str, Any]) -> Event:
        async def event() -> None:
            workers.bus = settings
            workers.disturb("moved")
            await workers.kill(oldest=True)

        return event

    events = [replaced_by(consumer)] * MEMBERS
    if FULL:
        events += [workers.kill, workers.kill, *[replaced_by(classic)] * MEMBERS, workers.kill]
    begun = time.monotonic()
    again = await run(workers, count, events, pause=0.0 if FULL else 0.1)
    figures(
        f"kafka, protocol migration: published {count}, lost {count - len(workers.seen)}, "
        f"out of order {workers.out_of_order}, handled again {workers.duplicates} of at most {workers.most_duplicates}, "
        f"published again {again}, {dict(workers.events)}, {time.monotonic() - begun:.0f} s"
    )
    assert {number for _, number in workers.seen} == set(range(-(-count // KEYS)))
    assert len(workers.seen) == count
    assert workers.out_of_order == 0
    assert workers.duplicates <= workers.most_duplicates
    admin: Any = AdminClient({"bootstrap.servers": kafka_broker.address})
    (kind,) = [each.type for each in admin.list_consumer_groups().result(30).valid if each.group_id == group]
    assert kind is (ConsumerGroupType.CLASSIC if FULL else ConsumerGroupType.CONSUMER)
