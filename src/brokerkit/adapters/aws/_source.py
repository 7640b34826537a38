"""Reading SQS queues: the source behind ``sqs://`` and ``sns://``.

A long poll is never cancelled: SQS would hand the next messages to the dead request and hide them for a whole lease.
So a poll that is under way when the source stops is left to end, while `receive` returns at once; what the poll still
brings goes back, and `SqsSource.close` waits for that.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from brokerkit._errors import BrokerkitError, NotFound
from brokerkit._message import ACK, Ack, Delivery, Outcome, RetryLater, Settled, State
from brokerkit._transport import Lost, Subscription
from brokerkit.adapters.aws._client import AwsClient
from brokerkit.adapters.aws._wire import BATCH, decode, tens

POLLERS: Final = 8
"""Polls of one source at once, at most: each brings ten messages, and a call costs about 1 ms of client work."""

LONGEST_VISIBILITY: Final = 43_200
"""Seconds for which a message can stay invisible, counted from the receive, all extensions together.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html"""

_LONG_POLL: Final = 3
"""Seconds that one poll waits for a message. SQS allows 20, but `close` has to wait for the poll to end."""

_SHORT_POLL: Final = 1
"""The same where there are more queues than pollers, which then go round."""

_SIDE_BY_SIDE: Final = 8

_OVER: Final = frozenset({State.SETTLED, State.LOST})
"""The core has done with such a delivery, whatever SQS thinks of it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """One queue that a source reads.

    Attributes:
        topic: what its messages say they were read from.
        envelope: see `brokerkit.adapters.aws._wire.decode`.
    """

    topic: str
    url: str
    fifo: bool
    envelope: str | None = None


class _Queue:
    """A queue and the polls on it."""

    __slots__ = ("last", "polling", "reading", "width")

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.polling = 0
        self.width = 1
        self.last = 0.0


class _Held:
    """A message that is ours, as the token of its delivery."""

    __slots__ = (
        "delivery",
        "group",
        "id",
        "leaving",
        "reading",
        "receipt",
        "received",
        "sequence",
        "settling",
        "until",
    )

    def __init__(self, native: Mapping[str, Any], reading: Reading, lease: int) -> None:
        self.id: str = native["MessageId"]
        self.reading = reading
        self.delivery = decode(native, reading.topic, self, envelope=reading.envelope)
        system: Mapping[str, str] = native.get("Attributes", {})
        self.group = system.get("MessageGroupId") if reading.fifo else None
        self.sequence = int(system.get("SequenceNumber", 0))
        self.settling = False
        self.leaving = False
        self.renew(native, lease)

    def renew(self, native: Mapping[str, Any], lease: int) -> None:
        """Take over a newer receipt: only the newest one can settle a message."""
        self.receipt: str = native["ReceiptHandle"]
        self.received = time.monotonic()
        self.until = self.received + lease

    def at_most(self, seconds: int) -> int:
        """Cut a visibility to what SQS still allows for this message; 0 where nothing is left."""
        return max(0, min(seconds, LONGEST_VISIBILITY - math.ceil(time.monotonic() - self.received)))


@dataclass(slots=True)
class _Step:
    """One entry of a batch call: a deletion, or a visibility in seconds that is set."""

    held: _Held
    visibility: int | None
    answer: Settled = Settled.FAILED


class SqsSource:
    """Reads queues for one subscription; a `brokerkit._transport.Source`."""

    def __init__(
        self,
        client: AwsClient,
        subscription: Subscription,
        lost: Lost,
        *,
        prepare: Callable[[], Awaitable[Sequence[Reading]]],
        discard: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Args:
        prepare: provisions and says which queues to read.
        discard: removes what must not outlive this source.
        """
        self._client = client
        self._subscription = subscription
        self._lost = lost
        self._prepare = prepare
        self._discard = discard
        self._lease = min(max(1, math.ceil(subscription.lease)), LONGEST_VISIBILITY)
        self._queues: list[_Queue] = []
        self._held: dict[str, _Held] = {}
        # How often each message was taken back from the core because one before it in its FIFO group went back.
        self._pulled: Counter[str] = Counter()
        self._polls: set[asyncio.Task[list[Delivery]]] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopped: asyncio.Future[None] | None = None
        self._calls = asyncio.Semaphore(_SIDE_BY_SIDE)
        # An extension that overtakes a retry's visibility on the wire would undo it.
        self._visibility = asyncio.Lock()

    async def open(self) -> None:
        """Provision what is ours, and learn the queues; see `brokerkit._transport.Source.open`."""
        self._stopped = asyncio.get_running_loop().create_future()
        self._queues = [_Queue(reading) for reading in await self._prepare()]

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """One poll on one queue.

        An idle queue is polled by one call alone; the others wait here, until a full answer says that there is more.
        """
        stopped = self._stopped
        if stopped is None:
            return []
        while not stopped.done():
            queue = self._next()
            if queue is not None:
                # Counted before the task runs: the other calls of `receive` must see it.
                queue.polling += 1
                queue.last = time.monotonic()
                poll = asyncio.create_task(self._poll(queue, min(limit, BATCH)))
                self._polls.add(poll)
                poll.add_done_callback(self._polls.discard)
                either: set[asyncio.Future[Any]] = {poll, stopped}
                try:
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError:
                    self._behind(self._give_back(poll))
                    raise
                if poll.done():
                    # Not before the core has what came: to make the next poll's request takes longer than most handlers.
                    asyncio.get_running_loop().call_soon(self._changed.set)
                    return poll.result()
                self._behind(self._give_back(poll))
                return []
            self._changed.clear()
            await self._changed.wait()
        return []

    def _next(self) -> _Queue | None:
        """The queue whose turn it is, or None while all have as many polls as they need."""
        ready = [queue for queue in self._queues if queue.polling < queue.width]
        return min(ready, key=lambda queue: (queue.polling, queue.last), default=None)

    async def _poll(self, queue: _Queue, limit: int) -> list[Delivery]:
        reading = queue.reading
        try:
            answer = await self._client.call(
                "receive_message",
                QueueUrl=reading.url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=_LONG_POLL if len(self._queues) <= POLLERS else _SHORT_POLL,
                VisibilityTimeout=self._lease,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        except NotFound as error:
            raise NotFound(f"SQS queue of {reading.topic} is gone: {error}") from error
        finally:
            queue.polling -= 1
        natives: Sequence[Mapping[str, Any]] = answer.get("Messages", ())
        if not natives:
            queue.width = 1
        elif len(natives) == limit:
            queue.width = min(queue.width * 2, POLLERS)
        return [held.delivery for held in self._taken(natives, reading)]

    async def _give_back(self, poll: asyncio.Task[list[Delivery]]) -> None:
        """Release what a poll still brings that nobody waits for any more."""
        try:
            brought = await poll
        except BrokerkitError as error:
            _log.debug("%r: a poll that nobody waited for failed: %s", self, error)
            return
        finally:
            self._changed.set()
        steps = [_Step(delivery.token, 0) for delivery in brought]
        await self._change(steps)
        for step in steps:
            self._forget(step.held)

    def _behind(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something behind the caller's back; `close` waits for it."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _taken(self, natives: Sequence[Mapping[str, Any]], reading: Reading) -> list[_Held]:
        """Note what came as ours, and give what is new.

        A message that we hold already has come again since its lease ran out unnoticed, or since a standard queue
        delivers more than once: its handler goes on, under the newer receipt. One that the core is done with, and
        could not settle, is a new delivery.
        """
        fresh: list[_Held] = []
        for native in natives:
            held = self._held.get(native["MessageId"])
            if held is not None and not held.leaving and held.delivery.state not in _OVER:
                held.renew(native, self._lease)
                continue
            held = _Held(native, reading, self._lease)
            # SQS counts these too, though nobody has seen the message: it must not end in the dead letters for them.
            held.delivery.count = max(held.delivery.count - self._pulled[held.id], 1)
            self._held[held.id] = held
            fresh.append(held)
        return fresh

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """Delete, or set visibilities, in batches; see `brokerkit._transport.Source.settle`."""
        steps: list[_Step] = []
        for delivery, outcome in pairs:
            held: _Held = delivery.token
            held.settling = True
            steps.append(_Step(held, _visibility(held, outcome)))
        ours = [step for step in steps if self._is_ours(step.held)]
        for step in steps:
            if not self._is_ours(step.held):
                step.answer = Settled.LOST
        deletions = [step for step in ours if step.visibility is None]
        changes = [step for step in ours if step.visibility is not None]
        successors = await self._pull_successors(changes)
        await asyncio.gather(self._delete(deletions), self._change(changes + successors))
        for step in ours:
            step.held.settling = False
        for step in successors:
            self._forget(step.held)  # The core has dropped it: whatever SQS said, it comes as a new delivery.
            self._pulled[step.held.id] += 1
        if self._pulled:
            for step in deletions:
                self._pulled.pop(step.held.id, None)
        return [step.answer for step in steps]

    async def _pull_successors(self, changes: list[_Step]) -> list[_Step]:
        """Take back from the core what follows, in the same FIFO groups, the messages that are about to go back.

        Otherwise a message that comes again would find its successors handled: SQS keeps a group's order among
        what it has, not among what it has handed out.
        """
        if self._subscription.order == "none":
            return []
        first: dict[tuple[str, str], int] = {}
        for step in changes:
            if step.held.group is not None:
                place = (step.held.reading.url, step.held.group)
                first[place] = min(step.held.sequence, first.get(place, step.held.sequence))
        if not first:
            return []
        later = [
            held
            for held in self._held.values()
            if held.group is not None
            and not held.settling
            and held.delivery.state is State.WAITING
            and held.sequence > first.get((held.reading.url, held.group), held.sequence)
        ]
        if not later:
            return []
        # Not awaited: `Lost` ends when the running handlers are settled, and it is us who settle.
        self._behind(self._tell_lost([held.delivery for held in later]))
        await asyncio.sleep(0)  # the core drops at once what has not started
        return [_Step(held, 0) for held in later if held.delivery.state in (State.WAITING, State.LOST)]

    async def _tell_lost(self, deliveries: list[Delivery]) -> None:
        try:
            async with asyncio.timeout(self._subscription.drain_timeout):
                await self._lost(deliveries)
        except TimeoutError:
            _log.warning("%r: handlers of released messages were still running after the drain timeout", self)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """Set the visibility to the lease again; see `brokerkit._transport.Source.extend`."""
        steps: list[_Step] = []
        due: list[_Step] = []
        for delivery in deliveries:
            held: _Held = delivery.token
            step = _Step(held, held.at_most(self._lease))
            steps.append(step)
            if held.settling:
                step.answer = Settled.DONE
            elif not self._is_ours(held) or not step.visibility:
                step.answer = Settled.LOST
                self._forget(held)
            else:
                due.append(step)
        await self._change(due, keep=True)
        now = time.monotonic()
        for step in due:
            if step.answer is Settled.FAILED and now >= step.held.until:
                step.answer = Settled.LOST
                self._forget(step.held)
        return [step.answer for step in steps]

    async def _delete(self, steps: list[_Step]) -> None:
        await self._batches("delete_message_batch", steps, keep=False)

    async def _change(self, steps: list[_Step], *, keep: bool = False) -> None:
        if steps:
            async with self._visibility:
                live = [step for step in steps if not (keep and step.held.settling)]
                # What goes back may come again before the answer to this call does, and is a new delivery then.
                for step in live:
                    step.held.leaving = not keep
                await self._batches("change_message_visibility_batch", live, keep=keep)
                for step in live:
                    step.held.leaving = False

    async def _batches(self, operation: str, steps: list[_Step], *, keep: bool) -> None:
        by_queue: dict[str, list[_Step]] = {}
        for step in steps:
            by_queue.setdefault(step.held.reading.url, []).append(step)
        await asyncio.gather(
            *(self._batch(operation, url, ten, keep) for url, some in by_queue.items() for ten in tens(some))
        )

    async def _batch(self, operation: str, url: str, steps: Sequence[_Step], keep: bool) -> None:
        entries: list[dict[str, object]] = []
        for number, step in enumerate(steps):
            entry: dict[str, object] = {"Id": str(number), "ReceiptHandle": step.held.receipt}
            if step.visibility is not None:
                entry["VisibilityTimeout"] = step.visibility
            entries.append(entry)
        try:
            async with self._calls:
                answer = await self._client.call(operation, QueueUrl=url, Entries=entries)
        except NotFound:
            for step in steps:
                step.answer = Settled.LOST
                self._forget(step.held)
            return
        except BrokerkitError as error:
            _log.warning("%r: %s of %d messages failed: %s", self, operation, len(steps), error)
            return
        now = time.monotonic()
        for done in answer.get("Successful", ()):
            step = steps[int(done["Id"])]
            step.answer = Settled.DONE
            if keep:
                step.held.until = now + (step.visibility or 0)
            else:
                self._forget(step.held)
        for failed in answer.get("Failed", ()):
            # A receipt that SQS calls our fault (MessageNotInflight, ReceiptHandleIsInvalid) has run out.
            if failed.get("SenderFault", False):
                step = steps[int(failed["Id"])]
                step.answer = Settled.LOST
                self._forget(step.held)

    def _is_ours(self, held: _Held) -> bool:
        return self._held.get(held.id) is held

    def _forget(self, held: _Held) -> None:
        if self._is_ours(held):
            del self._held[held.id]

    async def lag(self) -> int | None:
        """Messages that wait, delayed ones counted in; SQS only estimates it."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")
        total = 0
        try:
            for queue in self._queues:
                answer = await self._client.call(
                    "get_queue_attributes", QueueUrl=queue.reading.url, AttributeNames=[*names]
                )
                found: Mapping[str, str] = answer.get("Attributes", {})
                total += sum(int(found.get(name, 0)) for name in names)
        except BrokerkitError:
            return None
        return total

    async def stop(self) -> None:
        """Make every `receive` return; the polls themselves end within three seconds."""
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
        self._changed.set()

    async def close(self) -> None:
        """Wait for the polls, give back what they brought, and remove a private queue."""
        await self.stop()
        for tasks in (self._polls, self._work):
            if tasks and (late := (await asyncio.wait(tasks, timeout=_LONG_POLL + 1))[1]):
                # SQS does not answer: what it may hand to these requests stays hidden for a lease.
                for task in late:
                    task.cancel()
                await asyncio.wait(late)
        for error in await asyncio.gather(*self._work, return_exceptions=True):
            if isinstance(error, Exception):
                _log.warning("%r: ended with %s", self, error)
        discard, self._discard = self._discard, None
        if discard is not None:
            try:
                await discard()
            except BrokerkitError as error:
                _log.warning("%r: what was private to it could not be removed: %s", self, error)

    def __repr__(self) -> str:
        if self._stopped is None:
            state = "not open"
        else:
            state = "stopped" if self._stopped.done() else "reading"
        topics = ", ".join(self._subscription.topics)
        return f"<SqsSource {topics}: {state}, {len(self._polls)} polls, {len(self._held)} held>"


def _visibility(held: _Held, outcome: Outcome) -> int | None:
    """Seconds after which an outcome lets a message come again; None where it shall not."""
    if outcome is ACK or isinstance(outcome, Ack):
        return None
    if isinstance(outcome, RetryLater):
        # Less than a second, or nothing, would bring it back at once.
        return held.at_most(max(1, math.ceil(outcome.after)))
    return 0
