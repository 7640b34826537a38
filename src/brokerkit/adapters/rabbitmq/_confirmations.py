"""Writes many messages to a channel at once, with a confirmation for each.

aiormq's `basic_publish` takes a task, a lock, several futures and a write for each message. Here it is one future for each,
which aiormq completes as its own.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError

from brokerkit.adapters.api import guarded
from brokerkit.adapters.rabbitmq._link import while_open


class Confirmation(asyncio.Future[Any]):
    """The broker's answer to one message, or the error that prevents it.

    Attributes:
        id: of the message. A returned message is found by it.
        tag: its number on the channel; 0 until it is written.
    """

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self.id = message_id
        self.tag = 0

    def give_up(self) -> None:
        """Cancel it if it is not done. Nobody asks for its error."""
        if not self.cancel() and not self.cancelled():
            self.exception()


class Batch:
    """Messages to one channel, to which nobody writes in another way. When the channel ends, their confirmations fail."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._frames: list[bytes] = []
        self._unwritten: list[Confirmation] = []
        self._written: list[Confirmation] = []
        self.size = 0

    def add(self, message_id: str, frames: list[bytes]) -> Confirmation:
        """Add a message, which `write` sends."""
        confirmation = Confirmation(message_id)
        self._frames += frames
        self._unwritten.append(confirmation)
        self.size += sum(map(len, frames))
        return confirmation

    async def write(self) -> None:
        """Write what was added. Does not raise: the confirmations fail if the channel has ended."""
        if not self._unwritten:
            return
        frames, self._frames, self.size = b"".join(self._frames), [], 0
        messages, self._unwritten = self._unwritten, []
        try:
            if self._channel.is_closed:
                raise ChannelInvalidStateError("the channel ended before a message was written")
            await while_open(self._channel, self._put(frames, messages))
        except ChannelInvalidStateError as error:
            _fail(messages, error)
        if self._closing.done():  # perhaps before these messages were noted
            self._ended(self._closing)

    async def _put(self, frames: bytes, messages: list[Confirmation]) -> None:
        channel: Any = self._channel
        await channel.write_queue.put(ChannelFrame(payload=frames, should_close=False))
        # Nothing is awaited between that and this, so no answer can come before.
        for confirmation in messages:
            channel.delivery_tag += 1
            confirmation.tag = channel.delivery_tag
            channel.confirmations[confirmation.tag] = confirmation
            channel.message_id_delivery_tag[confirmation.id] = confirmation.tag
        self._written += messages

    def __enter__(self) -> Self:
        self._closing: asyncio.Future[Any] = self._channel.closing  # pyright: ignore[reportUnknownMemberType]
        self._closing.add_done_callback(guarded(self._ended, lambda error: _fail(self._written, error)))
        return self

    def __exit__(self, *_: object) -> None:
        written, self._written = self._written, []
        self._closing.cancel()  # It is an observer: the channel stays open.
        tags = self._channel.message_id_delivery_tag
        for confirmation in written:
            # Another message of this id may be under way by now, and would not be found when it is returned.
            if tags.get(confirmation.id) == confirmation.tag:
                del tags[confirmation.id]

    def _ended(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        _fail(self._written, error or ChannelInvalidStateError("the channel ended"))


def _fail(messages: list[Confirmation], error: BaseException) -> None:
    for confirmation in messages:
        if not confirmation.done():
            confirmation.set_exception(error)
