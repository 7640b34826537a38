"""``brokerkit bridge``: hand on one broker's messages to another."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Annotated, Any, Final

from cyclopts import Parameter

from brokerkit import Bus
from brokerkit._bridge import FROM
from brokerkit.cli._output import LogLevel, console, set_up_logging
from brokerkit.cli._progress import progress, summary
from brokerkit.cli._stopping import stopping

logger = logging.getLogger("brokerkit")

_LOOK: Final = 1.0
"""Seconds between two questions to the source how much waits."""
_REPORT: Final = 10
"""Looks between two lines of the log."""
_EMPTY: Final = 3
"""Looks in a row that must find nothing: brokers count late."""


def bridge(
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    topic: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    queue: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    group: str | None = None,
    to_topic: str | None = None,
    event: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    format: str | None = None,
    until_empty: Annotated[bool, Parameter(negative="")] = False,
    log_level: LogLevel = "info",
) -> None:
    """Hand on one broker's messages to another, every byte as it came, until SIGTERM or SIGINT.

    Where the source's broker has groups this mirrors the topic, elsewhere it moves the messages. One is acknowledged when
    the target has confirmed it, so that nothing is lost whenever this ends; while the target is away everything waits.

    Args:
        from_: the broker to read; every other setting can stand in the query. By default
            `BROKERKIT_SOURCES__FROM__URL`.
        to: the broker to publish to, in the same way. By default `BROKERKIT_TARGETS__TO__URL`.
        topic: what to read; several times for several topics.
        queue: a queue that exists for itself, instead of a topic.
        group: the group to read as, on brokers that have groups: one of the bridge's own.
        to_topic: the topic to publish to, by default the one that is read.
        event: hand on this event alone, several times for several; the others are acknowledged.
        format: the wire format, which says where event names are; `json` by default.
        until_empty: stop when the source has nothing left.
        log_level: what is logged to standard error.
    """
    set_up_logging(log_level)
    said = {"topic": topic, "queue": queue, "group": group, "format": format}
    settings: dict[str, Any] = {name: value for name, value in said.items() if value}
    bus = Bus.bridge(from_, to, to_topic=to_topic, events=event, **settings)
    asyncio.run(_Run(bus, until_empty=until_empty).run())


class _Run:
    """One run of a bridge, and what is shown of it."""

    def __init__(self, bus: Bus, *, until_empty: bool) -> None:
        self._bus = bus
        self._until_empty = until_empty
        self._lag: int | None = None

    async def run(self) -> None:
        """Serve until a signal, or until the source is empty."""
        serving = asyncio.ensure_future(self._bus.serve())
        watching = asyncio.ensure_future(self._watch(serving))
        begun = time.monotonic()
        try:
            with stopping(lambda: _cancel(serving)):
                async with progress("handed on", self._done, more=self._waiting):
                    with suppress(asyncio.CancelledError):
                        await serving
        finally:
            watching.cancel()
            if self._bus.stats:
                stats = self._bus.stats[FROM]
                text = summary("handed on", self._done(), time.monotonic() - begun)
                console().print(f"{text}; left out {stats.skipped:,}, dead letters {stats.dead_lettered:,}")

    def _done(self) -> int:
        return self._bus.stats[FROM].handled if self._bus.stats else 0

    def _waiting(self) -> str:
        return "" if self._lag is None else f", {self._lag:,} waiting"

    async def _watch(self, serving: asyncio.Future[None]) -> None:
        """Ask how much waits; say it in the log, and stop where nothing does."""
        looks = empty = before = 0
        while True:
            await asyncio.sleep(_LOOK)
            source = (await self._bus.health(lag=True)).sources[FROM]
            self._lag = source.lag
            looks += 1
            if looks % _REPORT == 0:
                done = self._done()
                logger.info("handed on %s, %s a second%s", done, (done - before) // _REPORT, self._waiting())
                before = done
            idle = source.state == "consuming" and source.lag == 0 and not source.in_flight
            empty = empty + 1 if idle else 0
            if self._until_empty and empty == _EMPTY:
                _cancel(serving)
                return


def _cancel(serving: asyncio.Future[None]) -> None:
    serving.cancel()
