"""What a source tells about itself: its health, and how old its oldest message is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from heapq import nsmallest
from itertools import islice
from typing import Final

from brokerkit import _clock
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._executor import Executor
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._isolation import Isolation
from brokerkit._consuming._retries import Retries
from brokerkit._consuming._routes import Routes
from brokerkit._errors import BrokerkitError
from brokerkit._messages._copies import produced_at
from brokerkit._messages._delivery import Delivery
from brokerkit._status._health import Condition, SourceHealth, Status
from brokerkit.adapters.api import Capabilities, PartitionLags, Source

_SILENT: Final = 5.0
"""Seconds without an answer to a settlement or to a dead letter after which a source counts as blocked."""
_LAG_TIMEOUT: Final = 2.0


class SourceState:
    """Looks at the parts of a consumer, and changes nothing.

    Args:
        source: asked for its lag.
        settings: the source's.
        status: the source's.
        flow: the source's.
        routes: the source's.
        retries: the source's.
        isolation: the source's.
        executor: the source's.
    """

    def __init__(
        self,
        source: Source,
        *,
        settings: SourceSettings,
        status: Status,
        flow: Flow,
        routes: Routes,
        retries: Retries,
        isolation: Isolation,
        executor: Executor,
    ) -> None:
        self._source = source
        self._settings = settings
        self._status = status
        self._flow = flow
        self._routes = routes
        self._retries = retries
        self._isolation = isolation
        self._executor = executor

    def __repr__(self) -> str:
        return f"<SourceState: {self._status.state}, {self.in_flight} in flight, {self.held} held>"

    @property
    def in_flight(self) -> int:
        """How many messages are not settled."""
        return self._flow.in_flight

    @property
    def held(self) -> int:
        """How many failed messages wait here for their next attempt."""
        return len(self._retries.held)

    @property
    def limited(self) -> int:
        """How many messages wait here for a rate limit."""
        return 0 if self._flow.limits is None else len(self._flow.limits.waiting)

    @property
    def limited_by_handler(self) -> Mapping[str, int]:
        """How many messages wait here for the rate limit of each handler that has one."""
        return {} if self._flow.limits is None else self._flow.limits.waiting_by_handler()

    def soonest(self, most: int) -> list[Delivery]:
        """Return the failed messages that wait here for their next attempt, those that are due first."""
        return nsmallest(most, self._retries.held, key=lambda one: one.need_retry_state().due)

    @property
    def suspects(self) -> int:
        """How many messages must run alone."""
        return self._isolation.count

    def shown(self) -> tuple[Condition, float, str]:
        """Return the state to show, its beginning in Unix time and seconds, and its reason. Any thread may call it."""
        state, since, error = self._status.shown
        if state == "consuming":
            problems = (handler.problem for handler in self._routes.idempotent_handlers)
            if problem := next(filter(None, problems), ""):
                return "reconnecting", since, problem
            if unanswered := self._unanswered():
                silent, what = unanswered
                return "blocked", _clock.wall_time() - silent, f"{what}: no confirmation for {silent:.0f} s"
        return state, since, error

    def oldest(self) -> float | None:
        """Return the Unix time in seconds at which the oldest message that is here and not handled was produced.

        None if there is none, or the broker does not tell. Any thread may call it.
        """
        # What waits came after what runs, or waits for it: the first of those that wait stands for the rest.
        waiting = (*islice(self._flow.ready, 1), *self._isolation.suspects, *self._flow.batches.waiting)
        limited = () if self._flow.limits is None else list(self._flow.limits.waiting)
        here = (*self._executor.running, *list(self._retries.held), *limited, *waiting)
        return min((time for one in here if (time := produced_at(one)) is not None), default=None)

    async def health(self, promises: Capabilities, *, lag: bool) -> SourceHealth:
        """Return the current state. With ``lag``, ask the broker too, for a short time."""
        known: int | None = None
        partitions: Mapping[tuple[str, int], int] = {}
        if lag and (self._status.state == "consuming" or self._status.is_paused):
            with suppress(BrokerkitError, TimeoutError):
                async with asyncio.timeout(_LAG_TIMEOUT):
                    if isinstance(self._source, PartitionLags):
                        partitions = await self._source.partition_lags()
                        known = sum(partitions.values())
                    else:
                        known = await self._source.lag()
        state, since, error = self.shown()
        return SourceHealth(
            broker=self._status.broker,
            order=self._settings.reach(promises),
            state=state,
            since=since,
            error=error,
            failures=self._status.failures,
            in_flight=self.in_flight,
            held=self.held,
            limited=self.limited,
            suspects=self.suspects,
            lag=known,
            partitions=partitions,
            # If the broker keeps one offset for a partition, messages in this process still count as waiting at the
            # broker.
            waiting=known if known is None or promises.commits_offsets else known + self.in_flight,
        )

    def _unanswered(self) -> tuple[float, str] | None:
        """Return what the broker has not answered for too long, and for how many seconds."""
        asked = (self._flow.settlement.silent_for(), "settling"), (self._retries.writer.silent_for(), "dead letters")
        longest = max(asked)
        return longest if longest[0] > _SILENT else None
