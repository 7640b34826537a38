"""Samples of the messages that arrive at one source, for whoever looks at them right now.

While nobody looks there is none of this: a batch is asked once whether there is somebody. Whoever looks has to look again
every few seconds. Rate and memory are bounded, whatever arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from brokerkit import _clock
from brokerkit._guard import guarded
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text, without_internal
from brokerkit._status._figures import SourceFigures

logger = get_logger(__name__)

MOST_WATCHERS: Final = 4
"""How many may look at one source at once, each with filters of their own."""
LASTS: Final = 10.0
"""Seconds after the last look at which nobody is looking any more."""
RATE: Final = 20.0
"""Messages that are taken in a second, for each who looks."""
MOST: Final = 40
"""Messages that wait for the next look."""
LARGEST: Final = 16 * 1024
"""Bytes of a body that is taken. Of a larger one only its size is known."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A message as it arrived, with nothing hidden.

    Attributes:
        id: of the message.
        event: the event name; "" if it has none.
        key: the ordering key.
        topic: what it was read from.
        headers: without internal ones.
        body: None if it has none, or a larger one than `LARGEST`.
        size: bytes of the body; None if it has none.
        arrived: Unix time in seconds.
    """

    id: str | None
    event: str
    key: str | bytes | None
    topic: str
    headers: Mapping[str, str | bytes]
    body: bytes | None
    size: int | None
    arrived: float

    @classmethod
    def of(cls, delivery: Delivery) -> Raw:
        """Take down a delivery."""
        body = delivery.body
        size = None if body is None else len(body)
        return cls(
            id=delivery.origin,
            event=delivery.name,
            key=delivery.key,
            topic=delivery.topic,
            headers=dict(without_internal(delivery.headers)),
            body=None if body is None or len(body) > LARGEST else bytes(body),
            size=size,
            arrived=_clock.wall_time(),
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages somebody wants to see.

    Attributes:
        event: those with this event name; "" for all.
        key: those with this key; "" for all.
    """

    event: str
    key: str

    def fit(self, delivery: Delivery) -> bool:
        """Whether it is one of these."""
        if self.event and delivery.name != self.event:
            return False
        return not self.key or (delivery.key is not None and as_text(delivery.key) == self.key)


class Samples:
    """The samples of one source. It is the source's only while somebody looks.

    Args:
        figures: the source's.
    """

    def __init__(self, figures: SourceFigures) -> None:
        self._figures = figures
        self._watchers: dict[str, _Watcher] = {}

    def __repr__(self) -> str:
        return f"<Samples for {len(self._watchers)}>"

    def look(self, watcher: str, wanted: Wanted) -> tuple[list[Raw], int] | None:
        """Return the messages that were taken since the last look, and how many there were to choose from.

        The first look, and one that wants something else than before, begins anew, and returns no message. None where
        too many others look already.

        Args:
            watcher: who looks.
            wanted: what they want to see.
        """
        loop = asyncio.get_running_loop()
        found = self._watchers.get(watcher)
        if found is None and len(self._watchers) >= MOST_WATCHERS:
            return None
        if found is not None:
            found.timer.cancel()
        timer = loop.call_later(LASTS, guarded(partial(self._leave, watcher), self._failed))
        if found is None or found.wanted != wanted:
            self._watchers[watcher] = _Watcher(wanted, timer, loop.time())
            self._figures.samples = self
            return [], 0
        found.timer = timer
        return found.give()

    def take(self, batch: Sequence[Delivery]) -> None:
        """Take some of the messages of a batch."""
        now = asyncio.get_running_loop().time()
        for watcher in self._watchers.values():
            try:
                watcher.take(batch, now)
            except Exception as error:  # noqa: BLE001 (who looks must not end the source)
                self._failed(error)
                return

    def _leave(self, watcher: str) -> None:
        self._watchers.pop(watcher, None)
        if not self._watchers:
            self._figures.samples = None

    def _failed(self, error: BaseException) -> None:
        self._figures.samples = None
        self._watchers.clear()
        logger.error("messages cannot be shown: %r", error, exc_info=error)


class _Watcher:
    """Somebody who looks.

    Args:
        wanted: what they want to see.
        timer: forgets them.
        now: the loop's time.
    """

    def __init__(self, wanted: Wanted, timer: asyncio.TimerHandle, now: float) -> None:
        self.wanted = wanted
        self.timer = timer
        self._taken: list[Raw] = []
        self._matched = 0
        # A token bucket: a few that come at once are all seen, and a flood only in part.
        self._tokens, self._at = RATE, now

    def __repr__(self) -> str:
        return f"<Watcher of {self.wanted}: {len(self._taken)} taken>"

    def take(self, batch: Sequence[Delivery], now: float) -> None:
        fitting = batch
        if self.wanted.event or self.wanted.key:
            fitting = [delivery for delivery in batch if self.wanted.fit(delivery)]
        self._matched += len(fitting)
        self._tokens, self._at = min(RATE, self._tokens + (now - self._at) * RATE), now
        room = min(int(self._tokens), MOST - len(self._taken))
        if room <= 0 or not fitting:
            return
        # Spread over the batch: its beginning may always be of the same partition.
        step = -(-len(fitting) // room)
        chosen = fitting[::step]
        self._tokens -= len(chosen)
        self._taken += map(Raw.of, chosen)

    def give(self) -> tuple[list[Raw], int]:
        taken, matched = self._taken, self._matched
        self._taken, self._matched = [], 0
        return taken, matched
