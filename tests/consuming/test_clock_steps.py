"""The wall clock is set back or forward by hours while something waits: waits take the time that they were to take."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from brokerkit import ConnectionLost, Handlers, Message, Retry, _clock
from brokerkit._messages._outgoing import Outgoing
from brokerkit._messages._retry_state import DUE, WAIT, wait_of
from brokerkit._publishing._target import Target
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.outbox import Outbox
from tests import every_broker
from tests.every_broker import Broker, Recorder, until, until_async
from tests.stores import DATABASES, database_url

HOUR = 3600.0
STEPS = {"back": -5 * HOUR, "forward": 5 * HOUR}
WAITED = 2.0

Step = Callable[[float], None]


@pytest.fixture
def step() -> Iterator[Step]:
    """Sets the wall clock on by so many seconds."""
    shift = 0.0

    def by(seconds: float) -> None:
        nonlocal shift
        shift += seconds

    before = _clock.use(lambda: time.time() + shift)
    yield by
    _clock.use(before)


@pytest.mark.parametrize("where", ["held", "durable", "strict"])
@pytest.mark.parametrize("direction", STEPS)
async def test_a_retry_comes_in_its_time(broker: Broker, step: Step, where: str, direction: str) -> None:
    if broker.at_most_once and where == "durable":
        pytest.skip("not promised: durable retry")
    handlers, calls, loop = Handlers(), list[tuple[int, float]](), asyncio.get_running_loop()

    @handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        calls.append((message.attempt, loop.time()))
        if len(calls) == 1:
            raise Retry("later", after=WAITED)

    order: dict[str, Any] = {"order": "strict"} if where == "strict" else {}
    bus = broker.bus(hold=0.2 if where == "durable" else 10, **order)
    bus.include(handlers)
    async with bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1), key="one")
        await until(lambda: len(calls) == 1)
        await asyncio.sleep(0.5)  # so that the wait has begun, here or at the broker
        step(STEPS[direction])
        await until(lambda: len(calls) == 2, seconds=30)
    waited = calls[1][1] - calls[0][1]
    # Where copies wait at the broker in levels of a second, one that the clock calls due is not waited for any longer.
    at_the_broker = where == "durable" or (where == "held" and broker.name == "kafka-share")
    assert waited >= (1.0 if at_the_broker and direction == "forward" else WAITED - 0.1)
    assert waited < 20, "waits for the clock"


@given(
    wait=st.floats(0.05, 40_000),
    kept=st.floats(0, 1),
    skew=st.floats(-1e9, 1e9),
)
def test_a_copy_waits_no_longer_than_it_was_to_wait_whatever_the_other_clock_says(
    wait: float, kept: float, skew: float
) -> None:
    written = 1_800_000_000.0
    headers = {DUE: f"{written + wait:.3f}", WAIT: f"{wait:.3f}"}
    left = wait_of(headers, written + wait * kept + skew, 43_200.0)
    assert 0 <= left <= wait + 0.001
    if abs(skew) < wait * kept:
        assert left <= wait * (1 - kept) - skew + 0.002 or left == 0


@pytest.mark.parametrize(("due", "wait"), [("nan", "1"), ("1e400", ""), ("x", "x"), ("99999999999", "inf")])
def test_waits_that_nobody_of_us_writes_do_not_count(due: str, wait: str) -> None:
    assert wait_of({DUE: due, WAIT: wait}, 1_800_000_000.0, 43_200.0) == 0


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("direction", STEPS)
async def test_the_outbox_sends_what_failed_and_takes_over_from_a_dead_relay(
    kind: str,
    direction: str,
    step: Step,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, table = database_url(kind, request, tmp_path), f"o{uuid.uuid4().hex[:10]}"
    memory, failing, heard = every_broker.memory(), True, Recorder().record()
    original = Target.publish_many

    async def publish_many(target: Target, batch: Sequence[Outgoing]) -> list[Any]:
        return [ConnectionLost("away") for _ in batch] if failing else await original(target, batch)

    monkeypatch.setattr(Target, "publish_many", publish_many)
    bus = memory.bus()
    outbox = Outbox(url, bus, table=table, poll=0.1, lease=5.0)
    await outbox.create_tables()
    async with heard.serving(bus), outbox:
        async with AsyncSession(outbox.engine) as session, session.begin():
            await outbox.publish(session, OnPlayerSeatedDown(player_id=1), key="k")
        await until_async(lambda: _failures(outbox))
        async with outbox.engine.begin() as connection:
            # As a relay leaves it that was killed.
            await connection.execute(update(outbox.relay_table).values(owner="dead"))
        step(STEPS[direction])
        failing = False
        await heard.wait_for(1)


async def _failures(outbox: Outbox) -> bool:
    async with outbox.engine.connect() as connection:
        return bool(await connection.scalar(select(outbox.table.c.attempts)))
