"""A bridge: a bus with one source and one target, whose only handler hands on what it gets, every byte as it came.

Everything that loses nothing is the consumer's: a message is acknowledged when its handler returns, which is when the
target has confirmed; lanes keep the order of each key; many handlers at once make the target's batches. What is the
bridge's own is patience: it waits inside its handler for as long as the target does not take a message, because only
there later messages of the key wait too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from brokerkit._config import BusSettings, from_tables
from brokerkit._errors import BrokerkitError, Closed, ConfigError, InvalidMessage, MessageTooLarge, Reject, describe
from brokerkit._handlers import ANY_EVENT
from brokerkit._message import Delivery, Message, header_text
from brokerkit._retry import RetryPolicy
from brokerkit._settings import ConnectionSettings, SourceSettings, TargetSettings

if TYPE_CHECKING:
    from brokerkit._bus import Bus

logger = logging.getLogger("brokerkit")

FROM: Final = "from"
"""Name of a bridge's source."""
TO: Final = "to"
"""Name of its target."""

HOPS: Final = "bk-hops"
"""Header: how many bridges a message has come over."""
_MOST_HOPS: Final = 16
"""Two bridges that feed each other would go round for ever. A message may well be moved back once or twice."""

_FORMAT: Final = "json"
_CONCURRENCY: Final = 1000
_NEVER: Final = 10 * 365 * 86_400.0
"""Seconds for which a handler may wait for the target."""
_MOST_DELIVERIES: Final = 1_000_000_000
"""A message that comes again for as long as the target is away has done nothing wrong."""
_HOPELESS: Final = (MessageTooLarge, InvalidMessage)
_LONGEST_PAUSE: Final = 10.0
_BOTH: Final = ("format", "names", "provision", "connect_timeout")
"""Settings that, said once, hold for source and target."""

S = TypeVar("S", bound=ConnectionSettings)


def settings(
    source: str | None,
    target: str | None,
    to_topic: str | None,
    keywords: Mapping[str, Any],
    environ: Mapping[str, str],
) -> BusSettings:
    """The settings of a bridge.

    Raises:
        ConfigError: something is wrong, or source and target are one place.
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
        raise ConfigError(f"a bridge has the source 'from' and the target 'to' alone, and not {', '.join(others)}")
    reads = _with_defaults(
        found.sources[FROM], format=_FORMAT, concurrency=_CONCURRENCY, max_deliveries=_MOST_DELIVERIES
    )
    writes = _with_defaults(found.targets[TO], format=reads.format, topic=_only_place(reads))
    _refuse_circle(reads, writes)
    return BusSettings(sources={FROM: reads}, targets={TO: writes}, stop_timeout=found.stop_timeout)


def _with_defaults(settings: S, **defaults: object) -> S:
    """The settings, with other values where nobody has said any."""
    open_ones = {name: value for name, value in defaults.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=open_ones)


def _only_place(source: SourceSettings) -> str | None:
    places = source.topic or source.queue
    return places[0] if len(places) == 1 else None


def _refuse_circle(source: SourceSettings, target: TargetSettings) -> None:
    """Refuse a bridge without a topic to publish to, and one that feeds itself."""
    if target.topic is None:
        raise ConfigError("a bridge that reads several topics needs to_topic: say where their messages go")
    if _where(source) == _where(target) and target.topic in (source.topic or source.queue):
        raise ConfigError(
            f"this bridge would read what it publishes: {target.topic!r} is its source and its target; "
            "name another topic for the target (to_topic)"
        )


def _where(settings: ConnectionSettings) -> tuple[object, ...]:
    """The broker, whoever connects to it and how."""
    connection = settings.connection()
    url = connection.url
    kind = {"amqps": "amqp", "rediss": "redis"}.get(url.scheme, url.scheme)
    return kind, frozenset(host.lower() for host in url.hosts), url.path.strip("/"), connection.endpoint


def add(bus: Bus, events: Iterable[str]) -> None:
    """Give a bus the handler that hands on messages of these event names, or every message."""
    names = (events,) if isinstance(events, str) else tuple(events)
    bus.handlers.hand_on(
        _HandOn(bus).hand_on,
        source=FROM,
        events=names or (ANY_EVENT, ""),
        retry=RetryPolicy(by_error=dict.fromkeys(_HOPELESS)),
        timeout=_NEVER,
    )


class _HandOn:
    """The handler of a bridge."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting = 0

    async def hand_on(self, delivery: Delivery, message: Message) -> None:
        """Publish a message; return when the target has confirmed it, however long that takes.

        Raises:
            MessageTooLarge: the target will never take it.
            InvalidMessage: the same.
            Reject: it goes round in a circle.
            Closed: the bus is being closed.
        """
        hops = _hops(delivery) + 1
        if hops > _MOST_HOPS:
            raise Reject(f"it has come over {_MOST_HOPS} bridges: two of them feed each other")
        target = self._bus._target(TO)  # pyright: ignore[reportPrivateUsage] (the bridge is a part of the bus)
        outgoing = target.forward(delivery, name=message.name, id=message.id, headers={HOPS: str(hops)})
        failures = 0
        while True:
            try:
                await target.publish(outgoing)
            except (*_HOPELESS, Closed):
                raise
            except BrokerkitError as error:
                failures += 1
                await self._wait(error, failures)
            else:
                return

    async def _wait(self, error: BrokerkitError, failures: int) -> None:
        """Wait before the next try; of all messages that wait, one is logged."""
        pause = min(_LONGEST_PAUSE, 0.1 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)
        if not self._waiting:
            logger.warning(
                "bridge: the target does not take messages, trying again: %s: %s", type(error).__name__, describe(error)
            )
        self._waiting += 1
        try:
            await asyncio.sleep(pause)
        finally:
            self._waiting -= 1


def _hops(delivery: Delivery) -> int:
    """How many bridges a message has come over; a header that makes no sense counts as none."""
    digits = header_text(delivery.headers, HOPS) or ""
    return int(digits) if digits.isdecimal() and len(digits) < 6 else 0
