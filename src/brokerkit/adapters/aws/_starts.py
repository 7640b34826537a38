"""How often messages were begun alone: tags on the dead-letter queue, one for each such message.

SQS can change only the visibility of a message, and copies would break the order of a FIFO queue. But a queue of ours can
have up to fifty tags, and SQS keeps them.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-tags.html
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final

from brokerkit.adapters.api import Delivery, Subscription, derived_name
from brokerkit.adapters.aws._client import AwsClient
from brokerkit.adapters.aws._queues import NAME_STYLE, Queues

PREFIX: Final = "brokerkit-start-"
MOST: Final = 40
"""At this many tags of ours, the oldest are dropped. A queue takes 50 tags, and others may have set some."""
DROPPED: Final = 10

_VALUE: Final = re.compile(r"([0-9]{1,9}) ([0-9]{1,12})")


class Starts:
    """See `brokerkit.adapters.api.LoneStarts`."""

    def __init__(self, client: AwsClient, queues: Queues, subscription: Subscription) -> None:
        self._client = client
        self._queues = queues
        self._queue: Final = derived_name(subscription.topics[0], subscription.group, "dlq", NAME_STYLE)

    async def begin(self, delivery: Delivery) -> int:
        """See `LoneStarts.begin_alone`."""
        url, tag = await self._queues.url(self._queue), _tag(delivery)
        tags: Mapping[str, str] = (await self._client.call("list_queue_tags", QueueUrl=url)).get("Tags") or {}
        ours = {name: _parsed(value) for name, value in tags.items() if name.startswith(PREFIX)}
        starts = ours.pop(tag, (0, 0))[0] + 1
        if len(ours) >= MOST:
            oldest = sorted(ours, key=lambda name: ours[name][1])[: len(ours) - MOST + DROPPED]
            await self._client.call("untag_queue", QueueUrl=url, TagKeys=oldest)
        await self._client.call("tag_queue", QueueUrl=url, Tags={tag: f"{starts} {time.time():.0f}"})
        return starts

    async def end(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`."""
        url = await self._queues.url(self._queue)
        await self._client.call("untag_queue", QueueUrl=url, TagKeys=[_tag(delivery)])

    def __repr__(self) -> str:
        return f"<Starts on {self._queue}>"


def _tag(delivery: Delivery) -> str:
    message: Mapping[str, Any] = delivery.native
    return f"{PREFIX}{message['MessageId']}"


def _parsed(value: str) -> tuple[int, int]:
    """Starts, and the Unix time of the last one; zeros for what is not ours."""
    found = _VALUE.fullmatch(value)
    return (int(found[1]), int(found[2])) if found else (0, 0)
