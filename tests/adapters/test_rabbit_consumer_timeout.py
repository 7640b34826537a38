"""RabbitMQ takes messages back that were not settled in time: what waits here must not get so old."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from tests.brokers._ports import free_port
from tests.brokers._server import LocalServer, new_folder
from tests.brokers.rabbitmq import epmd, handshake, node
from tests.every_broker import until, until_async

from brokerkit import Bus, ConfigError, Message, Notice, RetryPolicy
from brokerkit.adapters.rabbitmq._link import GIVES_BACK_FREELY, server_version
from brokerkit.adapters.rabbitmq._wire import queue_name
from brokerkit.events.evenbet import OnPlayerSeatedDown

SEATED = "OnPlayerSeatedDown"
TIMEOUT = 6.0
COUNT = 12


def settings_of(folder: Path) -> None:
    """The broker looks every second; a cluster of its own, so that nobody else's messages are taken back."""
    ticks = int(TIMEOUT * 1000)
    (folder / "advanced.config").write_text(
        f"[{{rabbit, [{{consumer_timeout, {ticks}}}, {{channel_tick_interval, 1000}}]}}].\n"
    )


@pytest.fixture(scope="module")
def impatient() -> Iterator[str]:
    folder, port = new_folder("rabbitmq"), free_port()
    settings_of(folder)
    url, program = node("impatient", folder, home=folder, epmd_port=port)
    server = LocalServer(
        "rabbitmq", programs=[epmd(port), program], ready=partial(handshake, url), log=folder / "rabbitmq.log"
    )
    server.start()
    try:
        yield url
    finally:
        server.close()


def number_of(message: Message) -> int:
    return int(json.loads(message.body or b"")["playerId"])


def bus_at(url: str, begun: list[int], *, seconds: float, **changes: Any) -> Bus:
    settings = {"group": "wallet", "provision": "all", "key_from": "header:table"} | changes
    bus = Bus(url, topic=f"test.{uuid4().hex}", **settings)

    @bus.on(SEATED)
    async def seated(event: OnPlayerSeatedDown, message: Message) -> None:
        begun.append(number_of(message))
        await asyncio.sleep(seconds)

    return bus


def seated(number: int, table: str = "hot") -> Message:
    return Message(SEATED, json.dumps({"playerId": number}).encode(), headers={"table": table}, id=f"m{number}")


def quick(number: int) -> Message:
    return seated(number, "cold")


async def has_one_consumer(url: str, queue: str) -> bool:
    async with await aio_pika.connect(url) as connection:
        found = await (await connection.channel()).declare_queue(queue, passive=True)
        return found.declaration_result.consumer_count == 1


async def told_by_the_consumer(url: str) -> bool:
    """Whether a consumer tells the broker its timeout."""
    async with await aio_pika.connect(url) as connection:
        channel = await (await connection.channel()).get_underlay_channel()
        return server_version(channel) >= GIVES_BACK_FREELY  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["key", "strict"])
async def test_quick_messages_behind_each_other_run_once_and_in_order(impatient: str, order: str) -> None:
    begun: list[int] = []
    async with asyncio.timeout(110):
        bus = bus_at(impatient, begun, seconds=1.0, order=order, options={"consumer_timeout": TIMEOUT}, retry=1)
        async with bus, bus.serving():
            for number in range(COUNT):
                await bus.publish(seated(number))
            await until(lambda: bus.stats["bus"].handled == COUNT, seconds=90)
            assert bus.stats["bus"].released > 0
    assert begun == list(range(COUNT))


async def test_a_timeout_that_nobody_told_is_learnt_or_replaced(impatient: str) -> None:
    begun: list[int] = []
    async with asyncio.timeout(110):
        bus = bus_at(impatient, begun, seconds=1.0)
        async with bus, bus.serving():
            await bus.publish_many([seated(number) for number in range(COUNT)])
            if await told_by_the_consumer(impatient):
                await until(lambda: bus.stats["bus"].handled == COUNT, seconds=90)
                assert (begun, bus.stats["bus"].lost) == ([*range(COUNT)], 0)
                return
            await until(lambda: bus.stats["bus"].lost > 0, seconds=60)
            await until(lambda: set(begun) == set(range(COUNT)), seconds=90)
            await until(lambda: bus.stats["bus"].released > 0, seconds=60)
            # What was done when the broker took all of them away came again, and was only acknowledged. The one that ran
            # at that moment may run once more: the guarantees say so.
            await until(lambda: bus.stats["bus"].duplicates + len(begun) > COUNT, seconds=60)
            assert len(begun) <= COUNT + 1
            begun.clear()
            await bus.publish_many([seated(number) for number in range(100, 100 + COUNT)])
            await until(lambda: 99 + COUNT in begun, seconds=60)
    later = Counter(number for number in begun if number >= 100)
    assert later == Counter(range(100, 100 + COUNT))


async def test_a_slow_handler_costs_no_other_message_and_leaves_no_consumer_behind(impatient: str) -> None:
    slow, begun, enough, notices = -1, Counter[int](), asyncio.Event(), list[Notice]()
    topic = f"test.{uuid4().hex}"
    bus = Bus(
        impatient, topic=topic, group="wallet", provision="all", stop_timeout=2.0,
        options={"consumer_timeout": TIMEOUT}, key_from="header:table",
    )  # fmt: skip
    bus.add_hook(notices.append)

    @bus.on(SEATED)
    async def seated_down(event: OnPlayerSeatedDown, message: Message) -> None:
        begun[number_of(message)] += 1
        if number_of(message) == slow and begun[slow] == 1:
            await enough.wait()

    async with asyncio.timeout(110), bus, bus.serving():
        await bus.publish(seated(slow))
        await bus.publish_many([quick(number) for number in range(COUNT)])
        await until(lambda: bus.stats["bus"].handled == COUNT)
        # The broker gives it to this process again, where it waits for its key. Everything else goes on.
        await until(lambda: "connection_back" in [notice.kind for notice in notices], seconds=60)
        await bus.publish_many([quick(number) for number in range(COUNT, 2 * COUNT)])
        await until(lambda: bus.stats["bus"].handled == 2 * COUNT, seconds=60)
        enough.set()
        await until(lambda: begun[slow] == 2, seconds=60)
        await until(lambda: bus.stats["bus"].handled == 2 * COUNT + 2, seconds=60)
        await until_async(partial(has_one_consumer, impatient, queue_name(topic, "wallet")))
    assert begun == Counter({slow: 2} | dict.fromkeys(range(2 * COUNT), 1))


async def test_what_is_held_until_its_next_attempt_is_kept_by_the_broker_in_time(impatient: str) -> None:
    begun: list[int] = []
    async with asyncio.timeout(110):
        bus = Bus(
            impatient, topic=f"test.{uuid4().hex}", group="wallet", provision="all", hold=60.0,
            options={"consumer_timeout": TIMEOUT}, retry=RetryPolicy(attempts=2, first=9.0, jitter=False),
        )  # fmt: skip

        @bus.on(SEATED)
        async def fail_once(event: OnPlayerSeatedDown, message: Message) -> None:
            begun.append(message.attempt)
            if len(begun) == 1:
                raise RuntimeError("not yet")

        async with bus, bus.serving():
            await bus.publish(seated(1))
            await until(lambda: bus.stats["bus"].handled == 1, seconds=60)
            assert bus.stats["bus"].lost == 0
    assert begun == [1, 2]


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="consumer_timeout"):
        Bus("amqp://localhost", topic="t", group="g", options={"consumer_timeout": value})
