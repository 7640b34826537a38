"""``brokerkit lag``: how many messages wait for each source of a bus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from brokerkit import BrokerkitError, Bus
from brokerkit._config._settings import SourceSettings
from brokerkit._messages._delivery import Delivery
from brokerkit._preflight import refuse_missing_group
from brokerkit.cli._browsing import connected, run_until_interrupted
from brokerkit.cli._output import Table, UsageError, say_json
from brokerkit.cli._target import bus_or_url

Names = Annotated[list[str] | None, Parameter(negative="")]

_FAILED: Final = 1


@dataclass(frozen=True, slots=True)
class Lag:
    """How many messages wait for a source.

    Attributes:
        waiting: messages that wait at the broker; None if the broker cannot tell, or after an error.
        error: the error, or "".
    """

    source: str
    topics: tuple[str, ...]
    group: str | None
    waiting: int | None
    error: str


def lag(
    bus: str | None = None,
    /,
    *,
    config: Path | None = None,
    topic: Names = None,
    queue: Names = None,
    group: str | None = None,
    endpoint: str | None = None,
    above: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show how many messages wait at the broker for each source of a bus. It reads nothing, and joins no group.

    The exit code is 1 if a source cannot be asked, or if more messages wait than `--above` says.

    Args:
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        config: a configuration file.
        topic: the topic, with a URL; may be repeated.
        queue: a queue instead of a topic, with a URL.
        group: the group, with a URL.
        endpoint: URL of an SQS or SNS emulator or private endpoint, with a URL.
        above: how many messages may wait for each source.
        json: write one line of JSON for each source.
    """
    given = {"topic": topic, "queue": queue, "group": group, "endpoint": endpoint}
    found = run_until_interrupted(
        _ask(bus_or_url(bus, config, {name: one for name, one in given.items() if one is not None}))
    )
    if json:
        for each in found:
            say_json(asdict(each))
    else:
        with Table("source", "topic", "group", "waiting", right=["waiting"]) as table:
            for each in found:
                waiting = each.error or ("unknown" if each.waiting is None else f"{each.waiting:,}")
                table.row(each.source, ", ".join(each.topics), each.group or "", waiting)
    behind = above is not None and any(each.waiting is None or each.waiting > above for each in found)
    return _FAILED if behind or any(each.error for each in found) else 0


async def _ask(bus: Bus) -> Sequence[Lag]:
    sources = bus.runtime.settings.sources
    if not sources:
        raise UsageError("this bus has no source: give it a topic (or queue) to read")
    return [await _lag_of(name, settings) for name, settings in sources.items()]


async def _lag_of(name: str, settings: SourceSettings) -> Lag:
    topics = settings.topic or settings.queue
    try:
        async with connected(settings) as adapter:
            promises = adapter.capabilities(topics[0])
            refuse_missing_group(name, settings, promises, certain=True)
            subscription = settings.subscription(promises, drain_timeout=0.0)
            # A missing topic or group is reported: this command creates nothing.
            source = adapter.subscribe(replace(subscription, provision="check"), _nothing_is_lost)
            try:
                waiting = await source.lag()
            finally:
                await source.close()
    except BrokerkitError as error:
        return Lag(name, topics, settings.group, None, f"{type(error).__name__}: {error}")
    return Lag(name, topics, settings.group, waiting, "")


async def _nothing_is_lost(deliveries: Sequence[Delivery], *, gone: bool = True) -> None: ...
