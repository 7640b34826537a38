"""A walk through an SQS queue. SQS shows a message only by receiving it. So the walk receives all messages, and at its end
gives back those that stay.

Until then a visibility timeout hides them, and the walk renews it. The timeout grows with the duration of the walk, so that
each message is renewed only a few times, however long the walk is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from brokerkit.adapters.api import (
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    Delivery,
    backoff,
    get_logger,
    start,
    without_internal,
)
from brokerkit.adapters.aws._bodies import find_pointers, read_body
from brokerkit.adapters.aws._client import Answer, AwsClient
from brokerkit.adapters.aws._queues import Queues, Reading
from brokerkit.adapters.aws._s3 import PayloadStore
from brokerkit.adapters.aws._source import LONGEST_VISIBILITY
from brokerkit.adapters.aws._wire import BATCH, MOVED, decode, tens

_SIDE_BY_SIDE: Final = 8
_HIDDEN: Final = 30.0
"""Least seconds for which a message is hidden. If this process dies at once, the message stays hidden for this long."""
_RENEW: Final = 15.0
"""How many seconds before its end a visibility timeout is renewed."""
_TRIES: Final = 5
_SLACK: Final = 5_000
"""Milliseconds by which the clocks of SQS may differ. ElasticMQ's answers are up to a second older than they say."""
_COUNTS: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

logger = get_logger(__name__)


@dataclass(slots=True)
class _Held:
    """A message that is ours."""

    receipt: str
    until: float


class SqsCursor:
    """A `brokerkit.adapters.api.Cursor` of a queue.

    SQS hands out no more messages of a FIFO group while some of that group are out. So at most ten messages of a group can
    be seen, and each dead letter has a group of its own.
    """

    def __init__(
        self,
        client: AwsClient,
        queues: Queues,
        queue: str,
        prepare: Callable[[], Awaitable[Reading]],
        payloads: PayloadStore | None,
    ) -> None:
        self._client = client
        self._queues = queues
        self._queue = queue
        self._prepare = prepare
        self._payloads = payloads
        self._reading: Reading | None = None
        self._held: dict[str, _Held] = {}
        self._seen: set[str] = set()
        self._asking: set[asyncio.Task[Answer]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._begun = 0.0
        # Messages sent later are not part of the walk. In milliseconds, by the clock of SQS.
        self._newest: float = float("inf")
        self._count = 0
        self._polls = 1
        self.unseen = 0

    def __repr__(self) -> str:
        return f"<SqsCursor of {self._queue}: {self.unseen} unseen, {len(self._held)} held>"

    async def open(self) -> None:
        """See `Cursor.open`."""
        self._reading = await self._prepare()
        self._begun = time.monotonic()
        self.unseen = self._count = sum(await self._counts())
        self._keeping = start(self._keep(), self._fail)

    def _fail(self, error: BaseException) -> None:
        self._failure = error

    async def _counts(self) -> tuple[int, int]:
        """About how many messages there are, and how many of them are out."""
        try:
            answer = await self._client.call(
                "get_queue_attributes", QueueUrl=await self._queues.url(self._queue), AttributeNames=[*_COUNTS]
            )
        except AccessDenied:
            return 0, 0  # A caller that may read is not always allowed to ask for attributes.
        if self._newest == float("inf"):
            self._newest = _sent_until(answer)
        found: Mapping[str, str] = answer.get("Attributes", {})
        visible, out = (int(found.get(name, 0)) for name in _COUNTS)
        return visible, out

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """See `Cursor.fetch`; in the order in which they were sent, as far as what comes together tells it."""
        if (reading := self._reading) is None:
            return []
        if self._failure is not None:
            raise self._failure  # Other readers would get messages that are still in use here.
        while True:
            polls = min(self._polls, max(limit // BATCH, 1))
            natives = [native for answer in await self._ask(reading, polls) for native in answer.get("Messages", ())]
            self._polls = _SIDE_BY_SIDE if len(natives) == polls * BATCH else 1
            fresh = [native for native in natives if native["MessageId"] not in self._seen]
            self._seen.update(native["MessageId"] for native in fresh)
            ours = [native for native in fresh if _sent_at(native) <= self._newest]
            self.unseen = max(self._count - len(self._seen), 0)
            if ours:
                ours.sort(key=_sequence)
                return await self._decoded(ours, reading)
            if not natives:
                self._reading = None
                await self._account()
                return []

    async def _decoded(self, natives: Sequence[Mapping[str, Any]], reading: Reading) -> list[Delivery]:
        """Messages with their bodies, also those in S3. One that cannot be read keeps its pointer, also in a replay.

        Raises:
            ConnectionLost: S3 does not answer.
        """
        pointers = find_pointers(natives, reading)
        read = await asyncio.gather(*(read_body(self._payloads, pointer) for pointer in pointers.values()))
        contents = {id: body.content for id, body in zip(pointers, read, strict=True)}
        for body in read:
            if isinstance(body.error, ConnectionLost):
                raise body.error
        fifo, envelope = reading.fifo, reading.envelope
        letters: list[Delivery] = []
        for native in natives:
            id = native["MessageId"]
            letter = decode(native, reading.topic, id, fifo=fifo, envelope=envelope, content=contents.get(id))
            if MOVED in native.get("Attributes", {}):  # by SQS, with what its producer wrote
                letter.headers = without_internal(letter.headers)
            letters.append(letter)
        return letters

    async def _ask(self, reading: Reading, polls: int) -> list[Answer]:
        """Receive, and note what came as ours. The call is not cancelled, because the messages that it brings would stay
        hidden.
        """
        asking = [asyncio.create_task(self._receive(reading)) for _ in range(polls)]
        self._asking.update(asking)
        await asyncio.wait(asking)
        self._asking.clear()
        for task in asking:
            if (error := task.exception()) is not None:
                raise error
        return [task.result() for task in asking]

    async def _receive(self, reading: Reading) -> Answer:
        visibility = self._visibility()
        # A wait of a second makes SQS ask all of its servers, not only some.
        answer = await self._client.call(
            "receive_message",
            QueueUrl=reading.url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=1,
            VisibilityTimeout=visibility,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        until = time.monotonic() + visibility
        for native in answer.get("Messages", ()):
            self._held[native["MessageId"]] = _Held(native["ReceiptHandle"], until)
        return answer

    async def _account(self) -> None:
        """Tell at the end what could not be seen. The counts of SQS follow some seconds behind."""
        for _ in range(_TRIES):
            if self.unseen == 0:
                return
            self.unseen = min(self.unseen, max(sum(await self._counts()) - len(self._held), 0))
            if self.unseen:
                await asyncio.sleep(1)

    def _visibility(self) -> int:
        return min(round(_HIDDEN + time.monotonic() - self._begun), LONGEST_VISIBILITY)

    async def _keep(self) -> None:
        """Renew what is out."""
        while True:
            await asyncio.sleep(_RENEW / 3)
            soon = time.monotonic() + _RENEW
            due = [held for held in self._held.values() if held.until < soon]
            visibility = self._visibility()
            if due and await self._change([held.receipt for held in due], visibility) is None:
                for held in due:
                    held.until = time.monotonic() + visibility

    async def _change(self, receipts: Sequence[str], visibility: int) -> BrokerkitError | None:
        """Set a visibility. Returns why it did not work for all."""
        results = await _side_by_side(
            [
                (
                    "change_message_visibility_batch",
                    [{**entry, "VisibilityTimeout": visibility} for entry in _entries(ten)],
                )
                for ten in tens(receipts)
            ],
            self._call,
        )
        return next((result for result in results if isinstance(result, BrokerkitError)), None)

    async def _call(self, operation: str, entries: list[dict[str, Any]]) -> Answer:
        return await self._client.call(operation, QueueUrl=await self._queues.url(self._queue), Entries=entries)

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """See `Cursor.remove`."""
        left: list[str] = [delivery.token for delivery in deliveries if delivery.token in self._held]
        failure: BrokerkitError | None = None
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(backoff(attempt, first=0.4, cap=5.0))
            chunks = [*tens(left)]
            calls = [("delete_message_batch", _entries([self._held[id].receipt for id in chunk])) for chunk in chunks]
            left = []
            for chunk, result in zip(chunks, await _side_by_side(calls, self._call), strict=True):
                if isinstance(result, BrokerkitError):
                    failure = result
                    left += chunk
                    continue
                failed = {int(entry["Id"]): str(entry.get("Message") or entry.get("Code")) for entry in _failed(result)}
                for number, id in enumerate(chunk):
                    if number in failed:
                        failure = ConnectionLost(
                            f"SQS queue {self._queue}: a message was not deleted: {failed[number]}"
                        )
                        left.append(id)
                    else:
                        del self._held[id]
            if not left:
                return
        raise failure or ConnectionLost(f"SQS queue {self._queue}: {len(left)} messages were not deleted")

    async def close(self) -> None:
        """See `Cursor.close`."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        if self._asking:
            await asyncio.wait(self._asking)
            for task in self._asking:
                if not task.cancelled():
                    task.exception()
            self._asking.clear()
        receipts = [held.receipt for held in self._held.values()]
        self._held.clear()
        if receipts and (failure := await self._change(receipts, 0)) is not None:
            logger.warning(
                "messages of SQS queue %s stay hidden for up to %d s: %s", self._queue, self._visibility(), failure
            )


async def _side_by_side(
    calls: Sequence[tuple[str, list[dict[str, Any]]]],
    call: Callable[[str, list[dict[str, Any]]], Awaitable[Answer]],
) -> list[Answer | BrokerkitError]:
    """Make calls, several at once. Each gives its answer, or the error that came instead."""
    turns = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def one(operation: str, entries: list[dict[str, Any]]) -> Answer | BrokerkitError:
        async with turns:
            try:
                return await call(operation, entries)
            except BrokerkitError as error:
                return error

    return await asyncio.gather(*(one(*each) for each in calls))


def _entries(receipts: Sequence[str]) -> list[dict[str, Any]]:
    return [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(receipts)]


def _failed(answer: Answer) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = answer.get("Failed", ())
    return found


def _sent_at(native: Mapping[str, Any]) -> int:
    return int(native.get("Attributes", {}).get("SentTimestamp", 0))


def _sequence(native: Mapping[str, Any]) -> tuple[int, int]:
    attributes: Mapping[str, str] = native.get("Attributes", {})
    return int(attributes.get("SequenceNumber", 0)), _sent_at(native)


def _sent_until(answer: Answer) -> float:
    """When SQS has answered, and some seconds more, in milliseconds; without end where it does not say."""
    date: object = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return parsedate_to_datetime(str(date)).timestamp() * 1000 + _SLACK
    except (TypeError, ValueError):
        return float("inf")
