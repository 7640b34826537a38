"""Publishes a recording unchanged, in its order, at its pace or at another."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

from brokerkit._bus import Bus
from brokerkit._messages._message import Message
from brokerkit._publishing._paced import PacedPublisher
from brokerkit.recording._recording import Recording


class Replay:
    """Publishes the messages of a recording through an open bus, each with its name, key, headers, id and body.

    Args:
        recording: what to publish.
        speed: 1 is the pace at which the messages were produced, 2 is twice as fast; None is as fast as the broker accepts
            them.
        events: only events of these names; empty for all.
        since: only messages produced at this Unix time in seconds or later.
        until: only messages produced before this Unix time in seconds.
        skip: leave out this number of messages at the beginning.
    """

    def __init__(
        self,
        bus: Bus,
        recording: Recording,
        *,
        speed: float | None = 1.0,
        events: Collection[str] = (),
        since: float | None = None,
        until: float | None = None,
        skip: int = 0,
    ) -> None:
        self._feed = PacedPublisher(bus)
        self._recording = recording
        self._speed = speed
        self._events = frozenset(events)
        self._since = float("-inf") if since is None else since
        self._until = float("inf") if until is None else until
        self._skip = skip
        self._position = skip
        self._passed = 0
        self._given: deque[int] = deque()

    @property
    def published(self) -> int:
        """How many messages the broker has confirmed, counted from the first without a gap."""
        return self._feed.done

    @property
    def also(self) -> int:
        """How many messages after these it has confirmed too, when `run` has raised."""
        return self._feed.also

    @property
    def position(self) -> int:
        """How far the recording is published without a gap: the ``skip`` of a replay that continues here."""
        while self._passed < self._feed.done:
            self._position = self._given.popleft()
            self._passed += 1
        return self._position

    def stop(self) -> None:
        """Make `run` return as soon as the broker has confirmed what was sent."""
        self._feed.stop()

    async def run(self) -> bool:
        """Publish until the recording ends or `stop` is called; return whether the recording has ended.

        Raises:
            BrokerkitError: the recording cannot be read, or the broker refused or did not confirm a message: the next
                selected one after `position`.
        """
        return await self._feed.run(self._timed())

    def _timed(self) -> Iterator[tuple[float, Message]]:
        first: float | None = None
        due = 0.0
        for number, message in self._recording.messages(skip=self._skip):
            time = message.time or 0.0
            if (self._events and message.name not in self._events) or not self._since <= time < self._until:
                continue
            if first is None:
                first = time
            if self._speed is not None:
                # Times may go back if the recording read several partitions. The order stays.
                due = max(due, (time - first) / self._speed)
            _ = self.position  # keeps the list short
            self._given.append(number)
            yield due, message
