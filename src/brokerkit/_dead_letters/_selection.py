"""Filters for dead letters."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import TypedDict

from brokerkit._dead_letters._letter import event_of, origin_of, seconds_of, text_of
from brokerkit._errors import ConfigError
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._retry_state import ERROR_TYPE, GROUP, LAST_FAILURE, TOPIC
from brokerkit.adapters._topic_patterns import reads

Moment = datetime.datetime | float
"""Unix time in seconds, or a date and time; without a zone it is local time."""


class Selected(TypedDict, total=False):
    """Optional filters; see `Selection`."""

    ids: str | Iterable[str]
    events: str | Iterable[str]
    errors: str | Iterable[str]
    since: Moment | None
    until: Moment | None


class Selection:
    """The dead letters of one source that match the filters.

    Args:
        topics: the topics of the source.
        group: the source's group.
        ids: ids of messages, as in `DeadLetter.message`; empty for all.
        events: event names; empty for all.
        errors: names of error classes; empty for all.
        since: only those that became dead letters at this time or later.
        until: only those that became dead letters before this time.

    Raises:
        ConfigError: ``until`` is not after ``since``.
    """

    def __init__(
        self,
        *,
        topics: Iterable[str],
        group: str | None,
        ids: str | Iterable[str] = (),
        events: str | Iterable[str] = (),
        errors: str | Iterable[str] = (),
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> None:
        self._topics = frozenset(topics)
        self._group = group or ""
        self._ids = frozenset([ids] if isinstance(ids, str) else ids)
        self._events = frozenset([events] if isinstance(events, str) else events)
        self._errors = frozenset([errors] if isinstance(errors, str) else errors)
        self._since = _unix(since)
        self._until = _unix(until)
        if self._since is not None and self._until is not None and self._until <= self._since:
            raise ConfigError("until must be later than since, otherwise nothing matches")

    def is_ours(self, letter: Delivery) -> bool:
        """Whether the dead letter belongs to this source, and not to another one with the same store."""
        if TOPIC in letter.headers and not reads(self._topics, text_of(letter, TOPIC)):
            return False
        return GROUP not in letter.headers or text_of(letter, GROUP) == self._group

    def __contains__(self, letter: Delivery) -> bool:
        if not self.is_ours(letter):
            return False
        if self._ids and origin_of(letter) not in self._ids:
            return False
        if self._events and event_of(letter) not in self._events:
            return False
        if self._errors and text_of(letter, ERROR_TYPE) not in self._errors:
            return False
        if self._since is None and self._until is None:
            return True
        # A dead letter that was too large for this header has the broker's time, which is the time of the failure.
        failed = seconds_of(letter, LAST_FAILURE) or letter.time
        if failed is None:
            return False
        # Dead letters hold whole seconds, rounded down.
        return (self._since is None or failed >= int(self._since)) and (self._until is None or failed < self._until)


def _unix(moment: Moment | None) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime.datetime) else moment
