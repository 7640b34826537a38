"""SQS queues by name, ARN or URL: found once, created where that is allowed, and as targets for sending."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from brokerkit.adapters.api import (
    AccessDenied,
    ConfigError,
    NameStyle,
    NotFound,
    Subscription,
    UnsupportedFeature,
    get_logger,
)
from brokerkit.adapters.aws._client import Answer, AwsClient, Refused
from brokerkit.adapters.aws._send import Target
from brokerkit.adapters.aws._wire import FIFO_SUFFIX

NAME_STYLE: Final = NameStyle(separator="__", illegal=re.compile(r"[^A-Za-z0-9_-]"), limit=80, suffix=".fifo")
"""Letters, digits, hyphen and underscore, 80 characters, the ending ``.fifo`` counted in."""

MAX_BYTES: Final = 1_048_576
"""Most bytes of one message, and of all messages of one call: body and attributes together.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""

_FIFO_QUEUE: Final = {
    "FifoQueue": "true",
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}
"""High throughput: the quota of 300 calls a second is for each message group, and not for the queue.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/high-throughput-fifo.html"""

_LONGEST_RETENTION: Final = 1_209_600
_USUAL_RETENTION: Final = 345_600
"""Seconds for which SQS keeps messages: the most that can be set, and the default."""

DEAD_LETTER_QUEUE: Final = {"MessageRetentionPeriod": str(_LONGEST_RETENTION)}

logger = get_logger(__name__)

_NAME: Final = re.compile(r"(?=.{1,80}$)[A-Za-z0-9_-]+(\.fifo)?")
_ARN: Final = re.compile(r"arn:[a-z0-9-]+:sqs:(?P<region>[a-z0-9-]*):(?P<account>[0-9]+):(?P<name>.+)")


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


class Queues:
    """The queues that one adapter uses."""

    def __init__(self, client: AwsClient) -> None:
        self._client = client
        self._urls: dict[str, str] = {}
        self._targets: dict[str, Target] = {}

    async def url(self, queue: str) -> str:
        """The URL by which SQS knows a queue.

        Raises:
            NotFound: there is no such queue, or the caller may not see it.
            ConfigError: SQS has no queues of such a name.
        """
        if (known := self._urls.get(queue)) is not None:
            return known
        if "://" in queue:
            found = queue
        else:
            answer = await self._client.call("get_queue_url", **self._address(queue))
            found = str(answer["QueueUrl"])
        self._urls[queue] = found
        return found

    async def ensure(self, queue: str, *, create: bool, attributes: Mapping[str, str] | None = None) -> bool:
        """See that a queue exists, and create it with ``attributes`` where it does not.

        Returns:
            Whether it was created.

        Raises:
            NotFound: it is missing and may not be created.
        """
        try:
            await self._browse(queue)
        except NotFound as error:
            self.forget(queue)
            if not create:
                raise NotFound(
                    f"SQS queue {queue} does not exist in {self._client.where}, or the caller may not see it; "
                    "create it, or set provision='all'"
                ) from error
        else:
            return False
        if "://" in queue or queue.startswith("arn:"):
            raise NotFound(f"SQS queue {queue} does not exist, and only a queue given by its name can be created")
        fifo = _FIFO_QUEUE if queue.endswith(FIFO_SUFFIX) else {}
        try:
            await self._client.call("create_queue", QueueName=queue, Attributes=fifo | dict(attributes or {}))
        except Refused as error:
            # Somebody else was faster, with other attributes; theirs stay.
            if "QueueNameExists" not in error.code and "QueueAlreadyExists" not in error.code:
                raise
            return False
        return True

    async def _browse(self, queue: str) -> None:
        if "://" in queue:
            # A URL names a queue without saying that there is one.
            await self.attributes(queue, "QueueArn")
        else:
            self.forget(queue)
            await self.url(queue)

    async def attributes(self, queue: str, *names: str) -> Mapping[str, str]:
        """Attributes of a queue; one that it does not have is left out.

        Raises:
            NotFound, AccessDenied: as AWS says.
        """
        answer = await self._client.call(
            "get_queue_attributes", QueueUrl=await self.url(queue), AttributeNames=[*names]
        )
        found: Mapping[str, str] = answer.get("Attributes", {})
        return found

    async def refuse_early_loss(self, queues: Iterable[str], subscription: Subscription) -> None:
        """Check that SQS leaves a message in its queue for as many deliveries, and for as long, as its retries need.

        Raises:
            UnsupportedFeature: the redrive policy of a queue takes messages away earlier.
        """
        for queue in queues:
            try:
                found = await self.attributes(queue, "RedrivePolicy", "MessageRetentionPeriod")
            except AccessDenied as error:
                logger.warning(
                    "cannot see whether the redrive policy or the retention of SQS queue %s takes messages away before "
                    "their last attempt: %s",
                    *(queue, error),
                )
                continue
            self._refuse_early_redrive(queue, found.get("RedrivePolicy"), subscription.max_deliveries)
            kept = int(found.get("MessageRetentionPeriod", _LONGEST_RETENTION))
            if kept < subscription.longest_retry:
                logger.warning(
                    "SQS queue %s drops messages %d s after they were sent (MessageRetentionPeriod), but the retries of one "
                    "may wait %.3g s in all: it can be lost before its last attempt",
                    *(queue, kept, subscription.longest_retry),
                )

    def _refuse_early_redrive(self, queue: str, policy: str | None, deliveries: int) -> None:
        most = int(json.loads(policy or "{}").get("maxReceiveCount", deliveries))
        if most < deliveries:
            raise UnsupportedFeature(
                broker="SQS",
                feature=f"max_deliveries={deliveries} on queue {queue}, whose redrive policy takes a message away "
                f"after {most} deliveries, without a reason and perhaps before its last attempt",
                alternative=f"raise maxReceiveCount to {10 * deliveries}, lower max_deliveries and the attempts of "
                "retry, or set provision='off'",
            )

    async def ensure_letters(self, queue: str, *, create: bool) -> None:
        """Check that a dead-letter queue exists. Warn if somebody else made one that drops dead letters soon or moves them.

        Raises:
            NotFound: it is missing and may not be created.
        """
        if await self.ensure(queue, create=create, attributes=DEAD_LETTER_QUEUE):
            return
        try:
            found = await self.attributes(queue, "RedrivePolicy", "MessageRetentionPeriod")
        except (AccessDenied, Refused):
            return  # A member that stores dead letters need not be allowed to ask.
        kept = int(found.get("MessageRetentionPeriod", _LONGEST_RETENTION))
        if kept < _USUAL_RETENTION:
            logger.warning(
                "SQS queue %s drops dead letters after %d s: raise its MessageRetentionPeriod to %d",
                *(queue, kept, _LONGEST_RETENTION),
            )
        if found.get("RedrivePolicy"):
            logger.warning(
                "SQS queue %s has a redrive policy: it moves dead letters elsewhere when they are browsed often", queue
            )

    async def delete(self, queue: str) -> None:
        """Delete a queue of ours with all that is in it."""
        await self._client.call("delete_queue", QueueUrl=await self.url(queue))
        self.forget(queue)

    async def target(self, queue: str) -> Target:
        """Where to send for a queue; found once.

        Raises:
            NotFound: there is no such queue.
        """
        if (known := self._targets.get(queue)) is not None:
            return known
        url = await self.url(queue)
        try:
            limit = int((await self.attributes(queue, "MaximumMessageSize")).get("MaximumMessageSize", MAX_BYTES))
        except (AccessDenied, Refused):
            limit = MAX_BYTES  # A caller that may send is not always allowed to ask for attributes.
        target = Target(
            what=f"SQS queue {queue}",
            fifo=queue.endswith(FIFO_SUFFIX),
            limit=limit,
            batch_limit=MAX_BYTES,
            body_field="MessageBody",
            post=partial(self._post, queue, url),
        )
        self._targets[queue] = target
        return target

    async def _post(self, queue: str, url: str, entries: list[dict[str, object]]) -> Answer:
        try:
            return await self._client.call("send_message_batch", QueueUrl=url, Entries=entries)
        except NotFound:
            self.forget(queue)
            raise

    def forget(self, queue: str) -> None:
        """Forget what is known of a queue: it is gone, or may exist now."""
        self._urls.pop(queue, None)
        self._targets.pop(queue, None)

    def _address(self, queue: str) -> dict[str, str]:
        arn = _ARN.fullmatch(queue)
        if arn is not None and arn["region"] not in ("", self._client.region):
            raise ConfigError(
                f"SQS queue {queue} is in another region than {self._client.where}; use a URL for that region"
            )
        name = queue if arn is None else arn["name"]
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{queue!r} cannot be an SQS queue: a name has up to 80 letters, digits, hyphens and underscores, "
                f"and no dots but in the ending {FIFO_SUFFIX}; an ARN or a URL is taken too"
            )
        return {"QueueName": name} if arn is None else {"QueueName": name, "QueueOwnerAWSAccountId": arn["account"]}

    def __repr__(self) -> str:
        return f"<Queues of {self._client.where}: {len(self._urls)} known>"
