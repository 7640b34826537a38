"""The transactions of one source: what its handlers publish, and the offsets of the messages that they handled.

Offsets are committed by the producer, as a member of the group (KIP-447). A member that the group has expelled can commit
nothing any more, whatever it still does, so two owners of a partition never commit the same message. Whoever takes over
waits until a transaction of its predecessor is over (`UNSTABLE_OFFSET_COMMIT`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from confluent_kafka import KafkaError, TopicPartition

from brokerkit.adapters.api import (
    RELEASE,
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    Delivery,
    MessageTooLarge,
    NotFound,
    Offsets,
    Outgoing,
    Part,
    Reminder,
    RetryLater,
    Settled,
    backoff,
    get_logger,
    start,
    wait_for_event,
)
from brokerkit.adapters.kafka._client import Partition, Settings
from brokerkit.adapters.kafka._errors import UNSUPPORTED, translate
from brokerkit.adapters.kafka._membership import Membership
from brokerkit.adapters.kafka._transaction_thread import Failed, TransactionThread, Work
from brokerkit.adapters.kafka._wire import batch_size

logger = get_logger(__name__)

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
"""Seconds between two tries to commit."""

_IDLE: Final = 0.2
"""Seconds after which offsets without a message (markers of transactions) are committed, if nothing else is."""

_LARGEST: Final = 8 * 1024 * 1024
"""Bytes of one transaction. A larger one may take longer than `transaction.timeout.ms`, however often it is tried."""

_OVERHEAD: Final = 500
"""Bytes of a message that count beside its body: headers, and the work for it."""

_FEW: Final = 50
"""Messages of one transaction that are sent one by one."""

Answer = Settled | BrokerkitError


class _Attempt:
    """The parts of one commit, and what has become of them.

    Attributes:
        parts: all of them.
        copies: retry copies with their topics, by the numbers of their parts.
        alone: messages are sent one by one.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.copies: dict[int, Outgoing] = {}
        self.alone = False
        self._answers: list[Answer | None] = [None] * len(parts)
        # For each token the number of its first part that was refused: none behind it can be settled.
        self._refused: dict[Any, int] = {}

    def open(self) -> Iterator[tuple[int, Part]]:
        """What is to be settled, with its numbers."""
        for number, part in enumerate(self.parts):
            if self._answers[number] is None and number < self._refused.get(part.delivery.token, len(self.parts)):
                yield number, part

    def messages(self, number: int) -> list[Outgoing]:
        """What is published with a part."""
        copy = self.copies.get(number)
        return [*self.parts[number].messages, *([] if copy is None else [copy])]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be settled."""
        return next(self.open(), None) is None

    def answer(self, number: int, answer: Settled) -> None:
        """Say what has become of a part."""
        self._answers[number] = answer

    def refuse(self, number: int, error: BrokerkitError) -> None:
        """The broker takes one of the messages of this part in no case."""
        self._answers[number] = error
        token = self.parts[number].delivery.token
        self._refused[token] = min(number, self._refused.get(token, number))

    def answers(self) -> list[Answer]:
        """One for each part."""
        answers: list[Answer] = []
        for number, (part, answer) in enumerate(zip(self.parts, self._answers, strict=True)):
            is_behind = number > self._refused.get(part.delivery.token, number)
            answers.append(Settled.FAILED if answer is None or is_behind else answer)
        return answers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One transaction, the numbers of the parts that it settles, and the positions that it commits."""

    work: Work
    numbers: Sequence[int]
    positions: Mapping[Offsets[Delivery], int]


class Transactions:
    """Commits parts until that has succeeded, or the partitions are gone.

    Args:
        settings: of the adapter.
        group: whose offsets are committed.
        membership: that of the member that has a partition.
        retry_topic: finds or makes the topic for a retry copy; None where there is none.
        committed: asks the broker for the offsets of the group.
        done: told how many deliveries are no longer in flight.
        failed: told of an error that ends the source.
        crashed: told of a defect in here.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        group: str,
        membership: Callable[[Offsets[Delivery]], Membership],
        retry_topic: Callable[[Delivery, RetryLater], Awaitable[str | None]],
        committed: Callable[[Sequence[Partition]], Awaitable[Mapping[Partition, int | None]]],
        done: Callable[[int], None],
        failed: Callable[[BrokerkitError], None],
        crashed: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._group = group
        self._membership = membership
        self._retry_topic = retry_topic
        self._committed = committed
        self._done = done
        self._failed = failed
        self._crashed = crashed
        # A prefix of the group's name, so that one right covers all members. A static member's next process has the same
        # id, and aborts what the last one left open.
        name = f"{group}-{settings.instance or uuid.uuid4().hex}"
        config = settings.configure_transactional_producer(self._log, name=name)
        self._thread = TransactionThread(config, settings.login, name=group)
        self._lock = asyncio.Lock()
        self._closing = asyncio.Event()
        self._moved: set[Offsets[Delivery]] = set()
        self._moving: asyncio.Task[None] | None = None
        self._trouble = Reminder()

    def __repr__(self) -> str:
        return f"<Transactions of {self._group} on {self._settings.where}>"

    async def open(self) -> None:
        """Have a producer.

        Raises:
            AccessDenied: this user has no right to transactions.
            ConnectionLost: the cluster did not answer within the connect timeout.
        """
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                failed = await self._thread.begin()
        except TimeoutError:
            raise ConnectionLost(
                f"{self._settings.where} did not begin transactions within {self._settings.connect_timeout:g} s"
            ) from None
        if failed is not None:
            raise self._translate(failed.error)

    async def close(self) -> None:
        """Abort what is open, and free everything."""
        self._closing.set()
        if self._moving is not None:
            await asyncio.wait([self._moving])
        await self._thread.close()

    def reach(self, touched: Iterable[Offsets[Delivery]]) -> None:
        """Partitions were read to their ends: commit that too, so that lag reaches 0."""
        self._moved.update(touched)
        if self._moved and self._moving is None and not self._closing.is_set():
            self._moving = start(self._commit_moved(), self._crashed)

    async def _commit_moved(self) -> None:
        await wait_for_event(self._closing, _IDLE)
        self._moving = None
        await self.commit([])

    async def commit(self, parts: Sequence[Part]) -> list[Answer]:
        """See `Transactional.commit`."""
        async with self._lock:
            attempt = _Attempt(parts)
            await self._address(attempt)
            failures = 0
            while (plan := self._plan(attempt)) is not None and not self._closing.is_set():
                if all(member is not None for member, _ in plan.work.offsets):
                    failed = await self._thread.run(plan.work)
                    if failed is None or (failed.unknown and await self._was_committed(plan.work)):
                        self._settle(attempt, plan)
                        failures = 0
                        if attempt.is_over:
                            break
                        continue
                    if self._refuse(attempt, failed):
                        continue
                    error = self._translate(failed.error)
                    if isinstance(error, AccessDenied) or _is_unsupported(failed.error):
                        self._failed(error)
                        break
                    if self._trouble.due():
                        logger.warning("%s; it is tried again", error)
                failures += 1
                await wait_for_event(self._closing, backoff(failures, first=_FIRST_PAUSE, cap=_LONGEST_PAUSE))
            self._trouble.over()
            return attempt.answers()

    async def _address(self, attempt: _Attempt) -> None:
        """Find the topics of retry copies."""
        for number, part in enumerate(attempt.parts):
            if isinstance(part.outcome, RetryLater) and part.delivery.token.live:
                topic = await self._retry_topic(part.delivery, part.outcome)
                if topic is None:
                    attempt.refuse(number, NotFound(f"{part.delivery.topic} has no retry topic"))
                else:
                    attempt.copies[number] = replace(part.outcome.copy, topic=topic)

    def _plan(self, attempt: _Attempt) -> _Plan | None:
        """The next transaction; None if there is nothing to commit."""
        messages: list[tuple[int, Outgoing]] = []
        numbers: list[int] = []
        room = _FEW if attempt.alone else _LARGEST
        positions: dict[Offsets[Delivery], int] = {
            offsets: at for offsets in self._moved if offsets.live and (at := offsets.position) is not None
        }
        for number, part in attempt.open():
            offsets: Offsets[Delivery] = part.delivery.token
            if room <= 0:
                break
            if not offsets.live:
                attempt.answer(number, Settled.LOST)
            elif part.outcome is RELEASE:
                self._done(offsets.release(part.delivery.native.offset()))
                attempt.answer(number, Settled.DONE)
            else:
                for outgoing in attempt.messages(number):
                    messages.append((number, outgoing))
                    room -= 1 if attempt.alone else _OVERHEAD + len(outgoing.body or b"")
                numbers.append(number)
                positions[offsets] = offsets.after(part.delivery.native.offset())
        members: dict[bytes | None, list[TopicPartition]] = {}
        for offsets, at in positions.items():
            position = TopicPartition(offsets.topic, offsets.partition, at)
            members.setdefault(self._membership(offsets).known, []).append(position)
        if not members:
            return None
        work = Work(messages=messages, offsets=list(members.items()), alone=attempt.alone)
        return _Plan(work=work, numbers=numbers, positions=positions)

    def _settle(self, attempt: _Attempt, plan: _Plan) -> None:
        for number in plan.numbers:
            delivery = attempt.parts[number].delivery
            offsets: Offsets[Delivery] = delivery.token
            if offsets.live:  # What is revoked meanwhile counts as in flight no longer.
                self._done(offsets.done([delivery.native.offset()]))
            attempt.answer(number, Settled.DONE)
        # Some may have moved on meanwhile.
        self._moved = {one for one in self._moved if one.live and one.position != plan.positions.get(one)}

    def _refuse(self, attempt: _Attempt, failed: Failed) -> bool:
        """Find out which parts the broker takes in no case. False if it was not about a message."""
        found, alone = False, attempt.alone
        for number, (outgoing, said) in failed.refused.items():
            if isinstance(said, BrokerkitError):
                attempt.refuse(number, said)
                found = True
            elif said.code() == KafkaError.MSG_SIZE_TOO_LARGE and not alone:
                # The broker measures the batch that the client packed, so all messages of a batch fail because of one.
                attempt.alone = found = True
            elif not isinstance(error := self._explain(outgoing, said), ConnectionLost):
                attempt.refuse(number, error)
                found = True
        return found

    def _explain(self, outgoing: Outgoing, said: KafkaError) -> BrokerkitError:
        if said.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            what = f"topic {outgoing.topic!r} (max.message.bytes)"
            return MessageTooLarge(size=batch_size(outgoing), limit=None, what=what)
        return translate(said, f"cannot publish to {outgoing.topic!r} on {self._settings.where}", sending=True)

    async def _was_committed(self, work: Work) -> bool:
        """Whether a transaction was committed of which the broker has not said so.

        A producer with the same id begins when the transaction is over, and each transaction moves its offsets. All of
        them are looked at: a partition may have moved, and its next owner may have committed more although this transaction
        was aborted. Where that is so of all partitions, somebody has handled all messages.
        """
        wanted = {(one.topic, one.partition): one.offset for _, positions in work.offsets for one in positions}
        failures = 0
        while not self._closing.is_set():
            if await self._thread.begin() is None:
                try:
                    found = await self._committed(list(wanted))
                except BrokerkitError as error:
                    logger.debug("%r: %s", self, error)
                else:
                    return all((found[partition] or 0) >= offset for partition, offset in wanted.items())
            failures += 1
            await wait_for_event(self._closing, backoff(failures, first=_FIRST_PAUSE, cap=_LONGEST_PAUSE))
        return False

    def _translate(self, error: KafkaError | BrokerkitError) -> BrokerkitError:
        if isinstance(error, BrokerkitError):
            return error
        doing = f"a transaction of group {self._group!r} on {self._settings.where} was not committed"
        return translate(error, doing)

    def _log(self, error: KafkaError) -> None:
        logger.debug("transactions of group %r on %s: %s", self._group, self._settings.where, error.str())


def _is_unsupported(error: KafkaError | BrokerkitError) -> bool:
    return isinstance(error, KafkaError) and error.code() in UNSUPPORTED
