"""SQS: queues, standard and FIFO.

URL and options
    ``sqs://region/``. ``sqs:///`` takes the region from the AWS default chain. Credentials come from the default
    chain, or from the URL, percent-encoded: ``sqs://KEY_ID:SECRET@region/``. ``endpoint`` names an emulator or a
    private endpoint. With an endpoint and no credentials, dummy credentials are used. Options are those of
    botocore's ``Config`` (``read_timeout``, ``retries.max_attempts``, ``proxies`` …), and ``profile``,
    ``aws_session_token``, ``verify`` and ``use_ssl``. One client serves the whole adapter.

What a topic and a group become
    A topic is a queue, given by name, ARN or URL. An ARN or URL may belong to another account. The ending
    ``.fifo`` makes it a FIFO queue. A queue is its own group: all its readers share its messages. You may name a
    group, so that a configuration for another broker works here. The name appears only in the names of
    dead-letter queues. A second group on a queue is refused. Use ``sns://`` if several groups must each get every
    message.

Delivery
    At least once. The lease is the visibility timeout. It is sent with each receive and renewed by `extend`, for at
    most twelve hours. A retry also sets the visibility timeout, in whole seconds within those twelve hours, so it
    survives a crash. What is published for later has ``DelaySeconds``: whole seconds, 15 minutes at most, and not on
    FIFO queues. `Delivery.count` is ``ApproximateReceiveCount``, which includes releases and crashes. Tags on
    the dead-letter queue count the starts of messages that run alone after too many deliveries. This needs
    ``sqs:TagQueue``, ``sqs:UntagQueue`` and ``sqs:ListQueueTags``. Without these rights or without that queue, a
    crash loop does not end. Stopping does not cancel a long poll, because SQS would hide the next messages. Closing
    waits up to three seconds for the poll to end. A source makes at most 16 polls at once, and each waits three
    seconds for a message. Up to 16 queues, each queue is polled all the time. With more, queues whose last poll
    brought something come first, and idle ones take turns: an idle queue is looked at about every N/5 seconds,
    every minute with 300 queues, every three minutes with 1,000. An idle source makes at most 5 calls a second (14
    million a month, which AWS bills). With 1,000 idle queues this took 0.9 % of a core, with eight queues 0.3 %. If
    the first message of an idle queue must start sooner, divide the queues among several sources.

Order
    None on a standard queue. There a ``MessageGroupId`` shares the queue among tenants (fair queues) and orders
    nothing. It is the header ``MessageGroupId``, when reading and when publishing. To use it as the key, set
    ``key_from = "header:MessageGroupId"``. On a FIFO queue the key is the message group, and order holds across the
    group. When a message goes back, later messages of its group that wait in this process go back with it. A FIFO
    message without a key has its own group. The message id is the deduplication id: SQS drops a second send within
    five minutes. A FIFO queue that brokerkit creates has high throughput: quota and deduplication are for each
    group and not for the queue, so one id may be sent once to each group. One call sends at most one message of a
    group, so that no message overtakes another one that SQS refuses.

Limits and escaping
    1 MiB for body and attributes, or the queue's ``MaximumMessageSize``. SQS allows ten attributes. Id, key and
    headers each have an attribute while there is room and SQS accepts name and value; ``event`` and ``ce_type``
    come first. The rest is JSON in ``bk-headers``. A body that is not legal SQS text is sent as base64, an empty
    body as ``-``, and ``bk-body`` says so. A key that is not a legal group id (128 printable ASCII characters) is
    hashed, and the key itself travels as an attribute. A message that cannot be decoded becomes a dead letter.
    Larger bodies go to S3 if ``large_payloads`` names a bucket.

Native access
    ``Message.native`` is the message as a dict, as ``receive_message`` of botocore gives it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from brokerkit.adapters.api import (
    BrokerkitError,
    Capabilities,
    Connection,
    Delivery,
    Lost,
    Outgoing,
    Receipt,
    Subscription,
    UnsupportedFeature,
    WaitingRetries,
    browse_cursor,
    derived_name,
    refuse_to_follow,
)
from brokerkit.adapters.aws._client import AwsClient
from brokerkit.adapters.aws._cursor import SqsCursor
from brokerkit.adapters.aws._queues import NAME_STYLE, Queues, Reading
from brokerkit.adapters.aws._s3 import payload_store
from brokerkit.adapters.aws._send import Sender, Target
from brokerkit.adapters.aws._source import LONGEST_VISIBILITY, SqsSource
from brokerkit.adapters.aws._starts import Starts
from brokerkit.adapters.aws._turns import POLLERS
from brokerkit.adapters.aws._wire import FIFO_SUFFIX, LONGEST_DELAY

_INVISIBLE: Final = "ApproximateNumberOfMessagesNotVisible"

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
    delays=LONGEST_DELAY,
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "field"}),
    pollers=POLLERS,
    browse="touches",
    browse_queue="touches",
)


class SqsAdapter:
    """SQS behind one URL; a `brokerkit.adapters.api.Adapter`."""

    def __init__(self, connection: Connection, /) -> None:
        self._client = AwsClient("sqs", connection)
        self._queues = Queues(self._client)
        self._payloads = payload_store(connection)
        self._sender = Sender(self._target, self._payloads)
        self._groups: dict[str, str] = {}

    def capabilities(self, topic: str = "") -> Capabilities:
        """What SQS promises; FIFO queues keep order."""
        return capabilities(topic, STANDARD)

    async def open(self) -> None:
        """Connect; see `brokerkit.adapters.api.Adapter.open`."""
        await self._client.open()
        if self._payloads is not None:
            try:
                await self._payloads.open()
            except BaseException:
                await self._client.close()
                raise

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        """See that queues exist; see `brokerkit.adapters.api.Adapter.ensure`."""
        for topic in topics:
            if is_queue:
                await self._queues.ensure_letters(topic, create=create)
            else:
                await self._queues.ensure(topic, create=create)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Send a batch; see `brokerkit.adapters.api.Adapter.send`."""
        return await self._sender.send(batch)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """A legal queue name; see `brokerkit.adapters.api.Adapter.derived`."""
        return derived_name(topic, group, role, NAME_STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        """The queue itself, which no other group reads; see `brokerkit.adapters.api.Adapter.own_queue`."""
        await self.ensure([topic], is_queue=True, create=False)
        return topic

    def subscribe(self, subscription: Subscription, lost: Lost) -> SqsSource:
        """A source for queues; see `brokerkit.adapters.api.Adapter.subscribe`."""
        if subscription.broadcast:
            raise UnsupportedFeature(
                broker="SQS",
                feature="broadcast, since each message of a queue goes to one reader",
                alternative="publish to an SNS topic and use sns://",
            )
        if subscription.start == "latest" and not subscription.is_queue:
            raise UnsupportedFeature(
                broker="SQS",
                feature="start='latest', since a queue hands out all that it holds",
                alternative="purge the queue, or leave the setting out",
            )
        self._note_group(subscription)

        async def prepare() -> Sequence[Reading]:
            if subscription.provision != "off":
                await self.ensure(subscription.topics, is_queue=False, create=subscription.provision == "all")
                await self._queues.refuse_early_loss(subscription.topics, subscription)
            return [await reading(self._queues, topic) for topic in subscription.topics]

        starts = Starts(self._client, self._queues, subscription)
        return SqsSource(self._client, subscription, lost, starts=starts, payloads=self._payloads, prepare=prepare)

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """Look at queues; see `brokerkit.adapters.api.Adapter.browse`."""
        if follow:
            raise refuse_to_follow("SQS", "publish to an SNS topic and use sns://")
        await self.ensure(topics, is_queue=is_queue, create=False)
        for topic in topics if past else ():
            async with aclosing(browse_cursor(self.cursor(topic))) as found:
                async for delivery in found:
                    yield delivery

    async def waiting_retries(self, subscription: Subscription) -> list[WaitingRetries]:
        """How many messages of each queue are invisible; see `brokerkit.adapters.api.CountsRetries.waiting_retries`."""
        return await count_invisible(self._client, self._queues, subscription.topics)

    def cursor(self, queue: str) -> SqsCursor:
        """A walk through a queue; see `brokerkit.adapters.api.Adapter.cursor`."""

        async def prepare() -> Reading:
            await self.ensure([queue], is_queue=True, create=False)
            return await reading(self._queues, queue)

        return SqsCursor(self._client, self._queues, queue, prepare, self._payloads)

    def _note_group(self, subscription: Subscription) -> None:
        for topic in subscription.topics if subscription.group is not None else ():
            known = self._groups.setdefault(topic, subscription.group or "")
            if known != subscription.group:
                raise UnsupportedFeature(
                    broker="SQS",
                    feature=f"a second group ({subscription.group!r} beside {known!r}) on queue {topic}",
                    alternative="publish to an SNS topic and use sns://, which gives each group a queue",
                )

    async def _target(self, topic: str, is_queue: bool) -> Target:
        return await self._queues.target(topic)

    async def close(self) -> None:
        """Free the connections; may be called twice."""
        await self._client.close()
        if self._payloads is not None:
            await self._payloads.close()

    def __repr__(self) -> str:
        return f"<SqsAdapter {self._client!r}>"


def capabilities(topic: str, standard: Capabilities) -> Capabilities:
    """The promises for a topic: FIFO queues keep order, and delay no single message."""
    return replace(standard, order="group", delays=0.0) if topic.endswith(FIFO_SUFFIX) else standard


async def reading(queues: Queues, queue: str, *, topic: str | None = None, envelope: str | None = None) -> Reading:
    """A queue as a source reads it; ``topic`` is what its messages are told to come from, the queue by default."""
    return Reading(topic or queue, await queues.url(queue), queue.endswith(FIFO_SUFFIX), envelope)


async def count_invisible(client: AwsClient, queues: Queues, names: Sequence[str]) -> list[WaitingRetries]:
    """How many messages of queues are invisible: SQS does not tell those that wait from those that are being handled.

    Raises:
        BrokerkitError: SQS does not answer, or there is no such queue.
    """
    found = list[WaitingRetries]()
    for name in names:
        url = await queues.url(name)
        answer = await client.call("get_queue_attributes", QueueUrl=url, AttributeNames=[_INVISIBLE])
        attributes: Mapping[str, str] = answer.get("Attributes", {})
        found.append(WaitingRetries(place=name, count=int(attributes.get(_INVISIBLE, 0)), exact=False))
    return found
