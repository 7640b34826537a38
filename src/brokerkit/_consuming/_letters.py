"""The dead letters of one source, wherever they are: to be looked at, replayed and purged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, TypedDict

from brokerkit._consuming._deadletters import DeadLetters, QueueOfDeadLetters
from brokerkit._consuming._letter import DeadLetter, Moment, Selection, read_letter
from brokerkit._consuming._letter_file import FileOfDeadLetters
from brokerkit._consuming._replay import Replay, forget
from brokerkit._consuming._rounds import Round
from brokerkit._errors import ConfigError
from brokerkit._settings import SourceSettings
from brokerkit._transport import Adapter, Look

if TYPE_CHECKING:
    from typing import Unpack


class Selected(TypedDict, total=False):
    """Which dead letters; see `Selection`."""

    events: str | Iterable[str]
    errors: str | Iterable[str]
    since: Moment | None
    until: Moment | None


class Letters:
    """See the methods of `Bus`, which are made of this.

    Args:
        name: the source's.
        adapter: the source's; it is open, as that of the place is.
        place: where its dead letters go.
        patience: seconds for which a replay waits for a broker that is away.

    Raises:
        ConfigError: the source has no place for dead letters.
    """

    def __init__(
        self, name: str, adapter: Adapter, settings: SourceSettings, place: DeadLetters, *, patience: float
    ) -> None:
        self._adapter = adapter
        self._settings = settings
        self._patience = patience
        self._queue = place if isinstance(place, QueueOfDeadLetters) else None
        self._file = self._queue.overflow if self._queue is not None else place
        if not isinstance(self._file, FileOfDeadLetters):
            raise ConfigError(f"source {name!r} has no place for dead letters; set dead_letter to a file or a broker")

    def __repr__(self) -> str:
        return f"<Letters in {self._queue or self._file}>"

    @property
    def looking(self) -> Look:
        """What looking does to the letters."""
        if self._queue is None:
            return "free"
        return self._queue.adapter.capabilities(self._queue.topic).look_stored

    @property
    def broker(self) -> str:
        """The broker that they are on."""
        adapter, topic = (self._queue.adapter, self._queue.topic) if self._queue is not None else (self._adapter, "")
        return adapter.capabilities(topic).broker

    @property
    def place(self) -> str:
        """Where they are, for people."""
        return self._queue.topic if self._queue is not None else str(self._file)

    def round(self, what: Literal["replay", "purge"], *, limit: int | None, **selected: Unpack[Selected]) -> Round:
        """A round that replays or purges, to be handed to `go_through`."""
        settings = self._settings
        if what == "purge":
            return Round(self._selection(selected), forget, limit=limit)
        replay = Replay(
            self._adapter,
            topics=settings.topic or settings.queue,
            stored=bool(settings.queue),
            group=settings.group,
            patience=self._patience,
        )
        return Round(self._selection(selected), replay, limit=limit)

    async def go_through(self, round: Round) -> Round:
        """Go through the queue, and the file: that of the source, or the one for what no queue takes.

        Raises:
            BrokerkitError: as `Round` does.
        """
        if self._queue is not None:
            await round.through_queue(self._queue)
        assert isinstance(self._file, FileOfDeadLetters)
        await round.through_file(self._file)
        return round

    async def look(self, **selected: Unpack[Selected]) -> AsyncGenerator[DeadLetter]:
        """Look at the letters.

        Raises:
            BrokerkitError: as `Adapter.look` does, or the file cannot be read.
        """
        selection = self._selection(selected)
        if self._queue is not None:
            async with aclosing(self._queue.adapter.look([self._queue.topic], stored=True)) as found:
                async for letter in found:
                    if letter in selection:
                        yield read_letter(letter)
        assert isinstance(self._file, FileOfDeadLetters)
        for letter in await self._file.letters():
            if letter in selection:
                yield read_letter(letter)

    def _selection(self, selected: Selected) -> Selection:
        settings = self._settings
        return Selection(topics=settings.topic or settings.queue, group=settings.group, **selected)
