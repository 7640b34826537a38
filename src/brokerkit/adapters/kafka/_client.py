"""What the Kafka adapter tells the client library, and what it makes of the library's errors.

One set of options serves producer, consumer and admin client. librdkafka knows which of its settings belong to whom and
warns about the others, so it is asked: a client that is built without brokers connects to nothing and is there and
gone in a tenth of a millisecond.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from brokerkit._errors import AccessDenied, BrokerkitError, ConfigError, ConnectionLost, NotFound, PublishError
from brokerkit._transport import Connection

LOG: Final = logging.getLogger("brokerkit.kafka")


def _as_detail(record: logging.LogRecord) -> bool:
    """Librdkafka logs each failed try of each connection as an error. What matters of it reaches us as an error too."""
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return LIBRDKAFKA.isEnabledFor(logging.DEBUG)


LIBRDKAFKA: Final = logging.getLogger("brokerkit.kafka.librdkafka")
LIBRDKAFKA.addFilter(_as_detail)

OnError = Callable[[KafkaError], None]

_LONGEST: Final = 2_147_483_647
"""Milliseconds: the most that librdkafka takes, more than three weeks. 0 means no end."""

_OURS: Final = {
    "bootstrap.servers": "the URL names the brokers",
    "metadata.broker.list": "the URL names the brokers",
    "group.id": "the source names the group",
    "enable.auto.commit": "brokerkit decides when a message counts as done",
    "enable.auto.offset.store": "brokerkit decides when a message counts as done",
    "enable.partition.eof": "brokerkit has no use for it",
    "error_cb": "brokerkit turns errors into exceptions",
    "logger": "log lines go to the logger 'brokerkit.kafka'",
    "transactional.id": "brokerkit does not use transactions",
}

_DENIED: Final = {
    KafkaError._AUTHENTICATION,  # pyright: ignore[reportPrivateUsage]
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_MISSING: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # pyright: ignore[reportPrivateUsage]
    KafkaError._UNKNOWN_PARTITION,  # pyright: ignore[reportPrivateUsage]
}
LEADERLESS: Final = {KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION}
_UNREACHABLE: Final = LEADERLESS | {
    KafkaError._TRANSPORT,  # pyright: ignore[reportPrivateUsage]
    KafkaError._RESOLVE,  # pyright: ignore[reportPrivateUsage]
    KafkaError._SSL,  # pyright: ignore[reportPrivateUsage]
    KafkaError._ALL_BROKERS_DOWN,  # pyright: ignore[reportPrivateUsage]
    KafkaError._TIMED_OUT,  # pyright: ignore[reportPrivateUsage]
    KafkaError._TIMED_OUT_QUEUE,  # pyright: ignore[reportPrivateUsage]
    KafkaError._MSG_TIMED_OUT,  # pyright: ignore[reportPrivateUsage]
    KafkaError._PURGE_QUEUE,  # pyright: ignore[reportPrivateUsage]
    KafkaError._PURGE_INFLIGHT,  # pyright: ignore[reportPrivateUsage]
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
}


def translate(error: KafkaError, doing: str, *, sending: bool = False) -> BrokerkitError:
    """The error of brokerkit for an error of the client library.

    A table of codes decides: the flags of a `KafkaError` do not say whether trying again helps.
    """
    code = error.code()
    text = f"{doing}: {error.str()} ({error.name()})"
    if code in _DENIED:
        return AccessDenied(f"{text}; check user, password and the rights of this user")
    if code in _MISSING:
        return NotFound(f"{text}; create the topic, or use provision='all'")
    if code in _UNREACHABLE:
        return ConnectionLost(text)
    return PublishError(text) if sending else BrokerkitError(text)


def kafka_error(error: KafkaException) -> KafkaError:
    """The error inside a `KafkaException`."""
    inside: KafkaError = error.args[0]
    return inside


class Settings:
    """The configuration of all clients of one adapter, checked when it is made, without connecting.

    Attributes:
        classic: whether the group's members agree among themselves, and not the broker for them (KIP-848).
        lingers: whether messages wait for others for as long as the user has said.

    Raises:
        ConfigError: the URL has a part that Kafka has no use for, or an option is unknown, refused or has a wrong value.
    """

    def __init__(self, connection: Connection) -> None:
        url = connection.url
        if not url.hosts:
            raise ConfigError(f"{url}: name at least one broker, as in kafka://localhost:9092")
        if url.path:
            raise ConfigError(f"{url}: a Kafka URL ends after the hosts; topic and group are settings of their own")
        if url.password and not url.user:
            raise ConfigError(f"{url}: there is a password and no user")
        for name, why in _OURS.items():
            if name in connection.options:
                raise ConfigError(f"{url}: option {name!r} cannot be set: {why}")
        self.where = str(url)
        self.connect_timeout = connection.connect_timeout
        self._servers = ",".join(url.hosts)
        common: dict[str, Any] = {"client.id": "brokerkit"}
        if url.user:
            common |= {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
            common |= {"sasl.username": url.user, "sasl.password": url.password or ""}
        for_producer, for_consumer = _split(connection.options)
        self._producer: dict[str, Any] = {
            **common,
            "enable.idempotence": True,
            "acks": "all",
            # At most: a batch that is complete is sent at once, see `brokerkit.adapters.kafka._producer`.
            "linger.ms": 5,
            # The Java client's partitioner: a key goes to the same partition whichever of the two wrote it.
            "partitioner": "murmur2_random",
            # A confirmation that has not come by then is reported as lost; the library's own limit is five minutes.
            "delivery.timeout.ms": 30_000,
            # A topic that the broker does not know is believed to be just being created for so long (default 30 s).
            "topic.metadata.propagation.max.ms": 2_000,
            **for_producer,
        }
        self.lingers = not for_producer.keys().isdisjoint(("linger.ms", "queue.buffering.max.ms"))
        self._consumer: dict[str, Any] = {
            **common,
            "allow.auto.create.topics": False,
            "auto.commit.interval.ms": 200,
            # A full read-ahead is looked at again after so long. With the default, a second, whoever handles the
            # 100,000 messages of `queued.min.messages` in less waits for the rest of it: no more than 110,000 a second.
            "fetch.queue.backoff.ms": 100,
        }
        self.classic = for_consumer.get("group.protocol", "classic") == "classic"
        if self.classic:
            # With the newer protocol the broker assigns, and this setting is refused.
            self._consumer["partition.assignment.strategy"] = "cooperative-sticky"
        self._consumer |= for_consumer
        self._check()

    @property
    def cooperative(self) -> bool:
        """Whether assignments come as increments."""
        return "cooperative" in str(self._consumer.get("partition.assignment.strategy", "cooperative"))

    @property
    def static(self) -> bool:
        """Whether the member of the group has a name of its own, which only one process can have."""
        return "group.instance.id" in self._consumer

    @property
    def delivery_timeout(self) -> float:
        """Seconds after which the client reports an unconfirmed message as lost; the longest if it never does."""
        options = self._producer
        return (int(options.get("message.timeout.ms", options["delivery.timeout.ms"])) or _LONGEST) / 1000

    @property
    def message_limit(self) -> int:
        """The most bytes of one message that the client takes."""
        return int(self._producer.get("message.max.bytes", 1_000_000))

    def producer(self, on_error: OnError) -> dict[str, Any]:
        """Configuration of a `confluent_kafka.Producer` or an admin client."""
        return {**self._producer, "bootstrap.servers": self._servers, "error_cb": on_error}

    def consumer(self, on_error: OnError, *, group: str, commit: bool, role: str) -> dict[str, Any]:
        """Configuration of a `confluent_kafka.Consumer`. ``role`` tells several of them in one source apart."""
        config: dict[str, Any] = {
            # Where "latest" is meant, offsets are given. Left to the client, it would also hold for a group whose
            # offset has fallen out of retention, and skip everything that is still there.
            "auto.offset.reset": "earliest",
            **self._consumer,
            "bootstrap.servers": self._servers,
            "group.id": group,
            "enable.auto.commit": commit,
            "enable.auto.offset.store": False,
            "error_cb": on_error,
        }
        if instance := config.get("group.instance.id"):
            # Two members with one static id throw each other out.
            config["group.instance.id"] = f"{instance}{role}"
        return config

    def _check(self) -> None:
        """Build both clients without brokers: librdkafka looks at every name and value, and at what goes together."""
        try:
            Producer(self._producer, logger=_SILENT)
            Consumer({**self._consumer, "group.id": "check"}, logger=_SILENT).close()
        except KafkaException as error:
            raise ConfigError(f"{self.where}: {kafka_error(error).str()}") from error
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.where}: {error}") from error


def _split(options: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """The options that a producer takes, and those that a consumer takes. What neither takes is in both, to fail there."""
    producer = {name: value for name, value in options.items() if _takes(Producer, {}, name, value)}
    consumer = {name: value for name, value in options.items() if _takes(Consumer, {"group.id": "check"}, name, value)}
    unknown = {name: value for name, value in options.items() if name not in producer and name not in consumer}
    return {**producer, **unknown}, {**consumer, **unknown}


def _takes(client: type[Producer | Consumer], base: dict[str, object], name: str, value: object) -> bool:
    lines = _Lines()
    logger = logging.Logger("brokerkit.kafka.check")  # noqa: LOG001  (nobody else's, and gone at the end)
    logger.addHandler(lines)
    try:
        made = client({**base, name: value}, logger=logger)
    except KafkaException as error:
        return "No such configuration property" not in kafka_error(error).str()
    except (TypeError, ValueError):
        return True
    made.poll(0)  # Log lines are served here.
    if isinstance(made, Consumer):
        made.close()
    return not any("will be ignored" in line for line in lines.seen)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


_SILENT: Final = logging.Logger("brokerkit.kafka.check", logging.CRITICAL + 1)  # noqa: LOG001
