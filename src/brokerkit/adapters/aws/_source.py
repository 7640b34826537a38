"""Reading SQS queues: the source behind ``sqs://`` and ``sns://``.

A long poll is never cancelled, because SQS would give the next messages to the dead request and hide them for a whole
lease. When the source stops, `receive` returns at once, but a poll that is under way goes on to its end. Messages that it
still brings are released, and `SqsSource.close` waits for that.

A body in S3 is read before its message is handed to the core. If S3 does not answer, the message waits in the queue.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from brokerkit.adapters.api import (
    ACK,
    AccessDenied,
    Ack,
    BrokerkitError,
    ConnectionLost,
    Delivery,
    Lost,
    NotFound,
    Outcome,
    RetryLater,
    Settled,
    State,
    Subscription,
    get_logger,
    start,
)
from brokerkit.adapters.aws._bodies import Bodies, Body
from brokerkit.adapters.aws._client import AwsClient
from brokerkit.adapters.aws._queues import Reading
from brokerkit.adapters.aws._s3 import PayloadStore
from brokerkit.adapters.aws._starts import Starts
from brokerkit.adapters.aws._turns import Polled, Turns
from brokerkit.adapters.aws._wire import BATCH, decode, tens

LONGEST_VISIBILITY: Final = 43_200
"""Most seconds for which a message can stay invisible, counted from the receive, with all extensions.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html"""

_LONG_POLL: Final = 3
"""Seconds that one poll waits for a message. SQS allows 20, but `close` has to wait for the poll to end."""

_CHECK_EVERY: Final = 30.0
"""Seconds between two checks of whether messages still reach the queues."""

_CHECKS_A_SECOND: Final = 5
"""Queues that one second of checks covers, so that many queues do not cost many calls."""

_SIDE_BY_SIDE: Final = 8

_OVER: Final = frozenset({State.SETTLED, State.LOST})
"""The core has finished with a delivery in one of these states, whatever SQS knows about it."""

logger = get_logger(__name__)


class _Held:
    """A message that we hold. It is the token of its delivery."""

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

    def __init__(self, native: Mapping[str, Any], reading: Reading, lease: int, body: Body | None) -> None:
        self.id: str = native["MessageId"]
        self.reading = reading
        content = None if body is None else body.content
        self.delivery = decode(
            native, reading.topic, self, fifo=reading.fifo, envelope=reading.envelope, content=content
        )
        if body is not None and body.error is not None:
            self.delivery.unreadable(str(body.error))
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
        """Cut a visibility to what SQS still allows for this message; 0 if nothing is left."""
        return max(0, min(seconds, LONGEST_VISIBILITY - math.ceil(time.monotonic() - self.received)))


@dataclass(slots=True)
class _Step:
    """One entry of a batch call: a deletion, or a visibility in seconds that is set."""

    held: _Held
    visibility: int | None
    answer: Settled = Settled.FAILED


class SqsSource:
    """Reads queues for one subscription; a `brokerkit.adapters.api.Source`."""

    def __init__(
        self,
        client: AwsClient,
        subscription: Subscription,
        lost: Lost,
        *,
        starts: Starts,
        payloads: PayloadStore | None,
        prepare: Callable[[], Awaitable[Sequence[Reading]]],
        keep_subscribed: Callable[[], Awaitable[None]] | None = None,
        discard: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Args:
        starts: keeps how often messages were begun alone.
        payloads: has the bodies that are too large.
        prepare: provisions and says which queues to read.
        keep_subscribed: called at intervals. Makes sure that messages still reach the queues; raises if they do not.
        discard: removes what must not outlive this source.
        """
        self._client = client
        self._subscription = subscription
        self._lost = lost
        self._starts = starts
        self._payloads = payloads
        self._prepare = prepare
        self._keep_subscribed = keep_subscribed
        self._checking: asyncio.Task[None] | None = None
        self._unsubscribed = False
        self._failure: BrokerkitError | None = None
        self._discard = discard
        self._lease = min(max(1, math.ceil(subscription.lease)), LONGEST_VISIBILITY)
        self._turns = Turns([])
        self._held: dict[str, _Held] = {}
        # How often each message was taken back from the core because one before it in its FIFO group went back.
        self._pulled: Counter[str] = Counter()
        self._bodies = Bodies(client, payloads, lease=self._lease, pulled=self._pulled)
        self._polls: set[asyncio.Task[list[Delivery]]] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._stopped: asyncio.Future[None] | None = None
        # Done while the source is paused.
        self._paused: asyncio.Future[None] | None = None
        self._calls = asyncio.Semaphore(_SIDE_BY_SIDE)
        # An extension that overtakes a retry's visibility on the wire would undo it.
        self._visibility = asyncio.Lock()

    async def open(self) -> None:
        """Provision what is ours, and learn the queues; see `brokerkit.adapters.api.Source.open`."""
        self._stopped = asyncio.get_running_loop().create_future()
        self._paused = asyncio.get_running_loop().create_future()
        self._turns = Turns(await self._prepare())
        if self._keep_subscribed is not None:
            self._checking = start(self._check_subscriptions(self._keep_subscribed), self._failed_behind)

    async def _check_subscriptions(self, keep_subscribed: Callable[[], Awaitable[None]]) -> None:
        """Check every now and then whether messages still reach the queues, and report it when they do not."""
        while True:
            await asyncio.sleep(max(_CHECK_EVERY, len(self._turns.queues) / _CHECKS_A_SECOND))
            try:
                await keep_subscribed()
            except ConnectionLost as error:
                logger.debug("%r: cannot check whether messages reach the queues: %s", self, error)
            except BrokerkitError as error:
                # As a lost connection: the source is not ready, and goes on as soon as messages reach it again.
                self._unsubscribed, self._failure = True, ConnectionLost(str(error))
                self._turns.wake_all()
            else:
                self._unsubscribed = False

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """One poll on one queue.

        Only one call polls an idle queue. The others wait here until a full answer says that there are more messages.
        """
        stopped, paused = self._stopped, self._paused
        if stopped is None or paused is None:
            return []
        while not (stopped.done() or paused.done()):
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            queue = self._turns.take()
            if queue is not None:
                poll = asyncio.create_task(self._poll(queue, min(limit, BATCH)))
                self._polls.add(poll)
                poll.add_done_callback(self._polls.discard)
                either: set[asyncio.Future[Any]] = {poll, stopped, paused}
                try:
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError:
                    self._behind(self._give_back(poll))
                    raise
                if poll.done():
                    # The next poll starts after the core has these messages: making its request takes longer than most
                    # handlers.
                    asyncio.get_running_loop().call_soon(self._turns.wake)
                    if (brought := poll.result()) or not self._unsubscribed:
                        return brought
                    # An empty return would tell the core that all is well again.
                    continue
                self._behind(self._give_back(poll))
                return []
            await self._turns.wait()
        return []

    async def _poll(self, queue: Polled, limit: int) -> list[Delivery]:
        reading, natives = queue.reading, list[Mapping[str, Any]]()
        try:
            answer = await self._client.call(
                "receive_message",
                QueueUrl=reading.url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=_LONG_POLL,
                VisibilityTimeout=self._lease,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            natives = list(answer.get("Messages", ()))
        except NotFound as error:
            raise NotFound(f"SQS queue of {reading.topic} is gone: {error}") from error
        finally:
            self._turns.done(queue, brought=len(natives), asked=limit)
        bodies, outage = await self._bodies.read(natives, reading)
        if outage is not None:
            # Other messages are handled, and then the source is not ready.
            natives = [native for native in natives if native["MessageId"] not in outage.put_off]
            self._pulled.update(outage.put_off)
            if not natives:
                raise outage.error
            self._failure = outage.error
        return [held.delivery for held in self._taken(natives, reading, bodies)]

    async def _give_back(self, poll: asyncio.Task[list[Delivery]]) -> None:
        """Release the messages of a poll that nobody waits for any more."""
        try:
            brought = await poll
        except BrokerkitError as error:
            logger.debug("%r: a poll that nobody waited for failed: %s", self, error)
            return
        finally:
            self._turns.wake()
        steps = [_Step(delivery.token, 0) for delivery in brought]
        await self._change(steps)
        for step in steps:
            self._forget(step.held)

    def _behind(self, work: Coroutine[Any, Any, None]) -> None:
        """Start work in the background. `close` waits for it."""
        task = start(work, self._failed_behind)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _failed_behind(self, error: BaseException) -> None:
        """Log the error. Messages are delivered again when their visibility timeout ends; an object stays in S3."""
        if isinstance(error, BrokerkitError):
            logger.warning("%r: background work failed: %s", self, error)
        else:
            logger.error("%r: background work failed", self, exc_info=error)

    def _taken(self, natives: Sequence[Mapping[str, Any]], reading: Reading, bodies: Mapping[str, Body]) -> list[_Held]:
        """Note the received messages as held, and return the new ones.

        A message that we already hold comes again if its lease ran out unnoticed, or because a standard queue may
        deliver twice. Its handler goes on, under the newer receipt. A message that the core has finished with, but
        could not settle, is a new delivery.
        """
        fresh: list[_Held] = []
        for native in natives:
            held = self._held.get(native["MessageId"])
            if held is not None and not held.leaving and held.delivery.state not in _OVER:
                held.renew(native, self._lease)
                continue
            held = _Held(native, reading, self._lease, bodies.get(native["MessageId"]))
            # SQS counts these deliveries too, though no handler saw them. They must not make the message a dead letter.
            held.delivery.count = max(held.delivery.count - self._pulled[held.id], 1)
            self._held[held.id] = held
            fresh.append(held)
        return fresh

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """Delete, or set visibilities, in batches; see `brokerkit.adapters.api.Source.settle`."""
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
        if self._payloads is not None and self._payloads.setting.delete:
            self._remove_bodies(self._payloads, deletions)
        return [step.answer for step in steps]

    def _remove_bodies(self, payloads: PayloadStore, deletions: Sequence[_Step]) -> None:
        """Remove from S3 the bodies of messages that are gone, unless a dead letter points to them."""
        for step in deletions:
            offloaded = step.held.delivery.offloaded
            if step.answer is Settled.DONE and offloaded is not None and not offloaded.shared:
                self._behind(payloads.remove(offloaded.pointer))

    async def _pull_successors(self, changes: list[_Step]) -> list[_Step]:
        """Take back from the core the messages that follow, in their FIFO groups, those that are about to go back.

        Otherwise a message would come again after its successors were handled: SQS keeps the order of a group among the
        messages that it has, not among those that it has handed out.
        """
        if self._subscription.order == "none":
            return []
        first: dict[tuple[str, str], int] = {}
        for step in changes:
            if step.held.group is not None:
                group = (step.held.reading.url, step.held.group)
                first[group] = min(step.held.sequence, first.get(group, step.held.sequence))
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
        # Not awaited: `Lost` ends when the running handlers are settled, and this source settles them.
        self._behind(self._tell_lost([held.delivery for held in later]))
        await asyncio.sleep(0)  # the core drops at once what has not started
        return [_Step(held, 0) for held in later if held.delivery.state in (State.WAITING, State.LOST)]

    async def _tell_lost(self, deliveries: list[Delivery]) -> None:
        try:
            async with asyncio.timeout(self._subscription.drain_timeout):
                await self._lost(deliveries)
        except TimeoutError:
            logger.warning("%r: handlers of released messages still ran after the drain timeout", self)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """Set the visibility to the lease again; see `brokerkit.adapters.api.Source.extend`."""
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
                # A message that goes back may come again before the answer to this call. Then it is a new delivery.
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
            logger.warning("%r: %s of %d messages failed: %s", self, operation, len(steps), error)
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

    async def begin_alone(self, delivery: Delivery) -> int:
        """See `brokerkit.adapters.api.LoneStarts.begin_alone`."""
        return await self._starts.begin(delivery)

    async def end_alone(self, delivery: Delivery) -> None:
        """See `brokerkit.adapters.api.LoneStarts.end_alone`."""
        await self._starts.end(delivery)

    def delivery_limit(self, topic: str) -> int | None:
        """See `brokerkit.adapters.api.LoneStarts.delivery_limit`. A redrive policy that comes too early is refused."""
        return None

    async def lag(self) -> int | None:
        """The number of waiting messages, including delayed ones. SQS only estimates it."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")
        total = 0
        readings = [queue.reading for queue in self._turns.queues] or await self._prepare()
        try:
            for reading in readings:
                answer = await self._client.call("get_queue_attributes", QueueUrl=reading.url, AttributeNames=[*names])
                found: Mapping[str, str] = answer.get("Attributes", {})
                total += sum(int(found.get(name, 0)) for name in names)
        except AccessDenied:
            raise
        except BrokerkitError:
            return None
        return total

    async def pause_reading(self) -> None:
        """See `PausesReading.pause_reading`. What a poll still brings is given back."""
        if self._paused is not None and not self._paused.done():
            self._paused.set_result(None)
        self._turns.wake_all()

    async def resume_reading(self) -> None:
        """See `PausesReading.resume_reading`."""
        self._paused = asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Make every `receive` return. The polls themselves end within three seconds."""
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
        self._turns.wake_all()

    async def close(self) -> None:
        """Wait for the polls, release the messages that they brought, and remove a private queue."""
        await self.stop()
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait([self._checking])
        for tasks in (self._polls, self._work):
            if tasks and (late := (await asyncio.wait(tasks, timeout=_LONG_POLL + 1))[1]):
                # SQS does not answer. Messages that it hands to these requests stay hidden for one lease.
                for task in late:
                    task.cancel()
                await asyncio.wait(late)
        for error in await asyncio.gather(*self._work, return_exceptions=True):
            if isinstance(error, Exception):
                logger.warning("%r: ended with %s", self, error)
        discard, self._discard = self._discard, None
        if discard is not None:
            try:
                await discard()
            except BrokerkitError as error:
                logger.warning("%r: its private queue could not be removed: %s", self, error)

    def __repr__(self) -> str:
        if self._stopped is None:
            state = "not open"
        else:
            state = "stopped" if self._stopped.done() else "reading"
        topics = ", ".join(self._subscription.topics)
        return f"<SqsSource {topics}: {state}, {len(self._polls)} polls, {len(self._held)} held>"


def _visibility(held: _Held, outcome: Outcome) -> int | None:
    """Seconds after which a message is to be delivered again; None if it is done."""
    if outcome is ACK or isinstance(outcome, Ack):
        return None
    if isinstance(outcome, RetryLater):
        # Less than a second, or nothing, would bring it back at once.
        return held.at_most(max(1, math.ceil(outcome.after)))
    return 0
