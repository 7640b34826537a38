"""SQS queues by name, ARN or URL: found once, created where that is allowed, and as targets for sending."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from brokerkit._errors import AccessDenied, ConfigError, NotFound, UnsupportedFeature
from brokerkit.adapters.aws._client import Answer, AwsClient, Refused
from brokerkit.adapters.aws._send import Target
from brokerkit.adapters.aws._wire import FIFO_SUFFIX

MAX_BYTES: Final = 1_048_576
"""One message, and all messages of one call, at most: body and attributes together.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""

DEAD_LETTER_QUEUE: Final = {"MessageRetentionPeriod": "1209600"}
"""Dead letters stay for 14 days, the longest that SQS offers."""

_NAME: Final = re.compile(r"(?=.{1,80}$)[A-Za-z0-9_-]+(\.fifo)?")
_ARN: Final = re.compile(r"arn:[a-z0-9-]+:sqs:(?P<region>[a-z0-9-]*):(?P<account>[0-9]+):(?P<name>.+)")


class Queues:
    """The queues that one adapter has to do with."""

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
            await self._look(queue)
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
        fifo = {"FifoQueue": "true"} if queue.endswith(FIFO_SUFFIX) else {}
        try:
            await self._client.call("create_queue", QueueName=queue, Attributes=fifo | dict(attributes or {}))
        except Refused as error:
            # Somebody else was faster, with other attributes; theirs stay.
            if "QueueNameExists" not in error.code and "QueueAlreadyExists" not in error.code:
                raise
            return False
        return True

    async def _look(self, queue: str) -> None:
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

    async def refuse_early_redrive(self, queues: Iterable[str], deliveries: int) -> None:
        """See that SQS leaves a message in its queue for at least so many deliveries.

        Raises:
            UnsupportedFeature: a queue's redrive policy has a lower ``maxReceiveCount``.
        """
        for queue in queues:
            try:
                policy = json.loads((await self.attributes(queue, "RedrivePolicy")).get("RedrivePolicy") or "{}")
            except AccessDenied:
                continue  # Who may read need not be allowed to ask.
            most = int(policy.get("maxReceiveCount", deliveries))
            if most < deliveries:
                raise UnsupportedFeature(
                    broker="SQS",
                    feature=f"max_deliveries={deliveries} on queue {queue}, whose redrive policy takes a message away "
                    f"after {most} deliveries, without a reason and perhaps before its last attempt",
                    alternative=f"raise maxReceiveCount to {10 * deliveries}, lower max_deliveries and the attempts of "
                    "retry, or set provision='off'",
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
            limit = MAX_BYTES  # Who may send need not be allowed to ask.
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
        """Look again next time: the queue is gone, or may have come."""
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
