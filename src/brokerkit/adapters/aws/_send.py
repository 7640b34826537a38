"""Sending batches to SQS queues and SNS topics: cut, sent side by side, every single answer read."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from brokerkit._errors import (
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    InvalidMessage,
    MessageTooLarge,
    PublishError,
)
from brokerkit._message import Outgoing, Receipt
from brokerkit.adapters.aws._client import Answer, Refused, is_denial
from brokerkit.adapters.aws._wire import BATCH, Entry, batches, encode

_SIDE_BY_SIDE: Final = 8
"""Calls under way at once: one call waits for the network, eight keep a core busy (1 ms of client work each)."""

_TRIES: Final = 4
"""How often an entry is sent that fails through no fault of the sender."""

_FIRST_PAUSE: Final = 0.1


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
    """One message on its way, its place in the batch, and what came of it."""

    index: int
    message: Outgoing
    entry: Entry
    result: Receipt | BrokerkitError | None = None


_Results = dict[int, Receipt | BrokerkitError]
"""What came of each message, by its place in the batch."""


class Sender:
    """Sends batches for one adapter."""

    def __init__(self, find: Callable[[str, bool], Awaitable[Target]]) -> None:
        """Args: find: the target for a topic; the flag says that it is a plain queue (`Outgoing.stored`)."""
        self._find = find
        self._calls = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Send a batch; see `brokerkit._transport.Adapter.send`."""
        results: _Results = {}
        places: dict[tuple[str, bool], list[tuple[int, Outgoing]]] = {}
        for index, message in enumerate(batch):
            places.setdefault((message.topic, message.stored), []).append((index, message))
        await _together(
            [self._send_to(topic, stored, messages, results) for (topic, stored), messages in places.items()]
        )
        return [results[index] for index in range(len(batch))]

    async def _send_to(
        self,
        topic: str,
        stored: bool,
        messages: list[tuple[int, Outgoing]],
        results: _Results,
    ) -> None:
        try:
            target = await self._find(topic, stored)
        except BrokerkitError as error:
            results.update((index, error) for index, _ in messages)
            return
        items = _encoded(messages, target, results)
        if target.fifo:
            calls = [self._in_order(lane, target, results) for lane in _lanes(list(items))]
        else:
            # Messages are encoded when their call's turn comes, and forgotten with its answer: SQS has work meanwhile,
            # and the garbage collector has not.
            chunks = batches(((item.entry.size, item) for item in items), target.batch_limit)
            first = list(islice(chunks, _SIDE_BY_SIDE))
            calls = [self._drain(chain([chunk], chunks), target, results) for chunk in first]
        await _together(calls)

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
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(random.uniform(0.5, 1) * _FIRST_PAUSE * 2**attempt)
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
    """Run calls side by side; one alone needs no task of its own."""
    if len(calls) == 1:
        await calls[0]
    else:
        await asyncio.gather(*calls)


def _encoded(messages: Iterable[tuple[int, Outgoing]], target: Target, results: _Results) -> Iterator[_Item]:
    """Messages that can be sent, encoded one by one; what keeps the others from it is their result."""
    for index, message in messages:
        try:
            entry = encode(message, fifo=target.fifo)
        except PublishError as error:
            results[index] = error
            continue
        if entry.size > target.limit:
            results[index] = MessageTooLarge(size=entry.size, limit=target.limit, what=target.what)
            continue
        yield _Item(index, message, entry)


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
        place = seen[item.entry.group]
        seen[item.entry.group] += 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(item)
    for items in rounds:
        yield from batches(((item.entry.size, item) for item in items), limit)


def _failure(failed: dict[str, Any], item: _Item, target: Target) -> BrokerkitError:
    code = str(failed.get("Code", "no code"))
    text = f"{target.what} refused message {item.message.id}: {failed.get('Message') or code}"
    if is_denial(code):
        return AccessDenied(text)
    return InvalidMessage(text) if failed.get("SenderFault", False) else PublishError(text)
