"""An answer that is an error, and comes when nobody waits for it any more, is nothing that asyncio reports."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._login import Login
from brokerkit.adapters.kafka._transaction_thread import TransactionThread

AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT))


@pytest.fixture
async def nothing_in_the_loops_log() -> AsyncIterator[None]:
    loop, seen = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: seen.append(context))
    yield
    gc.collect()
    assert not seen


async def cancelled(waiting: asyncio.Task[Any]) -> None:
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_an_answer_of_the_admin_client(nothing_in_the_loops_log: None) -> None:
    admin = KafkaAdmin(KafkaAdapter(Connection(url=Url.parse("kafka://127.0.0.1:1")))._settings)
    answer: Future[Any] = Future()
    waiting = asyncio.create_task(admin._answer(answer, "cannot look"))
    await asyncio.sleep(0)
    await cancelled(waiting)
    answer.set_exception(AWAY)
    await asyncio.sleep(0)


async def test_a_call_of_the_transaction_thread(nothing_in_the_loops_log: None) -> None:
    login = Login("kafka://h", None, None, None)
    thread, begun, go_on = TransactionThread({}, login, name="wallet"), threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        go_on.wait(60)
        raise AWAY

    waiting = asyncio.create_task(thread._call(fail))
    await asyncio.to_thread(begun.wait, 60)
    await cancelled(waiting)
    go_on.set()
    await thread.close()  # it comes after the call, in the same thread
