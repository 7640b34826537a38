"""The producer of a Kafka adapter, and the thread that waits for what the broker confirms.

The client sends the first message of a batch by itself while the second is being handed over, if it is not told to wait
(`linger.ms`), and then many small requests stand in the way of the rest: 100 messages took 2.2 ms instead of 1.3. So it is
told to wait, and `ProducerThread.flush`, called when a batch is complete, ends the wait. The same thread runs the
callbacks, so a confirmation is noticed when it comes (docs/adr/0021-kafka-flush.md).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from brokerkit._errors import BrokerkitError
from brokerkit._message import Outgoing, Receipt
from brokerkit.adapters.kafka._client import LOG, OnError, Settings

_WAIT: Final = 1.0
"""Seconds of one wait for confirmations; the callbacks of those that come meanwhile run at once."""

_ENDING: Final = 1.2
"""Seconds that the thread may take to end: its last wait, and a little."""


class Flight:
    """One batch on its way: what became of each message, and who waits for all of it.

    Made and asked on the event loop; `report` runs in the producer's thread.

    Attributes:
        batch: the messages.
        results: in the same order; None where nothing is known yet.
        failed: whether the client has told an error, which stands among the results.
        landed: resolved when everything is known.
    """

    def __init__(self, batch: Sequence[Outgoing]) -> None:
        self.batch = batch
        self.results: list[Receipt | BrokerkitError | KafkaError | None] = [None] * len(batch)
        self.failed = False
        self._loop = asyncio.get_running_loop()
        self.landed: asyncio.Future[None] = self._loop.create_future()
        self._reported = 0
        self._expected: int | None = None

    def report(self, index: int, error: KafkaError | None, message: Message[Any, Any]) -> None:
        """The client's callback for the message at this place of the batch."""
        if self.landed.done():
            return  # too late, see `give_up`
        if error is None:
            outgoing = self.batch[index]
            self.results[index] = Receipt(outgoing.topic, outgoing.id, f"{message.partition()}@{message.offset()}")
        else:
            self.results[index] = error
            self.failed = True
        self._reported += 1
        if self._reported == self._expected:
            try:
                self._loop.call_soon_threadsafe(self._land)
            except RuntimeError:  # The loop is closed: nobody waits any more.
                LOG.debug("messages were confirmed after their event loop had ended")

    def expect(self, count: int) -> None:
        """So many messages were handed over, and no more will be; the results of the others are there."""
        self._expected = count
        if self._reported == count:
            self._land()

    def give_up(self, error: BrokerkitError) -> None:
        """Nothing more will be heard of these messages."""
        self.results = [error if result is None else result for result in self.results]
        self._land()

    def _land(self) -> None:
        # Whichever of the two comes last sees that all is there, and sometimes both do.
        if not self.landed.done():
            self.landed.set_result(None)


class ProducerThread:
    """One producer, until `close`.

    `len()` says how many messages are not confirmed yet, with what else the client has to tell: a broker that is away, say.

    Attributes:
        produce: the client's own: hands one message over, which leaves with the next `flush`, or when the client has waited
            long enough. Raises BufferError where its queue is full of what was not confirmed yet, and KafkaException.
    """

    def __init__(self, settings: Settings, on_error: OnError) -> None:
        self._producer = Producer(settings.producer(on_error), logger=LOG)
        self._at_once = not settings.lingers
        self._abandoned = False
        # True for `flush`, False for `close`. One flush that the thread has not come to is enough: where something is
        # always unconfirmed, it may not come to the next one for days.
        self._wishes: SimpleQueue[bool] = SimpleQueue()
        self._flushing = False
        self.produce = self._producer.produce
        self._thread = threading.Thread(target=self._run, name="brokerkit-kafka-producer", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._producer)

    def flush(self) -> None:
        """Have everything sent that was handed over, and wait for it in the thread."""
        if not self._flushing:
            self._flushing = True
            self._wishes.put(True)

    def abandon(self) -> None:
        """Let every unconfirmed message fail now. What the client says nothing of even then is not waited for."""
        self._producer.purge()
        self._abandoned = True
        self.flush()

    def close(self) -> None:
        """End when everything is confirmed or has failed."""
        self._wishes.put(False)

    def join(self) -> None:
        """Wait for the end after `close`."""
        self._thread.join(_ENDING)

    def _run(self) -> None:
        while self._wishes.get():
            self._flushing = False
            while len(self._producer):
                try:
                    if self._at_once or self._abandoned:
                        self._producer.flush(_WAIT)
                    else:
                        self._producer.poll(_WAIT)
                except Exception:  # noqa: BLE001 (a callback's; the thread has to go on for the others)
                    LOG.exception("a confirmation could not be handled")
                if self._abandoned:
                    break
