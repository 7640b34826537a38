"""Connecting to RabbitMQ: errors and options, at the seam, on a real broker."""

from __future__ import annotations

import logging
import ssl
from typing import Any

import pytest
from tests.adapters.rabbitmq.seam import Bench, outgoing, send
from tests.brokers.rabbitmq import RabbitBroker

from brokerkit._errors import AccessDenied, ConfigError, ConnectionLost, NotFound
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.rabbitmq import RabbitAdapter


async def test_nobody_there_is_a_lost_connection(bench: Bench) -> None:
    adapter = RabbitAdapter(Connection(url=Url.parse("amqp://u:hidden@127.0.0.1:1/"), connect_timeout=2))
    with pytest.raises(ConnectionLost) as caught:
        await adapter.open()
    assert "hidden" not in str(caught.value)
    [result] = await adapter.send([outgoing("x")])
    assert isinstance(result, ConnectionLost)
    source = adapter.subscribe(Subscription(topics=("x",), group="g"), bench.lost)
    with pytest.raises(ConnectionLost):
        await source.open()
    await source.close()
    await adapter.close()


async def test_a_silent_host_is_given_up_after_the_connect_timeout(bench: Bench) -> None:
    proxy, url = await bench.proxy()
    proxy.freeze()
    adapter = RabbitAdapter(Connection(url=Url.parse(url), connect_timeout=0.3))
    with pytest.raises(ConnectionLost, match=r"0\.3 s"):
        await adapter.open()
    await adapter.close()


async def test_a_wrong_password_is_denied_and_never_shown(
    bench: Bench, rabbit_broker: RabbitBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = Url.parse(rabbit_broker.wrong_password_url)
    adapter = RabbitAdapter(Connection(url=url))
    with pytest.raises(AccessDenied) as caught:
        await adapter.open()
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {adapter!r} {caplog.text}"
    assert url.password
    assert url.password not in shown
    assert url.host(0)[0] in str(caught.value)
    await adapter.close()


async def test_a_missing_virtual_host_is_named(bench: Bench) -> None:
    adapter = RabbitAdapter(Connection(url=Url.parse(f"{bench.url.rstrip('/')}/nowhere")))
    with pytest.raises(NotFound, match="nowhere"):
        await adapter.open()
    await adapter.close()


@pytest.mark.parametrize(
    ("scheme", "options", "text"),
    [
        ("amqp", {"hartbeat": "5"}, "heartbeat"),
        ("amqp", {"heartbeat": "soon"}, "soon"),
        ("amqp", {"heartbeat": 70_000}, "65534"),
        ("amqp", {"auth": "magic"}, "plain"),
        ("amqp", {"name": 5}, "not text"),
        ("amqp", {"ssl_context": ssl.create_default_context()}, "amqps"),
        ("amqps", {"no_verify_ssl": "perhaps"}, "perhaps"),
        ("amqps", {"cafile": "no/such/file"}, "does not exist"),
    ],
)
def test_a_wrong_option_is_found_before_connecting(scheme: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        RabbitAdapter(Connection(url=Url.parse(f"{scheme}://localhost"), options=options))


async def test_options_from_a_url_are_text_and_reach_the_client(bench: Bench) -> None:
    options: dict[str, Any] = {
        "heartbeat": "7",
        "name": "me & you",
        "happy_eyeballs_delay": "0.25",
        "client_properties": {"a": "b"},
    }
    adapter = await bench.adapter(**options)
    topic = bench.topic()
    await bench.source(adapter, topic)
    await send(adapter, outgoing(topic))
    transport = (await adapter._publisher.connection()).transport
    assert transport is not None
    assert transport.connection.connection_tune.heartbeat == 7
