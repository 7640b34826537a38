"""Names, keys, ids and times of the messages that the consumer reads, seen on the embedded broker."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from brokerkit import Message, WrongNameRule
from brokerkit._messages._headers import as_text
from brokerkit._messages._outgoing import Outgoing
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.memory import MemoryAdapter
from brokerkit.events.evenbet import OnGameDone
from tests.consuming.embedded import FAST, NAME, letters, over, seated
from tests.every_broker import Broker, Recorder, until

pytestmark = pytest.mark.usefixtures("on_virtual_time")


def raw(name: str, number: int = 0) -> Message:
    return Message(name, json.dumps({"playerId": number, "tableId": 10 + number}).encode())


async def test_keys_and_ids_are_taken_from_where_the_rules_say(memory: Broker) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(key_from="field:tableId", id_from="field:playerId")) as bus:
        await bus.publish(raw(NAME, 5))
        [(_, _, message)] = await recorder.wait_for(1, seconds=5)
    assert (message.key, message.id) == ("15", "5")


async def test_times_without_a_zone_get_the_one_of_the_source(memory: Broker) -> None:
    recorder = Recorder().record("OnGameDone")
    async with recorder.serving(memory.bus(tz="Europe/Malta")) as bus:
        await bus.publish(Message("OnGameDone", b'{"gameStart": "2024-07-01 12:00:00"}'))
        [(_, event, _)] = await recorder.wait_for(1, seconds=5)
    assert isinstance(event, OnGameDone)
    assert event.game_start == datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Malta"))
    assert event.game_start == datetime(2024, 7, 1, 10, tzinfo=UTC)


async def test_names_of_the_producers_own_are_translated(memory: Broker) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(names={"seat.taken": NAME})) as bus:
        await bus.publish(Message("x", b"{}", headers={"event": "seat.taken"}))
        [(name, _, _)] = await recorder.wait_for(1, seconds=5)
    assert name == NAME


@pytest.mark.parametrize(
    ("unknown", "expected"), [("reject", [("Reject", 1)]), ("retry", [("BrokerkitError", 3)]), ("ack", [])]
)
async def test_messages_with_an_unknown_name_go_where_the_source_says(
    memory: Broker, unknown: Any, expected: list[tuple[str, int]]
) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(unknown=unknown, retry=FAST)) as bus:
        stats = bus.stats["bus"]
        await bus.publish(seated(1))  # until the first known name everything waits
        await bus.publish(raw("Nobody'sEvent"))
        await until(lambda: stats.dead_lettered + stats.skipped + stats.handled == 2, seconds=5)
        assert (stats.dead_lettered, stats.skipped) == ((1, 0) if expected else (0, 1))
    found = await memory.dead_letters(1) if expected else []
    assert [as_text(one.headers["bk-error-type"]) for one in found] == [kind for kind, _ in expected]
    if unknown == "retry":
        assert found[0].headers["bk-failures"] == "3"


async def test_a_message_without_any_name_is_a_dead_letter(memory: Broker) -> None:
    recorder = Recorder().record("*")
    adapter = MemoryAdapter(Connection(url=Url.parse(memory.settings["url"])))
    async with recorder.serving(memory.bus(name_from="header:event", unknown="ack")) as bus:
        await adapter.open()
        await adapter.send([Outgoing(topic=memory.topic(), body=b"{}", name="", id="1")])
        await over(bus, 1)
    [(kind, reason)] = await letters(memory, 1)
    assert (kind, "no event name" in reason) == ("DecodeError", True)


async def test_unknown_names_wait_until_the_first_known_one_and_are_acknowledged_then(memory: Broker) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus()) as bus:
        stats = bus.stats["bus"]
        await bus.publish_many([raw("Strange"), raw("Stranger")])
        await until(lambda: stats.received == 2)
        assert stats.skipped == 0
        await bus.publish(seated(1))
        await until(lambda: stats.skipped == 2 and stats.handled == 1)


async def test_a_stop_before_the_first_known_name_acknowledges_nothing(memory: Broker) -> None:
    async with Recorder().record(NAME).serving(memory.bus()) as bus:
        stats = bus.stats["bus"]
        await bus.publish(raw("Strange"))
        await until(lambda: stats.received == 1)
    assert (stats.skipped, stats.released) == (0, 1)


async def test_a_wrong_name_rule_ends_the_source_and_shows_a_message(memory: Broker) -> None:
    bus = memory.bus(max_in_flight=3)
    bus.include(Recorder().record(NAME).handlers)
    async with asyncio.timeout(5), bus:
        await bus.publish_many([raw("Strange", number) for number in range(5)])
        with pytest.raises(WrongNameRule, match=r"header:event.*playerId") as error:
            await bus.serve()
    assert "nothing was acknowledged" in str(error.value)


async def test_a_source_that_ended_for_its_name_rule_acknowledges_nothing_that_comes_then(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """A known name behind the hundred unknown ones comes too late: the user was told that nothing is gone."""
    bus = memory.bus()
    bus.include(Recorder().record(NAME).handlers)
    async with asyncio.timeout(5), bus:
        await bus.publish_many([*(raw("Strange", number) for number in range(100)), raw(NAME)])
        async with bus.serving(on_source_failure="log"):
            stats = bus.stats["bus"]
            await until(lambda: stats.received == 101)
            await until(lambda: "WrongNameRule" in caplog.text)
    assert (stats.skipped, stats.handled, stats.released) == (0, 0, 101)
