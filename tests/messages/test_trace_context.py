"""What a handler publishes says what it follows from: correlation, causation, and the trace of others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from brokerkit import Bus, Message
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import Headers
from brokerkit._messages._trace_context import HANDLED, following
from brokerkit.outbox import Outbox
from brokerkit.testing import TestBus

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "congo=t61rcWkgMzE"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def make_bus(**settings: Any) -> Bus:
    return Bus("memory://", topic="in", group="wallet", format="json", **settings)


def answer(number: int = 1, **more: Any) -> Message:
    return Message("Answer", b"%d" % number, **more)


async def published(
    bus: Bus, handler: Callable[[Message], Any], *, virtual: bool = True, **delivered: Any
) -> list[dict[str, str | bytes]]:
    """The headers of all answers that a handler of ``Question`` publishes."""

    @bus.on("*")
    async def handle(_: object, message: Message) -> None:
        if message.name == "Question":
            await handler(message)

    async with TestBus(bus, virtual=virtual) as test:
        delivered.setdefault("id", "q-1")
        await test.deliver(Message("Question", b"{}", **delivered))
        await test.settled()
        return [dict(one.headers) for one in test.published if one.name == "Answer"]


async def test_ids_and_trace_go_on(bus: Bus) -> None:
    async def handle(_: Message) -> None:
        await bus.publish(answer())
        await bus.publish_many([answer(2)])

    headers = {"traceparent": PARENT, "tracestate": STATE}
    expected = {"event": "Answer", **headers, "correlation-id": "q-1", "causation-id": "q-1"}
    assert await published(bus, handle, headers=headers) == [expected, expected]


async def test_the_correlation_id_of_a_chain_stays_and_its_cause_changes(bus: Bus) -> None:
    async def handle(message: Message) -> None:
        assert (message.correlation_id, message.causation_id) == ("first", "before")
        await bus.publish(answer())

    came = {"correlation-id": b"first", "causation-id": "before"}
    [headers] = await published(bus, handle, headers=came)
    assert (headers["correlation-id"], headers["causation-id"]) == ("first", "q-1")


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        ({"correlation_id": b"theirs"}, "theirs"),
        ({"correlation_id": "theirs", "correlation-id": "ours"}, "ours"),
        ({"correlation_id": b"\xff"}, "q-1"),
    ],
)
async def test_the_correlation_id_of_faststream_and_watermill_goes_on(bus: Bus, came: Headers, expected: str) -> None:
    async def handle(message: Message) -> None:
        assert message.correlation_id == expected
        await bus.publish(answer())

    [headers] = await published(bus, handle, headers=came)
    assert headers["correlation-id"] == expected


async def test_what_its_publisher_says_counts(bus: Bus) -> None:
    async def handle(_: Message) -> None:
        await bus.publish(answer(), headers={"traceparent": OTHER, "correlation-id": "own"})
        await bus.publish(answer(headers={"causation-id": "own"}))

    own, other = await published(bus, handle, headers={"traceparent": PARENT, "tracestate": STATE})
    # A state without the parent that it belongs to would be somebody else's.
    assert own == {"event": "Answer", "traceparent": OTHER, "correlation-id": "own", "causation-id": "q-1"}
    assert (other["causation-id"], other["traceparent"], other["tracestate"]) == ("own", PARENT, STATE)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "no trace",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        b"\xff\x00",
    ],
)
async def test_a_trace_goes_on_unread_whatever_it_looks_like(bus: Bus, parent: str | bytes) -> None:
    async def handle(_: Message) -> None:
        await bus.publish(answer())

    [headers] = await published(bus, handle, headers={"traceparent": parent, "tracestate": STATE})
    assert (headers["traceparent"], headers["tracestate"]) == (parent, STATE)


async def test_a_state_without_its_parent_is_dropped(bus: Bus) -> None:
    async def handle(message: Message) -> None:
        assert message.headers["tracestate"] == STATE
        await bus.publish(answer())

    [headers] = await published(bus, handle, headers={"tracestate": STATE})
    assert "tracestate" not in headers


@pytest.mark.parametrize("value", [b"\xff", "", b""])
async def test_a_correlation_id_that_is_none_is_replaced_by_the_id(bus: Bus, value: str | bytes) -> None:
    async def handle(message: Message) -> None:
        assert message.correlation_id == "q-1"
        await bus.publish(answer())

    [headers] = await published(bus, handle, headers={"correlation-id": value})
    assert headers["correlation-id"] == "q-1"


async def test_a_dead_letter_and_its_replay_keep_what_the_message_followed_from() -> None:
    bus = make_bus(retry={"attempts": 1})
    seen: list[Message] = []

    async def handle(message: Message) -> None:
        seen.append(message)
        if len(seen) == 1:
            raise ValueError("once")
        await bus.publish(answer())

    @bus.on("*")
    async def on_any(_: object, message: Message) -> None:
        if message.name == "Question":
            await handle(message)

    came = {"correlation-id": "first", "causation-id": "before", "traceparent": PARENT, "tracestate": STATE}
    async with TestBus(bus) as test:
        await test.deliver(Message("Question", b"{}", id="q-1", headers=came))
        await test.settled()
        [letter] = [letter async for letter in bus.dead_letters()]
        assert letter.message.headers == {"event": "Question", **came}
        assert await bus.dead_letters().replay() == 1
        await test.settled()
        [headers] = [dict(one.headers) for one in test.published if one.name == "Answer"]
    assert seen[1].headers == {"event": "Question", **came}
    assert headers == {"event": "Answer", **came, "causation-id": "q-1"}


async def test_a_received_message_is_passed_on_as_it_came(bus: Bus) -> None:
    seen: list[Message] = []

    @bus.on("*")
    async def handle(_: object, message: Message) -> None:
        seen.append(message)
        if len(seen) == 1:
            await bus.publish(message)

    async with TestBus(bus) as test:
        await test.deliver(Message("Question", b"{}", id="q-1", headers={"more": "x"}))
        await test.settled()
    first, again = seen
    assert again.headers == first.headers == {"event": "Question", "more": "x"}


async def test_tasks_and_threads_of_a_handler_see_what_it_handles(bus: Bus) -> None:
    loop = asyncio.get_running_loop()

    def publish(number: int) -> None:
        asyncio.run_coroutine_threadsafe(bus.publish(answer(number)), loop).result()

    async def handle(_: Message) -> None:
        await asyncio.gather(bus.publish(answer(1)), asyncio.to_thread(publish, 2))

    @bus.on("*")
    def plain(_: object, message: Message) -> None:
        if message.name == "Question":
            publish(3)

    assert [headers["causation-id"] for headers in await published(bus, handle)] == ["q-1"] * 3


async def test_a_task_that_outlives_its_handler_still_says_whose_it_was(bus: Bus) -> None:
    late: list[asyncio.Task[object]] = []
    second = asyncio.Event()

    async def publish_late() -> None:
        await second.wait()
        await bus.publish(answer())

    async def handle(message: Message) -> None:
        if message.id == "q-1":
            late.append(asyncio.create_task(publish_late()))
            await bus.publish(Message("Question", b"{}", id="q-2"))
        else:
            second.set()
            await late[0]

    [headers] = await published(bus, handle)
    assert headers["causation-id"] == "q-1"


@pytest.mark.parametrize("hold", [0.0, 100.0])
async def test_a_retry_has_the_id_of_the_first_attempt(hold: float) -> None:
    bus = make_bus(retry={"attempts": 3}, hold=hold)

    async def handle(message: Message) -> None:
        if message.attempt == 1:
            raise ValueError("not yet")
        await bus.publish(answer())

    [headers] = await published(bus, handle)
    assert headers["causation-id"] == "q-1"


async def test_it_can_be_switched_off() -> None:
    bus = make_bus(propagate=False)

    async def handle(_: Message) -> None:
        await bus.publish(answer())

    assert await published(bus, handle, headers={"traceparent": PARENT}) == [{"event": "Answer"}]


def test_a_message_without_any_id_gives_none_on() -> None:
    def publish(**headers: str) -> Headers:
        HANDLED.set(Delivery(body=b"{}", topic="in", headers=headers, count=1))
        return following({"own": "1"})

    assert copy_context().run(publish) == {"own": "1"}
    assert copy_context().run(publish, traceparent=PARENT) == {"own": "1", "traceparent": PARENT}
    assert copy_context().run(publish, **{"correlation-id": "c"}) == {"own": "1", "correlation-id": "c"}


async def test_outside_of_a_handler_nothing_is_added() -> None:
    bus = make_bus()

    @bus.on("*")
    async def ignore(_: object) -> None: ...

    async with TestBus(bus) as test:
        await bus.publish(answer())
        await test.settled()
        assert [dict(one.headers) for one in test.published] == [{"event": "Answer"}]


async def test_the_outbox_keeps_it(bus: Bus, tmp_path: Path) -> None:
    outbox = Outbox(f"sqlite+aiosqlite:///{tmp_path}/outbox.db", bus)
    await outbox.create_tables()
    written: list[str] = []

    async def handle(_: Message) -> None:
        async with AsyncSession(outbox.engine) as session, session.begin():
            await outbox.publish(session, answer())
            rows = await session.execute(select(outbox.table.c.message))
            written.extend(rows.scalars())

    await published(bus, handle, virtual=False)
    assert json.loads(written[0])["headers"]["causation-id"] == "q-1"
    await outbox.engine.dispose()


@pytest.fixture
def bus() -> Bus:
    return make_bus(retry={"attempts": 3})
