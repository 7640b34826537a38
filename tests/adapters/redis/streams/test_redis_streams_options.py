"""Connecting to Redis: errors, rights and options, at the seam, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.adapters.redis.streams.seam import ALL, made
from tests.adapters.redis_seam import (
    confirmed,
    connection,
    has_lag,
    ignore_lost,
    opened,
    outgoing,
    reading,
    receive,
    unique,
)
from tests.brokers.redis import RedisBroker

from brokerkit._errors import AccessDenied, Closed, ConfigError, ConnectionLost
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.redis.streams import RedisStreamsAdapter


async def test_opening_and_closing_leaves_no_connection(redis_broker: RedisBroker, raw: Any) -> None:
    before = len(await raw.client_list())
    for _ in range(5):
        async with opened(RedisStreamsAdapter(connection(redis_broker.url))) as adapter:
            topic = await made(adapter)  # type: ignore[arg-type]
            async with reading(adapter, topic, **ALL) as source:
                await adapter.send([outgoing(topic)])
                await receive(source, 1)
            await source.close()
        await adapter.close()
        (result,) = await adapter.send([outgoing(topic)])
        assert isinstance(result, Closed)
    async with asyncio.timeout(20):
        while len(await raw.client_list()) > before:
            await asyncio.sleep(0.01)


async def test_an_unreachable_server_is_a_lost_connection() -> None:
    for url in ("redis://127.0.0.1:1", "redis://user:secret@127.0.0.1:1"):
        adapter = RedisStreamsAdapter(connection(url))
        with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1") as caught:
            await adapter.open()
        assert "secret" not in str(caught.value)
        (result,) = await adapter.send([outgoing("t")])
        assert isinstance(result, ConnectionLost)
        await adapter.close()


async def test_a_silent_server_is_given_up_after_the_connect_timeout() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    adapter = RedisStreamsAdapter(Connection(url=Url.parse(f"redis://127.0.0.1:{port}"), connect_timeout=0.2))
    with pytest.raises(ConnectionLost, match=r"within 0\.2 s"):
        await adapter.open()
    await adapter.close()
    server.close()
    await server.wait_closed()


async def test_a_wrong_password_and_a_missing_right_are_access_denied(redis_broker: RedisBroker, raw: Any) -> None:
    adapter = RedisStreamsAdapter(connection(redis_broker.wrong_password_url))
    with pytest.raises(AccessDenied) as caught:
        await adapter.open()
    assert str(Url.parse(redis_broker.wrong_password_url).password) not in str(caught.value)
    await adapter.close()
    user, topic = unique("user"), unique()
    await raw.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", "+ping")
    host = redis_broker.url.rpartition("@")[2]
    async with opened(RedisStreamsAdapter(connection(f"redis://{user}:pw@{host}"))) as limited:
        (result,) = await limited.send([outgoing(topic)])
        assert isinstance(result, AccessDenied)
        with pytest.raises(AccessDenied):
            await limited.ensure([topic], is_queue=False, create=True)
        with pytest.raises(AccessDenied):
            await limited.subscribe(Subscription(topics=(topic,), **ALL), ignore_lost).open()


async def test_the_rights_in_the_documentation_are_enough(redis_broker: RedisBroker, raw: Any) -> None:
    user, topic = unique("user"), unique()
    await raw.xadd(topic, {"data": "1"})
    rights = ["+@stream", "+@sortedset", "+@scripting", "+@connection", "+type", "+time"]
    keys = [f"~{topic}", f"~{{{topic}}}.*"]
    await raw.execute_command("ACL", "SETUSER", user, "on", ">pw", *keys, *rights)
    host = redis_broker.url.rpartition("@")[2]
    async with opened(RedisStreamsAdapter(connection(f"redis://{user}:pw@{host}"))) as adapter:
        async with reading(adapter, topic, group="g") as source:
            for outcome in (RetryLater(0, outgoing(topic)), RELEASE, ACK):
                (delivery,) = await receive(source, 1)
                assert await source.extend([delivery]) == [Settled.DONE]
                assert await source.settle([(delivery, outcome)]) == [Settled.DONE]
            assert await has_lag(source, raw, 0)
        assert confirmed(await adapter.send([outgoing(adapter.derived(topic, "g", "dlq"), is_queue=True)]))


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("redis://h", {"no_such_option": 1}, "no option 'no_such_option'"),
        ("redis://h", {"decode_responses": True}, "bodies are bytes"),
        ("redis://h", {"retry_on_timeout": True}, "duplicates"),
        ("redis://h", {"socket_timeout": "soon"}, "must be a number"),
        ("redis://h", {"socket_keepalive": "perhaps"}, "must be a boolean"),
        ("redis://h", {"ssl_ca_certs": "x"}, "rediss://"),
        ("redis://u:secret@h", {"password": "secret"}, "twice"),
        ("redis://u:secret@h/zero", {}, "database number"),
        ("redis://u:secret@h1,h2", {}, "exactly one host"),
        ("redis:///0", {}, "exactly one host"),
    ],
)
def test_a_wrong_url_or_option_is_found_before_connecting(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        RedisStreamsAdapter(connection(url, **options))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body_field", ["", "bk-key"])
def test_a_body_field_that_is_empty_or_internal_is_refused(body_field: str) -> None:
    with pytest.raises(ConfigError, match="body_field"):
        RedisStreamsAdapter(Connection(url=Url.parse("redis://h"), body_field=body_field))


async def test_text_options_reach_the_client_as_numbers_and_database_and_name_are_used(
    redis_broker: RedisBroker, raw: Any
) -> None:
    url = redis_broker.url.rpartition("/")[0] + "/1"
    name = unique("client")
    options = {"client_name": name, "socket_timeout": "7.5", "socket_keepalive": "true"}
    async with opened(RedisStreamsAdapter(connection(url, **options))):
        (mine,) = [client for client in await raw.client_list() if client["name"] == name]
        assert mine["db"] == "1"


def test_a_group_is_needed() -> None:
    adapter = RedisStreamsAdapter(connection("redis://h"))
    with pytest.raises(ConfigError, match="group"):
        adapter.subscribe(Subscription(topics=("t",)), ignore_lost)


def test_no_secret_shows_in_a_repr() -> None:
    adapter = RedisStreamsAdapter(connection("redis://user:secret@h"))
    source = adapter.subscribe(Subscription(topics=("t",), group="g"), ignore_lost)
    assert "secret" not in repr(adapter) + repr(source)
    assert repr(source) == "<RedisStreamsSource t as g: not connected, 0 held>"
