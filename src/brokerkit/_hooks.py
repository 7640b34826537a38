"""Hooks: functions that are told, as data, of what is rare: failures, dead letters, lost connections, the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

logger = logging.getLogger("brokerkit")

Kind = Literal[
    "failed",
    "dead_letter",
    "dead_letter_refused",
    "lost",
    "duplicate",
    "connection_lost",
    "connection_back",
    "source_failed",
    "stopped",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that happened; what does not apply is empty.

    Attributes:
        kind: ``failed``: an attempt failed and there will be another; ``dead_letter``: a message is stored as one;
            ``dead_letter_refused``: it could not be stored, stays unsettled meanwhile and is tried again;
            ``lost``: the broker took a delivery away, somebody gets it again; ``duplicate``: it was handled before;
            ``connection_lost`` and ``connection_back``: of a source or a target; ``source_failed``: an error ended a
            source; ``stopped``: a source has stopped.
        broker: what the broker is called, e.g. ``"Kafka"``.
        source: name of the source, or "" where a target is meant.
        target: name of the target, or "" where a source is meant.
        topic: the topic of the message, else the first one of the source or target.
        group: the source's group.
        event: the event name.
        message_id: the message's id, where it has one.
        attempt: how many attempts of it have failed.
        error: why; its text names no secret of brokerkit's, but what a handler raised is the handler's.
        wait: seconds until the next attempt.
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


Hook = Callable[[Notice], object]
"""Called on the event loop, at once: what takes long belongs into a task or thread of its own."""


class Hooks:
    """The hooks of one bus."""

    def __init__(self) -> None:
        self._hooks: list[Hook] = []

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def __repr__(self) -> str:
        return f"<Hooks: {len(self._hooks)}>"

    def add(self, hook: Hook) -> None:
        """Tell this one too."""
        self._hooks.append(hook)

    def remove(self, hook: Hook) -> None:
        """Tell this one no more."""
        self._hooks.remove(hook)

    def tell(self, notice: Notice) -> None:
        """Tell all of them. One that raises is logged, and changes nothing."""
        for hook in self._hooks:
            try:
                hook(notice)
            except Exception:
                logger.exception("a hook failed on a notice of kind %r", notice.kind)
