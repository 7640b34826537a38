"""Log lines of a bus about itself: what it serves, what happened to its messages, and problems that last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from brokerkit import _clock
from brokerkit._config._loading import BusSettings
from brokerkit._config._settings import ConnectionSettings
from brokerkit._guard import start
from brokerkit._handlers._handlers import Handler, shown
from brokerkit._logging import Reminder, get_logger
from brokerkit._status._figures import Figures
from brokerkit._status._health import Health, SourceHealth, TargetHealth
from brokerkit._status._stats import Stats
from brokerkit._url import Url

logger = get_logger(__name__)

_SHOWN: Final = 10
"""How many topics or handlers are named in a line; the rest is only counted."""
_LOOK: Final = 5.0
"""Seconds between two checks of the health of a bus."""
_AS_IT_SHOULD_BE: Final = frozenset({"starting", "consuming", "open", "paused", "stopping", "stopped", "closed"})


class AskHealth(Protocol):
    """Returns the health of a bus; with ``lag``, the brokers are asked too."""

    def __call__(self, *, lag: bool = False) -> Awaitable[Health]: ...


def say_what_is_served(settings: BusSettings, handlers: Iterable[Handler]) -> None:
    """Log the brokers, topics and groups of all sources and targets, without secrets, and the handlers."""
    for name, source in settings.sources.items():
        kind = "topic" if source.topic else "queue"
        group = f", group {source.group}" if source.group else ""
        logger.info("source %s: %s, %s%s", name, _broker(source), _listed(kind, source.topic or source.queue), group)
    for name, target in settings.targets.items():
        topic = f", topic {target.topic}" if target.topic else ""
        logger.info("target %s: %s%s", name, _broker(target), topic)
    names: list[str] = []
    for handler in handlers:
        if handler.raw:
            logger.info("source %s: forwards %s", handler.source, _forwarded(handler))
        else:
            names.append(f"{handler.name} ({_events(handler)})")
    if names:
        logger.info("%s", _listed("handler", names))


def say_where_settings_come_from(settings: BusSettings) -> None:
    """Log which settings come from where, by name, if any of them comes from the environment. No value is logged."""
    if not settings.variables:
        return
    by_origin: dict[str, list[str]] = {}
    for key, origin in settings.origins.items():
        by_origin.setdefault(origin, []).append(key)
    logger.info("settings: %s", "; ".join(f"{', '.join(keys)} from {origin}" for origin, keys in by_origin.items()))


def say_what_became(stats: Mapping[str, Stats]) -> None:
    """Log what happened to the messages of each source."""
    for name, each in stats.items():
        counted = {
            "received": each.received,
            "handled": each.handled,
            "failed attempts": each.failed,
            "dead letters": each.dead_lettered,
            "without a handler": each.skipped,
            "duplicates": each.duplicates,
            "given back": each.released,
            "taken away by the broker": each.lost,
        }
        shown = [f"{what} {count:,}" for what, count in counted.items() if count or what in ("received", "handled")]
        logger.info("source %s: %s", name, ", ".join(shown))


def begin_looking(health: AskHealth, figures: Figures) -> list[asyncio.Task[None]]:
    """Start the tasks of an open bus that look at it: one for reminders, and one for metrics if anybody reads them."""
    tasks = [start(remind(health), _looking_failed)]
    if figures.measured:
        tasks.append(start(figures.keep_asking(partial(health, lag=True)), _looking_failed))
    tasks += [start(each(), _looking_failed) for each in figures.beside]
    return tasks


def _looking_failed(error: BaseException) -> None:
    """Log that the bus does not look at itself any more. Nothing else depends on that."""
    logger.error(
        "reminders of lasting problems, lags in metrics, or the history for the console have stopped: %r",
        error,
        exc_info=error,
    )


async def remind(health: Callable[[], Awaitable[Health]]) -> None:
    """Log at growing intervals which source or target has a problem, and why, until cancelled."""
    reminders: dict[str, Reminder] = {}
    blocked: set[str] = set()
    while True:
        await asyncio.sleep(_LOOK)
        found = await health()
        parts: dict[str, SourceHealth | TargetHealth] = {f"source {name}": each for name, each in found.sources.items()}
        parts |= {f"target {name}": each for name, each in found.targets.items()}
        for name, each in parts.items():
            if each.state in _AS_IT_SHOULD_BE:
                if reminders.pop(name, None) is not None and name in blocked:
                    logger.warning("%s continues", name)
                blocked.discard(name)
                continue
            if name not in reminders:
                reminders[name] = Reminder()
                if each.state == "blocked":
                    blocked.add(name)
                else:
                    reminders[name].due()  # its beginning is already in the log
            if reminders[name].due():
                lasts = _clock.wall_time() - each.since
                logger.warning("%s: %s for %.0f s: %s", name, each.state, lasts, each.error)


def _broker(settings: ConnectionSettings) -> Url:
    return Url.parse(settings.url.get_secret_value())


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{kind}{'' if len(names) == 1 else 's'} {', '.join(names[:_SHOWN])}{more}"


def _forwarded(handler: Handler) -> str:
    if handler.handles_any:
        return "every message" if "" in handler.events else "every message with an event name"
    return _listed("event", [shown(event) for event in handler.events])


def _events(handler: Handler) -> str:
    names = [shown(event) for event in handler.events]
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
