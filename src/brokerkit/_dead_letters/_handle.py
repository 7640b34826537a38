"""The handle for the dead letters of one source: iterate over them, replay them, purge them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from brokerkit._config._settings import SourceSettings
from brokerkit._dead_letters._edits import Edit
from brokerkit._dead_letters._file import DeadLetterFile
from brokerkit._dead_letters._letter import DeadLetter, read_letter
from brokerkit._dead_letters._replay import Replay, forget
from brokerkit._dead_letters._selection import Selected, Selection
from brokerkit._dead_letters._store import DeadLetterQueue, DeadLetterStore
from brokerkit._dead_letters._walk import Progress, Walk
from brokerkit._errors import ConfigError, PublishError
from brokerkit.adapters.api import Adapter, Browse, Cursor

if TYPE_CHECKING:
    from typing import Unpack


class DeadLetters:
    """The dead letters of a source, from `Bus.dead_letters`. Iterating yields each as a `DeadLetter`.

    Example::

        async for letter in bus.dead_letters():
            print(letter.message.id, letter.error_type)
        await bus.dead_letters().replay(events="OnGameDone", limit=100)

    All methods take the same optional filters. ``ids`` (of messages, see `DeadLetter`), ``events`` and ``errors`` (names of
    error classes) are one text or several. ``since`` and ``until`` are datetimes or Unix times in seconds. Dead letters of
    other topics and groups in the same store are ignored. A method looks once at each dead letter that exists when it
    begins, oldest first if the broker keeps an order. Later ones are left for the next call.
    """

    def __init__(
        self, name: str, adapter: Adapter, settings: SourceSettings, store: DeadLetterStore, *, publish_timeout: float
    ) -> None:
        self._adapter = adapter
        self._settings = settings
        self._publish_timeout = publish_timeout
        self._queue = store if isinstance(store, DeadLetterQueue) else None
        file = self._queue.overflow if self._queue is not None else store
        if not isinstance(file, DeadLetterFile):
            raise ConfigError(f"source {name!r} has no dead-letter store; set dead_letter to a file or a broker")
        self._file = file

    def __repr__(self) -> str:
        return f"<DeadLetters in {self.location}>"

    @property
    def location(self) -> str:
        """Name of the queue, or path of the file, to show to users."""
        return self._queue.topic if self._queue is not None else str(self._file.path)

    @property
    def broker(self) -> str:
        """Name of the broker that stores them; "" if they are in a file."""
        return self._queue.adapter.capabilities(self._queue.topic).broker if self._queue is not None else ""

    @property
    def browse_effect(self) -> Browse:
        """The effect of iterating: ``"touches"`` if it counts as a delivery and hides them from other readers meanwhile."""
        return self._queue.adapter.capabilities(self._queue.topic).browse_queue if self._queue is not None else "free"

    def __aiter__(self) -> AsyncIterator[DeadLetter]:
        return self.browse()

    async def browse(
        self,
        *,
        limit: int | None = None,
        enough: Callable[[], bool] | None = None,
        progress: Callable[[Progress], None] | None = None,
        **selected: Unpack[Selected],
    ) -> AsyncGenerator[DeadLetter]:
        """Yield the dead letters that match the filters, without removing them.

        On SQS, SNS and RabbitMQ this hides them from other readers meanwhile, and counts as a delivery. Close the generator
        (``aclosing``) if you leave it early.

        Args:
            limit: stop after this many dead letters.
            enough: asked before each dead letter that is looked at; stop when it returns True.
            progress: called from time to time with the progress.
            **selected: the filters; see the class.

        Raises:
            NotFound: the queue does not exist.
            Incomplete: the walk could not look at all dead letters.
            ConnectionLost: the broker cannot be reached.
            ConfigError: ``until`` is not after ``since``.
        """
        walk = Walk(self._cursors(), self._selection(selected), limit=limit, enough=enough, told=progress)
        async with aclosing(walk.selected()) as letters:
            async for letter in letters:
                yield read_letter(letter)

    async def replay(
        self,
        *,
        limit: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        **selected: Unpack[Selected],
    ) -> int:
        """Publish the messages again, for the group that failed, and return how many.

        Each arrives as a first attempt, with its history in its headers. A dead letter leaves its store after the broker has
        confirmed the message. So an interrupted replay loses nothing; the next one may repeat the last batch. See
        docs/dead-letters.md.

        Args:
            limit: stop after this many dead letters.
            progress: called after each batch with the progress.
            **selected: the filters; see the class.

        Raises:
            NotFound: the store, or the group's own queue, does not exist.
            UnsupportedFeature: the source is a broadcast, or the message needs a signature (``signing_key``).
            Incomplete: the walk could not look at all dead letters.
            ConnectionLost: a broker cannot be reached.
            PublishError: the broker refused a message, which is still a dead letter.
            ConfigError: ``until`` is not after ``since``.
        """
        replay = Replay(self._adapter, self._settings, timeout=self._publish_timeout)
        walk = Walk(self._cursors(), self._selection(selected), limit=limit, told=progress)
        await walk.through(replay)
        return walk.progress.done

    async def replay_edited(
        self,
        id: str,
        change: Callable[[bytes | None], bytes],
        /,
        *,
        by: str,
        progress: Callable[[Progress], None] | None = None,
    ) -> bool:
        """Replay one dead letter with another body, and return whether there was such a dead letter.

        The message keeps its id, key and headers, and a record of the change: who, when, and the body before. If it fails
        again, `DeadLetter.edits` has the record.

        Args:
            id: that of its message.
            change: takes the body, and returns the new one; None is a Kafka message without a value. If it raises an error,
                nothing happens.
            by: who does it.
            progress: as for `replay`.

        Raises:
            UnsupportedFeature: as `replay` does; the record needs a signature too, where messages do.
            MessageTooLarge: the body before is too large for a header: the record may have 64 KiB.
            InvalidMessage: ``change`` raised an error that is none of brokerkit's.
            PublishError: the broker took no form of the message.
            BrokerkitError: as `replay` does.
        """
        edit = Edit(change, by)
        replay = Replay(self._adapter, self._settings, timeout=self._publish_timeout, edit=edit)
        walk = Walk(self._cursors(), self._selection({"ids": id}), limit=1, told=progress)
        await walk.through(replay)
        if edit.is_made and not walk.progress.done:
            raise PublishError(f"the broker took no form of the changed message {id}; it is a dead letter as before")
        return edit.is_made

    async def purge(
        self,
        *,
        limit: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        **selected: Unpack[Selected],
    ) -> int:
        """Delete dead letters for good, and return how many. Arguments and errors are those of `replay`."""
        walk = Walk(self._cursors(), self._selection(selected), limit=limit, told=progress)
        await walk.through(forget)
        return walk.progress.done

    def _cursors(self) -> Sequence[Cursor]:
        """Return cursors of the queue and the file: the file of the source, or its overflow file."""
        queues = [self._queue.cursor()] if self._queue is not None else []
        return [*queues, self._file.cursor()]

    def _selection(self, selected: Selected) -> Selection:
        settings = self._settings
        return Selection(topics=settings.topic or settings.queue, group=settings.group, **selected)
