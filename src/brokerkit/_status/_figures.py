"""Figures for metrics: counts and durations of a bus from its making on. They do not begin anew when consuming does."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from brokerkit import _clock
from brokerkit._errors import BrokerkitError
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Receipt
from brokerkit._status._health import Health
from brokerkit._status._spans import SourceSpans, TargetSpans
from brokerkit._status._stats import Stats

logger = get_logger(__name__)

BOUNDARIES: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper ends in seconds of the buckets of durations: those that the semantic conventions advise."""
OTHER: Final = "_OTHER"
"""Stands for all names that are not known beforehand, as in the semantic conventions."""

_FIRST: Final = BOUNDARIES[0]
_EVERY: Final = 10.0
"""Seconds between two questions to the brokers."""
_MOST_ERRORS: Final = 100
"""How many types of errors each source and target has figures of their own for. They come from users' code."""


class Timed(NamedTuple):
    """What durations are of. Attributes that do not apply are empty.

    Attributes:
        handler: name of the handler; empty for publishes.
        event: the event name, or `OTHER`.
        error: the type of the error, for what failed.
    """

    handler: str
    event: str
    error: str


_CONFIRMED: Final = Timed("", "", "")
"""Publishes that the broker has confirmed."""


class Timing:
    """Durations, counted by bucket.

    Args:
        tell: called with each duration too; None where nobody wants to know.

    Attributes:
        sum: of all of them, in seconds.
        quick: how many are in the first bucket.
        quick_end: a duration up to this, in seconds, may be counted without `add`, by adding to `quick` and `sum`. It is
            negative where each duration must be told.
        add: counts one duration, in seconds.
    """

    __slots__ = ("_counts", "_tell", "add", "quick", "quick_end", "sum")

    def __init__(self, tell: Callable[[float], None] | None = None) -> None:
        self._counts = [0] * len(BOUNDARIES)
        self._tell = tell
        self.quick = 0
        self.quick_end = _FIRST if tell is None else -1.0
        self.sum = 0.0
        self.add: Callable[[float], None] = self._add if tell is None else self._add_and_tell

    def __repr__(self) -> str:
        return f"<Timing of {sum(self.counts)}>"

    @property
    def counts(self) -> list[int]:
        """How many durations are in each bucket; the last one has no upper end."""
        return [self.quick, *self._counts]

    def _add(self, seconds: float) -> None:
        self.sum += seconds
        # Most handlers are quick, and the search would cost more than all the rest.
        if seconds <= _FIRST:
            self.quick += 1
        else:
            self._counts[bisect_left(BOUNDARIES, seconds) - 1] += 1

    def _add_and_tell(self, seconds: float) -> None:
        self._add(seconds)
        assert self._tell is not None  # see above
        self._tell(seconds)


Tell = Callable[[Literal["source", "target"], str, Timed], Callable[[float], None]]
"""Takes the kind and the name of a source or target, and what durations are of; returns what is told each of them."""


class Figures:
    """The figures of one bus.

    Attributes:
        measured: whether anybody reads them. Only then durations are measured, publishes counted, and the brokers asked for
            lags.
        sources: by name.
        targets: by name.
        health: what was found when the brokers were asked last; None before.
        backlogs: ask how many messages wait where only a query tells, such as in an outbox; by name.
        waiting: what they answered last.
        clients: tell how many clients are connected, such as to a gateway; by name.
        tell: makes what is told each duration; None where nobody wants to know each.
        beside: what runs while the bus is open, each until it is cancelled.
    """

    def __init__(self) -> None:
        self.measured = False
        self.sources: dict[str, SourceFigures] = {}
        self.targets: dict[str, TargetFigures] = {}
        self.health: Health | None = None
        self.backlogs: dict[str, Callable[[], Awaitable[int]]] = {}
        self.waiting: dict[str, int] = {}
        self.clients: dict[str, Callable[[], int]] = {}
        self.tell: Tell | None = None
        self.beside: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def __repr__(self) -> str:
        return f"<Figures of {len(self.sources)} sources and {len(self.targets)} targets>"

    def source(self, name: str) -> SourceFigures:
        """Return the figures of a source."""
        if name not in self.sources:
            self.sources[name] = SourceFigures(Durations(self, "source", name))
        return self.sources[name]

    def target(self, name: str) -> TargetFigures:
        """Return the figures of a target."""
        if name not in self.targets:
            self.targets[name] = TargetFigures(Durations(self, "target", name))
        return self.targets[name]

    async def ask(self, health: Callable[[], Awaitable[Health]]) -> None:
        """Ask for what only brokers and databases know. What does not answer has no figure.

        Args:
            health: asks the brokers for lags too.
        """
        self.health = await health()
        for name, backlog in list(self.backlogs.items()):
            try:
                self.waiting[name] = await backlog()
            except Exception as error:  # noqa: BLE001 (a database that is away must not end the rest)
                self.waiting.pop(name, None)
                logger.debug("the backlog of %s is not known: %r", name, error)
        for name in self.waiting.keys() - self.backlogs.keys():
            del self.waiting[name]

    async def keep_asking(self, health: Callable[[], Awaitable[Health]]) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await self.ask(health)
            await asyncio.sleep(_EVERY)


class Durations:
    """The durations of one source or target, by what they are of, and its types of errors.

    Attributes:
        timings: by what they are of.
    """

    def __init__(self, figures: Figures, kind: Literal["source", "target"], name: str) -> None:
        self.timings: dict[Timed, Timing] = {}
        self._figures = figures
        self._kind: Literal["source", "target"] = kind
        self._name = name
        self._errors: set[str] = set()

    def __repr__(self) -> str:
        return f"<Durations of {self._kind} {self._name}: {len(self.timings)} kinds>"

    @property
    def measured(self) -> bool:
        """Whether durations are measured."""
        return self._figures.measured

    def error_type(self, error: BaseException) -> str:
        """Return the name of the type of an error, or `OTHER` where there are too many."""
        name = type(error).__qualname__
        if name not in self._errors:
            if len(self._errors) >= _MOST_ERRORS:
                return OTHER
            self._errors.add(name)
        return name

    def of(self, timed: Timed) -> Timing:
        """Return where the durations of this are counted."""
        found = self.timings.get(timed)
        if found is None:
            tell = self._figures.tell
            found = Timing(None if tell is None else tell(self._kind, self._name, timed))
            self.timings[timed] = found
        return found


class TakesSamples(Protocol):
    """See `brokerkit._status._samples.Samples`."""

    def take(self, batch: Sequence[Delivery]) -> None:
        """Look at messages that have arrived. Does not raise."""
        ...


class SourceFigures:
    """The figures of one source.

    Attributes:
        durations: of attempts of handlers.
        stats: the counts of the running consumer, or of the last one.
        failures: failed attempts, by handler and type of error.
        last_errors: the type of the last error of each handler, and its Unix time in seconds.
        spans: makes the spans of its messages; None where nobody traces.
        samples: takes some of the messages that arrive; None while nobody looks.
    """

    def __init__(self, durations: Durations) -> None:
        self.durations = durations
        self.samples: TakesSamples | None = None
        self.stats = Stats()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.last_errors: dict[str, tuple[str, float]] = {}
        self.spans: SourceSpans | None = None
        self._before = Stats()

    def __repr__(self) -> str:
        return f"<SourceFigures: {self.total!r}>"

    def begin(self) -> Stats:
        """Return new counts for a new consumer. The earlier ones stay part of `total`."""
        self._before += self.stats
        self.stats = Stats()
        return self.stats

    @property
    def total(self) -> Stats:
        """The counts of all consumers."""
        return self._before + self.stats

    def failed(self, handler: str, error: BaseException) -> None:
        """Count a failed attempt."""
        kind = self.durations.error_type(error)
        self.failures[handler, kind] += 1
        self.last_errors[handler] = kind, _clock.wall_time()

    def timing(self, handler: str, event: str) -> Timing:
        """Return where the durations of attempts are counted that do not fail."""
        return self.durations.of(Timed(handler, event, ""))

    def took(self, handler: str, event: str, error: BaseException, seconds: float) -> None:
        """Count the duration of an attempt that failed."""
        self.durations.of(Timed(handler, event, self.durations.error_type(error))).add(seconds)


class TargetFigures:
    """The figures of one target.

    Attributes:
        durations: of publishes, from the call to the broker's answer.
        sent: messages that were sent, by type of error; "" for confirmed ones.
        reconnects: how often the broker was out of reach, and came back.
        spans: makes the spans of what is published; None where nobody traces.
    """

    def __init__(self, durations: Durations) -> None:
        self.durations = durations
        self.sent: Counter[str] = Counter()
        self.reconnects = 0
        self.spans: TargetSpans | None = None

    def __repr__(self) -> str:
        return f"<TargetFigures: {self.sent.total()} sent>"

    def note(self, calls: Iterable[tuple[int, float]], results: Sequence[Receipt | BrokerkitError]) -> None:
        """Count a batch that was sent.

        Args:
            calls: how many messages each call had, and how long it took in seconds.
            results: of the messages of all calls, in order.
        """
        first, durations = 0, self.durations
        if not any(isinstance(one, BrokerkitError) for one in results):
            self.sent[""] += len(results)
            add = durations.of(_CONFIRMED).add
            for _, seconds in calls:
                add(seconds)
            return
        for count, seconds in calls:
            errors = [one for one in results[first : first + count] if isinstance(one, BrokerkitError)]
            first += count
            self.sent[""] += count - len(errors)
            self.sent.update(map(durations.error_type, errors))
            durations.of(Timed("", "", durations.error_type(errors[0]) if errors else "")).add(seconds)
