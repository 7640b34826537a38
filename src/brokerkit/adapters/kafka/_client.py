"""The configuration of Kafka clients.

One set of options serves producer, consumer and admin client. librdkafka knows which setting belongs to which client, and
warns about the others. To ask it, a client without brokers is created: it connects to nothing, and takes a tenth of a
millisecond.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaException, Producer

from brokerkit.adapters.api import ConfigError, Connection, compile_pattern, get_logger, is_pattern
from brokerkit.adapters.kafka._errors import Needed, kafka_error
from brokerkit.adapters.kafka._login import OAUTH, Login, OnError, OnToken


def _as_detail(record: logging.LogRecord) -> bool:
    """Lower librdkafka's lines to debug. It logs each failed connect as an error, and its real errors also reach us."""
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return LIBRDKAFKA.isEnabledFor(logging.DEBUG)


LIBRDKAFKA: Final = get_logger("brokerkit.adapters.kafka.librdkafka")
LIBRDKAFKA.addFilter(_as_detail)

Partition = tuple[str, int]
"""A topic, and the number of one of its partitions."""

_LONGEST_NAME: Final = 1_024
"""Bytes of the longest group name. The protocol allows 32 KiB, and the broker closes the connection over a longer name."""

_LONGEST: Final = 2_147_483_647
"""Milliseconds: the longest timeout of librdkafka, more than three weeks. 0 means no timeout."""

_LARGEST: Final = 1_000_000_000
"""Bytes: the largest value of librdkafka's message limit."""

_TRANSACTION_TIMEOUT: Final = 10_000
"""Milliseconds after which the broker aborts the transaction of a dead process. Readers wait for it that long."""

_LONGEST_QUESTION: Final = 3_600.0
"""Seconds: the longest that librdkafka's admin client waits for an answer."""

_TOPIC: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}")
"""https://kafka.apache.org/documentation/#adminapi"""

_OURS: Final = {
    "bootstrap.servers": "the URL names the brokers",
    "metadata.broker.list": "the URL names the brokers",
    "group.id": "the source names the group",
    "enable.auto.commit": "brokerkit decides when a message counts as done",
    "enable.auto.offset.store": "brokerkit decides when a message counts as done",
    "enable.partition.eof": "brokerkit has no use for it",
    "error_cb": "brokerkit turns errors into exceptions",
    "logger": "log lines go to the logger 'brokerkit.adapters.kafka.librdkafka'",
    "transactional.id": "brokerkit names the transactions of a source with exactly_once",
    "delivery.report.only.error": "brokerkit waits for each confirmation",
    "enabled_events": "brokerkit needs all of them",
    "on_delivery": "brokerkit waits for each confirmation",
    "test.mock.num.brokers": "the URL names the brokers",
}

_FILES: Final = frozenset({"ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location"})
"""librdkafka's error for a missing one names neither the file nor what is wrong with it. "probe" is a word of its own."""


def ignored(_: BaseException) -> None:
    """For `watch`: whoever waited for this has been cancelled, and nobody else asks for the error."""


def check_topic(name: str) -> None:
    """Refuse a name that no topic can have. librdkafka ends the process over some names, or cuts them at a NUL.

    Raises:
        ConfigError: the name is not allowed.
    """
    if not _TOPIC.fullmatch(name):
        raise ConfigError(
            f"Kafka has no topic called {name!r:.300}: a name is up to 249 letters, digits, dots, underscores and hyphens"
        )


def check_source(name: str) -> None:
    """Refuse what is neither the name of a topic nor a pattern.

    Raises:
        ConfigError: the name is not allowed, or the pattern is not a regular expression.
    """
    if is_pattern(name):
        compile_pattern(name)
    else:
        check_topic(name)


def check_group(name: str) -> None:
    """Refuse a name that no group can have. librdkafka ends the process over an empty one.

    Raises:
        ConfigError: the name is not allowed.
    """
    unclean = _find_unclean(name)
    if not name.strip() or unclean or len(name.encode(errors="replace")) > _LONGEST_NAME:
        raise ConfigError(f"Kafka has no group called {name!r:.300}: {unclean or 'it takes 1 to 1,024 bytes of text'}")


def _find_unclean(text: str) -> str:
    """Say why librdkafka would change this text or end the process. "" if it accepts the text."""
    if "\0" in text:
        return "it contains a NUL, where the client library would cut it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it contains half of a character, a lone surrogate"
    return ""


def _refuse_missing(where: str, options: Mapping[str, object]) -> None:
    for name in _FILES & options.keys():
        file = str(options[name])
        if file != "probe" and not Path(file).exists():
            raise ConfigError(f"{where}: option {name!r}: the file {file!r} does not exist")


def _refuse_unclean(
    where: str, hosts: Sequence[str], user: str | None, password: str | None, options: Mapping[str, object]
) -> None:
    parts = {"host": ",".join(hosts), "user": user or "", "password": password or ""}
    for part, text in parts.items():
        if why := _find_unclean(text):
            raise ConfigError(f"Kafka: the {part} of the URL is not usable: {why}")
    for name, value in options.items():
        if why := _find_unclean(name) or (_find_unclean(value) if isinstance(value, str) else ""):
            raise ConfigError(f"{where}: option {name!r} is not usable: {why}")
    if "group.instance.id" in options and not str(options["group.instance.id"] or "").strip():
        raise ConfigError(f"{where}: option 'group.instance.id' is empty; leave it out, or name the member")


_FEW: Final = 200
"""Above so many topics, a fetch that finds nothing waits longer at the broker.

The client names all partitions in each fetch (librdkafka 2.16 has no fetch sessions). For 1,000 idle ones, twice a second,
that took one percent of a core. A message ends the wait at once. Only a partition that is assigned or resumed meanwhile has
to wait for it.
"""

_WAIT_FOR_EACH: Final = 2.5
"""Milliseconds of that wait for each topic."""

_LONGEST_WAIT: Final = 5_000
"""Milliseconds."""


class Settings:
    """The configuration of all clients of one adapter. It is checked at creation, without connecting.

    Attributes:
        login: makes the clients.
        classic: whether the members of the group assign partitions; with KIP-848 the broker does.
        common: what every client needs to log in.
        servers: the brokers, as the client library wants them.
        lingers: whether the user has set how long messages wait for others.

    Raises:
        ConfigError: Kafka cannot use a part of the URL, or an option is unknown, not allowed or has a wrong value.
    """

    def __init__(self, connection: Connection) -> None:
        url = connection.url
        if not url.hosts:
            raise ConfigError(f"{url}: name at least one broker, as in kafka://localhost:9092")
        if url.path:
            raise ConfigError(f"{url}: a Kafka URL ends after the hosts; topic and group are settings of their own")
        if url.password and not url.user:
            raise ConfigError(f"{url}: the URL has a password but no user")
        if connection.password is not None and not url.user:
            raise ConfigError(f"{url}: there is a password, but the URL has no user")
        for name, why in _OURS.items():
            if name in connection.options:
                raise ConfigError(f"{url}: option {name!r} cannot be set: {why}")
        _refuse_missing(str(url), connection.options)
        _refuse_unclean(str(url), url.hosts, url.user, url.password, connection.options)
        self.where = str(url)
        self.connect_timeout = min(connection.connect_timeout, _LONGEST_QUESTION)
        self.servers = ",".join(url.hosts)
        common: dict[str, Any] = {"client.id": "brokerkit"}
        if url.user:
            common |= {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
            # A password that changes is put in when a client is made; the check needs one.
            common |= {"sasl.username": url.user, "sasl.password": url.password or ("-" if connection.password else "")}
        self.common = common
        options = dict(connection.options)
        # A client that has the function calls it, and waits for a token: only those that connect get it.
        self.login = Login(self.where, url.user, connection.password, cast("OnToken", options.pop(OAUTH, None)))
        for_producer, for_consumer = _split(options)
        self._producer: dict[str, Any] = {
            **common,
            "enable.idempotence": True,
            "acks": "all",
            # The most. A complete batch is sent at once, see `brokerkit.adapters.kafka._producer`.
            "linger.ms": 5,
            # The Java client's partitioner: both clients write a key to the same partition.
            "partitioner": "murmur2_random",
            # A message without confirmation is reported as lost after this time. The library's default is five minutes.
            "delivery.timeout.ms": 30_000,
            # For so long, a topic that the broker does not know is taken for one that is being created (default 30 s).
            "topic.metadata.propagation.max.ms": 2_000,
            **for_producer,
        }
        self._user = str(for_consumer.get("sasl.username") or for_consumer.get("sasl.user") or url.user or "")
        self.lingers = not for_producer.keys().isdisjoint(("linger.ms", "queue.buffering.max.ms"))
        self._consumer: dict[str, Any] = {
            **common,
            "allow.auto.create.topics": False,
            "auto.commit.interval.ms": 200,
            # A full read-ahead is checked again after this time. With the default, a second, a consumer that handles the
            # 100,000 messages of `queued.min.messages` faster waits for the rest of it: at most 110,000 a second.
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
        """Whether the member of the group has a fixed name, which only one process can have."""
        return "group.instance.id" in self._consumer

    @property
    def instance(self) -> str:
        """The fixed name of the member, or "" if it has none."""
        return str(self._consumer.get("group.instance.id", ""))

    @property
    def delivery_timeout(self) -> float:
        """Seconds after which the client reports an unconfirmed message as lost; the largest value if it never does."""
        options = self._producer
        return (int(options.get("message.timeout.ms", options["delivery.timeout.ms"])) or _LONGEST) / 1000

    @property
    def message_limit(self) -> int:
        """The largest message of the client, in bytes."""
        return int(self._producer.get("message.max.bytes", 1_000_000))

    def needed(self, right: str, topic: str, *, group: str = "") -> Needed:
        """Describe the rights that a request of these clients needs."""
        return Needed(user=self._user, right=right, topic=topic, group=group)

    def configure_producer(self, on_error: OnError) -> dict[str, Any]:
        """Build the configuration of a `confluent_kafka.Producer`."""
        return {**self._producer, "bootstrap.servers": self.servers, "error_cb": on_error}

    def configure_admin(self, on_error: OnError) -> dict[str, Any]:
        """Build the configuration of an admin client.

        To the client library it is a producer. An idempotent one asks for a producer id, which takes the right to write to
        some topic. Without that right, the client has a fatal error.
        """
        return {**self.configure_producer(on_error), "enable.idempotence": False, "enable.gapless.guarantee": False}

    def configure_large_producer(self, on_error: OnError) -> dict[str, Any]:
        """Build the configuration of a producer for messages that fit into a topic only when compressed."""
        config = self.configure_producer(on_error)
        for other in ("compression.codec", "compression.type"):
            if config.get(other) not in (None, "none"):
                return {**config, "message.max.bytes": _LARGEST}
        # Every broker supports gzip, including those that only speak Kafka's protocol.
        return {**config, "message.max.bytes": _LARGEST, "compression.type": "gzip"}

    def configure_transactional_producer(self, on_error: OnError, *, name: str) -> dict[str, Any]:
        """Build the configuration of a producer for transactions.

        Raises:
            ConfigError: an option does not go together with transactions.
        """
        if self._consumer.get("isolation.level", "read_committed") != "read_committed":
            raise ConfigError(f"{self.where}: exactly_once needs isolation.level=read_committed, the default")
        config = {"transaction.timeout.ms": _TRANSACTION_TIMEOUT, "retry.backoff.ms": 20, **self._producer}
        for timeout in ("delivery.timeout.ms", "message.timeout.ms"):
            if timeout in config:  # librdkafka refuses a longer one
                config[timeout] = min(int(config[timeout]) or _LONGEST, int(config["transaction.timeout.ms"]))
        # Retry copies and dead letters may be larger than the limit for users' messages, which is checked before.
        config |= {"message.max.bytes": _LARGEST, "transactional.id": name}
        try:
            Producer(config, logger=_SILENT)
        except KafkaException as error:
            raise ConfigError(f"{self.where}: exactly_once: {kafka_error(error).str()}") from error
        return {**config, "bootstrap.servers": self.servers, "error_cb": on_error}

    def configure_consumer(
        self, on_error: OnError, *, group: str, commit: bool, role: str, topics: int = 1
    ) -> dict[str, Any]:
        """Build the configuration of a `confluent_kafka.Consumer`. ``role`` distinguishes the consumers of one source, which
        reads so many ``topics``.
        """
        config: dict[str, Any] = {
            # For "latest", explicit offsets are given. The client's own "latest" would also apply to a group whose offset
            # has fallen out of retention, and skip everything that is still there.
            "auto.offset.reset": "earliest",
            **self._consumer,
            "bootstrap.servers": self.servers,
            "group.id": group,
            "enable.auto.commit": commit,
            "enable.auto.offset.store": False,
            "error_cb": on_error,
        }
        if instance := config.get("group.instance.id"):
            # Two members with one static id expel each other.
            config["group.instance.id"] = f"{instance}{role}"
        if topics > _FEW and not {"fetch.wait.max.ms", "socket.timeout.ms"} & self._consumer.keys():
            config["fetch.wait.max.ms"] = min(int(_WAIT_FOR_EACH * topics), _LONGEST_WAIT)
        return config

    def _check(self) -> None:
        """Create both clients without brokers. librdkafka checks every name and value, and whether they fit together."""
        try:
            Producer(self._producer, logger=_SILENT)
            Consumer({**self._consumer, "group.id": "check"}, logger=_SILENT).close()
        except KafkaException as error:
            raise ConfigError(f"{self.where}: {kafka_error(error).str()}") from error
        except Exception as error:  # confluent-kafka reports a wrong value in many ways
            raise ConfigError(f"{self.where}: {error}") from error


def _split(options: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Split the options into those of a producer and those of a consumer. Unknown ones go to both, and fail there."""
    producer = {name: value for name, value in options.items() if takes(Producer, {}, name, value)}
    consumer = {name: value for name, value in options.items() if takes(Consumer, {"group.id": "check"}, name, value)}
    unknown = {name: value for name, value in options.items() if name not in producer and name not in consumer}
    return {**producer, **unknown}, {**consumer, **unknown}


def takes(client: type[Any], base: Mapping[str, object], name: str, value: object) -> bool:
    """Whether a kind of client knows a setting. ``base`` are the settings that it needs."""
    lines = _Lines()
    logger = logging.Logger("brokerkit.adapters.kafka.check")  # noqa: LOG001  (not shared, and dropped at the end)
    logger.addHandler(lines)
    try:
        made = client({**base, name: value}, logger=logger)
    except KafkaException as error:
        return "No such configuration property" not in kafka_error(error).str()
    except Exception:  # noqa: BLE001 (only the value is wrong, so the name is known; `_check` reports it)
        return True
    with suppress(KafkaException, RuntimeError):
        made.poll(0)  # Log lines are delivered here. A share consumer without a subscription refuses the call itself.
    if not isinstance(made, Producer):
        made.close()
    return not any("will be ignored" in line for line in lines.seen)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


_SILENT: Final = logging.Logger("brokerkit.adapters.kafka.check", logging.CRITICAL + 1)  # noqa: LOG001
