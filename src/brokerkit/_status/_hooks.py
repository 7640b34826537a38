"""Hooks: functions that are called for rare events, such as failures, dead letters, lost connections and the end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from brokerkit._logging import get_logger

logger = get_logger(__name__)

Kind = Literal[
    "failed",
    "dead_letter",
    "dead_letter_refused",
    "lost",
    "duplicate",
    "connection_lost",
    "connection_back",
    "paused",
    "resumed",
    "source_failed",
    "stopped",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that happened. Attributes that do not apply are empty.

    Attributes:
        kind: ``failed``: an attempt failed and there will be another; ``dead_letter``: a dead letter was stored;
            ``dead_letter_refused``: a dead letter could not be stored, the message stays unsettled, and storing is tried
            again; ``lost``: the broker took a delivery away and delivers it again; ``duplicate``: the message was
            handled before; ``connection_lost`` and ``connection_back``: of a source or a target;
            ``paused`` and ``resumed``: a source; ``source_failed``: an error ended a source; ``stopped``: a source has
            stopped.
        broker: name of the broker, e.g. ``"Kafka"``.
        source: name of the source, or "" if this is about a target.
        target: name of the target, or "" if this is about a source.
        topic: the topic of the message, or else the first topic of the source or target.
        group: the source's group.
        event: the event name.
        message_id: the message's id, if it has one.
        attempt: how many attempts have failed.
        error: the reason. brokerkit puts no secret into its text, but a handler's error may hold anything.
        wait: seconds until the next attempt.
        reason: why a source is paused.
    """

    kind: Kind
    broker: str
    source: str = ""
    target: str = ""
    topic: str = ""
    group: str | None = None
    event: str = ""
    message_id: str | None = None
    attempt: int = 0
    error: BaseException | None = None
    wait: float | None = None
    reason: str = ""


Hook = Callable[[Notice], object]
"""Called on the event loop, which it blocks. Start a task or thread for slow work."""


class Hooks:
    """The hooks of one bus."""

    def __init__(self) -> None:
        self._hooks: list[Hook] = []

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def __repr__(self) -> str:
        return f"<Hooks: {len(self._hooks)}>"

    def add(self, hook: Hook) -> None:
        """Add a hook."""
        self._hooks.append(hook)

    def remove(self, hook: Hook) -> None:
        """Remove a hook."""
        self._hooks.remove(hook)

    @contextmanager
    def told(self, hook: Hook) -> Generator[None]:
        """Tell this one too for as long as the block lasts."""
        self.add(hook)
        try:
            yield
        finally:
            self.remove(hook)

    def tell(self, notice: Notice) -> None:
        """Call all hooks. If one raises, the error is logged and changes nothing else."""
        for hook in self._hooks:
            try:
                hook(notice)
            except Exception:
                logger.exception("a hook failed for a notice of kind %r", notice.kind)
