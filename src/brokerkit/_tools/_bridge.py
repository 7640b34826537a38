"""A bridge: a bus with one source and one target, whose only handler forwards each message, byte for byte.

The consumer guarantees that nothing is lost: a message is acknowledged when its handler returns, which is when the target
has confirmed it. Lanes keep the order of each key. Many handlers at once fill the target's batches. The bridge itself only
adds a wait: its handler waits as long as the target does not accept a message, because only then later messages of the key
wait too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from brokerkit._backoff import backoff
from brokerkit._config._loading import BusSettings, from_tables
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._config._settings import ConnectionSettings, SourceSettings, TargetSettings
from brokerkit._errors import BrokerkitError, Closed, ConfigError, InvalidMessage, MessageTooLarge, Reject, describe
from brokerkit._handlers._handlers import ANY_EVENT, Handlers
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import header_text
from brokerkit._messages._message import Message
from brokerkit._publishing._target import Target
from brokerkit.adapters._topic_patterns import is_pattern, reads

logger = get_logger(__name__)

FROM: Final = "from"
"""Name of a bridge's source."""
TO: Final = "to"
"""Name of its target."""

HOPS: Final = "bk-hops"
"""Header: how many bridges a message has passed."""
_MOST_HOPS: Final = 16
"""Two bridges that feed each other would loop for ever. A message may still be moved back once or twice."""

_FORMAT: Final = "json"
_CONCURRENCY: Final = 1000
_NEVER: Final = 10 * 365 * 86_400.0
"""Seconds for which a handler may wait for the target."""
_MOST_DELIVERIES: Final = 1_000_000_000
"""A message that comes again while the target is away is not a suspect."""
_HOPELESS: Final = (MessageTooLarge, InvalidMessage)
_LONGEST_PAUSE: Final = 10.0
_BOTH: Final = ("format", "names", "provision", "connect_timeout")
"""Settings that are given once for source and target."""

S = TypeVar("S", bound=ConnectionSettings)


def settings(
    source: str | None,
    target: str | None,
    to_topic: str | None,
    keywords: Mapping[str, Any],
    environ: Mapping[str, str],
) -> BusSettings:
    """Return the settings of a bridge.

    Raises:
        ConfigError: a setting is wrong, or source and target are the same topic.
    """
    both = {name: value for name, value in keywords.items() if name in (*_BOTH, "stop_timeout")}
    publishing = {name: keywords[name] for name in ("publish_timeout",) if name in keywords}
    reading = {name: value for name, value in keywords.items() if name not in both and name not in publishing}
    found = from_tables(
        {
            "sources": {FROM: {"url": source, **reading}},
            "targets": {TO: {"url": target, "topic": to_topic, **publishing}},
        },
        both,
        environ,
    )
    if others := [*(found.sources.keys() - {FROM}), *(found.targets.keys() - {TO})]:
        raise ConfigError(f"a bridge has only the source 'from' and the target 'to', not {', '.join(others)}")
    reads = _with_defaults(
        found.sources[FROM], format=_FORMAT, concurrency=_CONCURRENCY, max_deliveries=_MOST_DELIVERIES
    )
    writes = _with_defaults(found.targets[TO], format=reads.format, topic=_only_topic(reads))
    if writes.is_bytes_only:  # every header must arrive, unless the settings say otherwise
        writes = _with_defaults(writes, envelope="brokerkit")
    _refuse_circle(reads, writes)
    return BusSettings(sources={FROM: reads}, targets={TO: writes}, stop_timeout=found.stop_timeout)


def _with_defaults(settings: S, **defaults: object) -> S:
    """Return the settings, with these defaults for values that are not set."""
    open_ones = {name: value for name, value in defaults.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=open_ones)


def _only_topic(source: SourceSettings) -> str | None:
    topics = source.topic or source.queue
    return topics[0] if len(topics) == 1 and not is_pattern(topics[0]) else None


def _refuse_circle(source: SourceSettings, target: TargetSettings) -> None:
    """Refuse a bridge without a topic to publish to, and one that feeds itself."""
    if target.topic is None:
        raise ConfigError("a bridge that reads several topics needs to_topic, the topic to publish to")
    if _broker_of(source) == _broker_of(target) and reads(source.topic or source.queue, target.topic):
        raise ConfigError(
            f"this bridge would read what it publishes: {target.topic!r} is its source and its target; "
            "name another topic for the target (to_topic)"
        )


def _broker_of(settings: ConnectionSettings) -> tuple[object, ...]:
    """Return what identifies a broker, without user, password and options."""
    connection = settings.connection()
    url = connection.url
    kind = {"amqps": "amqp"}.get(url.scheme, url.scheme.replace("rediss", "redis", 1))
    return kind, frozenset(host.lower() for host in url.hosts), url.path.strip("/"), connection.endpoint


def add(handlers: Handlers, events: Iterable[str], *, target: Callable[[], Target]) -> None:
    """Add the handler that forwards messages of these event names, or every message.

    Args:
        handlers: the handlers of the bus.
        events: event names; empty for all.
        target: returns the target of the present opening.
    """
    names = (events,) if isinstance(events, str) else tuple(events)
    handlers.forward(
        _Forwarder(target).forward,
        source=FROM,
        events=names or (ANY_EVENT, ""),
        retry=RetryPolicy(by_error=dict.fromkeys(_HOPELESS)),
        timeout=_NEVER,
    )


class _Forwarder:
    """The handler of a bridge."""

    def __init__(self, target: Callable[[], Target]) -> None:
        self._target = target
        self._waiting = 0

    async def forward(self, delivery: Delivery, message: Message) -> None:
        """Publish a message, and return when the target has confirmed it, however long that takes.

        Raises:
            MessageTooLarge: the target can never accept the message.
            InvalidMessage: the target can never accept the message.
            Reject: the message has passed too many bridges.
            Closed: the bus is closing.
        """
        hops = _hops(delivery) + 1
        if hops > _MOST_HOPS:
            raise Reject(f"it has passed {_MOST_HOPS} bridges: two of them feed each other")
        target = self._target()
        outgoing = target.forward(delivery, name=message.name, id=message.id, headers={HOPS: str(hops)})
        failures = 0
        while True:
            try:
                await target.publish(outgoing)
            except (*_HOPELESS, Closed):
                raise
            except BrokerkitError as error:
                failures += 1
                target.block(error)
                await self._wait(error, failures)
            else:
                if failures and not self._waiting:
                    target.unblock()
                return

    async def _wait(self, error: BrokerkitError, failures: int) -> None:
        """Wait before the next try. Only the first of all waiting messages is logged."""
        pause = backoff(failures, first=0.2, cap=_LONGEST_PAUSE)
        if not self._waiting:
            logger.warning(
                "bridge: the target does not accept messages; trying again: %s: %s",
                type(error).__name__,
                describe(error),
            )
        self._waiting += 1
        try:
            await asyncio.sleep(pause)
        finally:
            self._waiting -= 1


def _hops(delivery: Delivery) -> int:
    """Return how many bridges a message has passed; 0 if the header is not a number."""
    digits = header_text(delivery.headers, HOPS) or ""
    return int(digits) if digits.isdecimal() and len(digits) < 6 else 0
