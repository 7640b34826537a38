"""Recording: from a topic into a file. A message is acknowledged only once the file holds it for good.

The recorder receives and settles by itself, not through the consuming core. The core works for each message: routes, lanes,
handlers, retries, dead letters. It drops what no model fits, holds the first messages until it has seen a known name, and
settles beside the handlers, within the limit that it keeps for them. The recorder keeps every message. It works for each
batch, in the order of the broker: one sync of the file, then one settlement, then the next batch.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brokerkit import _clock, adapters
from brokerkit._backoff import backoff
from brokerkit._config._keywords import Settings
from brokerkit._config._loading import ONLY, from_keywords
from brokerkit._config._settings import SourceSettings, event_names
from brokerkit._deadline import ADAPTER_GRACE, SOURCE_GRACE, bounded, wait_for_event
from brokerkit._errors import ConfigError, ConnectionLost, UnsupportedFeature
from brokerkit._logging import Reminder, get_logger
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Outcome, Settled, State
from brokerkit._messages._headers import as_text
from brokerkit._messages._message import Message
from brokerkit._messages._name_rules import Lookup, compile_rules
from brokerkit._preflight import refuse_missing_group
from brokerkit.adapters.api import Adapter, Capabilities, Source
from brokerkit.recording._file import RecordingFile
from brokerkit.recording._lines import head_line, message_line

if TYPE_CHECKING:
    from typing import Unpack

logger = get_logger(__name__)

_LONGEST_PAUSE: Final = 10.0
_LARGEST_BATCH: Final = 1_000
"""Most deliveries that are written, and acknowledged, at once."""


class Recorder:
    """Writes the messages of a topic into a new file, in the order in which they come.

    Nothing is parsed. A message that no handler could read, or that has no name where ``name_from`` looks for it, is
    recorded unchanged. A message is acknowledged once the disk has it. A message that comes again is recorded again.

    With ``group``, the group remembers its position, and the next recording continues there. What the group needs on the
    broker stays. Without ``group``, the recording begins now, and nothing stays on the broker.

    Attributes:
        started: set once messages are recorded: what is published after that is in the file.
        written: how many messages are in the file for good.
        nameless: how many of them have no event name.

    Args:
        path: the file; it is compressed with gzip if its name ends in ``.gz``.
        url: the broker. Environment variables (``BROKERKIT_URL``, …) supply what is not given.
        take: take the messages away from other readers. It is needed where the broker has no separate group to offer: an
            SQS queue, a Redis list, ``queue=``.
        **settings: as for `Bus`; settings of handlers have no effect. A group counts only as a keyword: a group in the URL
            or in the environment belongs to a service.

    Raises:
        ConfigError: a setting, the URL or a client option is wrong.
        UnsupportedFeature: other readers would lose the messages, and ``take`` is not given.
        MissingExtra: the broker's client library is not installed.
    """

    def __init__(
        self, path: Path, url: str | None = None, /, *, take: bool = False, **settings: Unpack[Settings]
    ) -> None:
        self._path = path
        self._settings = _source({"url": url, **settings})
        self._adapter: Adapter = adapters.make(self._settings.connection())
        self._topic = (self._settings.topic or self._settings.queue)[0]
        self._promises = self._adapter.capabilities(self._topic)
        self._settings = _private(self._settings, self._promises, group=settings.get("group"), take=take)
        refuse_missing_group("record", self._settings, self._promises, certain=True)
        self._rules = self._settings.name_from or self._settings.wire.name_from
        self._name_of = _lookup(self._settings, "name_from")
        self._names = event_names(self._settings)
        self._key_of = _lookup(self._settings, "key_from")
        self._id_of = _lookup(self._settings, "id_from")
        self._stopping = asyncio.Event()
        self._writing = asyncio.Lock()
        self._unsettled: set[Delivery] = set()
        self._settled = asyncio.Event()
        self._failure: BaseException | None = None
        self._left: int | None = None
        self.started = asyncio.Event()
        self.written = 0
        self.nameless = 0

    def stop(self) -> None:
        """Make `run` return as soon as all received messages are written and acknowledged."""
        self._stopping.set()

    async def run(self, *, count: int | None = None) -> None:
        """Record until cancelled, until `stop` is called, or until ``count`` messages are written. It runs once.

        Raises:
            ConnectionLost: the broker did not answer at the start. After the start, the recorder waits for the broker.
            AccessDenied: the broker refused the credentials or a right.
            NotFound: a topic or queue does not exist, and may not be created.
            BrokerkitError: the file exists already, or cannot be written. What is not in the file is not acknowledged.
        """
        self._left = count
        drain = SOURCE_GRACE
        subscription = self._settings.subscription(self._promises, drain_timeout=drain)
        source = self._adapter.subscribe(subscription, self._lost)
        file = await asyncio.to_thread(RecordingFile, self._path)
        try:
            head = head_line(format=self._settings.format, name_from=self._settings.name_from)
            await asyncio.to_thread(file.write, [head])
            await self._adapter.open()
            await source.open()
        except BaseException:
            await asyncio.to_thread(file.remove)
            await self._close(source)
            raise
        share = max(subscription.max_in_flight // self._promises.pollers, 1)
        pollers = [
            asyncio.create_task(self._poll(source, file, min(share, _LARGEST_BATCH)))
            for _ in range(self._promises.pollers)
        ]
        self.started.set()
        try:
            await self._stopping.wait()
        finally:
            self._stopping.set()
            await bounded(SOURCE_GRACE, f"stopping the reader of {self._topic}", source.stop())
            _, late = await asyncio.wait(pollers, timeout=drain)
            for task in late:
                task.cancel()
            await asyncio.gather(*pollers, return_exceptions=True)
            await self._close(source)
            await asyncio.to_thread(file.close)
        if self._failure is not None:
            raise self._failure

    async def _close(self, source: Source) -> None:
        await bounded(SOURCE_GRACE, f"closing {source!r}", source.close())
        await bounded(ADAPTER_GRACE, f"closing {self._adapter!r}", self._adapter.close())

    async def _poll(self, source: Source, file: RecordingFile, limit: int) -> None:
        failures = 0
        reminder = Reminder()
        while not self._stopping.is_set():
            try:
                batch = await source.receive(limit)
                failures = 0
                reminder.over()
                if batch:
                    self._unsettled.update(batch)
                    async with self._writing:
                        await self._keep(source, file, batch)
            except ConnectionLost as error:
                failures += 1
                if reminder.due():
                    logger.warning("%s: %s; trying again (%d)", self._topic, error, failures)
                await wait_for_event(self._stopping, backoff(failures, first=0.2, cap=_LONGEST_PAUSE))
            except Exception as error:  # noqa: BLE001 (whatever it is, it ends the recording, and `run` raises it)
                self._failure = self._failure or error
                self._stopping.set()

    async def _keep(self, source: Source, file: RecordingFile, batch: Sequence[Delivery]) -> None:
        """Write a batch, then acknowledge it. Release what is beyond the count, or cannot be written."""
        outcomes: list[tuple[Delivery, Outcome]] = [(delivery, RELEASE) for delivery in batch]
        try:
            if self._failure is None:
                wanted = batch if self._left is None else batch[: self._left]
                messages = [self._message(delivery) for delivery in wanted]
                await asyncio.to_thread(file.write, [message_line(message) for message in messages])
                outcomes[: len(wanted)] = [(delivery, ACK) for delivery in wanted]
                self.written += len(wanted)
                self.nameless += sum(not message.name for message in messages)
                if self._left is not None:
                    self._left -= len(wanted)
                    if not self._left:
                        self._stopping.set()
        finally:
            await self._settle(source, outcomes)

    async def _settle(self, source: Source, pairs: list[tuple[Delivery, Outcome]]) -> None:
        for delivery, _ in pairs:
            delivery.state = State.FINISHED
        failures = 0
        while pairs:
            answers = await source.settle(pairs)
            again = [pair for pair, answer in zip(pairs, answers, strict=True) if answer is Settled.FAILED]
            if again and self._stopping.is_set():
                logger.error(
                    "%s: %d messages could not be acknowledged; the broker delivers them again", self._topic, len(again)
                )
                again = []
            kept = {delivery for delivery, _ in again}
            for delivery, _ in pairs:
                if delivery not in kept:
                    delivery.state = State.SETTLED
                    self._unsettled.discard(delivery)
            self._settled.set()
            self._settled = asyncio.Event()
            pairs = again
            if pairs:
                failures += 1
                await wait_for_event(self._stopping, backoff(failures, first=0.2, cap=2.0))

    async def _lost(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        """See `Lost`. Wait until what is being written is settled; the broker has everything else."""
        while any(delivery in self._unsettled for delivery in deliveries):
            await self._settled.wait()

    def _message(self, delivery: Delivery) -> Message:
        """Return the message that a handler would see."""
        found = as_text((self._name_of and self._name_of(delivery)) or "")
        name = found.decode(errors="backslashreplace") if isinstance(found, bytes) else found
        id_ = (self._id_of and self._id_of(delivery)) or delivery.stable_id
        return Message(
            self._names.of(name),
            delivery.body,
            key=(self._key_of and self._key_of(delivery)) or delivery.key,
            headers=delivery.headers,
            id=None if id_ is None else str(as_text(id_)),
            time=_clock.wall_time() if delivery.time is None else delivery.time,
            topic=delivery.topic,
        )


def _source(keywords: dict[str, object]) -> SourceSettings:
    found = from_keywords(keywords, os.environ).sources
    if ONLY not in found:
        raise ConfigError("no topic to record: give topic or queue")
    return found[ONLY]


def _private(settings: SourceSettings, promises: Capabilities, *, group: str | None, take: bool) -> SourceSettings:
    """Return the settings of a source that takes no message from other readers.

    A group that the environment or the URL names belongs to a service, which would miss what is recorded.
    """
    if promises.groups == "one" or settings.queue:
        if not take:
            raise UnsupportedFeature(
                broker=promises.broker,
                feature="recording a queue that others read too: each message goes to only one reader",
                alternative="record a topic that has groups, or take the messages from the readers (take, --take)",
            )
    elif group is None and promises.groups == "many":
        if not promises.broadcast:
            raise UnsupportedFeature(
                broker=promises.broker,
                feature="recording without a group",
                alternative="name a group of the recording's own",
            )
        settings = settings.model_copy(update={"broadcast": True})
    # Nothing is retried here, so a strict order needs no durable retry.
    return settings.model_copy(update={"group": group, "order": "strict"})


def _lookup(settings: SourceSettings, what: str) -> Lookup | None:
    """Return the rules of the source, or of its format; None if neither has rules."""
    wire = settings.wire
    if stated := getattr(settings, what):
        return compile_rules(stated, what=what)
    usual = {"name_from": wire.name_from, "id_from": wire.id_from}.get(what, ())
    return compile_rules(usual, what=what, fields_if=wire.fields_if) if usual else None
