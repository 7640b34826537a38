"""SNS: topics that copy each message to every group's SQS queue.

URL and options
    ``sns://region/``. Everything else is as for ``sqs://`` (see `brokerkit.adapters.aws.sqs`). ``endpoint`` is
    used for both services. If they have two endpoints, set ``AWS_ENDPOINT_URL_SNS`` and ``AWS_ENDPOINT_URL_SQS``
    instead.

What a topic and a group become
    A topic is an SNS topic, given by name or ARN. An ARN may belong to another account. A group is an SQS queue
    ``topic__group``. It is created with a policy that lets this topic write to it, and subscribed with raw
    delivery. The ending ``.fifo`` stays: FIFO topics feed FIFO queues. A group begins when its queue is
    subscribed, and never gets what was published before. ``is_queue`` topics and dead letters are plain SQS
    queues. A broadcast source has a private queue, which is removed when the source closes. After a crash the
    queue and its subscription stay.

Delivery
    From the queue, as for ``sqs://``. A confirmed publish means that SNS has the message and retries the queues
    for 23 days. Every 30 seconds the source checks that its queues are still subscribed, and subscribes them again
    if they are not. With more than 150 topics it checks less often: 5 topics a second. What was published in
    between is lost for the group, and a warning says so. If the queue may not be subscribed (``provision="check"``,
    a missing topic, a missing right), the source is not ready and says why. The check needs
    ``sns:GetSubscriptionAttributes``. Without that right, and with ``provision="off"``, nothing is checked.

    SNS forgets all subscriptions with the topic. So whoever deletes a topic and makes it anew subscribes the queues
    of all groups, with ``RawMessageDelivery``, before anything is published to it. The queues and their policies are
    still there, and the source takes a subscription that it finds for its own.

Order
    None on standard topics. There a message group is the header ``MessageGroupId``, as for ``sqs://``. On FIFO
    topics the key is the message group, from the publisher to the handler.

Limits and escaping
    As for ``sqs://``, but the limit is 256 KiB for one message and for all messages of one call, or the topic's
    ``MaximumMessageSize``. ``large_payloads`` sends larger bodies to S3. A subscription that somebody else made without
    raw delivery is left as it is: brokerkit removes the JSON that SNS then puts around each message.

Native access
    ``Message.native`` is the SQS message as a dict, as ``receive_message`` of botocore gives it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from brokerkit.adapters.api import (
    AccessDenied,
    BrokerkitError,
    Capabilities,
    ConfigError,
    Connection,
    Delivery,
    Lost,
    NotFound,
    Outgoing,
    Provision,
    Receipt,
    Subscription,
    UnsupportedFeature,
    WaitingRetries,
    browse_cursor,
    browse_source,
    browse_subscription,
    derived_name,
    get_logger,
    ignore_lost,
    refuse_to_follow,
)
from brokerkit.adapters.aws._client import Answer, AwsClient, Refused
from brokerkit.adapters.aws._cursor import SqsCursor
from brokerkit.adapters.aws._queues import NAME_STYLE, Queues, Reading
from brokerkit.adapters.aws._s3 import payload_store
from brokerkit.adapters.aws._send import Sender, Target
from brokerkit.adapters.aws._source import SqsSource
from brokerkit.adapters.aws._starts import Starts
from brokerkit.adapters.aws._wire import ANY_TOPIC, FIFO_SUFFIX
from brokerkit.adapters.aws.sqs import STANDARD, capabilities, count_invisible, reading

_STANDARD: Final = replace(
    STANDARD, broker="SNS", groups="many", needs_group=True, broadcast=True, browse="new", delays=0.0
)

_MAX_BYTES: Final = 262_144
"""Most bytes of one message, and of all messages of one call, unless the topic allows more.
https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html"""

_FIFO_TOPIC: Final = {"FifoTopic": "true", "FifoThroughputScope": "MessageGroup"}
"""High throughput, as the queues behind it have: https://docs.aws.amazon.com/sns/latest/dg/fifo-high-throughput.html"""

_PRIVATE_QUEUE: Final = {"MessageRetentionPeriod": "3600"}
"""Seconds for which the queue of a broadcast keeps messages: one hour. A crash may leave the queue behind, and it must not
fill up."""

_ROLES: Final = frozenset({"dlq", "retry", "queue"})
_TOPIC: Final = re.compile(r"(?=.{1,256}$)[A-Za-z0-9_-]+(\.fifo)?")

logger = get_logger(__name__)


@dataclass(slots=True)
class _QueueSubscription:
    """A queue, and the subscription that brings the messages of a topic to it."""

    queue: str
    topic: str
    subscription: str = ""


class SnsAdapter:
    """SNS and the queues behind it; a `brokerkit.adapters.api.Adapter`."""

    def __init__(self, connection: Connection, /) -> None:
        self._sns = AwsClient("sns", connection)
        self._sqs = AwsClient("sqs", connection)
        self._queues = Queues(self._sqs)
        self._payloads = payload_store(connection)
        if self._payloads is not None and self._payloads.setting.delete:
            raise ConfigError(
                "large_payloads: an object behind SNS is read by every group, so none may remove it; leave delete out, and "
                "give the bucket a lifecycle rule"
            )
        self._sender = Sender(self._target, self._payloads)
        self._arns: dict[str, str] = {}
        self._targets: dict[str, Target] = {}

    def capabilities(self, topic: str = "") -> Capabilities:
        """What SNS and SQS promise together; FIFO topics keep order."""
        return capabilities(topic, _STANDARD)

    async def open(self) -> None:
        """Connect to both services; see `brokerkit.adapters.api.Adapter.open`."""
        try:
            await self._sns.open()
            await self._sqs.open()
            if self._payloads is not None:
                await self._payloads.open()
        except BaseException:
            await self.close()
            raise

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        """See that SNS topics, or with ``is_queue`` SQS queues, exist; see `brokerkit.adapters.api.Adapter.ensure`."""
        for topic in topics:
            if is_queue:
                await self._queues.ensure_letters(topic, create=create)
            else:
                await self._ensure_topic(topic, create=create)

    async def _ensure_topic(self, topic: str, *, create: bool) -> None:
        self._arns.pop(topic, None)
        try:
            await self._topic_attributes(topic)
        except NotFound as error:
            self._arns.pop(topic, None)
            if not create:
                raise NotFound(
                    f"SNS topic {topic} does not exist in {self._sns.where}; create it, or set provision='all'"
                ) from error
            if topic.startswith("arn:"):
                raise NotFound(
                    f"SNS topic {topic} does not exist, and only a topic given by its name can be created"
                ) from error
            fifo = _FIFO_TOPIC if topic.endswith(FIFO_SUFFIX) else {}
            answer = await self._sns.call("create_topic", Name=topic, Attributes=fifo)
            self._arns[topic] = str(answer["TopicArn"])

    async def _topic_attributes(self, topic: str) -> Mapping[str, str]:
        """The attributes of a topic, none where the caller may not see them.

        Raises:
            NotFound: there is no such topic.
        """
        arn = await self._arn(topic)
        try:
            answer = await self._sns.call("get_topic_attributes", TopicArn=arn)
        except (AccessDenied, Refused):
            return {}
        found: Mapping[str, str] = answer.get("Attributes", {})
        return found

    async def _arn(self, topic: str) -> str:
        """The ARN of a topic. If a name was given, the topic need not exist.

        SNS finds topics only by ARN. An ARN has the number of the account, and any topic of this account tells it.
        """
        if topic.startswith("arn:"):
            return topic
        if (known := self._arns.get(topic)) is not None:
            return known
        if not _TOPIC.fullmatch(topic):
            raise ConfigError(
                f"{topic!r} cannot be an SNS topic: a name has up to 256 letters, digits, hyphens and underscores, "
                f"and no dots but in the ending {FIFO_SUFFIX}; an ARN is taken too"
            )
        try:
            listed = (await self._sns.call("list_topics")).get("Topics", ())
        except AccessDenied as error:
            raise AccessDenied(f"{error}; or give SNS topic {topic} as an ARN, which needs no list") from error
        if not listed:
            raise NotFound(f"SNS topic {topic} does not exist: {self._sns.where} has none at all")
        arn = str(listed[0]["TopicArn"]).rpartition(":")[0] + ":" + topic
        self._arns[topic] = arn
        return arn

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Send a batch, ``is_queue`` messages to SQS queues; see `brokerkit.adapters.api.Adapter.send`."""
        return await self._sender.send(batch)

    async def _target(self, topic: str, is_queue: bool) -> Target:
        if is_queue:
            return await self._queues.target(topic)
        if (known := self._targets.get(topic)) is not None:
            return known
        limit = int((await self._topic_attributes(topic)).get("MaximumMessageSize", _MAX_BYTES))
        target = Target(
            what=f"SNS topic {topic}",
            fifo=topic.endswith(FIFO_SUFFIX),
            limit=limit,
            batch_limit=limit,
            body_field="Message",
            post=partial(self._post, topic, await self._arn(topic)),
        )
        self._targets[topic] = target
        return target

    async def _post(self, topic: str, arn: str, entries: list[dict[str, object]]) -> Answer:
        try:
            return await self._sns.call("publish_batch", TopicArn=arn, PublishBatchRequestEntries=entries)
        except NotFound:
            self._targets.pop(topic, None)
            self._arns.pop(topic, None)
            raise

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """A legal queue name; see `brokerkit.adapters.api.Adapter.derived`."""
        return derived_name(topic, group, role, NAME_STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        """The queue of the group, which the topic writes to as well; see `brokerkit.adapters.api.Adapter.own_queue`."""
        if group is None and not is_queue:
            raise ConfigError("sns:// needs a group: it gives its queue a name")
        queue = topic if is_queue else group_queue(topic, group or "")
        await self.ensure([queue], is_queue=True, create=False)
        return queue

    def subscribe(self, subscription: Subscription, lost: Lost) -> SqsSource:
        """A source for the group's queues; see `brokerkit.adapters.api.Adapter.subscribe`."""
        if subscription.broadcast:
            return self._broadcast(subscription, lost)
        if subscription.is_queue:
            prepare = partial(self._read_stored, subscription)
        elif subscription.group is None:
            raise ConfigError("sns:// needs a group: it gives its queue a name")
        else:
            return self._group(subscription, subscription.group, lost)
        return SqsSource(
            self._sqs, subscription, lost, starts=self._starts(subscription), payloads=self._payloads, prepare=prepare
        )

    def _group(self, subscription: Subscription, group: str, lost: Lost) -> SqsSource:
        joined: list[_QueueSubscription] = []
        return SqsSource(
            self._sqs,
            subscription,
            lost,
            starts=self._starts(subscription),
            payloads=self._payloads,
            prepare=partial(self._read_group, subscription, group, joined),
            keep_subscribed=partial(self._keep_subscribed, joined, subscription.provision),
        )

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """Browse a topic through a queue of our own; with ``is_queue`` browse queues. See `Adapter.browse`."""
        if is_queue and follow:
            raise refuse_to_follow("SNS", "follow the topic that fills the queue")
        await self.ensure(topics, is_queue=is_queue, create=False)
        for topic in topics if is_queue and past else ():
            async with aclosing(browse_cursor(self.cursor(topic))) as there:
                async for delivery in there:
                    yield delivery
        if follow:
            async with aclosing(browse_source(self._broadcast(browse_subscription(topics), ignore_lost))) as found:
                async for delivery in found:
                    yield delivery

    async def waiting_retries(self, subscription: Subscription) -> list[WaitingRetries]:
        """As for SQS, of the group's queues; see `brokerkit.adapters.api.CountsRetries.waiting_retries`."""
        topics, group = subscription.topics, subscription.group or ""
        queues = topics if subscription.is_queue else [group_queue(topic, group) for topic in topics]
        return await count_invisible(self._sqs, self._queues, queues)

    def cursor(self, queue: str) -> SqsCursor:
        """A walk through a queue of SQS; see `brokerkit.adapters.api.Adapter.cursor`."""

        async def prepare() -> Reading:
            await self.ensure([queue], is_queue=True, create=False)
            return await reading(self._queues, queue, envelope=ANY_TOPIC)

        return SqsCursor(self._sqs, self._queues, queue, prepare, self._payloads)

    def _broadcast(self, subscription: Subscription, lost: Lost) -> SqsSource:
        if subscription.provision in ("check", "off"):
            raise UnsupportedFeature(
                broker="SNS",
                feature=f"broadcast with provision={subscription.provision!r}, since it needs a queue for each process",
                alternative="use provision='group', or a group for each process",
            )
        made: list[_QueueSubscription] = []

        async def prepare() -> Sequence[Reading]:
            await self.ensure(subscription.topics, is_queue=False, create=subscription.provision == "all")
            readings: list[Reading] = []
            for topic in subscription.topics:
                queue = derived_name(topic, uuid.uuid4().hex, "queue", NAME_STYLE)
                await self._create_queue(queue, topic, _PRIVATE_QUEUE)
                one = _QueueSubscription(queue, topic)
                made.append(one)
                one.subscription = await self._join(queue, topic)
                readings.append(await reading(self._queues, queue, topic=topic, envelope=topic))
            return readings

        async def discard() -> None:
            while made:
                one = made.pop()
                if one.subscription:
                    await self._sns.call("unsubscribe", SubscriptionArn=one.subscription)
                await self._queues.delete(one.queue)

        return SqsSource(
            self._sqs,
            subscription,
            lost,
            starts=self._starts(subscription),
            payloads=self._payloads,
            prepare=prepare,
            keep_subscribed=partial(self._keep_subscribed, made, subscription.provision),
            discard=discard,
        )

    def _starts(self, subscription: Subscription) -> Starts:
        return Starts(self._sqs, self._queues, subscription)

    async def _read_stored(self, subscription: Subscription) -> Sequence[Reading]:
        if subscription.provision != "off":
            for queue in subscription.topics:
                await self._queues.ensure(queue, create=subscription.provision == "all")
            await self._queues.refuse_early_loss(subscription.topics, subscription)
        return [await reading(self._queues, queue, envelope=ANY_TOPIC) for queue in subscription.topics]

    async def _read_group(
        self, subscription: Subscription, group: str, joined: list[_QueueSubscription]
    ) -> Sequence[Reading]:
        joined.clear()
        readings: list[Reading] = []
        for topic in subscription.topics:
            queue = group_queue(topic, group)
            match subscription.provision:
                case "group" | "all":
                    await self._ensure_topic(topic, create=subscription.provision == "all")
                    joined.append(_QueueSubscription(queue, topic, await self._provide(queue, topic)))
                case "check":
                    await self._ensure_topic(topic, create=False)
                    await self._queues.ensure(queue, create=False)
                    joined.append(_QueueSubscription(queue, topic, await self._check_subscribed(queue, topic)))
                case "off":
                    pass
            if subscription.provision != "off":
                await self._queues.refuse_early_loss([queue], subscription)
            readings.append(await reading(self._queues, queue, topic=topic, envelope=topic))
        return readings

    async def _keep_subscribed(self, joined: Sequence[_QueueSubscription], provision: Provision) -> None:
        """Subscribe queues again whose subscription is gone. Nothing else would show that no messages come.

        Raises:
            NotFound: a topic or a subscription is gone, and may not be made again.
            AccessDenied: a subscription is gone, and the caller may not make it again.
        """
        for one in joined:
            try:
                await self._sns.call("get_subscription_attributes", SubscriptionArn=one.subscription)
            except NotFound:
                await self._subscribe_again(one, provision)
            except (AccessDenied, Refused):
                continue  # A caller that may read is not always allowed to ask for attributes.

    async def _subscribe_again(self, one: _QueueSubscription, provision: Provision) -> None:
        if provision == "check":
            one.subscription = await self._check_subscribed(one.queue, one.topic)
            return
        await self._ensure_topic(one.topic, create=provision == "all")
        if (found := await self._subscribed(one.queue, one.topic)) is not None:
            one.subscription = found
            logger.info("SQS queue %s has a new subscription to SNS topic %s", one.queue, one.topic)
            return
        one.subscription = await self._join(one.queue, one.topic)
        logger.warning(
            "SQS queue %s was not subscribed to SNS topic %s any more, and is subscribed again; "
            "it did not get the messages published in between",
            *(one.queue, one.topic),
        )

    async def _check_subscribed(self, queue: str, topic: str) -> str:
        """The ARN of a subscription that must exist."""
        if (found := await self._subscribed(queue, topic)) is None:
            raise NotFound(f"SQS queue {queue} is not subscribed to SNS topic {topic}; set provision='group'")
        return found

    async def _provide(self, queue: str, topic: str) -> str:
        """Create the group's queue and subscribe it, where that is not done yet; the ARN of the subscription."""
        if not await self._create_queue(queue, topic, {}):
            try:
                policy = (await self._queues.attributes(queue, "Policy")).get("Policy")
            except AccessDenied:
                policy = "not ours to see"
            if not policy:
                raise UnsupportedFeature(
                    broker="SQS",
                    feature=f"reading SNS topic {topic} through queue {queue}, which exists without a policy",
                    alternative="allow sns.amazonaws.com to send to it, or delete the queue so that it is created again",
                )
        return await self._subscribed(queue, topic) or await self._join(queue, topic)

    async def _create_queue(self, queue: str, topic: str, attributes: Mapping[str, str]) -> bool:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            # In a queue's own policy that is this queue; its ARN is not known before it exists.
            "Resource": "*",
            "Condition": {"ArnEquals": {"aws:SourceArn": await self._arn(topic)}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        return await self._queues.ensure(queue, create=True, attributes={**attributes, "Policy": policy})

    async def _join(self, queue: str, topic: str) -> str:
        """Subscribe a queue with raw delivery, and give the ARN of the subscription."""
        answer = await self._sns.call(
            "subscribe",
            TopicArn=await self._arn(topic),
            Protocol="sqs",
            Endpoint=await self._queue_arn(queue),
            Attributes={"RawMessageDelivery": "true"},
            ReturnSubscriptionArn=True,
        )
        return str(answer["SubscriptionArn"])

    async def _subscribed(self, queue: str, topic: str) -> str | None:
        """The ARN of the subscription that brings a topic's messages to a queue.

        Subscribing again works only if all attributes are the same. AWS would refuse a subscription without raw delivery,
        and an emulator would change it.
        """
        endpoint = await self._queue_arn(queue)
        page: dict[str, object] = {"TopicArn": await self._arn(topic)}
        while True:
            answer = await self._sns.call("list_subscriptions_by_topic", **page)
            for found in answer.get("Subscriptions", ()):
                if found.get("Endpoint") == endpoint:
                    return str(found["SubscriptionArn"])
            if not answer.get("NextToken"):
                return None
            page["NextToken"] = answer["NextToken"]

    async def _queue_arn(self, queue: str) -> str:
        return (await self._queues.attributes(queue, "QueueArn"))["QueueArn"]

    async def close(self) -> None:
        """Free the connections; may be called twice."""
        await self._sns.close()
        await self._sqs.close()
        if self._payloads is not None:
            await self._payloads.close()

    def __repr__(self) -> str:
        return f"<SnsAdapter {self._sns!r}>"


def group_queue(topic: str, group: str) -> str:
    """The queue of a group: ``topic__group``, or a legal name with a digest; never one name for two arguments."""
    suffix = FIFO_SUFFIX if topic.endswith(FIFO_SUFFIX) else ""
    name = derived_name(topic, group, "queue", NAME_STYLE).removesuffix(suffix)
    # A group called like a role keeps the long form: topic__dlq could be the end of a dead-letter queue's name.
    return (name if group in _ROLES else name.removesuffix("__queue")) + suffix
