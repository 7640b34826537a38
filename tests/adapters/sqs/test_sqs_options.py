"""What SQS cannot do, wrong options, and errors while connecting, at the seam, on ElasticMQ."""

import asyncio
import socket
from typing import Any

import pytest
from tests.adapters.sqs.seam import connection, name, nothing_lost, outgoing
from tests.brokers.aws import AwsBroker

from brokerkit._errors import AccessDenied, Closed, ConfigError, ConnectionLost, UnsupportedFeature
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.aws.sqs import SqsAdapter

# What is refused


def test_a_second_group_on_a_queue_is_refused_with_a_pointer_to_sns() -> None:
    adapter = SqsAdapter(connection(None))
    for _ in range(2):
        adapter.subscribe(Subscription(topics=("orders",), group="wallet"), nothing_lost)
    with pytest.raises(UnsupportedFeature, match="sns://"):
        adapter.subscribe(Subscription(topics=("orders",), group="crm"), nothing_lost)


@pytest.mark.parametrize("fields", [{"broadcast": True}, {"start": "latest"}])
def test_what_a_queue_cannot_do_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFeature):
        SqsAdapter(connection(None)).subscribe(Subscription(topics=("orders",), **fields), nothing_lost)


async def test_a_name_that_no_queue_can_have_is_a_config_error(adapter: SqsAdapter) -> None:
    with pytest.raises(ConfigError, match="no dots"):
        await adapter.ensure(["evenbet.events"], is_queue=False, create=True)
    with pytest.raises(ConfigError, match="another region"):
        await adapter.ensure(["arn:aws:sqs:eu-north-1:000000000000:orders"], is_queue=False, create=True)


@pytest.mark.parametrize(
    ("url", "options", "endpoint"),
    [
        ("sqs://us-east-1/queue", {}, None),
        ("sqs://localhost:9324/", {}, None),
        ("sqs://a,b/", {}, None),
        ("sqs://key@us-east-1/", {}, None),
        ("sqs://us-east-1/", {}, "localhost:9324"),
        ("sqs://us-east-1/", {"linger.ms": 1}, None),
        ("sqs://us-east-1/", {"retries.modus": "standard"}, None),
        ("sqs://us-east-1/", {"region_name": "x"}, None),
        ("sqs://us-east-1/", {"read_timeout": "soon"}, None),
        ("sqs://us-east-1/", {"tcp_keepalive": "maybe"}, None),
        ("sqs://us-east-1/", {"proxies": "http://x"}, None),
        ("sqs://us-east-1/", {"retries.mode": "often"}, None),
        ("sqs://us-east-1/", {"retries": {}, "retries.mode": "standard"}, None),
    ],
)
def test_a_wrong_url_or_option_is_a_config_error(url: str, options: dict[str, object], endpoint: str | None) -> None:
    with pytest.raises(ConfigError):
        SqsAdapter(connection(endpoint, url, options=options))


async def test_options_given_as_text_reach_the_client(sqs_broker: AwsBroker) -> None:
    options = {"read_timeout": "30", "tcp_keepalive": "true", "retries.max_attempts": "2", "verify": "false"}
    adapter = SqsAdapter(connection(sqs_broker.url, options=options))
    await adapter.open()
    assert adapter._client._session is not None
    config = adapter._client._session.client.meta.config
    assert (config.read_timeout, config.tcp_keepalive) == (30.0, True)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}
    assert config.max_pool_connections >= adapter.capabilities().pollers + 10
    await adapter.close()


# Errors


async def test_an_emulator_needs_no_credentials(
    sqs_broker: AwsBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    adapter = SqsAdapter(connection(sqs_broker.url, "sqs:///"))
    await adapter.open()
    await adapter.close()
    with pytest.raises(ConfigError, match="region"):
        await SqsAdapter(connection(None, "sqs:///")).open()
    with pytest.raises(AccessDenied, match="credentials"):
        await SqsAdapter(connection(None)).open()


async def test_nobody_at_the_endpoint_is_a_lost_connection_in_time(aws_environment: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never answers
        port = server.getsockname()[1]
        silent = SqsAdapter(connection(f"http://127.0.0.1:{port}", connect_timeout=0.5))
        async with asyncio.timeout(8):
            with pytest.raises(ConnectionLost, match=str(port)):
                await silent.open()
    refusing = SqsAdapter(connection(f"http://127.0.0.1:{port}", connect_timeout=0.5))
    async with asyncio.timeout(8):
        with pytest.raises(ConnectionLost, match=str(port)):
            await refusing.open()


def test_no_secret_shows() -> None:
    options = {"aws_session_token": "TOKEN"}
    adapter = SqsAdapter(connection("http://127.0.0.1:1", "sqs://KEY:a%2Fsecret@us-east-1/", options=options))
    for shown in (repr(adapter), repr(adapter._client), repr(adapter._queues), str(adapter._client._url)):
        assert "secret" not in shown and "TOKEN" not in shown
    assert adapter._client._url.password == "a/secret"
    guarded = SqsAdapter(connection("https://user:secret@127.0.0.1:1", "sqs://us-east-1/"))
    assert "https://***@127.0.0.1:1" in repr(guarded) and "secret" not in repr(guarded)
    with pytest.raises(ConfigError) as caught:
        SqsAdapter(connection("user:secret@127.0.0.1:1", "sqs://us-east-1/"))
    assert "secret" not in str(caught.value)


async def test_a_closed_adapter_says_so(adapter: SqsAdapter) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    await adapter.close()
    await adapter.close()
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, Closed)
