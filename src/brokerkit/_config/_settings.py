"""Settings of sources and targets, checked as a whole before anything connects.

`_loading` merges the levels (keyword, environment, file, URL query, default). This module defines the settings and their
allowed values.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    model_validator,
)

from brokerkit import _password, formats
from brokerkit._config._breaker import Breaker, as_breaker
from brokerkit._config._rate import Rate, as_rate
from brokerkit._config._retry_policy import RetryPolicy, as_policy
from brokerkit._errors import ConfigError
from brokerkit._messages._event_names import EventNames, compile_pattern
from brokerkit._messages._name_rules import compile_payload, split_rule
from brokerkit._messages._signature import SHORTEST_KEY
from brokerkit._url import Url
from brokerkit.adapters.api import (
    Capabilities,
    Connection,
    Envelope,
    Order,
    Provision,
    Reach,
    ReadFrom,
    Start,
    Subscription,
)
from brokerkit.dedupe._dedupe import Dedupe, as_dedupe
from brokerkit.formats import Preparation, Registry
from brokerkit.formats._registry import as_registry

Unknown = Literal["ack", "reject", "retry"]
Foreign = Literal["stop", "handle"]

PUBLISH_TIMEOUT: Final = 30.0
_LISTS: Final = frozenset(
    f"{redis}{way}+list" for redis in ("redis", "rediss") for way in ("", "+cluster", "+sentinel")
)
_CHANNELS: Final = frozenset(scheme.replace("+list", "+pubsub") for scheme in _LISTS)

Positive = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]


def _as_tuple(value: object) -> object:
    """A single string is a list of one. Commas separate items, for environment variables and URLs."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def _as_zone(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError("there is no such time zone; write one like Europe/Malta") from error


def _check_text(what: str, value: str) -> None:
    """Refuse a name that no broker accepts, and that makes some client libraries end the process."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{what} = {value!r}: it holds half of a character (a lone surrogate)") from None
    if "\0" in value:
        raise ConfigError(f"{what} = {value!r}: it holds a NUL")
    if value.strip() and value != value.strip():
        raise ConfigError(f"{what} = {value!r} begins or ends with white space; remove it")


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class Section(BaseModel):
    """Settings of one table.

    Attributes:
        TABLES: keys that may be tables themselves. In the environment these are JSON.
        SECRETS: keys whose values no error shows.
    """

    TABLES: ClassVar[frozenset[str]] = frozenset()
    SECRETS: ClassVar[frozenset[str]] = frozenset()


class ConnectionSettings(Section):
    """What a source and a target have in common: the broker, and how messages look on it.

    Attributes:
        url: the broker.
        format: the wire format.
        name_from: rules that find the event name, in order of preference; by default those of the format.
        names: wire name → event name, for a producer that uses other names.
        name_pattern: a regular expression for the same where names follow a rule, tried on names that are not in ``names``.
            The event name is its first group; a name that it does not match stays as it is. ``urn:message:.*:(.+)`` finds
            ``OnGameDone`` in ``urn:message:Poker:OnGameDone``.
        payload_from: rules that find the event in a message, in order of preference; by default those of the format. A rule
            is ``body``, ``field:PATH`` or ``header:NAME``, and may have steps after it; see docs/messages-and-formats.md.
        provision: what may be created: ``group`` (only what belongs to this group), ``all``, ``check`` (nothing, but it
            must exist) or ``off`` (nothing, and it is not checked). The default is ``group``, or ``all`` on a broker
            that creates a topic at its first use.
        options: settings for the client library, passed on unchanged.
        connect_timeout: seconds within which the broker must answer at the start.
        endpoint: URL of an SQS or SNS emulator or private endpoint.
        body_field: field of a Redis stream entry that holds the body; ``*``: all its fields are the event.
        envelope: how a published message is written to a Redis list or channel. ``plain``, the default: only the body, for
            any reader; a publish with more than a body is refused. ``brokerkit``: with key, id and headers, in a form
            that only brokerkit reads. Sources read both.
        read_from: the end of a Redis list that its readers take from: ``left``, the default, or ``right``. A producer that
            pushes with LPUSH leaves the oldest value on the right. Published values are pushed at the other end.
        large_payloads: ``s3://BUCKET/PREFIX`` for bodies that are too large for SQS or SNS: the body becomes an object, and
            the message has a pointer to it, as with AWS's extended clients. See docs/aws.md.
        registry: the schema registry of the formats ``avro``, ``json-schema`` and ``protobuf``: its URL, or a table; see
            docs/schema-registry.md.
        password: the password of the URL's user, for a URL that has none (Kafka, RabbitMQ, Redis). In code also a function
            that returns it, in a thread: it is called for each new connection, so a rotated password is found.
        password_file: a file with the password, which is read for each new connection.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        validate_default=True,
        defer_build=True,  # until a bus is made: importing brokerkit stays quick
    )

    TABLES = frozenset({"options", "names", "registry"})
    SECRETS = frozenset(
        {"url", "dead_letter", "dedupe", "options", "endpoint", "large_payloads", "password", "registry"}
    )

    url: Annotated[SecretStr, PlainSerializer(str)]
    format: str = "cloudevents"
    name_from: Names = ()
    names: dict[str, str] = Field(default_factory=dict)
    name_pattern: str | None = None
    payload_from: Names = ()
    provision: Provision | None = None
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    connect_timeout: Positive = 10.0
    endpoint: str | None = Field(default=None, repr=False)
    body_field: str = "data"
    envelope: Envelope | None = None
    read_from: ReadFrom | None = None
    large_payloads: str | None = Field(default=None, repr=False)
    registry: Annotated[Registry | None, PlainValidator(as_registry), PlainSerializer(repr)] = None
    password: _password.Password = Field(default=None, repr=False)
    password_file: Path | None = None

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        if formats.get(self.format).preparation is not None and self.registry is None:
            raise ConfigError(f"format {self.format!r} needs a schema registry: set registry to its URL")
        url = Url.parse(self.url.get_secret_value())
        scheme = url.scheme
        _password.check(scheme, url.password, self.password, self.password_file)
        if self.read_from is not None and scheme not in _LISTS:
            raise ConfigError(f"read_from is for Redis lists (redis+list://), not for {scheme}://")
        if self.large_payloads is not None and scheme not in ("sqs", "sns"):
            raise ConfigError(f"large_payloads is for SQS and SNS (sqs://, sns://), not for {scheme}://")
        if self.envelope is not None and not self.is_bytes_only:
            raise ConfigError(
                f"envelope is for Redis lists and channels (redis+list://, redis+pubsub://); {scheme}:// has headers"
            )
        for rule in self.name_from:
            split_rule(rule, what="name_from")
        if self.payload_from:
            compile_payload(self.payload_from)
        if self.name_pattern is not None:
            compile_pattern(self.name_pattern)
        return self

    def connection(self) -> Connection:
        """How to reach the broker, for its adapter.

        Raises:
            ConfigError: the URL is not valid.
        """
        return Connection(
            url=Url.parse(self.url.get_secret_value()),
            password=_password.reader(self.password, self.password_file),
            options=self.options,
            connect_timeout=self.connect_timeout,
            endpoint=self.endpoint,
            body_field=self.body_field,
            read_from=self.read_from or "left",
            envelope=self.envelope or "plain",
            large_payloads=self.large_payloads,
        )

    @property
    def is_bytes_only(self) -> bool:
        """Whether a message on this broker is only a body, without headers."""
        return Url.parse(self.url.get_secret_value()).scheme in _LISTS | _CHANNELS

    @property
    def wire(self) -> formats.Format:
        """The wire format, with what the settings say in place of what it says itself."""
        known = formats.get(self.format)
        if self.payload_from:
            known = replace(known, payload_from=self.payload_from, payload=None, wrap=None, writes_name=False)
        if self.name_pattern is not None:
            known = replace(known, name_pattern=self.name_pattern)
        return known

    def preparation(self) -> Preparation | None:
        """What prepares messages of this format; None if nothing need be. Raises ConfigError for a schema that is wrong."""
        return make(self.registry) if (make := formats.get(self.format).preparation) is not None else None


class SourceSettings(ConnectionSettings):
    """One source: topics and a group on one broker, and how their messages are handled.

    Attributes:
        topic: one or more topics.
        queue: one or more existing queues, read instead of topics (RabbitMQ, SQS).
        group: the group. Kafka, RabbitMQ, SNS and Redis Streams need one to read a topic. Brokers without groups ignore it.
        key_from: rules that find the ordering key, if it is not the broker's own key.
        id_from: rules that find the message id, if it is not the broker's own id.
        tz: time zone of times that are sent without one, e.g. ``"Europe/Malta"``; by default they stay naive.
        order: ``key``: messages of one key are handled in order, but later ones pass a message whose retry is longer than
            ``hold``. ``strict``: they wait for it. ``none``: no order.
        start: where a new group begins.
        broadcast: every process gets every message that is published from now on.
        unknown: what to do with messages whose event name neither a handler nor a family knows. The default is ``ack``,
            but the source stops if none of its first messages has a known name. If you set ``ack`` explicitly, that check
            is off. A known name that no handler wants is always acknowledged.
        foreign: what to do with events whose body sets no field that their model declares, such as an event inside an
            envelope. ``stop``: the source stops if its first messages are like this; later ones are handled and counted,
            with a warning. ``handle``: the first ones are handled too.
        concurrency: how many handlers run at once.
        max_in_flight: how many messages may be unsettled at once. Messages that wait behind another one of their key may
            exceed it. The default depends on the broker.
        lease: seconds for which the broker leaves a message to us before others may take it. Extended while the message is
            worked on.
        retry: the retry policy of handlers without their own.
        breaker: when too many attempts fail, pause, make no dead letters, and try one message now and then until one is
            handled; see docs/control.md. Without it, messages are retried and become dead letters.
        rate: how many messages may begin in a second: a number, or a table with ``per_second`` and ``burst``. The others
            wait in their order; see docs/control.md.
        max_deliveries: a message that was delivered more often than this runs alone. This finds a message that ends the
            process each time, and only that one becomes a dead letter; see docs/handlers.md. It works where the broker
            counts deliveries. The default is five times the largest ``attempts`` of any policy, including those of
            handlers.
        hold: the longest wait in seconds for which a failed message is held in this process; longer waits are durable.
        timeout: seconds that a handler may take.
        dead_letter: URL of another dead-letter store (``file:///path``, or a broker's URL with ``?topic=``). The default is
            a separate queue on the same broker.
        exactly_once: what a handler publishes through the bus, and the acknowledgement of its message, are one transaction
            of the broker: whoever reads what is committed sees each result once, also after a crash. Only on Kafka, and only
            to targets on the same cluster; see docs/guarantees.md.
        dedupe: run the handlers once for each message: the URL of a store (``redis://…``, ``postgresql+asyncpg://…``,
            ``sqlite+aiosqlite:///…``, ``memory://``), or a table with ``url``, ``keep``, ``lease`` and ``key``. See
            docs/idempotency.md.
        overflow: file for dead letters that the broker cannot take, for example because they are too large.
        signing_key: a secret that only the members of this group have, at least 16 characters. Replays are signed with it
            where the broker has no queue that is the group's own (SQS, SNS), so that nobody else can write one. For a
            change of keys give several: the first one signs, all are accepted. See docs/security.md.
    """

    SECRETS = ConnectionSettings.SECRETS | {"signing_key"}

    TABLES = ConnectionSettings.TABLES | {"retry", "breaker", "rate", "dedupe"}

    topic: Names = ()
    queue: Names = ()
    group: str | None = None
    key_from: Names = ()
    id_from: Names = ()
    tz: Annotated[ZoneInfo | None, BeforeValidator(_as_zone)] = None
    order: Order = "key"
    start: Start = "earliest"
    broadcast: bool = False
    unknown: Unknown | None = None
    foreign: Foreign = "stop"
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_in_flight: Annotated[int, Field(ge=1)] | None = None
    lease: Positive = 30.0
    retry: Annotated[RetryPolicy, BeforeValidator(as_policy)] = RetryPolicy()
    breaker: Annotated[Breaker | None, BeforeValidator(as_breaker)] = None
    rate: Annotated[Rate | None, BeforeValidator(as_rate)] = None
    max_deliveries: Annotated[int, Field(ge=1)] | None = None
    hold: Seconds = 10.0
    timeout: Positive = 60.0
    dead_letter: Annotated[SecretStr, PlainSerializer(str)] | None = None
    dedupe: Annotated[Dedupe | None, PlainValidator(as_dedupe), PlainSerializer(repr)] = None
    exactly_once: bool = False
    overflow: str = "brokerkit-overflow.jsonl"
    signing_key: Annotated[tuple[SecretStr, ...], BeforeValidator(_as_tuple), PlainSerializer(str)] = ()

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        for what in ("key_from", "id_from"):
            for rule in getattr(self, what):
                split_rule(rule, what=what)
        _check_text("group", self.group or "")
        for name in self.topic + self.queue:
            _check_text("topic" if self.topic else "queue", name)
        if bool(self.topic) == bool(self.queue):
            raise ConfigError("a source reads either a topic or a queue: set one of them")
        if short := [key for key in self.signing_keys if len(key) < SHORTEST_KEY]:
            raise ConfigError(f"signing_key has {len(short[0])} characters; it needs at least {SHORTEST_KEY}")
        return self

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The keys themselves, the one that signs first."""
        return tuple(key.get_secret_value() for key in self.signing_key)

    def reach(self, capabilities: Capabilities) -> Reach:
        """How far the order of a key's messages holds."""
        if self.order == "none" or capabilities.order == "none":
            return "none"
        if capabilities.order == "group":
            # The broker does not know a key that `key_from` makes.
            return "process" if self.key_from else "group"
        return "group" if self.order == "strict" and capabilities.single_reader else "process"

    def subscription(
        self, capabilities: Capabilities, *, drain_timeout: float, max_deliveries: int = 0, longest_retry: float = 0.0
    ) -> Subscription:
        """What the adapter reads."""
        return Subscription(
            topics=self.topic or self.queue,
            group=self.group,
            is_queue=bool(self.queue),
            provision=self.provision or capabilities.default_provision,
            start=self.start,
            broadcast=self.broadcast,
            order=self.order,
            lease=self.lease,
            max_in_flight=self.max_in_flight or capabilities.max_in_flight,
            drain_timeout=drain_timeout,
            max_deliveries=max_deliveries,
            longest_retry=longest_retry,
            exactly_once=self.exactly_once,
        )


class TargetSettings(ConnectionSettings):
    """One target: a topic on one broker that events are published to.

    Attributes:
        topic: the topic to publish to; None if the rule ``topic`` uses the event name as the topic.
        publish_timeout: seconds after which a publish ends. Until then it is tried again; if the broker has not confirmed
            it by then, it raises an error.
        propagate: whether an event that a handler publishes names the message that was being handled, and continues its
            trace; see docs/observability.md.
    """

    topic: str | None = None
    publish_timeout: Positive = PUBLISH_TIMEOUT
    propagate: bool = True


def event_names(settings: ConnectionSettings) -> EventNames:
    """From names on the wire to event names and back, for a source or a target."""
    return EventNames(settings.names, settings.wire.name_pattern)
