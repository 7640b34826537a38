"""Reads the figures of a bus, metric by metric. Nothing is counted here, so the messages pay nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, Literal, Protocol

from brokerkit import _clock
from brokerkit._errors import ConfigError
from brokerkit._metrics import _instruments as metrics
from brokerkit._metrics._instruments import Instrument, system_of
from brokerkit._runtime import Runtime
from brokerkit._status._figures import Timed, Timing
from brokerkit._url import Url

Labels = Mapping[str, str]
Value = tuple[Labels, float]

_RECEIVE: Final[Labels] = {metrics.OPERATION: "receive"}
_PROCESS: Final[Labels] = {metrics.OPERATION: "process"}
_PUBLISH: Final[Labels] = {metrics.OPERATION: "publish"}
_COUNTS: Final = {
    metrics.HANDLED: "handled",
    metrics.RETRIED: "retried",
    metrics.DEAD_LETTERED: "dead_lettered",
    metrics.SKIPPED: "skipped",
    metrics.TOMBSTONES: "tombstones",
    metrics.RELEASED: "released",
    metrics.LOST: "lost",
    metrics.DUPLICATES: "duplicates",
    metrics.FOREIGN: "foreign",
    metrics.LEASE_RENEWALS: "renewed",
}
"""Attributes of `Stats`."""


class HasRuntime(Protocol):
    """A bus."""

    @property
    def runtime(self) -> Runtime:
        """What exists from the opening of the bus to its closing."""
        ...


class Readings:
    """The metrics of one bus, at the moment of asking. Any thread may ask.

    Args:
        bus: whose figures are read; from here on it measures durations.

    Raises:
        ConfigError: the bus is open.
    """

    def __init__(self, bus: HasRuntime) -> None:
        runtime = bus.runtime
        if runtime.is_open:
            raise ConfigError("this bus is open already: add metrics before it is opened")
        self.figures = runtime.figures
        self.figures.measured = True
        self._bus = bus
        self._sources = {
            name: {
                metrics.SYSTEM: _system(settings.url.get_secret_value()),
                metrics.DESTINATION: ",".join(settings.topic or settings.queue),
                metrics.GROUP: settings.group or "",
                metrics.SOURCE: name,
            }
            for name, settings in runtime.settings.sources.items()
        }
        self._targets = {
            name: {
                metrics.SYSTEM: _system(settings.url.get_secret_value()),
                metrics.DESTINATION: settings.topic or "",
                metrics.TARGET: name,
            }
            for name, settings in runtime.settings.targets.items()
            if name in runtime.targets
        }
        self._readers: dict[Instrument, Callable[[], Iterable[Value]]] = {
            metrics.CONSUMED: self._consumed,
            metrics.SENT: self._sent,
            metrics.FAILED: self._failed,
            metrics.RECONNECTS: self._reconnects,
            metrics.READY: self._ready,
            metrics.IN_FLIGHT: partial(self._here, "in_flight"),
            metrics.HELD: partial(self._here, "held"),
            metrics.LIMITED: partial(self._here, "limited"),
            metrics.SUSPECTS: partial(self._here, "suspects"),
            metrics.OLDEST: self._oldest,
            metrics.LAG: self._lag,
            metrics.UNCONFIRMED: self._unconfirmed,
            metrics.OUTBOX_BACKLOG: self._backlogs,
            metrics.GATEWAY_CLIENTS: self._clients,
            **{instrument: partial(self._counts, what) for instrument, what in _COUNTS.items()},
        }

    def __repr__(self) -> str:
        return f"<Readings of {len(self._sources)} sources and {len(self._targets)} targets>"

    def values(self, instrument: Instrument) -> Iterable[Value]:
        """Return the values of a metric that is no histogram, each with its attributes."""
        return self._readers[instrument]()

    def durations(self, instrument: Instrument) -> Iterator[tuple[Labels, Timing]]:
        """Yield the durations of a histogram, each with its attributes."""
        kind: Literal["source", "target"] = "source" if instrument is metrics.PROCESS_DURATION else "target"
        if kind == "source":
            durations = {name: self.figures.source(name).durations for name in self._sources}
        else:
            durations = {name: self.figures.target(name).durations for name in self._targets}
        for name, each in durations.items():
            for timed, timing in list(each.timings.items()):
                yield self.duration_labels(kind, name, timed), timing

    def duration_labels(self, kind: Literal["source", "target"], name: str, timed: Timed) -> Labels:
        """Return the attributes of durations of a source's handlers, or of publishes to a target."""
        error = {metrics.ERROR_TYPE: timed.error} if timed.error else {}
        if kind == "target":
            return {**self._targets[name], **_PUBLISH, metrics.OPERATION_TYPE: "send", **error}
        which = {metrics.HANDLER: timed.handler, metrics.EVENT: timed.event}
        return {**self._sources[name], **_PROCESS, **which, **error}

    # ---- counted since the bus was made ------------------------------------------------------------------------

    def _counts(self, what: str) -> Iterator[Value]:
        for name, labels in self._sources.items():
            yield labels, getattr(self.figures.source(name).total, what)

    def _consumed(self) -> Iterator[Value]:
        for labels, count in self._counts("received"):
            yield {**labels, **_RECEIVE}, count

    def _failed(self) -> Iterator[Value]:
        for name, labels in self._sources.items():
            for (handler, error), count in list(self.figures.source(name).failures.items()):
                yield {**labels, metrics.HANDLER: handler, metrics.ERROR_TYPE: error}, count

    def _sent(self) -> Iterator[Value]:
        for name, labels in self._targets.items():
            # The confirmed ones are there from the beginning, with 0.
            for error, count in {"": 0, **self.figures.target(name).sent}.items():
                yield {**labels, **_PUBLISH, **({metrics.ERROR_TYPE: error} if error else {})}, count

    def _reconnects(self) -> Iterator[Value]:
        yield from self._counts("reconnects")
        for name, labels in self._targets.items():
            yield labels, self.figures.target(name).reconnects

    # ---- as it is now ------------------------------------------------------------------------------------------

    def _here(self, what: str) -> Iterator[Value]:
        consumers = self._bus.runtime.consumers
        for name, labels in self._sources.items():
            yield labels, getattr(consumers[name].state, what) if name in consumers else 0

    def _ready(self) -> Iterator[Value]:
        runtime = self._bus.runtime
        for name, labels in self._sources.items():
            consumer = runtime.consumers.get(name)
            yield labels, float(consumer is not None and consumer.state.shown()[0] == "consuming")
        for name, labels in self._targets.items():
            yield labels, float(runtime.targets[name].health().state == "open")

    def _oldest(self) -> Iterator[Value]:
        for name, consumer in list(self._bus.runtime.consumers.items()):
            produced = consumer.state.oldest()
            yield self._sources[name], 0.0 if produced is None else max(_clock.wall_time() - produced, 0.0)

    def _lag(self) -> Iterator[Value]:
        health, consumers = self.figures.health, self._bus.runtime.consumers
        for name, source in health.sources.items() if health is not None else ():
            if name not in consumers:
                continue
            for (topic, partition), lag in source.partitions.items():
                yield (
                    {
                        **self._sources[name],
                        metrics.DESTINATION: topic,
                        metrics.PARTITION: str(partition),
                    },
                    lag,
                )
            if not source.partitions and source.lag is not None:
                yield self._sources[name], source.lag

    def _unconfirmed(self) -> Iterator[Value]:
        for name, labels in self._targets.items():
            yield labels, self._bus.runtime.targets[name].health().in_flight

    def _backlogs(self) -> Iterator[Value]:
        for name, count in list(self.figures.waiting.items()):
            yield {metrics.OUTBOX: name}, count

    def _clients(self) -> Iterator[Value]:
        for name, clients in list(self.figures.clients.items()):
            yield {metrics.GATEWAY: name}, clients()


def _system(url: str) -> str:
    return system_of(Url.parse(url).scheme)
