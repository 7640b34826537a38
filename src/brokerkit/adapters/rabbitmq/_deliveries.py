"""Puts the frames of deliveries together, and hands each message over as soon as it is complete.

aiormq sends each frame through a queue to a task of its channel, which makes a task for each message: more than half
of what a message costs. Nothing is awaited here, so neither is needed. What a consumer gets is in the order of the broker.
"""

from __future__ import annotations

from collections.abc import Callable

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import InvalidFrameError
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

Arrived = Callable[[DeliveredMessage], None]
"""Takes a message. It must neither raise nor take long: the connection is not read meanwhile."""


class Deliveries:
    """The deliveries of one connection to the consumers that were added here.

    Raises:
        InvalidFrameError: a message is not complete, and another frame comes.
    """

    __slots__ = ("_arriving", "_consumers")

    def __init__(self) -> None:
        # By the number of a channel and a consumer's tag.
        self._consumers: dict[tuple[int, str | None], tuple[Channel, Arrived]] = {}
        # By the number of a channel: the message that has begun there.
        self._arriving: dict[int, _Arriving] = {}

    def add(self, channel: Channel, tag: str, arrived: Arrived) -> None:
        """Hand over what comes for this consumer from now on."""
        self._consumers[channel.number, tag] = channel, arrived

    def take(self, number: int, frame: object) -> bool:
        """Take a frame of channel ``number`` if it belongs to such a delivery. False if it is for aiormq."""
        arriving = self._arriving.get(number)
        if arriving is None:
            if not isinstance(frame, Basic.Deliver):
                return False
            consumer = self._consumers.get((number, frame.consumer_tag))
            if consumer is None or consumer[0].is_closed:
                return False
            self._arriving[number] = _Arriving(*consumer, frame)
            return True
        if isinstance(frame, ContentBody) and arriving.header is not None:
            arriving.parts.append(frame.value)
            arriving.missing -= len(frame.value)
        elif isinstance(frame, ContentHeader) and arriving.header is None:
            arriving.header, arriving.missing = frame, frame.body_size
        else:
            raise InvalidFrameError(f"{type(frame).__name__} came in the middle of a message")
        if arriving.missing <= 0:
            del self._arriving[number]
            body = arriving.parts[0] if len(arriving.parts) == 1 else b"".join(arriving.parts)
            arriving.arrived(DeliveredMessage(arriving.frame, arriving.header, body, arriving.channel))
        return True


class _Arriving:
    """A message of which not all frames have come."""

    __slots__ = ("arrived", "channel", "frame", "header", "missing", "parts")

    def __init__(self, channel: Channel, arrived: Arrived, frame: Basic.Deliver) -> None:
        self.channel = channel
        self.arrived = arrived
        self.frame = frame
        self.header: ContentHeader | None = None
        self.parts: list[bytes] = []
        self.missing = 0
