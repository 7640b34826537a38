"""SNS: topics that give a copy to each group's SQS queue.

URL and options
    ``sns://region/``; everything as for ``sqs://`` (see `brokerkit.adapters.aws.sqs`). ``endpoint`` is used for
    both services; where they have two, set ``AWS_ENDPOINT_URL_SNS`` and ``AWS_ENDPOINT_URL_SQS`` instead.

What a topic and a group become
    A topic is an SNS topic, by name or ARN (which may belong to another account). A group is an SQS queue
    ``topic__group``, created with a policy that lets this topic write to it, and subscribed with raw delivery.
    It keeps ``.fifo``: FIFO topics feed FIFO queues. A group begins when its queue is subscribed; what was
    published earlier is nowhere. ``stored`` topics and dead letters are plain SQS queues. A broadcast gets a
    queue of its own, removed when the source closes; one that a crash leaves behind stays.

Delivery
    From the queue, as for ``sqs://``. A confirmed publish means that SNS has the message and retries the queues
    for 23 days.

Order
    None on standard topics; on FIFO topics the key is the message group, from the publisher to the handler.

Limits and escaping
    As for ``sqs://``, but 256 KiB for one message and for all of one call, or the topic's
    ``MaximumMessageSize``. A subscription that somebody else declared without raw delivery is left as it is:
    the JSON that SNS then puts around each message is taken off.

Native access
    ``Message.native`` is the SQS message as a dict, as ``receive_message`` of botocore gives it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Final

from brokerkit._derived import SQS, derived_name
from brokerkit._errors import AccessDenied, BrokerkitError, ConfigError, NotFound, UnsupportedFeature
from brokerkit._message import Delivery, Outgoing, Receipt
from brokerkit._transport import Capabilities, Connection, Lost, Subscription
from brokerkit.adapters._looking import followed, ignored, listening, refuse_to_follow
from brokerkit.adapters.aws._client import Answer, AwsClient, Refused
from brokerkit.adapters.aws._look import look_at_queue
from brokerkit.adapters.aws._queues import DEAD_LETTER_QUEUE, Queues
from brokerkit.adapters.aws._send import Sender, Target
from brokerkit.adapters.aws._source import Reading, SqsSource
from brokerkit.adapters.aws._wire import ANY_TOPIC, FIFO_SUFFIX
from brokerkit.adapters.aws.sqs import STANDARD, capabilities, reading

_STANDARD: Final = replace(STANDARD, broker="SNS", groups="many", broadcast=True, look="new")

_MAX_BYTES: Final = 262_144
"""One message, and all of one call, unless the topic allows more.
https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html"""

_PRIVATE_QUEUE: Final = {"MessageRetentionPeriod": "3600"}
"""A broadcast's queue that a crash leaves behind shall not fill up: an hour, in seconds."""

_ROLES: Final = frozenset({"dlq", "retry", "queue"})
_TOPIC: Final = re.compile(r"(?=.{1,256}$)[A-Za-z0-9_-]+(\.fifo)?")


class SnsAdapter:
    """SNS and the queues behind it; a `brokerkit._transport.Adapter`."""

    def __init__(self, connection: Connection, /) -> None:
        self._sns = AwsClient("sns", connection)
        self._sqs = AwsClient("sqs", connection)
        self._queues = Queues(self._sqs)
        self._sender = Sender(self._target)
        self._arns: dict[str, str] = {}
        self._targets: dict[str, Target] = {}

    def capabilities(self, topic: str = "") -> Capabilities:
        """What SNS and SQS promise together; FIFO topics keep order."""
        return capabilities(topic, _STANDARD)

    async def open(self) -> None:
        """Connect to both services; see `brokerkit._transport.Adapter.open`."""
        await self._sns.open()
        try:
            await self._sqs.open()
        except BaseException:
            await self._sns.close()
            raise

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        """See that SNS topics, or with ``stored`` SQS queues, exist; see `brokerkit._transport.Adapter.ensure`."""
        for topic in topics:
            if stored:
                await self._queues.ensure(topic, create=create, attributes=DEAD_LETTER_QUEUE)
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
            fifo = {"FifoTopic": "true"} if topic.endswith(FIFO_SUFFIX) else {}
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
        """The ARN of a topic; for a name it says nothing on whether the topic exists.

        SNS finds topics by ARN alone, and that holds the number of the account, which any topic of ours tells.
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
        """Send a batch, ``stored`` messages to SQS queues; see `brokerkit._transport.Adapter.send`."""
        return await self._sender.send(batch)

    async def _target(self, topic: str, stored: bool) -> Target:
        if stored:
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
        """A legal queue name; see `brokerkit._transport.Adapter.derived`."""
        return derived_name(topic, group, role, SQS)

    def subscribe(self, subscription: Subscription, lost: Lost) -> SqsSource:
        """A source for the group's queues; see `brokerkit._transport.Adapter.subscribe`."""
        if subscription.broadcast:
            return self._broadcast(subscription, lost)
        if subscription.stored:
            prepare = partial(self._read_stored, subscription)
        elif subscription.group is None:
            raise ConfigError("sns:// needs a group: it gives its queue a name")
        else:
            prepare = partial(self._read_group, subscription, subscription.group)
        return SqsSource(self._sqs, subscription, lost, prepare=prepare)

    async def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """Look at a topic through a queue of our own, with ``stored`` at queues; see `brokerkit._transport.Adapter.look`."""
        if stored and follow:
            raise refuse_to_follow("SNS", "follow the topic that fills the queue")
        await self.ensure(topics, stored=stored, create=False)
        for topic in topics if stored and past else ():
            queue = await reading(self._queues, topic, envelope=ANY_TOPIC)
            async with aclosing(look_at_queue(self._sqs, queue)) as there:
                async for delivery in there:
                    yield delivery
        if follow:
            async with aclosing(followed(self._broadcast(listening(topics), ignored))) as found:
                async for delivery in found:
                    yield delivery

    def _broadcast(self, subscription: Subscription, lost: Lost) -> SqsSource:
        if subscription.provision in ("check", "off"):
            raise UnsupportedFeature(
                broker="SNS",
                feature=f"broadcast with provision={subscription.provision!r}, since it needs a queue for each process",
                alternative="use provision='group', or a group for each process",
            )
        made: list[tuple[str, str]] = []

        async def prepare() -> Sequence[Reading]:
            await self.ensure(subscription.topics, stored=False, create=subscription.provision == "all")
            readings: list[Reading] = []
            for topic in subscription.topics:
                queue = derived_name(topic, uuid.uuid4().hex, "queue", SQS)
                await self._create_queue(queue, topic, _PRIVATE_QUEUE)
                made.append((queue, ""))
                made[-1] = (queue, await self._join(queue, topic))
                readings.append(await reading(self._queues, queue, topic=topic, envelope=topic))
            return readings

        async def discard() -> None:
            while made:
                queue, subscribed = made.pop()
                if subscribed:
                    await self._sns.call("unsubscribe", SubscriptionArn=subscribed)
                await self._queues.delete(queue)

        return SqsSource(self._sqs, subscription, lost, prepare=prepare, discard=discard)

    async def _read_stored(self, subscription: Subscription) -> Sequence[Reading]:
        if subscription.provision != "off":
            await self.ensure(subscription.topics, stored=True, create=subscription.provision == "all")
            await self._queues.refuse_early_redrive(subscription.topics, subscription.max_deliveries)
        return [await reading(self._queues, queue, envelope=ANY_TOPIC) for queue in subscription.topics]

    async def _read_group(self, subscription: Subscription, group: str) -> Sequence[Reading]:
        readings: list[Reading] = []
        for topic in subscription.topics:
            queue = group_queue(topic, group)
            match subscription.provision:
                case "group" | "all":
                    await self._ensure_topic(topic, create=subscription.provision == "all")
                    await self._provide(queue, topic)
                case "check":
                    await self._ensure_topic(topic, create=False)
                    await self._queues.ensure(queue, create=False)
                    if await self._subscribed(queue, topic) is None:
                        raise NotFound(
                            f"SQS queue {queue} is not subscribed to SNS topic {topic}; set provision='group'"
                        )
                case "off":
                    pass
            if subscription.provision != "off":
                await self._queues.refuse_early_redrive([queue], subscription.max_deliveries)
            readings.append(await reading(self._queues, queue, topic=topic, envelope=topic))
        return readings

    async def _provide(self, queue: str, topic: str) -> None:
        """Create the group's queue and subscribe it, where that is not done yet."""
        if not await self._create_queue(queue, topic, {}):
            try:
                policy = (await self._queues.attributes(queue, "Policy")).get("Policy")
            except AccessDenied:
                policy = "not ours to see"
            if not policy:
                raise UnsupportedFeature(
                    broker="SQS",
                    feature=f"reading SNS topic {topic} through queue {queue}, which exists without a policy",
                    alternative="allow sns.amazonaws.com to send to it, or delete the queue so that it is made anew",
                )
        if await self._subscribed(queue, topic) is None:
            await self._join(queue, topic)

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

        Subscribing again would do where all attributes are the same; a subscription without raw delivery would be
        refused by AWS, and changed by an emulator.
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

    def __repr__(self) -> str:
        return f"<SnsAdapter {self._sns!r}>"


def group_queue(topic: str, group: str) -> str:
    """The queue of a group: ``topic__group``, or a legal name with a digest; never one name for two arguments."""
    suffix = FIFO_SUFFIX if topic.endswith(FIFO_SUFFIX) else ""
    name = derived_name(topic, group, "queue", SQS).removesuffix(suffix)
    # A group called like a role keeps the long form: topic__dlq could be the end of a dead-letter queue's name.
    return (name if group in _ROLES else name.removesuffix("__queue")) + suffix
