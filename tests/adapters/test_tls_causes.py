"""What a failed TLS connection says, on every broker: its cause, and what to do."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.test_credentials import SEATED, handling
from tests.brokers.aws import AwsBroker
from tests.brokers.kafka import KafkaBroker
from tests.brokers.rabbitmq import RabbitBroker
from tests.brokers.redis import RedisBroker
from tests.certificates import Authority, tls_front
from tests.every_broker import until

from brokerkit import Bus, ConfigError, ConnectionLost
from brokerkit.adapters._tls_cause import tls_of
from brokerkit.adapters.api import Connection, Url
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.dedupe import RedisStore

KINDS = ["redis", "amqp", "kafka", "sqs"]
AUTHORITY = {"redis": "ssl_ca_certs", "amqp": "cafile", "kafka": "ssl.ca.location", "sqs": "verify"}


@pytest.fixture(autouse=True)
def time_on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokerkit.adapters._tls_cause._TIMEOUT", 15.0)


@pytest.fixture
def addresses(
    redis_broker: RedisBroker, rabbit_broker: RabbitBroker, kafka_broker: KafkaBroker, sqs_broker: AwsBroker
) -> dict[str, tuple[str, str]]:
    """User and password, and host and port, of each broker."""
    found = {"redis": redis_broker.url, "amqp": rabbit_broker.url}
    login = {kind: re.fullmatch(r"\w+://(?:(.*)@)?([^/]+)(?:/.*)?", url) for kind, url in found.items()}
    parts = {kind: (each[1] or "", each[2]) for kind, each in login.items() if each is not None}
    return {**parts, "kafka": ("", kafka_broker.address), "sqs": ("", sqs_broker.url.partition("://")[2])}


def bus_at(kind: str, login: str, address: str, *, secure: bool, authority: Path | None = None, **more: Any) -> Bus:
    options = dict(more.pop("options", {}))
    if authority is not None and secure:
        options[AUTHORITY[kind]] = str(authority)
    if kind == "sqs":
        endpoint = f"{'https' if secure else 'http'}://{address}"
        return Bus("sqs://eu-west-1", topic="t", endpoint=endpoint, options=options, connect_timeout=5, **more)
    if kind == "kafka":
        options["security.protocol"] = "SSL" if secure else "PLAINTEXT"
        return Bus(f"kafka://{address}", topic="t", options=options, connect_timeout=5, **more)
    at = f"{login}@{address}" if login else address
    return Bus(f"{kind}{'s' if secure else ''}://{at}", topic="t", options=options, connect_timeout=5, **more)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("issued", "said"),
    [
        ({"until": timedelta(hours=-1)}, "the server's certificate has expired"),
        ({"address": "127.0.0.2"}, "the server's certificate is not for '127.0.0.1'"),
        (None, "from an authority that is not trusted here .*; name its authority in the option '{option}'"),
    ],
)
async def test_a_certificate_that_is_refused_says_why(
    kind: str, issued: dict[str, Any] | None, said: str, addresses: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    trusted, folder = Authority.make(tmp_path), tmp_path / "other"
    folder.mkdir()
    certificate, key = (
        Authority.make(folder, name="other").issue("server") if issued is None else trusted.issue("server", **issued)
    )
    login, address = addresses[kind]
    async with tls_front(address, certificate, key) as port:
        bus = bus_at(kind, login, f"127.0.0.1:{port}", secure=True, authority=trusted.file)
        with pytest.raises(ConnectionLost, match=said.format(option=AUTHORITY[kind])) as caught:
            async with bus:
                pass
        assert f"127.0.0.1:{port}: " in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_without_tls_is_told_apart(
    kind: str, addresses: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    login, address = addresses[kind]
    with pytest.raises(ConnectionLost, match="does not speak TLS[;,] .*(write|security.protocol)"):
        async with bus_at(kind, login, address, secure=True, authority=Authority.make(tmp_path).file):
            pass


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_without_tls_hears_that_the_server_speaks_it(
    kind: str, addresses: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    login, address = addresses[kind]
    async with tls_front(address, *Authority.make(tmp_path).issue("server")) as port:
        with pytest.raises(ConnectionLost, match="the server speaks TLS; .*(write|security.protocol)"):
            async with bus_at(kind, login, f"127.0.0.1:{port}", secure=False):
                pass


@pytest.mark.parametrize("kind", ["redis", "amqp"])
async def test_a_server_that_wants_a_certificate_says_so(
    kind: str, addresses: dict[str, tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokerkit.adapters._tls_cause._REFUSAL", 15.0)
    authority = Authority.make(tmp_path)
    login, address = addresses[kind]
    async with tls_front(address, *authority.issue("server"), clients=authority.file) as port:
        with pytest.raises(ConnectionLost, match="wants a certificate of the client"):
            async with bus_at(kind, login, f"127.0.0.1:{port}", secure=True, authority=authority.file):
                pass


@pytest.mark.parametrize("kind", ["redis", "amqp", "sqs"])  # Kafka: test_kafka_credentials.py
async def test_a_certificate_that_expires_later_is_named_while_the_source_reconnects(
    kind: str, addresses: dict[str, tuple[str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority.make(tmp_path)
    login, address = addresses[kind]
    async with AsyncExitStack() as stack, asyncio.timeout(120):
        front = AsyncExitStack()
        port = await front.enter_async_context(tls_front(address, *authority.issue("good")))
        bus = bus_at(
            kind,
            login,
            f"127.0.0.1:{port}",
            secure=True,
            authority=authority.file,
            group="g",
            provision="all",
            **({"name_from": "field:event"} if kind == "sqs" else {}),
        )
        handling(bus)
        await stack.enter_async_context(bus)
        await stack.enter_async_context(bus.serving())
        await front.aclose()
        bad = authority.issue("bad", until=timedelta(hours=-1))
        await stack.enter_async_context(tls_front(address, *bad, port=port))
        await until(lambda: "the server's certificate has expired" in caplog.text, seconds=90)
        assert "has expired" in (await bus.health()).sources["bus"].error


@pytest.mark.parametrize("kind", KINDS)
async def test_a_publish_says_that_a_certificate_has_expired_meanwhile(
    kind: str,
    addresses: dict[str, tuple[str, str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The node names its address without TLS, and the question at the start would go there.
    monkeypatch.setattr(KafkaAdmin, "reach", lambda _: asyncio.sleep(0))
    authority = Authority.make(tmp_path)
    login, address = addresses[kind]
    async with AsyncExitStack() as stack, asyncio.timeout(180):
        front = AsyncExitStack()
        port = await front.enter_async_context(tls_front(address, *authority.issue("good")))
        bus = bus_at(
            kind,
            login,
            f"127.0.0.1:{port}",
            secure=True,
            authority=authority.file,
            publish_timeout=10.0,
            provision="off" if kind in ("kafka", "sqs") else "all",
            **({"name_from": "field:event"} if kind == "sqs" else {}),
        )
        await stack.enter_async_context(bus)
        await front.aclose()
        bad = authority.issue("bad", until=timedelta(hours=-1))
        await stack.enter_async_context(tls_front(address, *bad, port=port))
        error = ""
        while "the server's certificate has expired" not in error:  # what is found late is in the next error
            with pytest.raises(ConnectionLost) as caught:
                await bus.publish(SEATED)
            error = str(caught.value)
        assert error.count("the server's certificate has expired") == 1
        assert "has expired" in (await bus.health()).targets["bus"].error
        assert "has expired" in caplog.text


def unchecked() -> ssl.SSLContext:
    """A context that knows authorities, and takes their certificates for any host."""
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


@pytest.mark.parametrize(
    ("url", "options", "option"),
    [
        ("rediss://h", {"ssl_cert_reqs": "none"}, "ssl_cert_reqs"),
        ("rediss://h", {"ssl_check_hostname": False}, "ssl_check_hostname"),
        ("rediss://h", {}, ""),
        ("redis://h", {}, ""),
        ("amqps://h", {"no_verify_ssl": 1}, "no_verify_ssl"),
        ("amqps://h", {}, ""),
        ("amqps://h", {"ssl_context": unchecked()}, "ssl_context"),
        ("amqps://h", {"ssl_context": ssl.create_default_context()}, ""),
        ("thrillconnect+wss://h", {"ssl": unchecked()}, "ssl"),
        ("thrillconnect+wss://h", {}, ""),
        ("kafka://ann@h", {"enable.ssl.certificate.verification": "false"}, "enable.ssl.certificate.verification"),
        ("kafka://ann@h", {"ssl.endpoint.identification.algorithm": "none"}, "ssl.endpoint.identification.algorithm"),
        ("kafka+share://ann@h", {}, ""),
        ("kafka://h", {"enable.ssl.certificate.verification": "false"}, ""),
        ("sqs://eu-west-1", {"verify": False}, "verify"),
        ("sns://eu-west-1", {"verify": "/etc/ca.pem"}, ""),
    ],
)
def test_a_check_that_is_switched_off_is_known(url: str, options: dict[str, object], option: str) -> None:
    found = tls_of(Connection(url=Url.parse(url), options=options))
    assert found is not None
    assert found.unverified == option


def test_a_missing_authority_of_aws_is_refused_when_the_bus_is_made() -> None:
    with pytest.raises(ConfigError, match="option 'verify': the file '/nowhere/ca.pem' does not exist"):
        Bus("sqs://eu-west-1", topic="t", group="g", options={"verify": "/nowhere/ca.pem"})


async def test_a_check_that_is_switched_off_is_a_warning_at_every_start(
    addresses: dict[str, tuple[str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    login, address = addresses["redis"]
    async with tls_front(address, *Authority.make(tmp_path).issue("server")) as port:
        for _ in range(2):
            caplog.clear()
            options = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
            async with bus_at("redis", login, f"127.0.0.1:{port}", secure=True, options=options, provision="all"):
                pass
            said = [each for each in caplog.records if "'ssl_cert_reqs' switches the check" in each.getMessage()]
            assert [each.levelno for each in said] == [logging.WARNING]


async def test_a_dedupe_store_in_redis_says_the_cause_too_and_that_nothing_is_checked(
    addresses: dict[str, tuple[str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    login, address = addresses["redis"]
    at = f"{login}@127.0.0.1" if login else "127.0.0.1"
    expired = Authority.make(tmp_path).issue("server", until=timedelta(hours=-1))
    async with tls_front(address, *expired) as port:
        with pytest.raises(ConnectionLost, match="the server's certificate has expired"):
            await RedisStore(f"rediss://{at}:{port}?ssl_ca_certs={tmp_path / 'ca.pem'}").open()
        assert not caplog.records
        store = RedisStore(f"rediss://{at}:{port}?ssl_cert_reqs=none&ssl_check_hostname=false")
        await store.open()
        await store.close()
        [said] = [each for each in caplog.records if "'ssl_cert_reqs' switches the check" in each.getMessage()]
        assert said.levelno == logging.WARNING


@pytest.mark.parametrize("secure", [True, False])
async def test_thrillconnect_says_the_cause_when_the_source_starts(secure: bool, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as plain, AsyncExitStack() as stack:
        port = plain.sockets[0].getsockname()[1]
        if not secure:
            port = await stack.enter_async_context(tls_front(f"127.0.0.1:{port}", *authority.issue("server")))
        options = {"ssl": str(authority.file)} if secure else {}
        url = f"thrillconnect+{'wss' if secure else 'ws'}://127.0.0.1:{port}/"
        bus = Bus(url, topic="t", options=options, connect_timeout=30)
        handling(bus)
        said = r"does not speak TLS; write thrillconnect\+ws:" if secure else r"speaks TLS; write thrillconnect\+wss:"
        async with bus:
            with pytest.raises(ConnectionLost, match=said):
                async with bus.serving():
                    pass
