"""Settings of sources and targets, checked as a whole before anything connects.

One level of settings over another (keyword, environment, file, URL query, default) is `_config`'s work; here is what
they are, and what they may be.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Final, Literal, Self, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    TypeAdapter,
    model_validator,
)

from brokerkit import formats
from brokerkit._errors import ConfigError
from brokerkit._retry import RetryPolicy
from brokerkit._rules import split_rule
from brokerkit._transport import Capabilities, Connection, Order, Provision, Reach, Start, Subscription
from brokerkit._url import Url
from brokerkit.dedupe._dedupe import Dedupe, as_dedupe

Unknown = Literal["ack", "reject", "retry"]

PUBLISH_TIMEOUT: Final = 30.0

Positive = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]


def _as_tuple(value: object) -> object:
    """One string stands for a list of one; in the environment and in URLs commas separate."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def _as_policy(value: object) -> object:
    """A table of a file becomes a policy; a bare number is its attempts."""
    if isinstance(value, dict):
        value = cast("dict[str, object]", value)
        known = RetryPolicy.__dataclass_fields__
        if strange := [key for key in value if key not in known]:
            raise ValueError(f"{strange[0]!r} is not known; allowed are {', '.join(known)}")
        by_error = value.get("by_error", {})
        if not isinstance(by_error, dict):
            raise ValueError("by_error must be a table of error classes")
        inside = {
            _error_class(name): _policy_or_none(one) for name, one in cast("dict[object, object]", by_error).items()
        }
        return TypeAdapter(RetryPolicy).validate_python({**value, "by_error": inside})
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return RetryPolicy(attempts=int(value))
    return value


def _policy_or_none(value: object) -> object:
    """TOML has no null: ``false`` stands for it."""
    return None if value is False else _as_policy(value)


def _error_class(name: object) -> object:
    """The class of a dotted name (``"httpx.TimeoutException"``); one without a dot is built in."""
    if not isinstance(name, str):
        return name
    module, _, attribute = name.rpartition(".")
    try:
        found: object = getattr(importlib.import_module(module or "builtins"), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"by_error: there is no {name!r} ({error})") from error
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise ValueError(f"by_error: {name!r} is no class of errors")
    return found


def _as_zone(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError("no such time zone; one looks like Europe/Malta") from error


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class ConnectionSettings(BaseModel):
    """What a source and a target have in common: which broker, and how messages look there.

    Attributes:
        url: the broker.
        format: the wire format.
        name_from: rules for the event name in order of preference; by default the format's.
        names: wire name → event name, for a producer with names of its own.
        provision: what may be created: ``group`` (what is ours), ``all``, ``check`` (nothing) or ``off`` (not even
            looked). By default ``group``, and ``all`` where a topic comes into being by being used.
        options: settings for the client library, passed on as they are.
        connect_timeout: seconds until the broker must have answered at start.
        endpoint: URL of an SQS or SNS emulator or private endpoint.
        body_field: field of a Redis stream entry that holds the body.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        validate_default=True,
        defer_build=True,  # until a bus is made: importing brokerkit stays quick
    )

    url: Annotated[SecretStr, PlainSerializer(str)]
    format: str = "cloudevents"
    name_from: Names = ()
    names: dict[str, str] = Field(default_factory=dict)
    provision: Provision | None = None
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    connect_timeout: Positive = 10.0
    endpoint: str | None = Field(default=None, repr=False)
    body_field: str = "data"

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        formats.get(self.format)
        for rule in self.name_from:
            split_rule(rule, what="name_from")
        return self

    def connection(self) -> Connection:
        """How to reach the broker, for its adapter.

        Raises:
            ConfigError: the URL is none.
        """
        return Connection(
            url=Url.parse(self.url.get_secret_value()),
            options=self.options,
            connect_timeout=self.connect_timeout,
            endpoint=self.endpoint,
            body_field=self.body_field,
        )

    @property
    def wire(self) -> formats.Format:
        """The wire format."""
        return formats.get(self.format)


class SourceSettings(ConnectionSettings):
    """One source: topics and a group on one broker, and how their messages are handled.

    Attributes:
        topic: one or more topics.
        queue: one or more queues that exist for themselves, read instead of topics (RabbitMQ, SQS).
        group: the group; brokers without groups ignore it.
        key_from: rules for the key that orders messages, where the broker's own key is not it.
        id_from: rules for the message id, where the broker's own is not it.
        tz: zone of times that the wire states without one, e.g. ``"Europe/Malta"``; by default they stay naive.
        order: ``key``: messages of one key are handled in order; a retry beyond ``hold`` lets later ones pass.
            ``strict``: they wait for it. ``none``: no order.
        start: where a group begins that the broker does not know yet.
        broadcast: every process gets every message, from now on.
        unknown: what becomes of messages whose event name no handler and no family knows; ``ack`` by default, but then
            the source stops when none of its first messages has a known name. Said explicitly, ``ack`` turns that
            check off. A known name that no handler wants is always acknowledged.
        concurrency: how many handlers run at once.
        max_in_flight: how many messages are unsettled at once at most; by default what suits the broker.
        lease: seconds for which a message is ours before others may take it over; extended while it is worked on.
        retry: the retry policy of handlers that have none of their own.
        max_deliveries: after so many deliveries a message is a dead letter, whatever failed; counted where the broker
            counts. By default five times the most ``attempts`` of any policy, the handlers' own included.
        hold: seconds for which a failing message is held in this process at most; longer waits are made durable.
        timeout: seconds that a handler may take.
        dead_letter: URL of another place for dead letters (``file:///path``, or a broker's with ``?topic=``); by
            default a queue of their own on the same broker.
        dedupe: run the handlers once for each message: the URL of a store (``redis://…``, ``postgresql+asyncpg://…``,
            ``sqlite+aiosqlite:///…``, ``memory://``), or a table with ``url``, ``keep``, ``lease`` and ``key``. See
            docs/idempotency.md.
        overflow: file for dead letters that fit nowhere else.
    """

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
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_in_flight: Annotated[int, Field(ge=1)] | None = None
    lease: Positive = 30.0
    retry: Annotated[RetryPolicy, BeforeValidator(_as_policy)] = RetryPolicy()
    max_deliveries: Annotated[int, Field(ge=1)] | None = None
    hold: Seconds = 10.0
    timeout: Positive = 60.0
    dead_letter: Annotated[SecretStr, PlainSerializer(str)] | None = None
    dedupe: Annotated[Dedupe | None, PlainValidator(as_dedupe), PlainSerializer(repr)] = None
    overflow: str = "brokerkit-overflow.jsonl"

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        for what in ("key_from", "id_from"):
            for rule in getattr(self, what):
                split_rule(rule, what=what)
        if bool(self.topic) == bool(self.queue):
            raise ConfigError("a source reads either topic or queue: set one of them")
        return self

    def reach(self, capabilities: Capabilities) -> Reach:
        """How far the order of a key's messages holds."""
        if self.order == "none" or capabilities.order == "none":
            return "none"
        if capabilities.order == "group":
            # The broker knows nothing of a key that is made here.
            return "process" if self.key_from else "group"
        return "group" if self.order == "strict" and capabilities.single_reader else "process"

    def subscription(self, capabilities: Capabilities, *, drain_timeout: float, max_deliveries: int) -> Subscription:
        """What the adapter is to read."""
        return Subscription(
            topics=self.topic or self.queue,
            group=self.group,
            stored=bool(self.queue),
            provision=self.provision or capabilities.default_provision,
            start=self.start,
            broadcast=self.broadcast,
            order=self.order,
            lease=self.lease,
            max_in_flight=self.max_in_flight or capabilities.max_in_flight,
            drain_timeout=drain_timeout,
            max_deliveries=max_deliveries,
        )


class TargetSettings(ConnectionSettings):
    """One target: a topic on one broker that events are published to.

    Attributes:
        topic: where to; None where the rule ``topic`` writes the event name there.
        publish_timeout: seconds for which a publish is tried again while the broker cannot be reached.
        propagate: what a handler publishes says which message it was handling, and carries on its trace; see
            docs/observability.md.
    """

    topic: str | None = None
    publish_timeout: Positive = PUBLISH_TIMEOUT
    propagate: bool = True
