"""Looking at an SQS queue: there is no way but to receive what is in it, and to let it go again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

from brokerkit._errors import BrokerkitError
from brokerkit._message import Delivery
from brokerkit.adapters.aws._client import Answer, AwsClient
from brokerkit.adapters.aws._source import Reading
from brokerkit.adapters.aws._wire import BATCH, decode, tens

_HIDDEN: Final = 120
"""Seconds for which a message stays hidden that we could not let go."""

_log = logging.getLogger(__name__)


async def look_at_queue(client: AwsClient, reading: Reading) -> AsyncGenerator[Delivery, None]:
    """See `Adapter.look`. Everything becomes visible at the end: earlier, it would come again at once.

    Of a FIFO queue SQS hands out no more of a message group while some of it is out: at most ten of each are seen.
    """
    receipts: dict[str, str] = {}
    asking: asyncio.Task[Answer] | None = None
    try:
        while True:
            # A call that is cancelled would hide what it brings: it is left to end, and let go of below.
            asking = asyncio.create_task(_receive(client, reading))
            natives = (await asyncio.shield(asking)).get("Messages", ())
            asking = None
            fresh = [native for native in natives if native["MessageId"] not in receipts]
            receipts |= {native["MessageId"]: native["ReceiptHandle"] for native in natives}
            if not fresh:
                break  # nothing is left, or what we hold comes again
            for native in fresh:
                yield decode(native, reading.topic, None, envelope=reading.envelope)
    finally:
        if asking is not None:
            await asyncio.wait([asking])
            if not asking.cancelled() and asking.exception() is None:
                late = asking.result().get("Messages", ())
                receipts |= {native["MessageId"]: native["ReceiptHandle"] for native in late}
        await _let_go(client, reading.url, list(receipts.values()))


async def _receive(client: AwsClient, reading: Reading) -> Answer:
    # A wait of a second makes SQS ask all of its servers, not only some.
    return await client.call(
        "receive_message",
        QueueUrl=reading.url,
        MaxNumberOfMessages=BATCH,
        WaitTimeSeconds=1,
        VisibilityTimeout=_HIDDEN,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    )


async def _let_go(client: AwsClient, url: str, receipts: list[str]) -> None:
    for ten in tens(receipts):
        entries: list[Any] = [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0} for number, receipt in enumerate(ten)
        ]
        try:
            await client.call("change_message_visibility_batch", QueueUrl=url, Entries=entries)
        except BrokerkitError as error:
            _log.warning("%d messages of %s stay hidden for up to %d s: %s", len(ten), url, _HIDDEN, error)
