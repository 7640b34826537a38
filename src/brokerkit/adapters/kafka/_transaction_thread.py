"""The transactional producer of one source, and the thread in which its blocking calls are made.

A transaction is begun, filled and committed in one go (`TransactionThread.run`), so none stays open while nothing happens.
What can be tried again by the same call is tried again here. Everything else ends the attempt: the transaction is aborted,
or the producer is of no more use.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from brokerkit.adapters.api import BrokerkitError, InvalidMessage, Outgoing, describe, get_logger, watch
from brokerkit.adapters.kafka._client import LIBRDKAFKA, ignored
from brokerkit.adapters.kafka._errors import is_purged, kafka_error
from brokerkit.adapters.kafka._login import Login
from brokerkit.adapters.kafka._wire import encode_headers

logger = get_logger(__name__)

_STEP: Final = 1.0
"""Seconds of one try of a call that waits for the broker. Between two tries it is seen that the source closes."""

_WAIT: Final = 0.19
"""Seconds of one wait for confirmations; see `brokerkit.adapters.kafka._producer`."""

_PAUSE: Final = 0.02
"""Seconds between two tries."""

_ENDING: Final = 3.5
"""Seconds that an open transaction gets to be aborted when the source closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One transaction.

    Attributes:
        messages: what is published, each with the number of its part.
        offsets: what is committed, for each member of the group that this process is; None for one that is not sure of it.
        alone: send each message by itself, to find out which one the broker refuses.
    """

    messages: Sequence[tuple[int, Outgoing]]
    offsets: Sequence[tuple[bytes | None, Sequence[TopicPartition]]]
    alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A transaction that is not known to be committed.

    Attributes:
        error: what happened.
        refused: what the broker said of single messages, by the numbers of their parts.
        unknown: it may have been committed.
    """

    error: KafkaError | BrokerkitError
    refused: dict[int, tuple[Outgoing, KafkaError | BrokerkitError]] = field(
        default_factory=dict[int, tuple[Outgoing, "KafkaError | BrokerkitError"]]
    )
    unknown: bool = False


class TransactionThread:
    """One transactional producer at a time, used by one thread.

    Args:
        config: the producer's configuration, with its ``transactional.id``. A producer that replaces another one has the
            same id, so that what the first one left open is aborted at once.
        login: makes it.
        name: the group, for the thread's name.
    """

    def __init__(self, config: dict[str, Any], login: Login, *, name: str) -> None:
        self._config = config
        self._login = login
        self._name = name
        self._producer: Producer | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"brokerkit-kafka-{name}-transactions")
        self._closing = threading.Event()

    def __repr__(self) -> str:
        state = "closed" if self._closing.is_set() else "ready" if self._producer is not None else "new"
        return f"<TransactionThread of {self._name}: {state}>"

    async def begin(self) -> Failed | None:
        """Have a producer that can be used. Whatever an earlier one with its id has begun is committed or aborted then."""
        return await self._call(self._begin)

    async def run(self, work: Work) -> Failed | None:
        """Commit one transaction. None if it is committed."""
        return await self._call(self._run, work)

    async def _call(self, function: Callable[..., Failed | None], *arguments: object) -> Failed | None:
        # Shielded: what the thread does cannot be cancelled, and its result cannot be set in a cancelled future.
        running = asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        watch(running, ignored)
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Abort what is open, and end the thread. Does not raise."""
        self._closing.set()
        try:
            async with asyncio.timeout(_ENDING):
                await self._call(self._end)
        except TimeoutError:
            logger.warning("%r: a transaction stays open until the broker's timeout", self)
        self._thread.shutdown(wait=False)

    # The thread.

    def _begin(self) -> Failed | None:
        try:
            self._ready()
        except Exception as error:  # noqa: BLE001 (it is reported)
            return Failed(error=self._read(error))
        return None

    def _ready(self) -> Producer:
        if self._producer is None:
            producer = self._login.make(Producer, self._config, logger=LIBRDKAFKA)
            self._again(producer, producer.init_transactions)
            self._producer = producer
        return self._producer

    def _run(self, work: Work) -> Failed | None:
        refused: dict[int, tuple[Outgoing, KafkaError | BrokerkitError]] = {}
        committing = False
        producer: Producer | None = None
        try:
            producer = self._ready()
            producer.begin_transaction()
            self._produce(producer, work, refused)
            if not refused:
                for member, positions in work.offsets:
                    self._again(producer, partial(producer.send_offsets_to_transaction, list(positions), member))
                committing = True
                self._again(producer, producer.commit_transaction)
                return None
            error: KafkaError | BrokerkitError = next(iter(refused.values()))[1]
        except Exception as raised:  # noqa: BLE001 (it is reported)
            error = self._read(raised)
        if producer is None or not self._abort(producer):
            self._producer = None
        return Failed(error=error, refused=refused, unknown=committing)

    def _read(self, error: Exception) -> KafkaError | BrokerkitError:
        if isinstance(error, KafkaException):
            return kafka_error(error)
        if isinstance(error, BrokerkitError):
            return error
        # The library loses some fatal errors, and raises a SystemError instead.
        logger.error("%r failed", self, exc_info=error)
        return BrokerkitError(f"the transactional producer failed: {type(error).__name__}: {describe(error)}")

    def _produce(
        self, producer: Producer, work: Work, refused: dict[int, tuple[Outgoing, KafkaError | BrokerkitError]]
    ) -> None:
        """Hand over all messages, and wait for their confirmations. Ends early if one is refused."""

        def report(number: int, outgoing: Outgoing, error: KafkaError | None, _: object) -> None:
            if error is not None and not is_purged(error):
                refused.setdefault(number, (outgoing, error))

        for number, outgoing in work.messages:
            try:
                headers = encode_headers(outgoing)
            except InvalidMessage as error:
                refused.setdefault(number, (outgoing, error))
                return
            while not refused:
                try:
                    producer.produce(
                        outgoing.topic,
                        outgoing.body,
                        outgoing.key,
                        headers=headers,
                        on_delivery=partial(report, number, outgoing),
                    )
                    break
                except BufferError:
                    producer.poll(_WAIT)
                except KafkaException as error:
                    if kafka_error(error).code() == KafkaError._STATE:  # pyright: ignore[reportPrivateUsage]
                        raise  # The transaction has failed already, which is no fault of this message.
                    refused.setdefault(number, (outgoing, kafka_error(error)))
                except (TypeError, ValueError) as error:
                    invalid = InvalidMessage(f"Kafka's client refused the message: {error}")
                    refused.setdefault(number, (outgoing, invalid))
            if work.alone:
                self._flush(producer, refused)
        self._flush(producer, refused)

    def _flush(self, producer: Producer, refused: dict[int, Any]) -> None:
        while len(producer) and not refused and not self._closing.is_set():
            producer.flush(_WAIT)

    def _abort(self, producer: Producer) -> bool:
        """Abort the transaction. False if that did not work, so the producer is of no more use."""
        try:
            self._again(producer, producer.abort_transaction)
        except Exception as error:  # noqa: BLE001 (what was wrong before is reported)
            logger.debug("%r: a transaction could not be aborted: %s", self, describe(error))
            return False
        return True

    def _again(self, producer: Producer, call: Callable[[float], object]) -> None:
        """Call until the broker has answered, or the source closes.

        Raises:
            KafkaException: the call cannot be tried again.
        """
        while True:
            try:
                call(_STEP)
            except KafkaException as error:
                if not kafka_error(error).retriable() or self._closing.wait(_PAUSE):
                    raise
                if self._login.changes:
                    producer.poll(0)  # A refused password is read again when its error arrives.
            else:
                return

    def _end(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(_WAIT)
