"""Health: what state each source and target is in, for probes, dashboards and whoever is on call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from brokerkit import _clock
from brokerkit._errors import describe
from brokerkit._hooks import Hooks, Kind, Notice
from brokerkit._transport import Reach

Condition = Literal["starting", "consuming", "open", "reconnecting", "stopping", "stopped", "failed", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceHealth:
    """One source at one moment.

    Attributes:
        broker: what the broker is called.
        order: how far messages of one key are in order: across the ``group``, within this ``process``, or ``none``.
        state: ``starting`` until the broker let it in; ``consuming``; ``reconnecting`` while the connection is lost;
            ``failed`` after an error that ended it; ``stopping``; ``stopped`` before it was started and after it
            ended in peace.
        since: Unix time in seconds at which that began.
        error: the last trouble with the broker, or "" where there was none; no secret is in it.
        failures: tries to reach the broker that failed one after another.
        in_flight: messages that are not settled yet.
        held: those of them that failed and wait for their next attempt.
        lag: messages that wait at the broker, where it was asked for and can tell.
    """

    broker: str
    order: Reach
    state: Condition
    since: float
    error: str = ""
    failures: int = 0
    in_flight: int = 0
    held: int = 0
    lag: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHealth:
    """One target at one moment. Between publishes a target knows nothing: its state is that of the last one.

    Attributes:
        broker: what the broker is called.
        state: ``open``; ``closed``; ``reconnecting`` where the last try to publish did not reach the broker, or has no
            answer for five seconds.
        since: Unix time in seconds at which that began.
        error: the last trouble with the broker, or "" where there was none; no secret is in it.
        failures: tries that failed one after another.
        in_flight: messages that are not confirmed yet.
    """

    broker: str
    state: Condition
    since: float
    error: str = ""
    failures: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A bus at one moment.

    Attributes:
        ready: the bus is open, every source that was started is consuming, and no target is reconnecting.
        sources: by name.
        targets: by name.
    """

    ready: bool
    sources: Mapping[str, SourceHealth]
    targets: Mapping[str, TargetHealth]


class Life:
    """The state of one source or target as it changes, told to the hooks.

    Args:
        about: a notice that names the source or target; what is told is a copy of it.
        good: the state in which it works.
    """

    def __init__(self, hooks: Hooks, about: Notice, *, state: Condition, good: Condition) -> None:
        self.state: Condition = state
        self.since = _clock.now()
        self.error = ""
        self.failures = 0
        self.broker = about.broker
        self._hooks = hooks
        self._about = about
        self._good: Condition = good

    def __repr__(self) -> str:
        return f"<Life of {self._about.source or self._about.target}: {self.state}>"

    def become(self, state: Condition) -> None:
        """Enter a state; its time begins where it is another one."""
        if state != self.state:
            self.state = state
            self.since = _clock.now()

    def lose(self, error: BaseException) -> None:
        """A try to reach the broker failed."""
        self.failures += 1
        self.note(error)
        if self.state == self._good:
            self.become("reconnecting")
            self.tell("connection_lost", error=error)

    def recover(self) -> None:
        """The broker answered."""
        self.failures = 0
        if self.state == "reconnecting":
            self.become(self._good)
            self.tell("connection_back")

    def note(self, error: BaseException) -> None:
        """Remember the text of an error."""
        self.error = f"{type(error).__name__}: {describe(error)}"

    def tell(self, kind: Kind, **facts: Any) -> None:
        """Tell the hooks, if there are any."""
        if self._hooks:
            self._hooks.tell(replace(self._about, kind=kind, **facts))
