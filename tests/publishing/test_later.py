"""Publishing later and by priority: what is asked for, what brokers refuse, and what the outbox takes. Conformance case 10b
shows that those which can do it do it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from brokerkit import Bus, InvalidMessage, UnsupportedFeature
from brokerkit._clock import wall_time
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.outbox import Outbox
from brokerkit.testing import TestBus, virtual_time
from brokerkit.types import Publication
from tests.every_broker import until

SEATED = OnPlayerSeatedDown(player_id=1)


def bus_on(url: str, **settings: Any) -> Bus:
    given: dict[str, Any] = {"topic": "t", "group": "g", "format": "evenbet", "provision": "all", **settings}
    return Bus(url, **given)


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
async def bus(url: str) -> AsyncIterator[Bus]:
    async with bus_on(url) as bus:
        yield bus


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"after": -1}, "not below 0, got -1"),
        ({"after": float("nan")}, "not below 0"),
        ({"after": float("inf")}, "not below 0"),
        ({"after": timedelta(seconds=-1)}, "not below 0"),
        ({"at": datetime(2030, 1, 1)}, "no time zone"),
        ({"after": 1, "at": datetime(2030, 1, 1, tzinfo=UTC)}, "give one of them"),
    ],
)
async def test_wrong_times_are_refused(options: Any, said: str, bus: Bus) -> None:
    with pytest.raises(InvalidMessage, match=said):
        await bus.publish(SEATED, **options)
    [result] = await bus.publish_many([SEATED], **options)
    assert isinstance(result, InvalidMessage)


@pytest.mark.parametrize(
    ("broker_url", "settings", "broker"),
    [
        ("kafka://localhost:1", {}, "Kafka"),
        ("sns://us-east-1/", {}, "SNS"),
        ("sqs://us-east-1/", {"topic": "t.fifo"}, "SQS"),
        ("redis+pubsub://localhost:1", {"group": None, "envelope": "brokerkit"}, "Redis Pub/Sub"),
    ],
)
async def test_brokers_that_cannot_keep_a_message_back_name_the_outbox(
    broker_url: str, settings: dict[str, Any], broker: str
) -> None:
    async with TestBus(bus_on(broker_url, **settings)) as test:
        with pytest.raises(UnsupportedFeature, match=f"{broker} does not support publishing later; .*Outbox.publish"):
            await test.bus.publish(SEATED, after=5)
        await test.bus.publish(SEATED, after=0)
    assert len(test.published) == 1


async def test_sqs_keeps_a_message_back_for_a_quarter_of_an_hour_at_most() -> None:
    async with TestBus(bus_on("sqs://us-east-1/")) as test:
        await test.bus.publish(SEATED, after=900)
        with pytest.raises(UnsupportedFeature, match=r"publishing 901 s later, but 900 s at most; .*Outbox"):
            await test.bus.publish(SEATED, after=901)


async def test_a_time_that_has_passed_is_now(bus: Bus) -> None:
    receipt = await bus.publish(SEATED, at=datetime(2020, 1, 1, tzinfo=UTC))
    assert receipt.position is not None


async def test_the_other_ways_to_publish_take_it_too(url: str, bus: Bus) -> None:
    got, seen = list[int | None](), list[object]()

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        got.append(event.player_id)

    async def note(publication: Publication, proceed: Any) -> Any:
        seen.append(publication.after)
        return await proceed()

    bus.add_publish_middleware(note)
    with virtual_time() as clock:
        async with bus.serving():
            await bus.publish_many([SEATED, SEATED], after=5)
            await bus.publish(OnPlayerSeatedDown(player_id=2))
            await until(lambda: len(got) == 3)
        assert clock.elapsed > 4.9
    assert got == [2, 1, 1]
    assert seen == [5, 5, None]
    publisher = bus_on(url).sync()
    receipt = await asyncio.to_thread(publisher.publish, SEATED, after=60)
    assert receipt.position is None
    await asyncio.to_thread(publisher.close)


async def test_a_test_bus_waits_in_virtual_time() -> None:
    bus, handled = bus_on("sqs://us-east-1/"), list[float]()

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        handled.append(wall_time())

    async with TestBus(bus) as test:
        begun = wall_time()
        await bus.publish(SEATED, after=timedelta(minutes=10))
        await test.settled()
        assert handled[0] - begun == pytest.approx(600, abs=1)


async def test_the_outbox_keeps_it_for_every_broker(url: str, tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/o.db", poolclass=NullPool)
    options = {"delays": 0}
    bus = bus_on(url, options=options)
    outbox = Outbox(engine, bus, poll=0.05)
    await outbox.create_tables()
    got = list[int | None]()

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        got.append(event.player_id)

    async with bus, outbox, bus.serving():
        with pytest.raises(UnsupportedFeature):
            await bus.publish(SEATED, after=1)
        async with AsyncSession(engine) as session, session.begin():
            due = datetime.now(UTC) + timedelta(seconds=3)
            await outbox.publish(session, OnPlayerSeatedDown(player_id=3), key="k", at=due)
            # Far beyond the longest pause after a failure, which must not make it due.
            await outbox.publish(session, OnPlayerSeatedDown(player_id=4), key="k", after=timedelta(days=1))
            await outbox.publish(session, OnPlayerSeatedDown(player_id=1), key="k")
        await until(lambda: len(got) == 2)
        assert got == [1, 3]
        assert datetime.now(UTC) >= due
    await engine.dispose()


async def test_priorities_are_refused_where_no_queue_sorts_by_them(bus: Bus) -> None:
    with pytest.raises(UnsupportedFeature, match="memory does not support priorities"):
        await bus.publish(SEATED, priority=5)
