"""The thread that owns one member of a share group.

A member takes a batch, and the client takes no other one before every message of it is acknowledged. So a source has
several members: one slow message stops one of them. The event loop says what became of messages. The thread tells the
broker, waits for its answer, and takes the next batch when nothing of the last one is open.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from confluent_kafka import AcknowledgeType, KafkaError, KafkaException, Message

from brokerkit.adapters.api import BrokerkitError, Settled, backoff, describe, get_logger, guarded
from brokerkit.adapters.kafka._client import LIBRDKAFKA, Partition
from brokerkit.adapters.kafka._errors import Reaction, kafka_error, lost, reaction, translate, translated
from brokerkit.adapters.kafka._share_settings import ShareConsumer, ShareSettings

logger = get_logger(__name__)

ACCEPT: Final = AcknowledgeType.ACCEPT
RELEASE: Final = AcknowledgeType.RELEASE

_POLL: Final = 0.25
"""Seconds that one poll waits. Closing waits for it too."""

_COMMIT: Final = 10.0
"""Seconds that the broker gets to answer acknowledgements."""


class Owner(Protocol):
    """The thread reports to it. All of its methods run on the event loop."""

    def arrived(self, member: ShareMember, messages: Sequence[Message[Any, Any]], since: float) -> None:
        """Messages came. ``since``, in the time of `time.monotonic`, their locks have not begun."""
        ...

    def failed(self, error: BrokerkitError, *, final: bool) -> None: ...

    def replaced(self, member: ShareMember) -> None:
        """The client of a member was made anew: the broker gives to others what it had."""
        ...

    def ended(self) -> None: ...


@dataclass(slots=True)
class Acknowledgements:
    """What became of some messages of one member, and what the broker said to it.

    Attributes:
        messages: with the kind of acknowledgement of each.
        client: the number of the client that brought them. A later one cannot acknowledge them.
        answered: resolved with one answer for each message, in order; None where nobody asks.
    """

    messages: Sequence[tuple[Message[Any, Any], AcknowledgeType]]
    client: int
    answered: asyncio.Future[list[Settled]] | None = field(default=None, repr=False)


class ShareMember:
    """Polls one share consumer from the moment it is made until `close`.

    Args:
        topics: the topics to subscribe to.
        records: how many records to ask for at once. The broker gives whole batches of producers, so more may come.
        name: tells the members of one source apart in the log.

    Attributes:
        client: the number of the present client. It rises when the client has to be replaced.
    """

    def __init__(
        self, owner: Owner, settings: ShareSettings, *, topics: Sequence[str], group: str, records: int, name: str
    ) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._where = settings.clients.where
        self._login = settings.clients.login
        self._needed = partial(settings.clients.needed, "Read", group=group)
        self._topics = list(topics)
        self._group = group
        self._config = settings.configure(self._on_error, group=group, records=records)
        self.client = 0
        self._work: deque[Acknowledgements] = deque()
        self._wake = threading.Event()
        self._stopping = self._paused = False
        self._closing = False
        self._gone = False
        self._open = 0
        self._polled = time.monotonic()
        self._failures = 0
        self._thread = threading.Thread(
            target=guarded(self._run, self._die), name=f"brokerkit-kafka-share-{group}-{name}", daemon=True
        )
        self._thread.start()

    def __repr__(self) -> str:
        state = "closing" if self._closing else f"{self._open} open" if self._open else "polling"
        return f"<ShareMember {self._thread.name} on {self._where}: {state}>"

    # What the event loop calls.

    def acknowledge(self, work: Acknowledgements) -> None:
        """Tell the broker what became of messages, each of which is acknowledged once."""
        if self._gone:
            _answer_lost(work)
            return
        self._work.append(work)
        self._wake.set()

    def pause(self) -> None:
        """Take nothing until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Take messages again."""
        self._paused = False
        self._wake.set()

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping = True

    def close(self) -> None:
        """End once all messages are acknowledged. `Owner.ended` tells when that is done."""
        self._stopping = self._closing = True
        self._wake.set()

    def join(self) -> None:
        """Wait for the thread's last steps, after `Owner.ended`."""
        self._thread.join()

    # The thread.

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            logger.exception("a member of share group %s on %s failed", self._group, self._where)
            self._die(error)
        finally:
            self._post(self._end)

    def _serve(self) -> None:
        consumer = self._connect()
        try:
            while self._open or not self._closing:
                try:
                    self._turn(consumer)
                    self._failures = 0
                except KafkaException as error:
                    self._failures += 1
                    consumer = self._react(consumer, kafka_error(error))
        finally:
            self._close(consumer)

    def _end(self) -> None:
        """Answer what the thread has left, on the event loop: somebody may wait for it."""
        self._gone = True
        while self._work:
            _answer_lost(self._work.popleft())
        self._owner.ended()

    def _close(self, consumer: ShareConsumer) -> None:
        try:
            consumer.close()
        except Exception as error:  # noqa: BLE001  (nothing is lost: the broker gives its messages to others)
            logger.warning("a member of share group %s did not close in order: %s", self._group, describe(error))

    def _connect(self) -> ShareConsumer:
        with translated(f"cannot make a member of share group {self._group!r} on {self._where}"):
            consumer = self._login.make(ShareConsumer, self._config, logger=LIBRDKAFKA)
            consumer.subscribe(self._topics)
        self._polled = time.monotonic()
        return consumer

    def _replace(self, consumer: ShareConsumer) -> ShareConsumer:
        """Make a new client after a fatal error: the old one does nothing more."""
        self._close(consumer)
        self.client += 1
        self._open = 0
        self._post(self._owner.replaced, self)
        self._pause()
        return self._connect()

    def _turn(self, consumer: ShareConsumer) -> None:
        self._login.apply(consumer)
        if not self._open and not self._work and not self._stopping and not self._paused:
            self._take(consumer)
            return
        self._wake.wait()
        self._wake.clear()
        work: list[Acknowledgements] = []
        while self._work:
            work.append(self._work.popleft())
        if work:
            self._acknowledge(consumer, work)

    def _take(self, consumer: ShareConsumer) -> None:
        # What comes at once was taken from the broker during or after the last poll, and its locks run since then.
        since, messages = self._polled, consumer.poll(0)
        if not messages:
            since = time.monotonic()
            messages = consumer.poll(_POLL)
        self._polled = time.monotonic()
        good = [message for message in messages if message.error() is None]
        for message in messages:
            if (error := message.error()) is not None:
                with suppress(RuntimeError, ValueError):  # It may need no acknowledgement.
                    consumer.acknowledge(message, RELEASE)
                topic = message.topic() or self._topics[0]
                needed = self._needed(topic)
                self._fail(translate(error, f"cannot read {topic} on {self._where}", needed=needed))
        if good:
            self._open = len(good)
            self._post(self._owner.arrived, self, good, since)

    def _acknowledge(self, consumer: ShareConsumer, work: Sequence[Acknowledgements]) -> None:
        # Without an answer nobody knows: the broker gives again what it has not heard of.
        answers = [[Settled.LOST] * len(each.messages) for each in work]
        try:
            noted = [
                [self._note(consumer, message, kind, each.client) for message, kind in each.messages] for each in work
            ]
            results = consumer.commit_sync(_COMMIT)
            refused = {(tp.topic, tp.partition): error for tp, error in results.items() if error is not None}
            if refused:
                logger.debug("acknowledgements on %s were refused: %s", self._where, refused)
            answers = [_without(refused, each, given) for each, given in zip(work, noted, strict=True)]
        finally:
            for each, given in zip(work, answers, strict=True):
                if each.answered is not None:
                    self._post(_answer, each.answered, given)

    def _note(self, consumer: ShareConsumer, message: Message[Any, Any], kind: AcknowledgeType, client: int) -> Settled:
        if client != self.client:
            return Settled.LOST
        self._open -= 1
        try:
            consumer.acknowledge(message, kind)
        except (KafkaException, RuntimeError, ValueError) as error:
            logger.debug("%s cannot be acknowledged: %s", message, error)
            return Settled.LOST
        return Settled.DONE

    def _react(self, consumer: ShareConsumer, error: KafkaError) -> ShareConsumer:
        """Do what the table of errors says, and return the client to go on with."""
        doing = f"share group {self._group!r} on {self._where}"
        match reaction(error):
            case Reaction.END:
                self._fail(translate(error, doing, needed=self._needed(self._topics[0])), final=True)
            case Reaction.RENEW:
                if error.code() == KafkaError.GROUP_ID_NOT_FOUND:
                    doing += " is not known, or there is a group of consumers with its name, and it needs another one"
                self._fail(lost(error, f"{doing}; a new client replaces this one"))
                return self._replace(consumer)
            case Reaction.REPORT:
                self._fail(lost(error, doing))
            case Reaction.IGNORE:
                logger.info("%s: %s; the client goes on", doing, error.str())
        self._pause()
        return consumer

    def _pause(self) -> None:
        deadline = time.monotonic() + backoff(self._failures, first=0.2, cap=5.0)
        while not self._closing and (left := deadline - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()
        self._wake.set()  # There may be work.

    def _on_error(self, error: KafkaError) -> None:
        """The client's error callback. It tries again by itself, so only what it cannot get over is told."""
        code = error.code()
        if code in (
            KafkaError._AUTHENTICATION,  # pyright: ignore[reportPrivateUsage]
            KafkaError._ALL_BROKERS_DOWN,  # pyright: ignore[reportPrivateUsage]
        ):
            self._fail(translate(error, f"no connection to {self._where}"))

    def _fail(self, error: BrokerkitError, *, final: bool = False) -> None:
        self._post(partial(self._owner.failed, error, final=final))

    def _die(self, error: BaseException) -> None:
        broken = BrokerkitError(
            f"a member of share group {self._group} failed: {type(error).__name__}: {describe(error)}"
        )
        broken.__cause__ = error
        self._fail(broken, final=True)

    def _post(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(guarded(function, self._die), *args)
        except RuntimeError:  # The loop is closed, so nothing is left to do.
            self._stopping = self._closing = True
            self._open = 0


def _without(refused: dict[Partition, KafkaException], work: Acknowledgements, given: list[Settled]) -> list[Settled]:
    """Count as lost what the broker has refused. It refuses all of a partition, or none of it."""
    if not refused:
        return given
    return [
        Settled.LOST if (message.topic(), message.partition()) in refused else answer
        for (message, _), answer in zip(work.messages, given, strict=True)
    ]


def _answer_lost(work: Acknowledgements) -> None:
    if work.answered is not None:
        _answer(work.answered, [Settled.LOST] * len(work.messages))


def _answer(future: asyncio.Future[list[Settled]], answers: list[Settled]) -> None:
    if not future.done():
        future.set_result(answers)
