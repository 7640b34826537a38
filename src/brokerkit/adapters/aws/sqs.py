"""SQS: queues, standard and FIFO.

URL and options
    ``sqs://region/``, or ``sqs:///`` for the region of the AWS default chain. Credentials come from the default
    chain too, or stand in the URL, percent-encoded: ``sqs://KEY_ID:SECRET@region/``. ``endpoint`` names an
    emulator or a private endpoint; with it, and with no credentials anywhere, dummy ones are used. Options are
    those of botocore's ``Config`` (``read_timeout``, ``retries.max_attempts``, ``proxies`` …), and ``profile``,
    ``aws_session_token``, ``verify``, ``use_ssl``. One client serves the whole adapter.

What a topic and a group become
    A topic is a queue, by name, ARN or URL (those may belong to other accounts); the ending ``.fifo`` makes it
    a FIFO queue. The queue is the group: whoever reads it shares its messages. A group may be named, so that a
    configuration for another broker fits here, and then stands in the names of dead-letter queues alone; a
    second group on a queue is refused. Use ``sns://`` where several groups shall each get everything.

Delivery
    At least once. The lease is the visibility timeout, sent with each receive and renewed by `extend`, for
    twelve hours at most. A retry is a visibility too, in whole seconds and part of those twelve hours, so it
    survives a crash. `Delivery.count` is ``ApproximateReceiveCount``: releases and crashes are counted in.
    Stopping does not cut a long poll short, since SQS would hide the next messages; closing waits up to three
    seconds for it.

Order
    None on a standard queue. On FIFO the key is the message group, and order holds across the group. When a
    message goes back, those of its group that wait behind it in this process go back with it. A FIFO message
    without a key has a group of its own. Its id is the deduplication id: SQS drops a second send within five
    minutes. One call sends one message of a group at most, so that none
    passes another that SQS fails.

Limits and escaping
    1 MiB for body and attributes, or the queue's ``MaximumMessageSize``. Ten attributes: id, key and headers
    have one each while there is room and SQS accepts name and value, ``event`` and ``ce_type`` first; the rest
    is JSON in ``bk-headers``. A body that is no SQS text goes as base64, an empty one as ``-``, and ``bk-body``
    says so. A key that is no group id (128 printable ASCII characters) is hashed, and travels beside it.

Native access
    ``Message.native`` is the message as a dict, as ``receive_message`` of botocore gives it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from brokerkit._derived import SQS, derived_name
from brokerkit._errors import BrokerkitError, UnsupportedFeature
from brokerkit._message import Delivery, Outgoing, Receipt
from brokerkit._transport import Capabilities, Connection, Lost, Subscription
from brokerkit.adapters._looking import refuse_to_follow
from brokerkit.adapters.aws._client import AwsClient
from brokerkit.adapters.aws._look import look_at_queue
from brokerkit.adapters.aws._queues import DEAD_LETTER_QUEUE, Queues
from brokerkit.adapters.aws._send import Sender, Target
from brokerkit.adapters.aws._source import LONGEST_VISIBILITY, POLLERS, Reading, SqsSource
from brokerkit.adapters.aws._wire import FIFO_SUFFIX

STANDARD: Final = Capabilities(
    broker="SQS",
    groups="one",
    order="none",
    attempts="deliveries",
    lease=30.0,
    max_hold=LONGEST_VISIBILITY - 600.0,
    # One hour is left for what a delivery waited here before it failed: both count against the twelve.
    durable_retry=LONGEST_VISIBILITY - 3600.0,
    copies_retries=False,
    broadcast=False,
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "field"}),
    pollers=POLLERS,
    look="touches",
    look_stored="touches",
)


class SqsAdapter:
    """SQS behind one URL; a `brokerkit._transport.Adapter`."""

    def __init__(self, connection: Connection, /) -> None:
        self._client = AwsClient("sqs", connection)
        self._queues = Queues(self._client)
        self._sender = Sender(self._target)
        self._groups: dict[str, str] = {}

    def capabilities(self, topic: str = "") -> Capabilities:
        """What SQS promises; FIFO queues keep order."""
        return capabilities(topic, STANDARD)

    async def open(self) -> None:
        """Connect; see `brokerkit._transport.Adapter.open`."""
        await self._client.open()

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        """See that queues exist; see `brokerkit._transport.Adapter.ensure`."""
        for topic in topics:
            await self._queues.ensure(topic, create=create, attributes=DEAD_LETTER_QUEUE if stored else None)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Send a batch; see `brokerkit._transport.Adapter.send`."""
        return await self._sender.send(batch)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """A legal queue name; see `brokerkit._transport.Adapter.derived`."""
        return derived_name(topic, group, role, SQS)

    def subscribe(self, subscription: Subscription, lost: Lost) -> SqsSource:
        """A source for queues; see `brokerkit._transport.Adapter.subscribe`."""
        if subscription.broadcast:
            raise UnsupportedFeature(
                broker="SQS",
                feature="broadcast, since each message of a queue goes to one reader",
                alternative="publish to an SNS topic and use sns://",
            )
        if subscription.start == "latest" and not subscription.stored:
            raise UnsupportedFeature(
                broker="SQS",
                feature="start='latest', since a queue hands out all that it holds",
                alternative="purge the queue, or leave the setting out",
            )
        self._note_group(subscription)

        async def prepare() -> Sequence[Reading]:
            if subscription.provision != "off":
                await self.ensure(
                    subscription.topics, stored=subscription.stored, create=subscription.provision == "all"
                )
                await self._queues.refuse_early_redrive(subscription.topics, subscription.max_deliveries)
            return [await reading(self._queues, topic) for topic in subscription.topics]

        return SqsSource(self._client, subscription, lost, prepare=prepare)

    async def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """Look at queues; see `brokerkit._transport.Adapter.look`."""
        if follow:
            raise refuse_to_follow("SQS", "publish to an SNS topic and use sns://")
        await self.ensure(topics, stored=stored, create=False)
        for topic in topics if past else ():
            async with aclosing(look_at_queue(self._client, await reading(self._queues, topic))) as found:
                async for delivery in found:
                    yield delivery

    def _note_group(self, subscription: Subscription) -> None:
        for topic in subscription.topics if subscription.group is not None else ():
            known = self._groups.setdefault(topic, subscription.group or "")
            if known != subscription.group:
                raise UnsupportedFeature(
                    broker="SQS",
                    feature=f"a second group ({subscription.group!r} beside {known!r}) on queue {topic}",
                    alternative="publish to an SNS topic and use sns://, which gives each group a queue",
                )

    async def _target(self, topic: str, stored: bool) -> Target:
        return await self._queues.target(topic)

    async def close(self) -> None:
        """Free the connections; may be called twice."""
        await self._client.close()

    def __repr__(self) -> str:
        return f"<SqsAdapter {self._client!r}>"


def capabilities(topic: str, standard: Capabilities) -> Capabilities:
    """The promises for a topic: FIFO adds order to those of standard queues."""
    return replace(standard, order="group") if topic.endswith(FIFO_SUFFIX) else standard


async def reading(queues: Queues, queue: str, *, topic: str | None = None, envelope: str | None = None) -> Reading:
    """A queue as a source reads it; ``topic`` is what its messages are told to come from, the queue by default."""
    return Reading(topic or queue, await queues.url(queue), queue.endswith(FIFO_SUFFIX), envelope)
