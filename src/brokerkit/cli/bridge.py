"""``brokerkit bridge``: forward messages from one broker to another."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Annotated, Any, Final

from cyclopts import Parameter

from brokerkit import Bus, SourceHealth
from brokerkit._logging import escape, get_logger
from brokerkit._tools._bridge import FROM
from brokerkit.cli._output import LogFormat, LogLevel, say, set_up_logging
from brokerkit.cli._progress import progress, summary
from brokerkit.cli._stopping import stopping

logger = get_logger(__name__)

_CHECK: Final = 1.0
"""Seconds between two checks of how many messages wait at the source."""
_REPORT: Final = 10
"""Checks between two lines of the log."""
_EMPTY: Final = 3
"""Checks in a row that must find nothing: brokers count late."""


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
    log_format: LogFormat = "text",
) -> None:
    """Forward messages from one broker to another, byte for byte, until SIGTERM or SIGINT.

    If the source's broker has groups, the bridge mirrors the topic; otherwise it moves the messages. A message is
    acknowledged when the target has confirmed it, so nothing is lost when the bridge ends. While the target is away,
    everything waits.

    Args:
        from_: the broker to read; every other setting can go into its query. By default
            `BROKERKIT_SOURCES__FROM__URL`.
        to: the broker to publish to, in the same way. By default `BROKERKIT_TARGETS__TO__URL`.
        topic: the topic to read; may be repeated.
        queue: a queue to read, instead of a topic.
        group: the group to read as, on brokers that have groups. Use a separate group for the bridge.
        to_topic: the topic to publish to; by default the topic that is read.
        event: forward only this event; may be repeated. Other events are acknowledged.
        format: the wire format, which says where event names are; `json` by default.
        until_empty: stop when the source has nothing left.
        log_level: what is logged to standard error.
        log_format: `json` for one line of JSON for each record, with fields.
    """
    set_up_logging(log_level, log_format)
    said = {"topic": topic, "queue": queue, "group": group, "format": format}
    settings: dict[str, Any] = {name: value for name, value in said.items() if value}
    bus = Bus.bridge(from_, to, to_topic=to_topic, events=event, **settings)
    asyncio.run(_Run(bus, until_empty=until_empty).run())


class _Run:
    """A run of a bridge, with its output."""

    def __init__(self, bus: Bus, *, until_empty: bool) -> None:
        self._bus = bus
        self._until_empty = until_empty
        self._source: SourceHealth | None = None
        self._reason: str | None = None

    async def run(self) -> None:
        """Serve until a signal, or until the source is empty."""
        serving = asyncio.ensure_future(self._bus.serve())
        watching = asyncio.ensure_future(self._watch(serving))
        begun = time.monotonic()
        try:
            with stopping(lambda: _cancel(serving)):
                async with progress("forwarded", self._done, more=self._waiting):
                    with suppress(asyncio.CancelledError):
                        await serving
        finally:
            watching.cancel()
            if self._bus.stats:
                stats = self._bus.stats[FROM]
                text = summary("forwarded", self._done(), time.monotonic() - begun)
                say(f"{text}; left out {stats.skipped:,}, dead letters {stats.dead_lettered:,}")

    def _done(self) -> int:
        return self._bus.stats[FROM].handled if self._bus.stats else 0

    def _waiting(self) -> str:
        if self._source is None:
            return ""
        here = f"at least {self._source.in_flight:,}" if self._source.waiting is None else f"{self._source.waiting:,}"
        return f", {here} waiting{'' if self._reason is None else f' ({self._reason})'}"

    async def _watch(self, serving: asyncio.Future[None]) -> None:
        """Check how many messages wait, log it, and stop when the source is empty if that was asked for."""
        checks = empty = before = 0
        while True:
            await asyncio.sleep(_CHECK)
            health = await self._bus.health(lag=True)
            self._source = source = health.sources[FROM]
            self._reason = escape(health.reasons[0]) if health.reasons else None
            checks += 1
            if checks % _REPORT == 0:
                done = self._done()
                logger.info("forwarded %s, %s a second%s", done, (done - before) // _REPORT, self._waiting())
                before = done
            idle = source.state == "consuming" and source.lag == 0 and not source.in_flight
            empty = empty + 1 if idle else 0
            if self._until_empty and empty == _EMPTY:
                _cancel(serving)
                return


def _cancel(serving: asyncio.Future[None]) -> None:
    serving.cancel()
