"""Publishing: batches, order, retries of what was not confirmed, and what goes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import pytest

import brokerkit.adapters
from brokerkit import (
    BrokerkitError,
    Bus,
    Closed,
    ConfigError,
    ConnectionLost,
    InvalidMessage,
    Message,
    MessageTooLarge,
    Receipt,
)
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.api import Connection
from brokerkit.adapters.memory import MemoryAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown, OnUserLoggedIn
from brokerkit.testing import virtual_time

NAME: Final = "OnPlayerSeatedDown"


@pytest.fixture(autouse=True)
async def _virtual_time() -> AsyncIterator[None]:
    """Time passes only while nothing else is to be done."""
    with virtual_time():
        yield


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


class _Adapter(MemoryAdapter):
    """Notes what is sent; waits at the gate, and answers as it is told to."""

    def __init__(self, connection: Connection, /) -> None:
        super().__init__(connection)
        self.batches: list[list[Outgoing]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Callable[[int, Outgoing], BrokerkitError | None] = lambda number, message: None

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        self.batches.append(list(batch))
        await self.gate.wait()
        number = len(self.batches)
        return [self.answer(number, one) or Receipt(one.topic, one.id) for one in batch]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[_Adapter]:
    adapters: list[_Adapter] = []

    def make(connection: Connection) -> _Adapter:
        adapters.append(_Adapter(connection))
        return adapters[-1]

    monkeypatch.setattr(brokerkit.adapters, "make", make)
    return adapters


def make_bus(**settings: Any) -> Bus:
    return Bus("memory://target", **{"topic": "t", "format": "evenbet", **settings})


async def sent(made: list[_Adapter], what: Any, payload: Any = None, /, **given: Any) -> Outgoing:
    """What one publish sends."""
    settings = given.pop("settings", {})
    async with make_bus(**settings) as bus:
        await bus.publish(what, payload, **given)
    return made[0].batches[-1][0]


async def test_concurrent_publishes_share_batches_and_keep_their_order(made: list[_Adapter]) -> None:
    async with make_bus() as bus:
        adapter = made[0]
        adapter.gate.clear()
        publishing = [asyncio.ensure_future(bus.publish(seated(number), id=str(number))) for number in range(100)]
        while not adapter.batches:
            await asyncio.sleep(0)
        later = [asyncio.ensure_future(bus.publish(seated(number), id=str(number))) for number in range(100, 200)]
        await asyncio.sleep(0)
        adapter.gate.set()
        receipts = await asyncio.gather(*publishing, *later)
    assert len(adapter.batches) == 2
    assert [one.id for batch in adapter.batches for one in batch] == [str(number) for number in range(200)]
    assert [receipt.id for receipt in receipts] == [str(number) for number in range(200)]


async def test_each_of_many_has_a_result_of_its_own(made: list[_Adapter]) -> None:
    async with make_bus() as bus:
        made[0].answer = lambda _, one: (
            MessageTooLarge(size=2, limit=1, what="it") if b"2" in (one.body or b"") else None
        )
        batch: list[Any] = [
            seated(1),
            seated(2),
            (NAME, {"playerId": "x"}),
            ("OnNothing", {}),
            Message(NAME, b"{}"),
            seated(3),
        ]
        results = await bus.publish_many(batch)
    kinds = [type(result) for result in results]
    assert kinds == [Receipt, MessageTooLarge, InvalidMessage, InvalidMessage, Receipt, Receipt]
    assert len(made[0].batches) == 1


async def test_what_a_broken_connection_left_unconfirmed_is_sent_again_with_the_same_id(made: list[_Adapter]) -> None:
    async with make_bus() as bus:
        made[0].answer = lambda number, one: ConnectionLost("gone") if number < 3 and one.key == "lost" else None
        results = await bus.publish_many(
            [Message(NAME, b"{}", key="lost"), Message(NAME, b"{}"), Message(NAME, b"{}", key="lost")]
        )
    assert all(isinstance(result, Receipt) for result in results)
    first, second, third = ([one.id for one in batch] for batch in made[0].batches)
    assert second == third == [first[0], first[2]]


async def test_a_connection_that_stays_lost_is_an_error_after_the_publish_timeout(made: list[_Adapter]) -> None:
    async with make_bus(publish_timeout=0.2) as bus:
        made[0].answer = lambda number, one: ConnectionLost("gone")
        with pytest.raises(ConnectionLost, match="gone"):
            await asyncio.wait_for(bus.publish(seated(1)), 30)
    assert len(made[0].batches) > 1


async def test_each_publish_ends_at_its_own_time_while_an_adapter_is_stuck(made: list[_Adapter]) -> None:
    loop = asyncio.get_running_loop()
    async with make_bus(publish_timeout=0.3, stop_timeout=0.5) as bus:
        made[0].gate.clear()
        begun = loop.time()
        first = asyncio.ensure_future(bus.publish(seated(1)))
        await asyncio.sleep(0.15)
        second = asyncio.ensure_future(bus.publish(seated(2)))
        with pytest.raises(ConnectionLost, match="no confirmation within 0.3 s"):
            await first
        assert not second.done()
        with pytest.raises(ConnectionLost, match="within 0.3 s"):
            await second
        assert 0.44 <= loop.time() - begun < 3
        made[0].gate.set()
        assert isinstance(await bus.publish(seated(3)), Receipt)


async def test_the_error_of_a_publish_does_not_repeat_those_of_the_publishes_before_it(made: list[_Adapter]) -> None:
    said: list[str] = []
    async with make_bus(publish_timeout=0.1, stop_timeout=0.2) as bus:
        made[0].gate.clear()
        for number in range(4):
            with pytest.raises(ConnectionLost) as raised:
                await bus.publish(seated(number))
            said.append(str(raised.value))
    assert [text.count("publish_timeout") for text in said] == [1, 1, 1, 1]


async def test_what_was_given_up_is_not_sent_again(made: list[_Adapter]) -> None:
    async with make_bus(publish_timeout=0.3) as bus:
        made[0].answer = lambda number, one: ConnectionLost("gone") if one.key == "lost" else None
        with pytest.raises(ConnectionLost):
            await bus.publish(Message(NAME, b"{}", key="lost"))
        tries = len(made[0].batches)
        assert isinstance(await bus.publish(Message(NAME, b"{}")), Receipt)
    assert [one.key for batch in made[0].batches[tries:] for one in batch] == [None]


async def test_an_adapter_that_breaks_its_promise_leaves_no_publisher_waiting(made: list[_Adapter]) -> None:
    def broken(number: int, one: Outgoing) -> BrokerkitError | None:
        raise RuntimeError("a defect")

    async with make_bus() as bus:
        made[0].answer = broken
        with pytest.raises((RuntimeError, BrokerkitError), match="RuntimeError"):
            await asyncio.wait_for(bus.publish(seated(1)), 30)


async def test_a_cancelled_publish_harms_nobody_else(made: list[_Adapter]) -> None:
    async with make_bus() as bus:
        made[0].gate.clear()
        first, second = (asyncio.ensure_future(bus.publish(seated(number))) for number in range(2))
        while not made[0].batches:
            await asyncio.sleep(0)
        first.cancel()
        made[0].gate.set()
        assert isinstance(await second, Receipt)
        assert isinstance(await bus.publish(seated(3)), Receipt)


async def test_closing_waits_for_what_is_on_its_way(made: list[_Adapter]) -> None:
    bus = make_bus()
    async with bus:
        made[0].gate.clear()
        publishing = asyncio.ensure_future(bus.publish(seated(1)))
        while not made[0].batches:
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.02, made[0].gate.set)
    assert publishing.done()
    assert isinstance(await publishing, Receipt)


async def test_a_bus_that_is_not_open_publishes_nothing(made: list[_Adapter]) -> None:
    bus = make_bus()
    with pytest.raises(Closed, match="not open"):
        await bus.publish(seated(1))
    async with bus:
        pass
    with pytest.raises(Closed):
        await bus.publish_many([seated(1)])


async def test_a_target_is_named_where_there_is_not_exactly_one(made: list[_Adapter]) -> None:
    async with make_bus(topic=["a", "b"], group="g") as bus:
        with pytest.raises(ConfigError, match="there are none"):
            await bus.publish(seated(1))
    async with make_bus() as bus:
        with pytest.raises(ConfigError, match="no target 'out'; there are bus"):
            await bus.publish(seated(1), to="out")
        await bus.publish(seated(1), to="bus")


# ---- what goes out -------------------------------------------------------------------------------------------


async def test_a_message_goes_out_unchanged(made: list[_Adapter]) -> None:
    message = Message(NAME, b'{ "playerId" : 1}', key=b"\xff", headers={"event": NAME, "x": b"\xfe"}, id="id-1")
    out = await sent(made, message)
    assert (out.body, out.key, out.headers, out.id) == (message.body, b"\xff", {"event": NAME, "x": b"\xfe"}, "id-1")


async def test_a_message_gets_the_name_that_its_reader_would_not_find(made: list[_Adapter]) -> None:
    out = await sent(made, Message(NAME, b"\xff", headers={"x": "y", "content-type": "text/plain"}))
    assert (out.body, out.headers, out.content_type) == (b"\xff", {"event": NAME, "x": "y"}, "text/plain")


async def test_the_headers_of_a_copy_do_not_go_out_again(made: list[_Adapter]) -> None:
    out = await sent(made, Message(NAME, b"{}", headers={"bk-failures": "3", "x": "y"}))
    assert out.headers == {"event": NAME, "x": "y"}


async def test_a_body_that_is_no_json_is_not_put_into_a_json_object(made: list[_Adapter]) -> None:
    outgoing = await sent(made, Message(NAME, b"\xff"), settings={"format": "cloudevents-structured"})
    assert json.loads(outgoing.body or b"")["data_base64"] == "/w=="


async def test_events_names_and_payloads(made: list[_Adapter]) -> None:
    body = {"params": {"playerId": 7}}
    for what in ((seated(7),), (NAME, {"playerId": 7}), (NAME, {"params": {"playerId": 7}}), (NAME, seated(7))):
        out = await sent(made, *what)
        assert (out.name, json.loads(out.body or b""), out.headers) == (NAME, body, {"event": NAME})
        made.clear()


async def test_names_of_the_consumers_own_are_written(made: list[_Adapter]) -> None:
    out = await sent(made, seated(7), settings={"names": {"seat.taken": NAME}})
    assert (out.name, out.headers) == ("seat.taken", {"event": "seat.taken"})


async def test_ids_are_made_and_never_twice(made: list[_Adapter]) -> None:
    async with make_bus() as bus:
        await bus.publish_many([seated(number) for number in range(50)])
    assert len({one.id for one in made[0].batches[0]}) == 50


@pytest.mark.parametrize(
    ("what", "given", "message"),
    [
        (("OnGameDoen", {}), {}, "did you mean 'OnGameDone'"),
        ((NAME,), {}, "needs a payload"),
        ((NAME, {"playerId": "x"}), {}, "the payload does not fit OnPlayerSeatedDown.*playerId"),
        ((NAME, OnUserLoggedIn()), {}, "is a OnPlayerSeatedDown, not a OnUserLoggedIn"),
        ((seated(1), {}), {}, "takes no payload: the event has it"),
        (({"playerId": 1},), {}, "no registered family knows the event dict"),
        ((seated(1),), {"headers": {"bk-key": "x"}}, "brokerkit's own"),
        ((Message(NAME, b"{}"),), {"headers": {"bk-failures": "4"}}, "brokerkit's own"),
        (("OptInEvent", {}), {}, "thrillconnect:OptInEvent, thrillpots:OptInEvent"),
    ],
)
async def test_what_cannot_be_published_is_said_before_anything_is_sent(
    made: list[_Adapter], what: Any, given: Any, message: str
) -> None:
    with pytest.raises(InvalidMessage, match=message):
        await sent(made, *what, **given)
    assert made[0].batches == []


async def test_a_bus_that_closes_tells_all_who_wait_for_a_confirmation(made: list[_Adapter]) -> None:
    async with asyncio.timeout(30):
        async with make_bus(stop_timeout=0.1) as bus:
            made[0].gate.clear()
            on_the_way = asyncio.create_task(bus.publish(seated(1)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            behind = asyncio.create_task(bus.publish_many([seated(2), seated(3)]))
            await asyncio.sleep(0)
        with pytest.raises(ConnectionLost, match="closed before the broker confirmed"):
            await on_the_way
        assert [type(result) for result in await behind] == [ConnectionLost, ConnectionLost]
