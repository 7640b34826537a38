"""Health: the state of each source and target, for probes, dashboards and the engineer on call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from brokerkit import _clock
from brokerkit._errors import describe
from brokerkit._logging import get_logger
from brokerkit._status._hooks import Hooks, Kind, Notice
from brokerkit.adapters.api import Reach

logger = get_logger(__name__)

Condition = Literal[
    "starting", "consuming", "open", "paused", "reconnecting", "blocked", "stopping", "stopped", "failed", "closed"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceHealth:
    """The state of one source.

    Attributes:
        broker: name of the broker.
        order: how far the order of a key reaches: across the ``group``, within this ``process``, or ``none``.
        state: ``starting`` until the broker accepts it; ``consuming``; ``paused``, with the reason in ``error``;
            ``reconnecting`` while the connection is lost, or a dedupe store does not answer; ``blocked`` while dead
            letters or acknowledgements are refused, or have had no answer for five seconds; ``failed`` after an error
            ended it; ``stopping``; ``stopped`` before its start and after a normal end.
        since: Unix time in seconds at which this state began.
        error: the last error of the broker or a dedupe store, without secrets; "" if there was none.
        failures: tries to reach the broker that failed one after another.
        in_flight: unsettled messages.
        held: those that failed and wait in this process for their next attempt.
        limited: those that wait in this process for a rate limit.
        suspects: those that run alone, one after another, because they were delivered more than ``max_deliveries`` times.
            While there are any, no other message of the source starts.
        lag: messages that wait at the broker; None if it was not asked or cannot tell.
        partitions: the lag of each partition, by topic and number; empty if the broker was not asked or has none.
        waiting: messages that are not handled yet, at the broker or in this process; None if the broker was not asked or
            cannot tell.
    """

    broker: str
    order: Reach
    state: Condition
    since: float
    error: str = ""
    failures: int = 0
    in_flight: int = 0
    held: int = 0
    limited: int = 0
    suspects: int = 0
    lag: int | None = None
    partitions: Mapping[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    waiting: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHealth:
    """The state of one target. Between publishes it learns nothing new: its state is that of the last publish.

    Attributes:
        broker: name of the broker.
        state: ``open``; ``closed``; ``reconnecting`` if the last publish did not reach the broker, or has had no answer
            for five seconds; ``blocked`` while a bridge waits because the broker refuses its messages.
        since: Unix time in seconds at which this state began.
        error: the last error of the broker, without secrets; "" if there was none.
        failures: tries that failed one after another.
        in_flight: unconfirmed messages.
    """

    broker: str
    state: Condition
    since: float
    error: str = ""
    failures: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of a bus.

    Attributes:
        ready: whether the bus is open, every source that was started is consuming, and every target is open.
        reasons: why it is not ready, one for each source and target, without secrets.
        sources: by name.
        targets: by name.
    """

    ready: bool
    sources: Mapping[str, SourceHealth]
    targets: Mapping[str, TargetHealth]
    reasons: tuple[str, ...] = ()


def why_not_ready(sources: Mapping[str, SourceHealth], targets: Mapping[str, TargetHealth]) -> list[str]:
    """Return a line for each source that is not consuming, and each target that is not open."""
    wanting: list[tuple[str, str, str]] = []
    wanting += [(f"source {name}", one.state, one.error) for name, one in sources.items() if one.state != "consuming"]
    wanting += [(f"target {name}", one.state, one.error) for name, one in targets.items() if one.state != "open"]
    return [f"{name}: {state}{': ' if error else ''}{error}" for name, state, error in wanting]


class Status:
    """The changing state of one source or target. It tells the hooks about changes.

    Args:
        about: a notice that names the source or target; hooks get copies of it.
        good: the state in which everything works.
    """

    def __init__(self, hooks: Hooks, about: Notice, *, state: Condition, good: Condition) -> None:
        self.state: Condition = state
        self.since = _clock.wall_time()
        self.error = ""
        self.failures = 0
        self.broker = about.broker
        # Since when, and why.
        self._paused: tuple[float, str] | None = None
        self._blocks: dict[str, tuple[float, str]] = {}
        self._hooks = hooks
        self._about = about
        self._good: Condition = good
        self._name = f"source {about.source}" if about.source else f"target {about.target}"

    def __repr__(self) -> str:
        return f"<Status of {self._name}: {self.state}>"

    @property
    def shown(self) -> tuple[Condition, float, str]:
        """The state to show, its beginning and its reason: ``blocked`` if it is connected but makes no progress.

        A paused source may have lost its connection unnoticed, since it does not use it.
        """
        if self._paused is not None and self.state in (self._good, "reconnecting"):
            return "paused", *self._paused
        if self.state == self._good and self._blocks:
            since = min(since for since, _ in self._blocks.values())
            return "blocked", since, "; ".join(reason for _, reason in self._blocks.values())
        return self.state, self.since, self.error

    def block(self, what: str, error: BaseException) -> None:
        """Note that something makes no progress although there is a connection.

        Args:
            what: what is blocked; give the same to `unblock`.
            error: why.
        """
        since, _ = self._blocks.get(what, (_clock.wall_time(), ""))
        self._blocks[what] = since, f"{what}: {describe(error)}"

    def unblock(self, what: str) -> None:
        """Note that it continues."""
        self._blocks.pop(what, None)

    @property
    def is_paused(self) -> bool:
        """Whether it is paused, whatever else is the matter."""
        return self._paused is not None

    def pause(self, why: str) -> None:
        """Note that it is paused, and tell the hooks."""
        self._paused = _clock.wall_time(), why
        self.tell("paused", reason=why)

    def resume(self) -> None:
        """Note that it goes on, and tell the hooks."""
        self._paused = None
        self.tell("resumed")

    def become(self, state: Condition) -> None:
        """Enter a state. Its time begins now if it is a new state."""
        if state != self.state:
            self.state = state
            self.since = _clock.wall_time()

    def lose(self, error: BaseException) -> None:
        """Note that a try to reach the broker failed."""
        self.failures += 1
        self.note(error)
        if self.state == self._good:
            self.become("reconnecting")
            logger.warning("%s: %s; trying again", self._name, error)
            self.tell("connection_lost", error=error)

    def recover(self) -> None:
        """Note that the broker answered."""
        self.failures = 0
        if self.state == "reconnecting":
            # A warning, like the loss, so that both lines are shown at the same log level.
            logger.warning("%s: %s answers again", self._name, self.broker)
            self.become(self._good)
            self.tell("connection_back")

    def note(self, error: BaseException) -> None:
        """Remember the text of an error."""
        self.error = f"{type(error).__name__}: {describe(error)}"

    def tell(self, kind: Kind, **facts: Any) -> None:
        """Tell the hooks, if there are any."""
        if self._hooks:
            self._hooks.tell(replace(self._about, kind=kind, **facts))
