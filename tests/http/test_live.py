"""Live messages, retries that wait, and the last minutes over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from brokerkit import Bus, Handlers, Message, Rate, RetryPolicy
from brokerkit._http import _retries
from brokerkit._status import _samples
from brokerkit._status._figures import Figures
from brokerkit._status._history import NOTHING, STEP, History, Step, merged
from tests import every_broker
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import Broker, until, until_async
from tests.http.port import Port
from tests.http.test_letters import NAME, TOKEN, seated, store

SECRET = "4111-1111-1111-1111"
LIVE = "/sources/bus/messages?watcher=w"
RETRIES = "/sources/bus/retries"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks is not forgotten while this machine does something else."""
    monkeypatch.setattr(_samples, "LASTS", 100.0)


@asynccontextmanager
async def serving(bus: Bus, port: Port, handle: Callable[..., Awaitable[None]], **settings: Any) -> AsyncIterator[None]:
    bus.handlers._on(NAME)(handle)
    await port.open(bus.http(**{"console": True, **settings}))
    async with asyncio.timeout(100), bus, bus.serving():
        yield


async def asked(port: Port, path: str, status: int = 200) -> dict[str, Any]:
    answer = await port.get(path)
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else {"said": answer.text}


async def look(port: Port, path: str = LIVE) -> list[dict[str, Any]]:
    return (await asked(port, path))["messages"]


async def take(event: Any, message: Message) -> None: ...


async def fail(event: Any, message: Message) -> None:
    raise LookupError(f"no account for {json.loads(message.body or b'{}').get('card', 'nobody')}")


# ---- live messages ------------------------------------------------------------------------------------------------


async def test_messages_are_taken_only_while_somebody_looks(
    memory: Broker, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = memory.bus()
    figures = bus.runtime.figures.source("bus")
    async with serving(bus, port, take):
        await bus.publish(seated(1))
        await until(lambda: bus.stats["bus"].handled == 1)
        assert figures.samples is None
        assert await look(port) == []  # the first look begins
        assert figures.samples is not None
        await bus.publish(seated(2, id="id-2", key="k", headers={"trace": "é"}))
        await until(lambda: bus.stats["bus"].handled == 2)
        [shown] = await look(port)
        assert (shown["id"], shown["event"], shown["key"], shown["body"]) == ("id-2", NAME, "k", '{"playerId": 2}')
        assert (shown["worker"], shown["headers"]["trace"], shown["body_bytes"]) == (1, "é", 15)
        assert await look(port) == []  # each comes once
        monkeypatch.setattr(_samples, "LASTS", 0.05)
        await look(port)
        await until(lambda: figures.samples is None)


async def test_a_flood_is_bounded_and_filters_find_what_is_rare(memory: Broker, port: Port) -> None:
    bus = memory.bus()
    other = LIVE.replace("=w", "=other&key=rare")
    async with serving(bus, port, take):
        await look(port)
        await look(port, other)
        await look(port, f"{LIVE}2&event=Another")
        for first in range(0, 600, 200):
            await bus.publish_many([seated(number, key="often") for number in range(first, first + 200)])
        await bus.publish(seated(1_000, key="rare"))
        await until(lambda: bus.stats["bus"].handled == 601)
        answer = await asked(port, LIVE)
        assert 0 < len(answer["messages"]) <= _samples.MOST
        assert answer["matched"] == 601
        [rare] = await look(port, other)
        assert rare["body"] == '{"playerId": 1000}'
        assert await look(port, f"{LIVE}2&event=Another") == []


async def test_what_is_hidden_is_in_no_answer_and_no_filter_tells_it(memory: Broker, port: Port) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=2, first=60), hold=100.0)
    body = json.dumps({"playerId": 1, "card": SECRET, "password": "hunter22"}).encode()
    by_key = f"{LIVE}2&key={SECRET}"
    async with serving(bus, port, fail, mask=["card"]):
        await look(port)
        await look(port, by_key)
        await bus.publish(Message(NAME, body, id="id-1", key=SECRET, headers={"x-token": "abcdef", "note": SECRET}))
        await until(lambda: bus.stats["bus"].retried == 1)
        texts = [(await port.get(path)).text for path in (LIVE, by_key, RETRIES)]
        [shown] = json.loads(texts[0])["messages"]
        assert (shown["key"], shown["headers"]["note"], shown["headers"]["x-token"]) == ("•••", "•••", "•••")
        assert json.loads(shown["body"]) == {"playerId": 1, "card": "•••", "password": "•••"}
        answer = json.loads(texts[1])
        assert (answer["messages"], answer["matched"]) == ([], 0)
        [held] = json.loads(texts[2])["held"]
        assert (held["error"], held["key"]) == ("no account for •••", "•••")
        for text in texts:
            assert SECRET not in text
            assert "hunter22" not in text
            assert "abcdef" not in text


async def test_a_large_body_is_not_taken_and_no_error_text_either(memory: Broker, port: Port) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=2, first=60), hold=100.0)
    body = json.dumps({"playerId": 1, "card": SECRET, "rest": "x" * _samples.LARGEST}).encode()
    async with serving(bus, port, fail, mask=["card"]):
        await look(port)
        await bus.publish(Message(NAME, body, key="k"))
        await until(lambda: bus.stats["bus"].retried == 1)
        [shown] = await look(port)
        assert (shown["body"], shown["body_bytes"]) == (None, len(body))
        [held] = (await asked(port, RETRIES))["held"]
        assert (held["error_type"], held["error"], held["key"]) == ("LookupError", "", None)


async def test_only_a_few_look_at_once(memory: Broker, port: Port) -> None:
    async with serving(memory.bus(), port, take):
        for number in range(_samples.MOST_WATCHERS):
            await look(port, f"{LIVE}{number}")
        assert "look at the messages" in (await asked(port, LIVE, status=429))["said"]
        await look(port, f"{LIVE}0")


async def test_it_needs_the_token_a_source_and_the_console(memory: Broker, port: Port) -> None:
    async with serving(memory.bus(), port, take, token=TOKEN):
        for what in ("messages", "retries", "history"):
            assert (await port.get(f"/sources/bus/{what}")).status_code == 401
            sent = {"authorization": f"Bearer {TOKEN}"}
            assert (await port.get(f"/sources/bus/{what}", **sent)).status_code == 200
            assert (await port.get(f"/sources/none/{what}", **sent)).status_code == 404
            foreign = {**sent, "origin": "http://evil.example"}
            assert (await port.get(f"/sources/bus/{what}", **foreign)).status_code == 403


async def test_without_the_console_there_is_none_of_it(memory: Broker, port: Port) -> None:
    async with serving(memory.bus(), port, take, console=False):
        for what in ("messages", "retries", "history"):
            assert (await port.get(f"/sources/bus/{what}")).status_code == 404


# ---- retries ------------------------------------------------------------------------------------------------------


async def test_retries_at_the_broker_are_counted_with_when_they_are_due(
    broker: Broker, port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await count_retries(broker, port, tmp_path, monkeypatch)


async def test_the_same_holds_for_a_share_group(
    kafka_share_broker: KafkaBroker, port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await count_retries(every_broker.kafka_share(kafka_share_broker), port, tmp_path, monkeypatch)


async def count_retries(broker: Broker, port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retries, "_KEPT", 0.0)
    policy = RetryPolicy(attempts=3, first=500, cap=500, jitter=False)
    hold = {"hold": 1.0} if not broker.at_most_once else {"hold": 1_000.0}
    bus = broker.bus(retry=policy, **hold, **store(broker, tmp_path))
    since = time.time()
    async with serving(bus, port, fail):
        await bus.publish_many([seated(number, id=f"id-{number}", key=f"k{number}") for number in (1, 2)])
        await until(lambda: bus.stats["bus"].retried == 2, seconds=60)
        if broker.at_most_once or broker.name == "memory":
            answer = await asked(port, RETRIES)
            assert (answer["at_broker"], answer["error"]) == (None, "")
            return

        async def counted() -> bool:
            answer = await asked(port, RETRIES)
            return sum(each["count"] for each in answer["at_broker"] or ()) == 2

        await until_async(counted, seconds=60)
        answer = await asked(port, RETRIES)
        assert (answer["held"], answer["error"]) == ([], "")
        [place] = [each for each in answer["at_broker"] if each["count"]]
        assert broker.topic().removesuffix(broker.suffix) in place["place"]
        if place["first_due"] is not None:
            assert since + 400 < place["first_due"] < time.time() + 600
        if place["wait"] is not None:
            assert 60 <= place["wait"] <= 500
        told = {
            "redis": place["first_due"],
            "sqlit": place["first_due"],
            "kafka": place["wait"],
            "rabbi": place["wait"],
        }
        assert told.get(broker.name[:5], 1.0) is not None


async def test_held_messages_are_shown_with_when_they_are_due_and_why(memory: Broker, port: Port) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=3, first=60, jitter=False), hold=100.0)
    async with serving(bus, port, fail):
        await bus.publish_many([seated(number, id=f"id-{number}", key=f"k{number}") for number in (1, 2)])
        await until(lambda: bus.stats["bus"].retried == 2)
        held = (await asked(port, RETRIES))["held"]
        assert [each["id"] for each in held] == ["id-1", "id-2"]
        now = time.time()
        for each in held:
            assert (each["error_type"], each["error"], each["attempts"]) == ("LookupError", "no account for nobody", 1)
            assert each["handler"].endswith("fail")
            assert now - 60 < each["due"] <= now + 60


async def test_a_broker_that_does_not_answer_is_said(
    memory: Broker, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(_retries, "_found", hang)
    monkeypatch.setattr(_retries, "_PATIENCE", 0.05)
    async with serving(memory.bus(), port, take):
        answer = await asked(port, RETRIES)
    assert (answer["at_broker"], "has not answered" in answer["error"]) == (None, True)


# ---- limits and the last minutes ----------------------------------------------------------------------------------


async def test_the_state_says_what_waits_for_which_limit(memory: Broker, port: Port) -> None:
    bus = memory.bus(rate=Rate(1_000))
    slow = Handlers()

    @slow.on("OnUserLoggedIn", rate=Rate(0.01))
    async def greet(event: Any) -> None: ...

    bus.include(slow)
    async with serving(bus, port, take):
        await bus.publish_many([Message("OnUserLoggedIn", b'{"playerId": 1}') for _ in range(3)])
        await until(lambda: bus.stats["bus"].handled == 1)
        state = await asked(port, "/state")
    source = state["sources"]["bus"]
    assert (source["limited"], source["rate_limit"]) == (2, 1_000)
    rows = {row["handler"].rpartition(".")[2]: (row["limited"], row["rate_limit"]) for row in state["handlers"]}
    assert rows == {"greet": (2, 0.01), "take": (0, None)}


async def test_each_step_has_what_was_done_in_it() -> None:
    figures = Figures()
    history, source = History(figures), figures.source("bus")
    history.note(100.0)
    source.stats.handled, source.stats.failed = 30, 1
    timing = source.durations.of(_timed())
    for _ in range(31):
        timing.add(0.02)
    history.note(110.01)
    history.note(119.99)  # a timer may come a moment early
    assert history.of("bus") == {10: Step(30, 1, pytest.approx(0.62), {2: 31}), 11: NOTHING}
    assert history.of("another") == {10: NOTHING, 11: NOTHING}
    double = merged([history.of("bus"), history.of("bus"), {12: NOTHING}])
    assert (double[10].handled, double[10].durations, list(double)) == (60, {2: 62}, [10, 11, 12])


async def test_the_last_minutes_are_there_before_anybody_looks(
    memory: Broker, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = memory.bus()
    kept = list[History]()
    monkeypatch.setattr(History, "keep", lambda self: _keep(self, kept))
    async with serving(bus, port, take):
        await until(lambda: bool(kept))
        kept[0].note(1_000.0)
        await bus.publish_many([seated(number) for number in range(20)])
        await until(lambda: bus.stats["bus"].handled == 20)
        kept[0].note(1_000.0 + STEP)
        answer = await asked(port, "/sources/bus/history")
    [step] = answer["steps"]
    assert (step["at"], step["rate"], step["failed"], answer["seconds"]) == (1_000.0, 2.0, 0.0, STEP)
    assert step["mean"] > 0
    assert step["p99"] in (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


async def _keep(history: History, kept: list[History]) -> None:
    kept.append(history)


def _timed() -> Any:
    from brokerkit._status._figures import Timed

    return Timed("h", NAME, "")
