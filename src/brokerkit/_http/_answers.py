"""What a bus is asked over HTTP, and the answers of one process."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from brokerkit import _clock
from brokerkit._config._rate import Rate
from brokerkit._dead_letters._handle import DeadLetters
from brokerkit._handlers._handlers import Handlers
from brokerkit._metrics._readings import Readings
from brokerkit._runtime import Runtime
from brokerkit._status._figures import BOUNDARIES
from brokerkit._status._health import SourceHealth
from brokerkit._status._history import History, Step
from brokerkit._status._samples import Raw, Samples, Wanted

State = dict[str, Any]
"""What ``/state`` says, as JSON has it; see docs/http.md."""

_MINUTE: Final = 60.0
"""Seconds over which rates are taken."""
_BUCKETS: Final = (*map(str, BOUNDARIES), "inf")
MOST_HELD: Final = 50
"""Held messages in one answer of a process."""
_APART: Final = 1.0
"""Seconds between two looks that are kept."""


@dataclass(frozen=True, slots=True)
class Held:
    """A failed message that waits in the process.

    Attributes:
        raw: the message.
        handler: that failed last; "" if none ran.
        failures: attempts that failed.
        why: type and text of the last error; the text may be "".
        due: Unix time in seconds of the next attempt.
        worker: number of the process that has it.
    """

    raw: Raw
    handler: str
    failures: int
    why: tuple[str, str]
    due: float
    worker: int = 1


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages that have arrived, or some of them.

    Attributes:
        messages: each with the number of its worker.
        matched: how many there were.
        full: whether so many others look that this watcher gets none.
    """

    messages: Sequence[tuple[int, Raw]]
    matched: int
    full: bool = False


class Answers(Protocol):
    """Answers for one process, or for all workers of one bus."""

    async def live(self) -> Sequence[str]:
        """Return why it should be restarted; nothing if it works."""
        ...

    async def ready(self) -> Sequence[str]:
        """Return why it is not ready; nothing if it is."""
        ...

    async def metrics(self) -> str:
        """Return the metrics in Prometheus' text format 0.0.4."""
        ...

    async def state(self) -> State:
        """Return the state of sources, targets and handlers. It holds no secret."""
        ...

    async def change(self, *, pause: bool, source: str | None, why: str) -> State:
        """Pause or resume sources, and return the state after that.

        Args:
            pause: whether to pause.
            source: name of the source; None for all of them.
            why: the reason of a pause.

        Raises:
            ConfigError: there is no such source; the text lists them.
            Closed: the bus is not consuming.
        """
        ...

    async def held(self, source: str) -> Sequence[Held]:
        """Return some of the failed messages that wait in the process for their next attempt, the first due first.

        Raises:
            ConfigError: there is no such source.
        """
        ...

    async def messages(self, source: str, watcher: str, wanted: Wanted) -> Taken:
        """Return some of the messages that have arrived since this watcher asked last.

        Raises:
            ConfigError: there is no such source.
        """
        ...

    async def history(self, source: str) -> Mapping[int, Step]:
        """Return what a source did in the last steps, by number of the step; see `brokerkit._status._history`.

        Raises:
            ConfigError: there is no such source.
        """
        ...


class Served(Protocol):
    """A bus."""

    @property
    def runtime(self) -> Runtime:
        """What exists from the opening of the bus to its closing."""
        ...

    @property
    def handlers(self) -> Handlers:
        """The handlers of the bus."""
        ...

    async def pause(self, source: str | None, /, *, reason: str) -> None:
        """See `Bus.pause`."""
        ...

    async def resume(self, source: str | None, /) -> None:
        """See `Bus.resume`."""
        ...

    def dead_letters(self, source: str | None, /) -> DeadLetters:
        """See `Bus.dead_letters`."""
        ...


class Process:
    """Answers for a bus in this process, on its event loop. It asks no broker.

    Args:
        bus: what is asked about; from here on it measures durations, and asks the brokers for lags every ten seconds.

    Raises:
        ConfigError: the bus is open.
    """

    def __init__(self, bus: Served) -> None:
        self._bus = bus
        self._readings = Readings(bus)
        self._rates = _Rates()
        self._samples: dict[str, Samples] = {}
        self._history = History(self._readings.figures)
        self._readings.figures.beside.append(self._history.keep)

    def __repr__(self) -> str:
        return f"<Process {self._readings!r}>"

    async def live(self) -> Sequence[str]:
        """Return nothing: whoever reads it knows that the event loop answers."""
        return ()

    async def ready(self) -> Sequence[str]:
        """Return why the bus is not ready."""
        return (await self._bus.runtime.health()).reasons

    async def metrics(self) -> str:
        """Return the metrics as text.

        Raises:
            MissingExtra: `prometheus_client` is not installed.
        """
        from brokerkit._metrics._text import text_of

        return text_of(self._readings)

    async def state(self) -> State:
        """Return the state of sources, targets and handlers."""
        health = await self._bus.runtime.health()
        settings, figures = self._bus.runtime.settings, self._readings.figures
        done = {("source", name): figures.source(name).total.handled for name in health.sources}
        done |= {("target", name): figures.target(name).sent[""] for name in health.targets}
        rates = self._rates.look(asyncio.get_running_loop().time(), done)
        return {
            "ready": health.ready,
            "reasons": list(health.reasons),
            "workers": [
                {"worker": 1, "pid": os.getpid(), "ready": health.ready, "reasons": list(health.reasons)},
            ],
            "sources": {
                name: {
                    "topics": list(settings.sources[name].topic or settings.sources[name].queue),
                    "group": settings.sources[name].group,
                    **_shown(source),
                    **self._waiting(name),
                    "rate": rates.get(("source", name)),
                    "rate_limit": _per_second(settings.sources[name].rate),
                    "counts": asdict(figures.source(name).total),
                }
                for name, source in health.sources.items()
            },
            "targets": {
                name: {
                    "topic": settings.targets[name].topic,
                    **asdict(target),
                    "rate": rates.get(("target", name)),
                    "confirmed": figures.target(name).sent[""],
                    "refused": {error: count for error, count in figures.target(name).sent.items() if error},
                }
                for name, target in health.targets.items()
            },
            "handlers": [row for name in health.sources for row in self._handlers(name)],
        }

    async def change(self, *, pause: bool, source: str | None, why: str) -> State:
        """Pause or resume sources, and return the state after that."""
        await (self._bus.pause(source, reason=why) if pause else self._bus.resume(source))
        return await self.state()

    async def held(self, source: str) -> Sequence[Held]:
        """Return some of the messages that wait here for their next attempt."""
        consumer = self._bus.runtime.consumers.get(self._bus.runtime.source_name(source))
        if consumer is None:
            return ()
        ahead = _clock.wall_time() - asyncio.get_running_loop().time()
        found = [(one, one.need_retry_state()) for one in consumer.state.soonest(MOST_HELD)]
        return [
            Held(Raw.of(one), state.handler, state.failures, state.why, round(state.due + ahead, 3))
            for one, state in found
        ]

    async def messages(self, source: str, watcher: str, wanted: Wanted) -> Taken:
        """Return some of the messages that have arrived."""
        name = self._bus.runtime.source_name(source)
        if name not in self._samples:
            self._samples[name] = Samples(self._readings.figures.source(name))
        found = self._samples[name].look(watcher, wanted)
        return Taken((), 0, full=True) if found is None else Taken([(1, raw) for raw in found[0]], found[1])

    async def history(self, source: str) -> Mapping[int, Step]:
        """Return what a source did in the last steps."""
        return self._history.of(self._bus.runtime.source_name(source))

    def _waiting(self, name: str) -> dict[str, Any]:
        """Return what the broker said when it was asked last."""
        asked = self._readings.figures.health
        found = asked.sources[name] if asked is not None and name in asked.sources else None
        if found is None:
            return {"lag": None, "partitions": [], "waiting": None}
        partitions = [
            {"topic": topic, "partition": partition, "lag": lag} for (topic, partition), lag in found.partitions.items()
        ]
        return {"lag": found.lag, "partitions": partitions, "waiting": found.waiting}

    def _handlers(self, source: str) -> Iterator[dict[str, Any]]:
        figures = self._readings.figures.source(source)
        consumer = self._bus.runtime.consumers.get(source)
        limited: Mapping[str, int] = {} if consumer is None else consumer.state.limited_by_handler
        attempts, failures, seconds = Counter[str](), dict[str, Counter[str]](), dict[str, float]()
        durations = dict[str, Counter[str]]()
        for timed, timing in list(figures.durations.timings.items()):
            counts = timing.counts
            attempts[timed.handler] += sum(counts)
            durations.setdefault(timed.handler, Counter()).update(dict(zip(_BUCKETS, counts, strict=True)))
            seconds[timed.handler] = seconds.get(timed.handler, 0.0) + timing.sum
        for (handler, error), count in list(figures.failures.items()):
            failures.setdefault(handler, Counter())[error] += count
        registered = [each.name for each in self._bus.handlers if each.source in (None, source)]
        for name in dict.fromkeys((*registered, *attempts, *failures)):
            last, at = figures.last_errors.get(name, ("", None))
            rate = next((each.rate for each in self._bus.handlers if each.name == name), None)
            yield {
                "source": source,
                "handler": name,
                "limited": limited.get(name, 0),
                "rate_limit": _per_second(rate),
                "attempts": attempts[name],
                "failures": dict(failures.get(name, {})),
                "last_error": last,
                "last_error_at": at,
                "seconds": round(seconds.get(name, 0.0), 6),
                "durations": +durations.get(name, Counter[str]()),
            }


def _per_second(rate: Rate | None) -> float | None:
    return None if rate is None else rate.per_second


def _shown(source: SourceHealth) -> dict[str, Any]:
    found = asdict(source)
    for asked in ("lag", "partitions", "waiting"):
        del found[asked]  # the brokers were not asked
    return found


class _Rates:
    """How much is done in a second, over the last minute, from looks at the counts."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, dict[tuple[str, str], int]]] = deque()

    def look(self, now: float, done: dict[tuple[str, str], int]) -> dict[tuple[str, str], float]:
        """Note the counts, and return the rates; nothing in the first second.

        Args:
            now: in seconds.
            done: how much is done so far, by source or target.
        """
        looks = self._looks
        while len(looks) > 1 and looks[1][0] <= now - _MINUTE:
            looks.popleft()
        if not looks or now - looks[-1][0] >= _APART:
            looks.append((now, done))
        since, before = looks[0]
        if now - since < _APART:
            return {}
        return {key: round((count - before.get(key, 0)) / (now - since), 3) for key, count in done.items()}
