"""The producer of a Kafka adapter, and the thread that waits for confirmations.

Without `linger.ms`, the client sends the first message of a batch while the second is being handed over. Many small requests
then delay the rest: 100 messages took 2.2 ms instead of 1.3. So the client is told to wait. When a batch is complete,
`ProducerThread.flush` ends the wait. The same thread runs the callbacks, so a confirmation is noticed at once
(docs/adr/0021-kafka-flush.md).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from brokerkit.adapters.api import BrokerkitError, Outgoing, PublishError, Receipt, describe, get_logger, guarded
from brokerkit.adapters.kafka._client import LIBRDKAFKA, Settings
from brokerkit.adapters.kafka._errors import kafka_error, translated
from brokerkit.adapters.kafka._login import OnError

logger = get_logger(__name__)

_WAIT: Final = 0.19
"""Seconds of one wait for confirmations. Their callbacks run at once, during the wait. The client library raises a fatal
error out of the wait. From 0.2 s on it waits in several steps, goes on after such an error, and loses it together with the
next confirmation (confluent-kafka 2.16)."""

_ENDING: Final = 1.2
"""Seconds that the thread gets to end: its last wait, and some more."""


class PendingBatch:
    """One batch under way, with a result for each message.

    It is created and read on the event loop. `report` runs in the producer's thread.

    Attributes:
        batch: the messages.
        partition: the partition of all messages; -1 where their keys choose it.
        results: one for each message, in order; None if it is not known yet.
        failed: whether the client has reported an error, which is among the results.
        completed: resolved when all results are known.
    """

    def __init__(self, batch: Sequence[Outgoing], partition: int) -> None:
        self.batch = batch
        self.partition = partition
        self.results: list[Receipt | BrokerkitError | KafkaError | None] = [None] * len(batch)
        self.failed = False
        self._loop = asyncio.get_running_loop()
        self.completed: asyncio.Future[None] = self._loop.create_future()
        self._reported = 0
        self._expected: int | None = None

    def report(self, index: int, error: KafkaError | None, message: Message[Any, Any]) -> None:
        """The client's callback for the message at this index of the batch."""
        if self.completed.done():
            return  # too late, see `give_up`
        if error is None:
            try:
                outgoing = self.batch[index]
                self.results[index] = Receipt(outgoing.topic, outgoing.id, f"{message.partition()}@{message.offset()}")
            except Exception as unexpected:  # noqa: BLE001 (the publisher must not wait until the timeout)
                broken = PublishError(f"the confirmation of the client cannot be read: {describe(unexpected)}")
                broken.__cause__ = unexpected
                self.results[index] = broken
        else:
            self.results[index] = error
            self.failed = True
        self._reported += 1
        if self._reported == self._expected:
            try:
                self._loop.call_soon_threadsafe(self._complete)
            except RuntimeError:  # The loop is closed, so nothing waits for the batch.
                logger.debug("messages were confirmed after their event loop had ended")

    def expect(self, count: int) -> None:
        """Say that ``count`` messages were handed over, and no more will follow. The others have their results."""
        self._expected = count
        if self._reported == count:
            self._complete()

    def give_up(self, error: BrokerkitError) -> None:
        """Give all messages without a result this error."""
        self.results = [error if result is None else result for result in self.results]
        self._complete()

    def fail(self, error: BaseException) -> None:
        """Report a defect here to the publisher. The broker may have the messages."""
        broken = PublishError(f"the result of the publish is unknown: {type(error).__name__}: {describe(error)}")
        broken.__cause__ = error
        self.give_up(broken)

    def _complete(self) -> None:
        # `report` or `expect`, whichever comes last, completes the batch. Sometimes both do.
        if not self.completed.done():
            self.completed.set_result(None)


def _refuse(*_: object, **__: object) -> None:
    raise BufferError("this producer is closed")


class ProducerThread:
    """One producer, until `close`.

    `len()` is the number of unconfirmed messages and of other events of the client, such as an unreachable broker.

    Attributes:
        produce: the client's method. It takes one message, which leaves with the next `flush` or after the client's own
            wait. Raises BufferError when the client's queue is full of unconfirmed messages, and KafkaException.
    """

    def __init__(self, settings: Settings, on_error: OnError, *, large: bool = False) -> None:
        config = settings.configure_large_producer(on_error) if large else settings.configure_producer(on_error)
        with translated(f"cannot make a producer for {settings.where}"):
            producer = settings.login.make(Producer, config, logger=LIBRDKAFKA)
        self._on_error = on_error
        self._producer: Producer | None = producer
        self._at_once = not settings.lingers
        self._abandoned = False
        # True for `flush`, False for `close`. One pending flush is enough: while something is always unconfirmed, the thread
        # may not reach the next command for days.
        self._commands: SimpleQueue[bool] = SimpleQueue()
        self._flushing = False
        self.produce: Callable[..., None] = producer.produce
        self._thread = threading.Thread(
            target=guarded(self._run, self._end),
            args=(producer,),
            name="brokerkit-kafka-producer",
            daemon=True,
        )
        self._thread.start()

    def __len__(self) -> int:
        return 0 if self._producer is None else len(self._producer)

    def flush(self) -> None:
        """Send everything that was handed over. The thread waits for the confirmations."""
        if not self._flushing:
            self._flushing = True
            self._commands.put(True)

    def abandon(self) -> None:
        """Fail every unconfirmed message now. Do not wait for messages that the client does not report even then."""
        if self._producer is not None:
            self._producer.purge()
        self._abandoned = True
        self.flush()

    def close(self) -> None:
        """End the thread when everything is confirmed or has failed."""
        self._commands.put(False)

    def join(self) -> None:
        """Wait for the thread's end, after `close`."""
        self._thread.join(_ENDING)

    def _note(self, error: KafkaError) -> None:
        """Tell of a fatal error. The library raises it here, and never calls its error callback with one."""
        if not self._abandoned:
            self._on_error(error)

    def _end(self, error: BaseException) -> None:
        logger.error("the producer's thread failed: unconfirmed messages count as lost", exc_info=error)

    def _run(self, producer: Producer) -> None:
        while self._commands.get():
            self._flushing = False
            while len(producer):
                try:
                    if self._at_once or self._abandoned:
                        producer.flush(_WAIT)
                    else:
                        producer.poll(_WAIT)
                except KafkaException as error:
                    self._note(kafka_error(error))
                except Exception:
                    logger.exception("a confirmation could not be handled")
                if self._abandoned:
                    break
        # Client and callbacks refer to each other: its threads would live until the garbage collector runs.
        self.produce, self._producer = _refuse, None
