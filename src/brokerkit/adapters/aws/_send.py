"""Sending batches to SQS queues and SNS topics: cut, sent side by side, every single answer read.

A body that goes to S3 is written there before the call that sends its message.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from brokerkit.adapters.api import (
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    InvalidMessage,
    MessageTooLarge,
    Outgoing,
    PublishError,
    Receipt,
    backoff,
)
from brokerkit.adapters.aws._client import Answer, Refused, is_denial
from brokerkit.adapters.aws._pointers import Pointer
from brokerkit.adapters.aws._s3 import PayloadStore
from brokerkit.adapters.aws._wire import BATCH, BODY, Entry, batches, encode

_SIDE_BY_SIDE: Final = 8
"""Calls under way at once: one call waits for the network, eight keep a core busy (1 ms of client work each)."""

_TRIES: Final = 4
"""How often an entry is sent that fails through no fault of the sender."""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A queue or an SNS topic, found.

    Attributes:
        what: what it is, for messages: ``"SQS queue orders"``.
        limit: bytes of one message at most, attributes counted in.
        batch_limit: bytes of all messages of one call.
        body_field: name of the body in an entry.
        post: makes the batch call.
    """

    what: str
    fifo: bool
    limit: int
    batch_limit: int
    body_field: str
    post: Callable[[list[dict[str, object]]], Awaitable[Answer]]


@dataclass(slots=True, eq=False)
class _Item:
    """One message on its way, its index in the batch, and what came of it.

    Attributes:
        pointer: leads to where the body must be before the entry is sent.
        body: what is written there.
        is_there: the body of a copy should be there already.
    """

    index: int
    message: Outgoing
    entry: Entry
    result: Receipt | BrokerkitError | None = None
    pointer: Pointer | None = None
    body: bytes = b""
    is_there: bool = False


_Results = dict[int, Receipt | BrokerkitError]
"""What came of each message, by its index in the batch."""


class Sender:
    """Sends batches for one adapter."""

    def __init__(self, find: Callable[[str, bool], Awaitable[Target]], payloads: PayloadStore | None) -> None:
        """Args:
        find: the target for a topic; the flag says that it is a plain queue (`Outgoing.is_queue`).
        payloads: takes the bodies that are too large.
        """
        self._find = find
        self._payloads = payloads
        self._calls = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Send a batch; see `brokerkit.adapters.api.Adapter.send`."""
        results: _Results = {}
        by_queue: dict[tuple[str, bool], list[tuple[int, Outgoing]]] = {}
        for index, message in enumerate(batch):
            by_queue.setdefault((message.topic, message.is_queue), []).append((index, message))
        await _together(
            [self._send_to(topic, is_queue, messages, results) for (topic, is_queue), messages in by_queue.items()]
        )
        return [results[index] for index in range(len(batch))]

    async def _send_to(
        self,
        topic: str,
        is_queue: bool,
        messages: list[tuple[int, Outgoing]],
        results: _Results,
    ) -> None:
        try:
            target = await self._find(topic, is_queue)
        except BrokerkitError as error:
            results.update((index, error) for index, _ in messages)
            return
        items = self._encoded(messages, target, results)
        if target.fifo:
            calls = [self._in_order(lane, target, results) for lane in _lanes(list(items))]
        else:
            # Messages are encoded when their call's turn comes, and forgotten with its answer: SQS has work meanwhile,
            # and the garbage collector has not.
            chunks = batches(((item.entry.size, item) for item in items), target.batch_limit)
            first = list(islice(chunks, _SIDE_BY_SIDE))
            calls = [self._drain(chain([chunk], chunks), target, results) for chunk in first]
        await _together(calls)

    def _encoded(self, messages: Iterable[tuple[int, Outgoing]], target: Target, results: _Results) -> Iterator[_Item]:
        """Messages that can be sent, encoded one by one; what keeps the others from it is their result."""
        for index, message in messages:
            try:
                item = _Item(index, message, encode(message, fifo=target.fifo))
                if self._payloads is not None:
                    self._offload(item, target, self._payloads)
            except PublishError as error:
                results[index] = error
                continue
            if item.entry.size > target.limit:
                results[index] = MessageTooLarge(size=item.entry.size, limit=target.limit, what=target.what)
                continue
            yield item

    def _offload(self, item: _Item, target: Target, payloads: PayloadStore) -> None:
        """Put a pointer in the place of a body that is too large, and of one that is in S3 already."""
        known = None if item.message.offloaded is None else item.message.offloaded.pointer
        item.is_there = isinstance(known, Pointer) and payloads.owns(known)
        if not item.is_there and item.entry.size <= min(payloads.setting.above or target.limit, target.limit):
            return
        item.body = item.entry.body.encode()
        flag = item.entry.attributes[BODY]["StringValue"] if BODY in item.entry.attributes else None
        item.pointer = known if item.is_there else payloads.new(len(item.body), flag)
        item.entry = encode(item.message, fifo=target.fifo, pointer=item.pointer)

    async def _store(self, item: _Item, target: Target, payloads: PayloadStore) -> None:
        """See that the body is in S3 before its message is sent. What keeps it from that is the result."""
        pointer, item.pointer = item.pointer, None
        if pointer is None:
            return
        try:
            if item.is_there and await payloads.exists(pointer):
                return
            await payloads.put(pointer, item.body)
        except AccessDenied as error:
            item.result = error
            if item.message.is_queue:
                # A reader need not have the right to write. What it stores as a dead letter then has to fit.
                item.entry = encode(item.message, fifo=target.fifo)
                fits = item.entry.size <= target.limit
                item.result = (
                    None if fits else MessageTooLarge(size=item.entry.size, limit=target.limit, what=target.what)
                )
        except BrokerkitError as error:
            item.result = error
        finally:
            item.body = b""

    async def _drain(self, chunks: Iterator[list[_Item]], target: Target, results: _Results) -> None:
        """Send chunks, which others take from as well, until none is left."""
        for chunk in chunks:
            await self._post(chunk, target)
            results.update((item.index, _result(item, target)) for item in chunk)

    async def _in_order(self, lane: list[_Item], target: Target, results: _Results) -> None:
        """Send chunk after chunk, and nothing more of a group that stopped in the middle.

        Where a lost connection stopped it the rest counts as lost too: the core then sends all of it again, in order.
        """
        stuck: dict[str | None, BrokerkitError] = {}
        for chunk in _in_rounds(lane, target.batch_limit):
            free = [item for item in chunk if item.entry.group not in stuck]
            for item in chunk:
                if (cause := stuck.get(item.entry.group)) is not None:
                    kind = ConnectionLost if isinstance(cause, ConnectionLost) else PublishError
                    item.result = kind(
                        f"message {item.message.id} was not sent to {target.what}: "
                        f"one before it in its group was not confirmed ({cause})"
                    )
            if free:
                await self._post(free, target)
            for item in chunk:
                results[item.index] = result = _result(item, target)
                if isinstance(result, BrokerkitError) and not isinstance(result, InvalidMessage | MessageTooLarge):
                    stuck.setdefault(item.entry.group, result)

    async def _post(self, items: list[_Item], target: Target) -> None:
        """Make one call, and again for the entries that failed through no fault of ours."""
        if self._payloads is not None:
            await asyncio.gather(*(self._store(item, target, self._payloads) for item in items if item.pointer))
            items = [item for item in items if item.result is None]
        for attempt in range(_TRIES if items else 0):
            if attempt:
                await asyncio.sleep(backoff(attempt, first=_FIRST_PAUSE, cap=_LONGEST_PAUSE))
            try:
                async with self._calls:
                    answer = await target.post(
                        [item.entry.parameters(str(n), target.body_field) for n, item in enumerate(items)]
                    )
            except Refused as error:
                if len(items) > 1:
                    # The whole call was refused for one of its entries, and nobody says for which.
                    for item in items:
                        await self._post([item], target)
                else:
                    items[0].result = InvalidMessage(f"{items[0].message.name}: {error}")
                return
            except BrokerkitError as error:
                for item in items:
                    item.result = error
                return
            for done in answer.get("Successful", ()):
                item = items[int(done["Id"])]
                item.result = Receipt(item.message.topic, item.message.id, done.get("MessageId"))
            again: list[_Item] = []
            for failed in answer.get("Failed", ()):
                item = items[int(failed["Id"])]
                item.result = _failure(failed, item, target)
                if not failed.get("SenderFault", False):
                    again.append(item)
            if not again:
                return
            items = again


async def _together(calls: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run calls at the same time. A single call needs no task."""
    if len(calls) == 1:
        await calls[0]
    else:
        await asyncio.gather(*calls)


def _result(item: _Item, target: Target) -> Receipt | BrokerkitError:
    return item.result or PublishError(f"{target.what} did not confirm message {item.message.id}")


def _lanes(items: list[_Item]) -> list[list[_Item]]:
    """Spread a FIFO batch so that lanes go side by side, each group in one of them."""
    count = min(_SIDE_BY_SIDE, -(-len(items) // BATCH))
    lanes: list[list[_Item]] = [[] for _ in range(count)]
    for item in items:
        lanes[hash(item.entry.group) % count].append(item)
    return [lane for lane in lanes if lane]


def _in_rounds(lane: list[_Item], limit: int) -> Iterator[list[_Item]]:
    """Cut a lane into calls that hold one message of each group at most.

    Where SQS fails an entry, it may take a later one of the same call: of one group that would be out of order for good.
    """
    rounds: list[list[_Item]] = []
    seen: Counter[str | None] = Counter()
    for item in lane:
        number = seen[item.entry.group]
        seen[item.entry.group] += 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(item)
    for items in rounds:
        yield from batches(((item.entry.size, item) for item in items), limit)


def _failure(failed: dict[str, Any], item: _Item, target: Target) -> BrokerkitError:
    code = str(failed.get("Code", "no code"))
    text = f"{target.what} refused message {item.message.id}: {failed.get('Message') or code}"
    if is_denial(code):
        return AccessDenied(text)
    return InvalidMessage(text) if failed.get("SenderFault", False) else PublishError(text)
