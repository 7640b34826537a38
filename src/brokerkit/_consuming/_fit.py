"""Whether messages fit the models of their event names. The first messages are judged by it; later ones are counted."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final, cast

from brokerkit import _clock
from brokerkit._logging import get_logger
from brokerkit._messages._codecs import json_text
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._encodings import undone
from brokerkit._messages._headers import as_text
from brokerkit._messages._log_fields import about
from brokerkit._status._stats import Stats
from brokerkit.events import Found
from brokerkit.events._presence import Fit, Presence
from brokerkit.formats import Format

logger = get_logger(__name__)

_AGAIN: Final = 60.0
"""Seconds between two warnings about one event name."""


class Judge:
    """Judges the bodies of one event name.

    Args:
        meaning: the family and model of the name.
        wire: the source's format.
        beside: top-level fields of the body that the source's rules read.
    """

    def __init__(self, meaning: Found, wire: Format, beside: Collection[str]) -> None:
        self._family = meaning.family
        self._payload = wire.payload
        self.name = meaning.name
        self.presence = Presence(meaning.model, () if wire.payload else beside, meaning.family.shared())

    def fit(self, delivery: Delivery) -> Fit:
        """Judge one message: by its body, and by whether its event can be read at all."""
        try:
            content = self.content(delivery)
            self._family.read(self.name, content or {})
        except Exception:  # noqa: BLE001 (the worker gets the same error, and counts a failure)
            return Fit.UNDECIDED
        return self.presence.judge(content) if content is not None else Fit.UNDECIDED

    def content(self, delivery: Delivery) -> Mapping[str, Any] | None:
        """Return the payload as an object, without its wrapper; None if it is not an object."""
        body: Any
        if self._payload:
            body = self._payload(delivery)
        elif delivery.parsed.__class__ is dict:  # by a rule: it is not parsed again
            body = delivery.parsed
        else:
            body = undone(delivery) or delivery.body
        if isinstance(body, (bytes, str)):
            try:
                body = json.loads(json_text(body) if isinstance(body, bytes) else body)
            except (ValueError, RecursionError):
                return None
        return self._family.unwrap(dict(cast("Mapping[str, Any]", body))) if isinstance(body, Mapping) else None


class Foreign:
    """Counts events that are handled although their body sets none of their fields, and warns about them.

    Warns about each event name the first time, and then at most once a minute.

    Args:
        source: the source's name.
        stats: counts them.
    """

    def __init__(self, *, source: str, stats: Stats) -> None:
        self._source = source
        self._stats = stats
        self._warned: dict[str, tuple[float, int]] = {}

    def __repr__(self) -> str:
        return f"<Foreign of {self._source}: {self._stats.foreign} events>"

    def note(self, judge: Judge, delivery: Delivery) -> None:
        """Check the body of an event that may set none of its model's fields."""
        content = judge.content(delivery)
        if delivery.retry_state is not None or not content or judge.presence.judge(content) is not Fit.FOREIGN:
            return
        self._stats.foreign += 1
        now = _clock.wall_time()
        until, left_out = self._warned.get(judge.name, (now, 0))
        if now < until:
            self._warned[judge.name] = (until, left_out + 1)
            return
        self._warned[judge.name] = (now + _AGAIN, 0)
        logger.warning(
            "source %s: event %s is handled without any of its fields (%s)%s: %s",
            self._source,
            judge.name,
            judge.presence.describe(content),
            f"; {left_out} more of them since the last warning" if left_out else "",
            show(delivery),
            extra=about(delivery, self._source),
        )


def show(delivery: Delivery) -> str:
    """Return a message as text for a person who looks for the event in it."""
    body = (delivery.body or b"")[:200].decode(errors="backslashreplace")
    headers = {name: as_text(value) for name, value in delivery.headers.items()}
    return (
        f"topic {delivery.topic!r}, key {delivery.key!r}, routing key {delivery.routing_key!r}, "
        f"headers {headers!r:.500}, body {body!r}"
    )
