"""Errors while connecting, and the options of URL and client, at the seam, on a real broker."""

import logging
import re
import time

import pytest
from tests.adapters.kafka.seam import bodies, message, opened, reading, send, take
from tests.brokers.kafka import KafkaBroker

from brokerkit._errors import AccessDenied, ConfigError, ConnectionLost
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.kafka import KafkaAdapter


async def test_an_unreachable_broker_is_connection_lost_in_time() -> None:
    kafka = KafkaAdapter(Connection(url=Url.parse("kafka://127.0.0.1:1"), connect_timeout=1.5))
    begun = time.monotonic()
    with pytest.raises(ConnectionLost, match="did not answer within 1.5 s.*Connection refused"):
        await kafka.open()
    assert time.monotonic() - begun < 9
    await kafka.close()


def with_password(broker: KafkaBroker, password: str, *, protocol: str | None, timeout: float = 10) -> KafkaAdapter:
    url = Url.parse(f"kafka://{broker.user}:{password}@{broker.sasl_address}")
    options = {"security.protocol": protocol} if protocol else {}
    return KafkaAdapter(Connection(url=url, options=options, connect_timeout=timeout))


async def test_a_wrong_password_is_access_denied(kafka_broker: KafkaBroker) -> None:
    wrong = kafka_broker.wrong_password
    kafka = with_password(kafka_broker, wrong, protocol="SASL_PLAINTEXT")
    with pytest.raises(AccessDenied) as caught:
        await kafka.open()
    assert wrong not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {kafka!r}"


async def test_the_right_password_opens(kafka_broker: KafkaBroker, topic: str) -> None:
    kafka = with_password(kafka_broker, kafka_broker.password, protocol="SASL_PLAINTEXT")
    await kafka.open()
    await send(kafka, message(topic, b"1"))
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"1"]
        assert kafka_broker.password not in f"{source!r} {source._threads!r} {kafka!r}"  # pyright: ignore[reportPrivateUsage]
    await kafka.close()


async def test_a_password_is_not_sent_in_clear_unless_told_to(kafka_broker: KafkaBroker) -> None:
    kafka = with_password(kafka_broker, kafka_broker.password, protocol=None, timeout=1)
    with pytest.raises(ConnectionLost, match="SSL handshake failed"):
        await kafka.open()


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("kafka://", {}, "at least one broker"),
        ("kafka://localhost/topic", {}, "ends after the hosts"),
        ("kafka://:secret@localhost", {}, "no user"),
        ("kafka://localhost", {"linger.mss": 1}, "linger.mss"),
        ("kafka://localhost", {"linger.ms": "soon"}, "Invalid value"),
        ("kafka://localhost", {"group.id": "mine"}, "the source names the group"),
        ("kafka://localhost", {"stats_cb": 1}, "stats_cb"),
        ("kafka://localhost", {"group.protocol": "consumer", "session.timeout.ms": 6000}, "session.timeout.ms"),
        ("kafka://localhost", {"acks": "1"}, "acks"),
    ],
)
def test_a_wrong_url_or_option_is_refused_before_connecting(url: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        KafkaAdapter(Connection(url=Url.parse(url), options=options))
    assert "secret" not in str(caught.value)


async def test_each_client_gets_its_own_options_only(
    kafka_broker: KafkaBroker, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "brokerkit.adapters.kafka")
    options = {"linger.ms": "1", "acks": "all", "fetch.min.bytes": 1, "session.timeout.ms": "10000", "client.id": "me"}
    async with opened(kafka_broker, **options) as kafka, reading(kafka, topic) as source:
        await send(kafka, message(topic))
        await take(source, 1)
    said = [record for record in caplog.records if record.name.startswith("brokerkit")]
    assert [record.getMessage() for record in said] == []
