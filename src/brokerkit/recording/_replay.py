"""Publishing a recording: as it was, in its order, at its pace or another."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

from brokerkit._bus import Bus
from brokerkit._feed import Feed
from brokerkit._message import Message
from brokerkit.recording._recording import Recording


class Replay:
    """Publishes the messages of a recording through an open bus, each with its name, key, headers, id and body.

    Args:
        recording: what to publish.
        speed: 1 for the pace at which the messages were produced, 2 for twice as fast; None for as fast as the broker
            takes them.
        events: only events of these names; all where it is empty.
        since: only messages from this Unix time in seconds on.
        until: only messages before this Unix time in seconds.
        skip: so many messages of the recording are left out at its beginning.
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
        self._feed = Feed(bus)
        self._recording = recording
        self._speed = speed
        self._events = frozenset(events)
        self._since = float("-inf") if since is None else since
        self._until = float("inf") if until is None else until
        self._skip = skip
        self._position = skip
        self._passed = 0
        self._handed_over: deque[int] = deque()

    @property
    def published(self) -> int:
        """How many messages the broker has confirmed, from the first on without a gap."""
        return self._feed.done

    @property
    def also(self) -> int:
        """How many behind them it has confirmed all the same, when `run` has raised."""
        return self._feed.also

    @property
    def position(self) -> int:
        """The place in the recording up to which all is published: ``skip`` for a replay that goes on from here."""
        while self._passed < self._feed.done:
            self._position = self._handed_over.popleft()
            self._passed += 1
        return self._position

    def stop(self) -> None:
        """Have `run` return as soon as what was handed over is confirmed."""
        self._feed.stop()

    async def run(self) -> bool:
        """Publish until the recording ends or `stop` is called; whether it has ended.

        Raises:
            BrokerkitError: the recording cannot be read, or a message was refused or not confirmed: the next one behind
                `position` that was chosen.
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
                # Times may go back, where the recording read several partitions; the order stays all the same.
                due = max(due, (time - first) / self._speed)
            _ = self.position  # keeps the list short
            self._handed_over.append(number)
            yield due, message
