"""Passwords and tokens of Kafka that change while a bus runs."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import (
    AdminClient,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from tests.adapters.test_credentials import SEATED, handling, publish
from tests.brokers import kafka
from tests.brokers._ports import free_port
from tests.brokers.fixtures import running
from tests.brokers.kafka import KafkaBroker
from tests.certificates import Authority, tls_front
from tests.every_broker import until

from brokerkit import Bus, ConfigError, ConnectionLost
from brokerkit.adapters.kafka._login import Login

OAUTH = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER"}
SCRAM = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256"}
UNSECURED = "org.apache.kafka.common.security.oauthbearer"
SECURED = f"""
allow.everyone.if.no.acl.found=true
sasl.enabled.mechanisms=SCRAM-SHA-256,OAUTHBEARER
listener.name.sasl.scram-sha-256.sasl.jaas.config=\\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.oauthbearer.sasl.jaas.config=\\
{UNSECURED}.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="kafka";
listener.name.sasl.oauthbearer.sasl.server.callback.handler.class=\\
{UNSECURED}.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler
listener.name.sasl.oauthbearer.sasl.login.callback.handler.class=\\
{UNSECURED}.internals.unsecured.OAuthBearerUnsecuredLoginCallbackHandler
"""


@pytest.fixture(scope="module")
def front_ports() -> tuple[int, int]:
    """The port of a listener that sends its clients to the other port, where a test puts a TLS front."""
    return free_port(), free_port()


@pytest.fixture(scope="module")
def secured(front_ports: tuple[int, int]) -> Iterator[KafkaBroker]:
    with running(kafka.broker(more=SECURED, proxied=[front_ports])) as broker:
        yield broker


def token(_: str) -> tuple[str, float]:
    """A token without a signature, which Kafka takes where it is told to."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    expiry = time.time() + 300
    return f"{part({'alg': 'none'})}.{part({'sub': 'ann', 'iat': time.time(), 'exp': expiry})}.", expiry


async def test_a_failing_token_function_is_not_called_by_making_a_bus_and_keeps_its_text() -> None:
    calls: list[str] = []
    loop_runs = threading.Event()

    def refuse(config: str) -> Any:
        calls.append(config)
        assert loop_runs.wait(30), "the event loop waits for the token"
        raise RuntimeError("the identity provider is closed on Mondays")

    bus = Bus("kafka://127.0.0.1:1", topic="t", options={**OAUTH, "oauth_cb": refuse})
    assert not calls

    async def show() -> None:
        while not calls:
            await asyncio.sleep(0.01)
        loop_runs.set()

    showing = asyncio.create_task(show())
    with pytest.raises(
        ConnectionLost, match="oauth_cb failed: RuntimeError: the identity provider is closed on Mondays"
    ):
        async with bus:
            pass
    await showing


async def test_tokens_let_in_and_are_asked_for_by_the_clients_alone(secured: KafkaBroker) -> None:
    calls = 0

    def counted(config: str) -> tuple[str, float]:
        nonlocal calls
        calls += 1
        return token(config)

    create_topic(secured, "oauth")
    bus = Bus(f"kafka://{secured.sasl_address}", topic="oauth", group="wallet", options={**OAUTH, "oauth_cb": counted})
    assert calls == 0
    await publish_and_handle(bus, 3)
    assert calls > 0


@pytest.mark.parametrize("wrong", ["token", None, ("token",), ("token", "soon")])
async def test_a_token_function_that_returns_something_else_is_told_so(wrong: object) -> None:
    login = Login("kafka://h", None, None, lambda _: wrong)
    with pytest.raises(TypeError, match="a tuple of token and time of expiry"):
        login.token("")


def create_topic(broker: KafkaBroker, name: str) -> None:
    client = AdminClient({"bootstrap.servers": broker.address})  # a client without a name would end at once
    client.create_topics([NewTopic(name, 1)])[name].result(30)


def set_password(broker: KafkaBroker, password: str) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    change = UserScramCredentialUpsertion("ann", info, password.encode())
    client = AdminClient({"bootstrap.servers": broker.address})
    client.alter_user_scram_credentials([change])["ann"].result(30)


async def publish_and_handle(bus: Bus, count: int) -> None:
    seen = handling(bus)
    async with asyncio.timeout(90), bus, bus.serving():
        for _ in range(count):
            await bus.publish(SEATED)
        await until(lambda: len(seen) >= count, seconds=100)


async def test_a_refusal_of_the_earlier_password_ends_nothing_once_a_new_one_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client has several connections, and each of them is refused when the password has changed."""
    now, password, told = 1_000.0, "first", list[KafkaError]()
    monkeypatch.setattr("brokerkit.adapters.kafka._login.monotonic", lambda: now)
    login = Login("kafka://h", "ann", lambda: password, None)
    given: Any = login.make(_Client, {"error_cb": told.append})
    refused = KafkaError(KafkaError._AUTHENTICATION)  # pyright: ignore[reportPrivateUsage]

    async def refuse() -> None:
        given.config["error_cb"](refused)
        while any(thread.name == "brokerkit-kafka-login" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)

    password = "second"
    await refuse()
    await refuse()  # by another connection, before the consumer is polled
    login.apply(given)
    await refuse()  # by one that was begun before
    assert (given.passwords, told) == (["second"], [])
    now += 60
    await refuse()
    assert told == [refused]


class _Client:
    """Stands for a consumer: it has what a client is made with, and the passwords that it was given."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.passwords: list[str] = []

    def set_sasl_credentials(self, user: str, password: str) -> None:
        self.passwords.append(password)


@pytest.mark.timeout(300)
async def test_kafka_goes_on_with_a_rotated_password(secured: KafkaBroker, tmp_path: Path) -> None:
    create_topic(secured, "scram")
    set_password(secured, "first")
    file = tmp_path / "password"
    file.write_text("first\n")
    bus = Bus(
        f"kafka://ann@{secured.sasl_address}", topic="scram", group="wallet", options=SCRAM, password_file=str(file)
    )
    seen = handling(bus)
    async with asyncio.timeout(280), bus, bus.serving():
        await bus.publish(SEATED)
        await until(lambda: len(seen) >= 1, seconds=100)
        file.write_text("second")
        set_password(secured, "second")
        await asyncio.to_thread(secured.restart)
        await bus.publish(SEATED)
        await until(lambda: len(set(seen)) == 2, seconds=100)


@pytest.mark.timeout(300)
async def test_a_certificate_that_expires_later_is_named_while_a_source_of_kafka_reconnects(
    secured: KafkaBroker, front_ports: tuple[int, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_topic(secured, "expiring")
    authority = Authority.make(tmp_path)
    behind, port = f"127.0.0.1:{front_ports[0]}", front_ports[1]
    options = {"security.protocol": "SSL", "ssl.ca.location": str(authority.file)}
    bus = Bus(f"kafka://127.0.0.1:{port}", topic="expiring", group="wallet", options=options)
    seen = handling(bus)
    async with AsyncExitStack() as stack, asyncio.timeout(280):
        front = AsyncExitStack()
        await front.enter_async_context(tls_front(behind, *authority.issue("good"), port=port))
        await stack.enter_async_context(bus)
        await stack.enter_async_context(bus.serving())
        await bus.publish(SEATED)
        await until(lambda: len(seen) == 1, seconds=100)
        await front.aclose()
        async with tls_front(behind, *authority.issue("bad", until=timedelta(hours=-1)), port=port):
            await until(lambda: "the server's certificate has expired" in caplog.text, seconds=100)
            assert "has expired" in (await bus.health()).sources["bus"].error
        await stack.enter_async_context(tls_front(behind, *authority.issue("good"), port=port))
        await publish(bus)
        await until(lambda: len(set(seen)) >= 2, seconds=100)


def test_a_password_needs_a_user() -> None:
    with pytest.raises(ConfigError, match="the URL has no user"):
        Bus("kafka://h", topic="t", group="g", password="x")


def test_an_encrypted_key_needs_its_pass_phrase_and_never_a_terminal(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue("client", password="opensesame")
    options = {
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(certificate),
        "ssl.key.location": str(key),
    }
    for wrong in ({}, {"ssl.key.password": "closed"}):
        with pytest.raises(ConfigError) as caught:
            Bus("kafka://h", topic="t", group="g", options=options | wrong)
        assert "closed" not in str(caught.value)
    Bus("kafka://h", topic="t", group="g", options=options | {"ssl.key.password": "opensesame"})
    for missing in ("ssl.ca.location", "ssl.certificate.location"):
        with pytest.raises(ConfigError, match=f"'{missing}': the file .* does not exist"):
            Bus("kafka://h", topic="t", group="g", options=options | {missing: str(tmp_path / "no")})
