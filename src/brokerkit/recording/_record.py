"""Recording: from a topic into a file, acknowledging only what the file holds for good."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brokerkit import _clock, adapters
from brokerkit._bus import Settings
from brokerkit._config import ONLY, from_keywords
from brokerkit._deadline import ADAPTER_GRACE, SOURCE_GRACE, within
from brokerkit._errors import ConfigError, ConnectionLost, UnsupportedFeature
from brokerkit._message import ACK, RELEASE, Delivery, Message, Outcome, Settled, State, text
from brokerkit._rules import Lookup, compile_rules
from brokerkit._settings import SourceSettings
from brokerkit._transport import Adapter, Capabilities, Source
from brokerkit.recording._file import RecordingFile
from brokerkit.recording._lines import head_line, message_line

if TYPE_CHECKING:
    from typing import Unpack

logger = logging.getLogger("brokerkit")

_LONGEST_PAUSE: Final = 10.0
_LARGEST_BATCH: Final = 1_000
"""So many deliveries are written, and acknowledged, at once at most."""


class Recorder:
    """Writes the messages of a topic into a new file, in the order in which they come.

    Nothing is parsed: a message that no handler could read, or that has no name where ``name_from`` looks for it, is
    recorded as it is. A message is acknowledged once the disk has it; one that comes again is recorded again.

    With ``group`` the group remembers how far it came, and goes on there in the next recording; what it needs on the
    broker stays. Without, the recording begins now, and nothing stays.

    Attributes:
        started: set once messages are recorded; what is published from then on is in the file.
        written: how many messages are in the file for good.
        nameless: how many of them have no event name.

    Args:
        path: the file; compressed with gzip where its name ends in ``.gz``.
        url: the broker; environment variables (``BROKERKIT_URL``, …) give what is left open.
        take: take the messages away from whoever else reads, where the broker has no group of our own to offer: a queue
            of SQS, a Redis list, ``queue=``.
        **settings: as for `Bus`; those of handlers mean nothing here. The group counts as a keyword alone: one in the URL
            or the environment is a service's.

    Raises:
        ConfigError: a setting, the URL or a client option is wrong.
        UnsupportedFeature: the messages would be taken away, and ``take`` does not say so.
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
        self._rules = self._settings.name_from or self._settings.wire.name_from
        self._name_of = _lookup(self._settings, "name_from")
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
        """Have `run` return as soon as what has been received is written and acknowledged."""
        self._stopping.set()

    async def run(self, *, count: int | None = None) -> None:
        """Record until cancelled, until `stop` is called, or so many messages are written. For one use.

        Raises:
            ConnectionLost: the broker did not answer at the start; later losses are waited out.
            AccessDenied: it refused the credentials or a right.
            NotFound: a topic or queue must exist and does not.
            BrokerkitError: the file is there already, or cannot be written; what is not in it is not acknowledged.
        """
        self._left = count
        drain = SOURCE_GRACE
        subscription = self._settings.subscription(self._promises, drain_timeout=drain, max_deliveries=0)
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
            await within(SOURCE_GRACE, f"the end of reading {self._topic}", source.stop())
            _, late = await asyncio.wait(pollers, timeout=drain)
            for task in late:
                task.cancel()
            await asyncio.gather(*pollers, return_exceptions=True)
            await self._close(source)
            await asyncio.to_thread(file.close)
        if self._failure is not None:
            raise self._failure

    async def _close(self, source: Source) -> None:
        await within(SOURCE_GRACE, f"the close of {source!r}", source.close())
        await within(ADAPTER_GRACE, f"the close of {self._adapter!r}", self._adapter.close())

    async def _poll(self, source: Source, file: RecordingFile, limit: int) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                batch = await source.receive(limit)
                failures = 0
                if batch:
                    self._unsettled.update(batch)
                    async with self._writing:
                        await self._keep(source, file, batch)
            except ConnectionLost as error:
                failures += 1
                logger.warning("%s: %s; trying again (%d)", self._topic, error, failures)
                await self._rest(min(_LONGEST_PAUSE, 0.1 * 2.0**failures) * random.uniform(0.5, 1.0))
            except Exception as error:  # noqa: BLE001 (whatever it is, it ends the recording, and `run` raises it)
                self._failure = self._failure or error
                self._stopping.set()

    async def _keep(self, source: Source, file: RecordingFile, batch: Sequence[Delivery]) -> None:
        """Write a batch, then acknowledge it; give back what is too much, or cannot be written."""
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
                logger.error("%s: %d messages could not be acknowledged; they come again", self._topic, len(again))
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
                await self._rest(min(0.2 * failures, 2.0))

    async def _lost(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        """`Lost`: what is being written is settled in a moment; everything else is the broker's."""
        while any(delivery in self._unsettled for delivery in deliveries):
            await self._settled.wait()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _message(self, delivery: Delivery) -> Message:
        """What a handler would see."""
        found = text((self._name_of and self._name_of(delivery)) or "")
        name = found.decode(errors="backslashreplace") if isinstance(found, bytes) else found
        id_ = (self._id_of and self._id_of(delivery)) or delivery.stable_id
        return Message(
            self._settings.names.get(name, name),
            delivery.body,
            key=(self._key_of and self._key_of(delivery)) or delivery.key,
            headers=delivery.headers,
            id=None if id_ is None else str(text(id_)),
            time=_clock.now() if delivery.time is None else delivery.time,
            topic=delivery.topic,
        )


def _source(keywords: dict[str, object]) -> SourceSettings:
    found = from_keywords(keywords, os.environ).sources
    if ONLY not in found:
        raise ConfigError("there is no topic to record: name one")
    return found[ONLY]


def _private(settings: SourceSettings, promises: Capabilities, *, group: str | None, take: bool) -> SourceSettings:
    """The settings of a source that leaves everybody else's messages alone.

    A group that the environment or the URL names is a service's, which would miss what is recorded.
    """
    if promises.groups == "one" or settings.queue:
        if not take:
            raise UnsupportedFeature(
                broker=promises.broker,
                feature="recording a queue beside its readers: each message goes to one of them alone",
                alternative="record a topic that has groups, or say that the messages are to be taken (take, --take)",
            )
    elif group is None and promises.groups == "many":
        settings = settings.model_copy(update={"broadcast": True})
    # No message is ever tried again here: a strict order needs no place on the broker for that.
    return settings.model_copy(update={"group": group, "order": "strict"})


def _lookup(settings: SourceSettings, what: str) -> Lookup | None:
    """The rules that the source states, else the format's; None where there are none."""
    wire = settings.wire
    if stated := getattr(settings, what):
        return compile_rules(stated, what=what)
    usual = {"name_from": wire.name_from, "id_from": wire.id_from}.get(what, ())
    return compile_rules(usual, what=what, fields_if=wire.fields_if) if usual else None
