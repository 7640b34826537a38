"""What SNS cannot do, and errors while connecting, at the seam, on moto."""

import asyncio

import pytest
from tests.adapters.sns.seam import connection
from tests.adapters.sqs.seam import nothing_lost

from brokerkit._errors import ConfigError, ConnectionLost, UnsupportedFeature
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.aws.sns import SnsAdapter


def test_what_sns_cannot_do_is_refused() -> None:
    adapter = SnsAdapter(connection(None))
    with pytest.raises(ConfigError, match="group"):
        adapter.subscribe(Subscription(topics=("orders",)), nothing_lost)
    with pytest.raises(UnsupportedFeature, match="broadcast"):
        adapter.subscribe(Subscription(topics=("orders",), broadcast=True, provision="check"), nothing_lost)


async def test_a_name_that_no_topic_can_have_is_a_config_error(adapter: SnsAdapter) -> None:
    with pytest.raises(ConfigError, match="no dots"):
        await adapter.ensure(["evenbet.events"], is_queue=False, create=True)


async def test_nobody_at_the_endpoint_is_a_lost_connection_in_time(aws_environment: None) -> None:
    adapter = SnsAdapter(connection("http://127.0.0.1:1", connect_timeout=0.5))
    async with asyncio.timeout(8):
        with pytest.raises(ConnectionLost):
            await adapter.open()
    await adapter.close()


async def test_an_answer_in_html_is_a_lost_connection(aws_environment: None) -> None:
    """So answers a load balancer, or a proxy, while what is behind it is away."""
    page = b"<!doctype html><html><title>503</title><h1>Away</h1></html>"
    head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\nconnection: close\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"content-length: %d\r\n\r\n" % len(page) + page)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        adapter = SnsAdapter(connection(f"http://127.0.0.1:{port}", options={"retries.max_attempts": 0}))
        with pytest.raises(ConnectionLost, match="not of its protocol"):
            await adapter.open()
        await adapter.close()


def test_order_is_promised_on_fifo_alone() -> None:
    adapter = SnsAdapter(connection(None))
    assert adapter.capabilities("orders").order == "none"
    assert adapter.capabilities("orders.fifo").order == "group"
    assert adapter.capabilities().groups == "many"
