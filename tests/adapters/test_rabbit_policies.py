"""What policies do to a queue is known where the management API can be asked: RabbitMQ tells it nobody else."""

from __future__ import annotations

import base64
import json
import logging
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from tests.brokers import versions
from tests.brokers._ports import free_port
from tests.brokers._server import LocalServer, new_folder
from tests.brokers._urls import USER
from tests.brokers.rabbitmq import epmd, handshake, node
from tests.every_broker import until, until_async

from brokerkit import Bus, ConfigError, RetryPolicy
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.rabbitmq import RabbitAdapter
from brokerkit.adapters.rabbitmq._source import RabbitSource
from brokerkit.events.evenbet import OnPlayerSeatedDown


class Managed:
    """A broker with the management API."""

    def __init__(self, url: str, port: int) -> None:
        self.url = url
        self.api = f"http://127.0.0.1:{port}"

    def put(self, path: str, **body: Any) -> None:
        parts = urlsplit(self.url)
        login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.api}/api/{path}",
            method="PUT",
            data=json.dumps(body).encode(),
            headers={"authorization": f"Basic {login}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30):
            pass

    def policy(self, topic: str, *, kind: str = "policies", **definition: object) -> None:
        """A policy for the queues whose name begins with that of a topic."""
        named = {name.replace("_", "-"): value for name, value in definition.items()}
        self.put(f"{kind}/%2F/{topic}", pattern=f"^{topic}", definition=named, **{"apply-to": "queues"})


@pytest.fixture(scope="module")
def managed() -> Iterator[Managed]:
    folder, names, port = new_folder("rabbitmq"), free_port(), free_port()
    # A quorum queue tells the API of its policy at each tick, every five seconds by default.
    (folder / "advanced.config").write_text("[{rabbit, [{quorum_tick_interval, 500}]}].\n")
    more = f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n"
    if versions.chosen("rabbitmq") != "rabbitmq-system":
        # What will be gone one day, and older ones do not know how to deny.
        denied = ("transient_nonexcl_queues", "global_qos", "queue_master_locator", "ram_node_type")
        more += "".join(f"deprecated_features.permit.{name} = false\n" for name in denied)
    url, program = node("managed", folder, home=folder, epmd_port=names, more=more, plugins="rabbitmq_management")

    def ready() -> None:
        handshake(url)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()

    server = LocalServer("rabbitmq", programs=[epmd(names), program], ready=ready, log=folder / "rabbitmq.log")
    server.start()
    try:
        yield Managed(url, port)
    finally:
        server.close()


@asynccontextmanager
async def reading(managed: Managed, topic: str, **options: object) -> AsyncIterator[RabbitSource]:
    adapter = RabbitAdapter(Connection(url=Url.parse(managed.url), options=options))
    await adapter.open()
    subscription = Subscription(topics=(topic,), group="wallet", provision="all", max_deliveries=25)
    source = adapter.subscribe(subscription, _lost)
    assert isinstance(source, RabbitSource)
    try:
        await source.open()
        yield source
        await source.stop()
    finally:
        await source.close()
        await adapter.close()


async def _lost(deliveries: object, *, gone: bool = True) -> None:
    """Lost with its process."""


async def limit_of(managed: Managed, topic: str) -> int | None:
    async with reading(managed, topic, management=managed.api) as source:
        return source.delivery_limit(topic)


async def test_the_lowest_of_argument_policy_and_operator_policy_counts(
    managed: Managed, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"test.{uuid4().hex}"
    unlimited = await limit_of(managed, topic)
    assert unlimited is not None
    assert unlimited > 10**9
    late = f"test.{uuid4().hex}"
    managed.policy(late, delivery_limit=7)
    assert await limit_of(managed, late) == 8, "the queue is made after its policy"
    managed.policy(topic, delivery_limit=15, message_ttl=60_000)
    await until_async(lambda: told(managed, topic, 16))
    managed.policy(topic, kind="operator-policies", delivery_limit=9)
    await until_async(lambda: told(managed, topic, 10))
    for name in ("x-delivery-limit", "x-message-ttl"):
        assert f"RabbitMQ queue {topic}.wallet takes a message away" in caplog.text
        assert f"({name}" in caplog.text
    async with reading(managed, topic) as source:
        assert source.delivery_limit(topic) == unlimited


async def told(managed: Managed, topic: str, limit: int) -> bool:
    return await limit_of(managed, topic) == limit


async def test_a_policy_on_our_own_queue_loses_nothing(managed: Managed) -> None:
    topic = f"test.{uuid4().hex}"
    async with reading(managed, topic):
        pass
    managed.policy(topic, delivery_limit=4)
    await until_async(lambda: told(managed, topic, 5))
    settings: dict[str, Any] = {"topic": topic, "group": "wallet", "options": {"management": managed.api}}
    async with Bus(managed.url, **settings) as bus:
        for number in range(3):
            await bus.publish(OnPlayerSeatedDown(player_id=number))
    for _ in range(3):
        async with reading(managed, topic) as source:
            found = 0
            while found < 3:
                found += len(await source.receive(3))
            await source._connection.close()  # type: ignore[union-attr]
    seen = list[int]()
    bus = Bus(managed.url, **settings, retry=RetryPolicy(attempts=50))

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        seen.append(event.player_id or 0)

    async with bus, bus.serving():
        await until(lambda: bus.stats["bus"].dead_lettered + len(seen) == 3)
    assert bus.stats["bus"].dead_lettered == 3


async def test_an_api_that_refuses_is_told_and_the_source_reads_on(
    managed: Managed, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"test.{uuid4().hex}"
    wrong = managed.api.replace("//", "//nobody:very-secret@")
    with caplog.at_level(logging.WARNING, "brokerkit"):
        async with reading(managed, topic, management=wrong) as source:
            assert source.delivery_limit(topic) is not None
    assert "limits that policies set on queue" in caplog.text
    assert "very-secret" not in caplog.text + repr(source)


@pytest.mark.parametrize("kind", ["classic", "quorum", "stream"])
async def test_a_default_type_of_queues_changes_nothing(managed: Managed, kind: str) -> None:
    """From 3.11 on a virtual host has one; what is transient or global is denied from 4.0 on, see `managed`."""
    vhost, topic = f"v{uuid4().hex}", f"test.{uuid4().hex}"
    managed.put(f"vhosts/{vhost}", default_queue_type=kind)
    managed.put(f"permissions/{vhost}/{USER}", configure=".*", write=".*", read=".*")
    seen = Counter[tuple[str, int]]()
    settings: dict[str, Any] = {"topic": topic, "provision": "all", "retry": {"attempts": 2, "first": 1.0}, "hold": 0.0}
    with_group = Bus(f"{managed.url}{vhost}", **settings, group="wallet")
    broadcast = Bus(f"{managed.url}{vhost}", **settings, broadcast=True)

    def reads(bus: Bus, name: str) -> None:
        @bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown) -> None:
            seen[name, event.player_id or 0] += 1
            if event.player_id == 2:
                raise RuntimeError("it fails every time")

    reads(with_group, "group")
    reads(broadcast, "broadcast")
    async with with_group, broadcast, with_group.serving(), broadcast.serving():
        for number in (1, 2):
            await with_group.publish(OnPlayerSeatedDown(player_id=number))
        await until(lambda: all(bus.stats["bus"].dead_lettered for bus in (with_group, broadcast)))
    assert seen == {(name, number): number for name in ("group", "broadcast") for number in (1, 2)}


@pytest.mark.parametrize("wrong", ["15672", "ftp://very-secret@host"])
def test_what_is_no_url_is_found_before_connecting(wrong: str) -> None:
    with pytest.raises(ConfigError, match="management") as caught:
        RabbitAdapter(Connection(url=Url.parse("amqp://h"), options={"management": wrong}))
    assert "very-secret" not in str(caught.value)
