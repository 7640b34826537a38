"""The producer of the Kafka adapter where no broker answers, or the client library does not do what it should."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import pytest
from tests.every_broker import until

from brokerkit._errors import Closed, ConnectionLost
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Settings
from brokerkit.adapters.kafka._producer import ProducerThread

NOBODY: Final = "kafka://127.0.0.1:1"


def connection(**options: object) -> Connection:
    return Connection(url=Url.parse(NOBODY), options=options)


def message(number: int = 0) -> Outgoing:
    return Outgoing(topic="t", body=b"", name="OnTest", id=str(number))


def ignore(_error: object) -> None:
    pass


class Client:
    """The client library's producer, which confirms nothing unless it is told to."""

    def __init__(self, *_: object, **__: object) -> None:
        self.taken: list[Callable[[Any, Any], None]] = []
        self.full = False
        self.purged = False

    def produce(self, *_: object, on_delivery: Callable[[Any, Any], None], **__: object) -> None:
        if self.full:
            raise BufferError
        self.taken.append(on_delivery)

    def confirm(self) -> None:
        while self.taken:
            self.taken.pop()(None, SimpleNamespace(partition=lambda: 0, offset=lambda: 7))

    def __len__(self) -> int:
        return len(self.taken)

    def flush(self, _seconds: float) -> None:
        time.sleep(0.01)

    def purge(self) -> None:
        self.purged = True


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    made: list[Client] = []

    def make(*_: object, **__: object) -> Client:
        made.append(Client())
        return made[-1]

    monkeypatch.setattr("brokerkit.adapters.kafka._producer.Producer", make)
    return made


@asynccontextmanager
async def producing(**options: object) -> AsyncGenerator[KafkaAdapter, None]:
    adapter = KafkaAdapter(connection(**options))
    adapter._admin = KafkaAdmin(adapter._settings)
    adapter._producer = ProducerThread(adapter._settings, adapter._on_error)
    try:
        yield adapter
    finally:
        await adapter.close()


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "brokerkit-kafka-producer"]


async def test_a_close_with_nothing_unconfirmed_does_not_wait_because_the_broker_was_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client counts what it has to tell of the broker among its messages, and nobody asked it meanwhile."""
    adapter = KafkaAdapter(connection())
    adapter._producer = producer = ProducerThread(adapter._settings, adapter._on_error)
    monkeypatch.setattr("brokerkit.adapters.kafka.FLUSH", 60.0)
    await until(lambda: len(producer) > 0)
    async with asyncio.timeout(30):
        await adapter.close()
    assert "gave up" not in caplog.text


async def test_what_is_asked_of_the_thread_does_not_pile_up_while_something_is_unconfirmed(
    clients: list[Client],
) -> None:
    async with producing() as adapter:
        sending = [asyncio.ensure_future(adapter.send([message(number)])) for number in range(500)]
        await until(lambda: len(clients[0].taken) == 500)
        assert adapter._producer is not None
        assert adapter._producer._commands.qsize() <= 1
        clients[0].confirm()
        await asyncio.gather(*sending)


async def test_the_thread_of_a_client_that_forgets_messages_ends_with_it(clients: list[Client]) -> None:
    before = threads()
    producer = ProducerThread(Settings(connection()), ignore)
    producer.produce("t", on_delivery=lambda *_: None)
    producer.flush()
    producer.abandon()
    producer.close()
    await asyncio.to_thread(producer.join)
    assert clients[0].purged
    assert len(clients[0])
    assert threads() == before


async def test_a_message_that_is_confirmed_as_its_time_ends_does_not_cost_the_others_their_producer(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokerkit.adapters.kafka.REPORT_GRACE", 1.5)
    async with producing(**{"delivery.timeout.ms": 100}) as adapter:
        producer = adapter._producer
        sending = asyncio.ensure_future(adapter.send([message()]))
        await until(lambda: bool(clients[0].taken))
        # The event loop stands still, as in a handler that computes: then both are due.
        time.sleep(1.8)
        confirming = threading.Thread(target=clients[0].confirm)
        confirming.start()
        confirming.join()
        [receipt] = await sending
        assert isinstance(receipt, Receipt)
        sending = asyncio.ensure_future(adapter.send([message()]))
        await until(lambda: any(client.taken for client in clients))
        assert adapter._producer is producer
        clients[0].confirm()
        await sending


@pytest.mark.parametrize("name", ["delivery.timeout.ms", "message.timeout.ms"])
def test_a_publish_that_is_never_given_up_is_not_given_up_by_us(name: str) -> None:
    assert Settings(connection(**{name: "0"})).delivery_timeout > 1_000_000
    assert Settings(connection(**{name: "7000"})).delivery_timeout == 7


async def test_what_waits_for_room_in_a_producer_that_is_replaced_counts_as_lost(clients: list[Client]) -> None:
    async with producing() as adapter:
        clients[0].full = True
        sending = asyncio.ensure_future(adapter.send([message(1), message(2)]))
        await asyncio.sleep(0.01)
        adapter._broken = True
        other = asyncio.ensure_future(adapter.send([message(3)]))
        assert [type(result) for result in await sending] == [ConnectionLost, ConnectionLost]
        clients[1].confirm()
        assert isinstance((await other)[0], Receipt)


async def test_what_waits_for_room_in_an_adapter_that_is_closed_is_told_so(clients: list[Client]) -> None:
    async with producing() as adapter:
        clients[0].full = True
        sending = asyncio.ensure_future(adapter.send([message(1)]))
        await asyncio.sleep(0.01)
        await adapter.close()
        assert [type(result) for result in await sending] == [Closed]
