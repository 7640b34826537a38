"""Publishes dead letters again as first attempts, for the group that failed, with the broker's confirmation."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from brokerkit import _clock
from brokerkit._config._settings import SourceSettings
from brokerkit._dead_letters._edits import Edit
from brokerkit._dead_letters._letter import copies_of, event_of, origin_of, seconds_of
from brokerkit._dead_letters._store import FAILURE_HEADERS
from brokerkit._errors import BrokerkitError, ConnectionLost, InvalidMessage, MessageTooLarge, UnsupportedFeature
from brokerkit._logging import get_logger
from brokerkit._messages._copies import copy_id, kept_headers, named_property
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import CONTENT_TYPE, ID_HEADER, INTERNAL_PREFIX, Headers, header_text
from brokerkit._messages._log_fields import about
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._messages._retry_state import (
    COPY,
    DONE,
    EDITS,
    ERROR,
    FAILURES,
    LAST_FAILURE,
    ORIGIN,
    TOPIC,
    TRACEBACK,
)
from brokerkit._messages._signature import Signer
from brokerkit.adapters._topic_patterns import reads
from brokerkit.adapters.api import Adapter

logger = get_logger(__name__)

_PAUSE: Final = 0.2
"""Seconds between two tries while the broker cannot be reached."""
_HISTORY: Final = frozenset({*FAILURE_HEADERS, ORIGIN, COPY, TOPIC}) - {TRACEBACK}
_REMEMBERED_IDS: Final = 330.0
"""Seconds for which SQS FIFO drops an id that it saw, with a margin."""


@dataclass(frozen=True, slots=True)
class _Address:
    """Where the dead letters of one topic are published, so that only the group that failed reads them.

    Attributes:
        topic: the topic that they were read from.
        queue: the queue that they are published to; see `Adapter.own_queue`.
        is_own: only members of the group write to that queue, so the reader believes their headers.
        signer: signs them, if the queue is not the group's own.
    """

    topic: str
    queue: str
    is_own: bool
    signer: Signer

    @property
    def is_believed(self) -> bool:
        """Whether the reader believes the headers."""
        return self.is_own or bool(self.signer)


class Replay:
    """Publishes dead letters for the group that failed.

    Args:
        settings: of the source. A dead letter that names none of its topics goes to the first.
        timeout: seconds to keep trying while the broker cannot be reached.
        edit: changes the body of each; None to publish it as it was.
    """

    def __init__(self, adapter: Adapter, settings: SourceSettings, *, timeout: float, edit: Edit | None = None) -> None:
        self._adapter = adapter
        self._settings = settings
        self._topics = settings.topic or settings.queue
        self._signer = Signer(settings.signing_keys, settings.group or "")
        self._timeout = timeout
        self._edit = edit
        self._addresses: dict[str, _Address] = {}

    def __repr__(self) -> str:
        return f"<Replay to {', '.join(self._topics)} for group {self._settings.group!r}>"

    async def __call__(self, letters: Sequence[Delivery]) -> list[bool | BrokerkitError]:
        """Publish them in order; see `brokerkit._dead_letters._walk.Work`. False if the broker takes none of its forms."""
        results: list[bool | BrokerkitError] = [False] * len(letters)
        forms: list[Iterator[Outgoing]] = []
        for letter in letters:
            try:
                address = await self._address(letter)
                if self._edit is not None:
                    self._edit(letter)
                forms.append(_replays_of(letter, address))
            except BrokerkitError as error:
                # Those before it are still sent: the walk removes them, and then ends with the error.
                results[len(forms) :] = [error] * (len(letters) - len(forms))
                break
        unsent: list[int] = [*range(len(forms))]
        while unsent:
            batch: list[tuple[int, Outgoing]] = []
            for index in unsent:
                if (outgoing := next(forms[index], None)) is not None:
                    if self._edit is not None:
                        outgoing.offloaded = None  # that is the body before
                    batch.append((index, outgoing))
                else:
                    letter = letters[index]
                    logger.error("dead letter %s stays: %s", origin_of(letter), results[index], extra=about(letter))
                    results[index] = False
            sent = await self._send([outgoing for _, outgoing in batch])
            unsent = []
            for (index, _), result in zip(batch, sent, strict=True):
                results[index] = True if isinstance(result, Receipt) else result
                if isinstance(result, MessageTooLarge | InvalidMessage):
                    unsent.append(index)
        return results

    async def _address(self, letter: Delivery) -> _Address:
        """Find where a dead letter goes.

        Raises:
            UnsupportedFeature: nobody could tell a replay from what a producer forges.
            BrokerkitError: the group's own queue is missing, or the broker refuses it.
        """
        named = header_text(letter.headers, TOPIC)
        topic = named if named is not None and reads(self._topics, named) else self._topics[0]
        if (address := self._addresses.get(topic)) is None:
            address = self._addresses[topic] = await self._find(topic)
        if not address.is_believed and (self._edit is not None or _must_be_believed(letter)):
            lost = (
                "some handlers are done with it, and without a signature its reader would not believe this and would run "
                "them again"
                if _has_done_handlers(letter)
                else "it was changed, and without a signature its reader would not believe who has done so"
            )
            raise UnsupportedFeature(
                broker=self._adapter.capabilities(topic).broker,
                feature=f"a replay of {origin_of(letter)}: {lost}",
                alternative="set signing_key, the same for all members of the group",
            )
        return address

    async def _find(self, topic: str) -> _Address:
        settings, promises = self._settings, self._adapter.capabilities(topic)
        if settings.broadcast:
            raise UnsupportedFeature(
                broker=promises.broker,
                feature="a replay to a broadcast source, because each of its processes has its own group",
                alternative="publish the message again, or give the source a group",
            )
        create = (settings.provision or promises.default_provision) in ("group", "all")
        queue = await self._adapter.own_queue(topic, settings.group, is_queue=bool(settings.queue), create=create)
        return _Address(topic, queue, promises.own_queues, self._signer)

    async def _send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Send, and send again what was not confirmed because the connection broke."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._timeout
        results = await self._adapter.send(batch) if batch else []
        while again := [index for index, result in enumerate(results) if isinstance(result, ConnectionLost)]:
            if loop.time() + _PAUSE > give_up:
                break
            await asyncio.sleep(_PAUSE)
            for index, result in zip(again, await self._adapter.send([batch[index] for index in again]), strict=True):
                results[index] = result
        return results


async def forget(letters: Sequence[Delivery]) -> list[bool | BrokerkitError]:
    """Do the work of a purge, which is nothing: the walk then removes the dead letters."""
    return [True] * len(letters)


def _replays_of(letter: Delivery, address: _Address) -> Iterator[Outgoing]:
    """Yield the message for its group: first with everything that is known about its failures, then with less and less.

    Each of them is a first attempt. The last one has no header of ours. It has the original's id, so that a dedupe store
    recognises it, and is yielded only when no broker drops that id any more. If the reader would not believe the headers,
    only that one is yielded, with the id in a header.
    """
    next_copy, kept = _next_copy(letter), kept_headers(letter)
    if not address.is_believed:
        yield _outgoing(letter, address, {ID_HEADER: next_copy[ORIGIN]})
        return
    known: dict[str, str | bytes] = {
        name: value for name, value in letter.headers.items() if name in _HISTORY and name != TRACEBACK
    }
    known = {FAILURES: "0", **known, **kept, **next_copy, TOPIC: address.topic}
    least: dict[str, str | bytes] = {FAILURES: "0", **next_copy, TOPIC: address.topic}
    least |= {name: known[name] for name in (DONE, EDITS) if name in known}
    without_error = {name: value for name, value in known.items() if name != ERROR}
    for internal in (known, without_error, {**kept, **least}, least):
        outgoing = _outgoing(letter, address, internal)
        if not address.is_own:
            outgoing.headers = address.signer.signed(outgoing.headers, outgoing.body)
        yield outgoing
    failed = seconds_of(letter, LAST_FAILURE) or letter.time or 0.0
    if not _must_be_believed(letter) and _clock.wall_time() - failed > _REMEMBERED_IDS:
        outgoing = _outgoing(letter, address, {})
        outgoing.id = next_copy[ORIGIN]
        yield outgoing


def _must_be_believed(letter: Delivery) -> bool:
    """Whether its headers say what a reader has to know."""
    return _has_done_handlers(letter) or EDITS in letter.headers


def _has_done_handlers(letter: Delivery) -> bool:
    """Whether some handlers are done with the message, and must not run again."""
    return letter.headers.get(DONE) not in (None, "[]", b"[]")


def _next_copy(letter: Delivery) -> dict[str, str]:
    if (origin := origin_of(letter)) is None:
        origin = letter.id = uuid.uuid4().hex
    return {ORIGIN: origin, COPY: str(copies_of(letter) + 1)}


def _outgoing(letter: Delivery, address: _Address, internal: Headers) -> Outgoing:
    own = {
        name: value
        for name, value in letter.headers.items()
        if not name.startswith(INTERNAL_PREFIX) and name != CONTENT_TYPE
    }
    copy = _next_copy(letter)
    return Outgoing(
        topic=address.queue,
        body=letter.body,
        name=event_of(letter),
        id=copy_id(letter, origin=copy[ORIGIN], number=int(copy[COPY])),
        key=letter.key,
        headers={**own, **internal},
        routing_key=named_property(letter, "routing_key"),
        type=named_property(letter, "type"),
        content_type=header_text(letter.headers, CONTENT_TYPE),
        is_queue=True,
        offloaded=letter.offloaded,
    )
