"""What one is told in the log: tracebacks of handlers, losses and recoveries, unknown names, the begin and the end."""

import asyncio
import json
import logging

import pytest

from brokerkit import Bus, Message, Reject, RetryPolicy
from brokerkit._logging import Reminder, excerpt, from_handler
from brokerkit._status import _reports as _reports
from brokerkit._status._health import Condition, Health, TargetHealth
from tests.every_broker import Broker, until

NAME = "OnPlayerSeatedDown"
FAST = RetryPolicy(attempts=2, first=0.01, cap=0.02)
HOSTILE = "x\n2026-01-01 forged\x1b[2J\u202ey"


def raw(name: str = NAME, *, id: str | None = None, key: str | None = None) -> Message:
    return Message(name, json.dumps({"playerId": 1, "tableId": 2}).encode(), id=id, key=key)


async def over(bus: Bus, count: int) -> None:
    stats = bus.stats["bus"]
    await until(lambda: stats.handled + stats.dead_lettered + stats.skipped >= count)


def with_traceback(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.exc_info]


# ---- tracebacks ----------------------------------------------------------------------------------------------


def deeper(secret: str) -> None:
    raise ValueError(f"no balance {HOSTILE}")


async def fails(event: object) -> None:
    deeper("hunter2")


def fails_in_a_thread(event: object) -> None:
    deeper("hunter2")


@pytest.mark.parametrize("handler", [fails, fails_in_a_thread])
async def test_the_traceback_of_a_handler_is_logged_once_for_each_failure(
    memory: Broker, caplog: pytest.LogCaptureFixture, handler: object
) -> None:
    bus = memory.bus(retry=FAST)
    bus.on(NAME)(handler)  # type: ignore[call-overload]
    async with bus.serving():
        await bus.publish(raw())
        await over(bus, 1)
    again, letter = with_traceback(caplog)
    assert (again.levelname, letter.levelname) == ("WARNING", "ERROR")
    for record in (again, letter):
        shown = record.exc_text or ""
        first, frame, *_ = shown.splitlines()
        assert first == "Traceback (most recent call last):"
        assert "test_reports.py" in frame
        assert handler.__name__ in frame  # type: ignore[attr-defined]
        assert "in deeper" in shown
        assert "hunter2" not in shown.replace('deeper("hunter2")', "")
        assert all(line.startswith("  ") and line.isprintable() for line in shown.splitlines()[1:])


@pytest.mark.parametrize("handler", [fails, fails_in_a_thread])
async def test_a_dead_letter_has_the_end_of_the_traceback(memory: Broker, handler: object) -> None:
    bus = memory.bus(retry=FAST)
    bus.on(NAME)(handler)  # type: ignore[call-overload]
    async with bus.serving():
        await bus.publish(raw())
        await over(bus, 1)
        [letter] = [letter async for letter in bus.dead_letters()]
        assert "in deeper" in letter.traceback
        assert letter.traceback.splitlines()[-2:] == [
            "  ValueError: no balance x",
            "  2026-01-01 forged\\x1b[2J\\u202ey",
        ]
        assert len(letter.traceback.encode()) <= 2048
        assert await bus.dead_letters().replay() == 1
        await over(bus, 2)


async def test_a_handler_that_is_too_slow_has_a_traceback_of_where_it_was(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1), timeout=0.05)

    @bus.on(NAME)
    async def waits_for_ever(event: object) -> None:
        await asyncio.Event().wait()

    async with bus.serving():
        await bus.publish(raw())
        await over(bus, 1)
    [record] = with_traceback(caplog)
    assert "in waits_for_ever" in (record.exc_text or "")
    assert "HandlerTimeout" in (record.exc_text or "")


async def test_what_no_handler_raised_or_one_raised_on_purpose_has_no_traceback(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    bus = memory.bus(retry=FAST)

    @bus.on(NAME)
    async def rejects(event: object) -> None:
        raise Reject("banned")

    async with bus.serving():
        await bus.publish(raw())
        await bus.publish(Message(NAME, b"no JSON"))
        await over(bus, 2)
    assert with_traceback(caplog) == []
    assert sum("dead letter" in record.getMessage() for record in caplog.records) == 2


async def test_a_reject_that_follows_from_another_error_shows_it(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    bus = memory.bus(retry=FAST)

    @bus.on(NAME)
    async def rejects(event: object) -> None:
        try:
            deeper("x")
        except ValueError as error:
            raise Reject("banned") from error

    async with bus.serving():
        await bus.publish(raw())
        await over(bus, 1)
    [record] = with_traceback(caplog)
    assert "in deeper" in (record.exc_text or "")


def test_an_excerpt_keeps_the_end_and_the_bound() -> None:
    def nested(depth: int) -> None:
        if depth:
            other(depth - 1)
        raise ValueError("é" * 500)

    def other(depth: int) -> None:
        nested(depth)

    try:
        nested(60)
    except ValueError as error:
        assert from_handler(error) is not None
        shown = excerpt(error, size=2048)
        assert 1_000 < len(shown.encode()) <= 2048
        assert shown.splitlines()[0].startswith("  ")
        assert shown.splitlines()[-1].startswith("  ValueError: ééé")
    assert excerpt(ValueError("never raised"), size=2048) == ""


# ---- hostile text in a run -----------------------------------------------------------------------------------


async def test_no_text_of_a_message_forges_a_line(memory: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    bus = memory.bus(retry=FAST)

    @bus.on(NAME)
    async def handle(event: object) -> None:
        raise Reject(HOSTILE)

    async with bus.serving():
        await bus.publish(raw(HOSTILE, id=HOSTILE, key=HOSTILE))
        await bus.publish(raw(id=HOSTILE, key=HOSTILE))
        await bus.publish(raw(HOSTILE + "2"))
        await over(bus, 3)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("brokerkit")]
    assert sum("forged" in line for line in lines) >= 4
    assert all(line.isprintable() for line in lines), lines


# ---- unknown names -------------------------------------------------------------------------------------------


async def test_an_unknown_event_is_logged_once(memory: Broker, caplog: pytest.LogCaptureFixture) -> None:
    bus = memory.bus()

    @bus.on(NAME)
    async def handle(event: object) -> None: ...

    async with bus.serving():
        await bus.publish_many([raw(), *[raw(name) for name in ["Bonus", "Other", "Bonus", "Bonus"]]])
        await over(bus, 5)
    told = [record.getMessage() for record in caplog.records if "knows the event" in record.getMessage()]
    assert told == [
        f"source bus: no handler or family knows the event {name!r}: its messages are acknowledged"
        for name in ("Bonus", "Other")
    ]


# ---- begin and end -------------------------------------------------------------------------------------------


async def test_the_log_says_what_is_served_and_what_became_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bus = Bus("memory://user:hunter2@told", topic=["a", "b"], group="wallet", retry=FAST)

    @bus.on(NAME)
    async def handle(event: object, message: Message) -> None:
        if message.key == "bad":
            raise Reject

    async with bus.serving():
        said = [record.getMessage() for record in caplog.records]
        assert said[0] == "source bus: memory://user:***@told, topics a, b, group wallet"
        assert any(line.startswith("handler ") and "handle (OnPlayerSeatedDown)" in line for line in said)
        assert "hunter2" not in "".join(said)
    assert caplog.records[-1].getMessage() == "source bus: received 0, handled 0"


async def test_the_end_counts_what_became_of_the_messages(memory: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bus = memory.bus(retry=FAST)

    @bus.on(NAME)
    async def handle(event: object, message: Message) -> None:
        if message.key == "bad":
            raise Reject

    async with bus.serving():
        await bus.publish_many([raw(), raw(key="bad"), raw("Bonus")])
        await over(bus, 3)
    assert "source bus: received 3, handled 1, failed attempts 1, dead letters 1, without a handler 1" in [
        record.getMessage() for record in caplog.records
    ]


# ---- reminders -----------------------------------------------------------------------------------------------


def test_what_goes_on_is_logged_at_growing_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    reminder = Reminder(first=10, longest=60)
    said = list[float]()
    for second in range(400):
        now = float(second)
        if reminder.due():
            said.append(now)
    assert said == [0, 10, 30, 70, 130, 190, 250, 310, 370]
    assert reminder.over() == 399
    assert reminder.over() is None
    assert reminder.due()


async def test_what_is_blocked_is_logged_when_it_begins_and_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_reports, "_LOOK", 0.005)
    state: list[Condition] = ["blocked"]

    async def health() -> Health:
        target = TargetHealth(broker="memory", state=state[0], since=0.0, error="the target takes nothing")
        return Health(ready=False, sources={}, targets={"to": target})

    reminding = asyncio.create_task(_reports.remind(health))
    await until(lambda: len(caplog.records) == 1)
    state[0] = "open"
    await until(lambda: len(caplog.records) == 2)
    reminding.cancel()
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("target to: blocked for ")
    assert first.endswith(": the target takes nothing")
    assert second == "target to continues"


@pytest.mark.parametrize(
    ("events", "what"), [((), "every message"), (("OnGameDone", "OnUserLoggedIn"), "events OnGameDone, OnUserLoggedIn")]
)
async def test_a_bridge_says_what_it_forwards(
    caplog: pytest.LogCaptureFixture, events: tuple[str, ...], what: str
) -> None:
    caplog.set_level(logging.INFO)
    bridge = Bus.bridge("memory://here", "memory://there", topic="t", group="g", events=events)
    async with bridge, bridge.serving():
        pass
    said = [record.getMessage() for record in caplog.records if record.name == _reports.__name__]
    assert said[:3] == [
        "source from: memory://here, topic t, group g",
        "target to: memory://there, topic t",
        f"source from: forwards {what}",
    ]
