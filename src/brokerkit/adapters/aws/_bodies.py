"""The bodies of received messages that are in S3: found, read, and judged where they cannot be read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from brokerkit.adapters.api import AccessDenied, BrokerkitError, ConfigError, ConnectionLost, get_logger
from brokerkit.adapters.aws._client import AwsClient, BadCredentials
from brokerkit.adapters.aws._pointers import Pointer
from brokerkit.adapters.aws._queues import Reading
from brokerkit.adapters.aws._s3 import PayloadStore
from brokerkit.adapters.aws._wire import find_pointer

_FIRST_PAUSE: Final = 5
_LONGEST_PAUSE: Final = 300
"""Seconds for which a message waits in its queue while S3 does not answer, longer each time: the queue's redrive policy
counts each delivery."""

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Body:
    """What became of reading one body.

    Attributes:
        content: the pointer and what it points to; None if that could not be read.
        error: why it could not. A `ConnectionLost` may pass. Anything else makes the message a dead letter, which has the
            pointer as its body.
    """

    content: tuple[Pointer, bytes] | None = None
    error: BrokerkitError | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """S3 does not answer, or refused the first body.

    Attributes:
        put_off: ids of the messages that wait in the queue meanwhile.
    """

    error: ConnectionLost
    put_off: frozenset[str]


class Bodies:
    """Reads the bodies of what a source receives, and keeps its messages meanwhile.

    No message ends the source: whoever may write to the queue chooses the pointer. One that leads elsewhere, or for which
    no bucket is set, is the fault of its message. Until one body was read, an object that the caller may not read means that
    a right is missing, and its message waits as in an outage; later it is the fault of that message.

    Args:
        client: of SQS.
        payloads: the bucket, if one is set.
        lease: seconds for which received messages are ours.
        pulled: how often each message was given back before the core had it.
    """

    def __init__(self, client: AwsClient, payloads: PayloadStore | None, *, lease: int, pulled: Counter[str]) -> None:
        self._client = client
        self._payloads = payloads
        self._lease = lease
        self._pulled = pulled
        self._doubtful = True

    def __repr__(self) -> str:
        return f"<Bodies in {self._payloads}>"

    async def read(
        self, natives: Sequence[Mapping[str, Any]], reading: Reading
    ) -> tuple[Mapping[str, Body], Outage | None]:
        """Read the bodies of received messages, by message id.

        Raises:
            AccessDenied: AWS does not know the caller.
        """
        pointers = find_pointers(natives, reading)
        if not pointers:
            return {}, None
        under_way = asyncio.gather(*(read_body(self._payloads, pointer) for pointer in pointers.values()))
        try:
            while not (await asyncio.wait([under_way], timeout=self._lease / 3))[0]:
                await self._hide(natives, reading, self._lease)
        finally:
            under_way.cancel()  # which does nothing where it is done
        found = dict(zip(pointers, under_way.result(), strict=True))
        if any(body.content is not None for body in found.values()):
            self._doubtful = False
        for body in found.values():
            if isinstance(body.error, BadCredentials):
                await self._hide(natives, reading, 0)
                raise body.error
        return found, await self._put_off(natives, found, reading)

    async def _put_off(
        self, natives: Sequence[Mapping[str, Any]], bodies: Mapping[str, Body], reading: Reading
    ) -> Outage | None:
        """Have those wait in the queue whose bodies S3 does not give yet, and what follows them in their FIFO groups."""
        error: ConnectionLost | None = None
        waits: dict[int, list[Mapping[str, Any]]] = {}
        groups: set[str] = set()
        for native in natives:
            id: str = native["MessageId"]
            group = native.get("Attributes", {}).get("MessageGroupId") if reading.fifo else None
            failed = bodies[id].error if id in bodies else None
            if isinstance(failed, ConnectionLost):
                error = failed
            elif isinstance(failed, AccessDenied) and self._doubtful:
                error = ConnectionLost(f"{failed}; no body could be read yet, so the message waits in its queue")
            elif group not in groups:
                continue
            if group is not None:
                groups.add(group)
            wait = min(_FIRST_PAUSE << min(self._pulled[id], 8), _LONGEST_PAUSE)
            waits.setdefault(wait, []).append(native)
        for wait, some in waits.items():
            await self._hide(some, reading, wait)
        if error is None:
            return None
        return Outage(error, frozenset(native["MessageId"] for some in waits.values() for native in some))

    async def _hide(self, natives: Sequence[Mapping[str, Any]], reading: Reading, seconds: int) -> None:
        """Set the visibility of messages that the core does not have yet. Without success their lease goes on."""
        entries = [
            {"Id": str(number), "ReceiptHandle": native["ReceiptHandle"], "VisibilityTimeout": seconds}
            for number, native in enumerate(natives)
        ]
        try:
            await self._client.call("change_message_visibility_batch", QueueUrl=reading.url, Entries=entries)
        except BrokerkitError as error:
            logger.debug("%r: %d messages keep their visibility: %s", self, len(natives), error)


def find_pointers(natives: Sequence[Mapping[str, Any]], reading: Reading) -> dict[str, Pointer]:
    """The pointers among received messages, by message id."""
    found: dict[str, Pointer] = {}
    for native in natives:
        if (pointer := find_pointer(native, envelope=reading.envelope)) is not None:
            found[native["MessageId"]] = pointer
    return found


async def read_body(payloads: PayloadStore | None, pointer: Pointer) -> Body:
    """Read one body. Does not raise."""
    if payloads is None:
        text = f"the body is in S3, at {pointer.address}: set large_payloads = 's3://{pointer.bucket}' to read it"
        return Body(error=ConfigError(text))
    if not payloads.owns(pointer):
        return Body(
            error=ConfigError(f"the body is at {pointer.address}, and brokerkit reads only objects below {payloads!r}")
        )
    try:
        return Body(content=await payloads.get(pointer))
    except (BadCredentials, ConnectionLost) as error:
        return Body(error=error)
    except AccessDenied as error:
        text = f"{error} (without s3:ListBucket a missing object looks the same)"
        return Body(error=AccessDenied(text))
    except BrokerkitError as error:
        return Body(error=BrokerkitError(f"the body at {pointer.address} cannot be read: {error}"))
