"""Publishes to RabbitMQ: confirmed, persistent, mandatory and pipelined."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
)
from aiormq.exceptions import (
    PublishError as Returned,
)

from brokerkit.adapters.api import (
    BrokerkitError,
    Closed,
    ConnectionLost,
    InvalidMessage,
    MessageTooLarge,
    NotFound,
    PublishError,
    Unroutable,
    get_logger,
    start,
)
from brokerkit.adapters.rabbitmq._codec import encode_body, encode_header, encode_publish
from brokerkit.adapters.rabbitmq._confirmations import Batch, Confirmation
from brokerkit.adapters.rabbitmq._link import CLOSE_TIMEOUT, Link, discard
from brokerkit.adapters.rabbitmq._wire import AddressedMessage

logger = get_logger(__name__)

CONFIRM_TIMEOUT: Final = 30.0
"""After this many seconds without a single confirmation, a batch is given up, and its connection is closed."""

_WRITE: Final = 64 * 1024
"""Bytes that are written at once. A write for each message would cost as much as all the rest of it."""

_TOO_LARGE: Final = re.compile(r"message size \d+ is larger than configured max size (\d+)")


class Publisher:
    """One connection, and a channel for each exchange.

    A refusal (no such exchange, no right, too large) closes its channel and fails everything under way there. With a channel
    for each exchange, a wrong topic never harms another topic. After a lost connection, the next `send` connects again.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._connection: AbstractConnection | None = None
        self._channels: dict[str, Channel] = {}
        self._opening = asyncio.Lock()
        self._in_flight: dict[str, Confirmation] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._body_limit: int | None = None
        self._closed = False

    async def connection(self) -> AbstractConnection:
        """Return the connection. Connect if there is none.

        Raises:
            BrokerkitError: the broker cannot be reached, or refuses.
        """
        async with self._opening:
            if self._closed:
                raise Closed(f"{self._link.url}: the publisher is closed")
            transport = None if self._connection is None else self._connection.transport
            if self._connection is None or transport is None or transport.connection.is_closed:
                await self._drop()
                self._connection = await self._link.connect()
            return self._connection

    async def send(self, messages: Sequence[AddressedMessage]) -> list[BrokerkitError | None]:
        """Publish, wait for the confirmations, and give one result for each message: None if the broker has it.

        Cancelled, it gives up its connection: the broker may be frozen, or have stopped to read from it (its memory or disk
        is full), and a second try must not meet late confirmations on the same channel.
        """
        under_way: dict[Confirmation, int] = {}
        try:
            return await self._send(messages, under_way)
        except asyncio.CancelledError:
            for confirmation in under_way:
                confirmation.give_up()
            self._abandon()
            raise
        finally:
            for confirmation in under_way:
                if self._in_flight.get(confirmation.id) is confirmation:
                    del self._in_flight[confirmation.id]

    async def _send(
        self, messages: Sequence[AddressedMessage], under_way: dict[Confirmation, int]
    ) -> list[BrokerkitError | None]:
        results: list[BrokerkitError | None] = [None] * len(messages)
        channels = await self._open_channels({message.exchange for message in messages})
        with ExitStack() as stack:
            batches = {
                exchange: stack.enter_context(Batch(channel))
                for exchange, channel in channels.items()
                if not isinstance(channel, BrokerkitError)
            }
            for index, message in enumerate(messages):
                try:
                    channel = channels[message.exchange]
                    if isinstance(channel, BrokerkitError):
                        raise channel
                    frames = self._encode(message, channel)
                except BrokerkitError as error:
                    results[index] = error
                    continue
                name = message.properties.message_id or ""
                # The client tells returned messages apart by their id: two of one id must not be under way at once.
                while (earlier := self._in_flight.get(name)) is not None and not earlier.done():
                    for batch in batches.values():
                        await batch.write()
                    await asyncio.wait([earlier])
                batch = batches[message.exchange]
                confirmation = self._in_flight[name] = batch.add(name, frames)
                under_way[confirmation] = index
                if batch.size >= _WRITE:
                    await batch.write()
            for batch in batches.values():
                await batch.write()
            await self._wait(set(under_way))
        for confirmation, index in under_way.items():
            results[index] = self._result(messages[index], confirmation)
        return results

    async def close(self) -> None:
        """Wait for what is under way, and disconnect. Does not raise; may be called twice."""
        self._closed = True
        try:
            if self._in_flight:
                await asyncio.wait(self._in_flight.values(), timeout=CLOSE_TIMEOUT)
        finally:
            await self._drop()
            if self._ending:
                await asyncio.wait(self._ending)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._connection is None else "connected"
        return f"<Publisher {self._link.url}: {state}, {len(self._in_flight)} unconfirmed>"

    async def _open_channels(self, exchanges: set[str]) -> dict[str, Channel | BrokerkitError]:
        """A channel for each exchange, or why there is none; one try for all messages, because a try may take long."""
        channels: dict[str, Channel | BrokerkitError] = {}
        for exchange in exchanges:
            try:
                channels[exchange] = await self._channel(exchange)
            except BrokerkitError as error:
                channels[exchange] = error
        return channels

    async def _channel(self, exchange: str) -> Channel:
        channel = self._channels.get(exchange)
        if channel is None or channel.is_closed:
            connection = await self.connection()
            async with self._opening:
                channel = self._channels.get(exchange)
                if channel is None or channel.is_closed:
                    with self._link.translated("open a channel"):
                        channel = self._channels[exchange] = await self._link.channel(connection)
        return channel

    def _encode(self, message: AddressedMessage, channel: Channel) -> list[bytes]:
        """The frames of a message. Refuse what would cost the channel or the connection, as far as the limits are known."""
        if self._body_limit is not None and len(message.body) > self._body_limit:
            raise self._too_large(len(message.body), self._body_limit)
        properties = message.properties
        if not properties.message_id:
            properties.message_id = uuid.uuid4().hex
        try:
            publish = encode_publish(channel.number, message.exchange, message.routing_key)
            header = encode_header(channel.number, properties, len(message.body))
        except (TypeError, ValueError) as error:
            raise InvalidMessage(f"a message cannot be put on AMQP's wire: {error}") from error
        limit = channel.connection.connection_tune.frame_max
        # Bodies are cut into frames, headers must fit into one.
        if limit and len(header) > limit:
            raise MessageTooLarge(size=len(header), limit=limit, what=f"a header frame of {self._link.url}")
        return [publish, header, *encode_body(channel.number, message.body, channel.max_content_size)]

    def _result(self, message: AddressedMessage, confirmation: Confirmation) -> BrokerkitError | None:
        if confirmation.cancelled():
            return self._explain_unconfirmed()
        match confirmation.exception():
            case None:
                return None
            case Returned() as error:
                return self._chain(error, self._explain_returned(message))
            case DeliveryError() as error:
                where = message.exchange or message.routing_key
                return self._chain(error, PublishError(f"{self._link.url}: {where!r} refused the message ({error})"))
            case error:
                return self._chain(error, self._explain_failure(message, error))

    @staticmethod
    def _chain(cause: BaseException, error: BrokerkitError) -> BrokerkitError:
        error.__cause__ = cause
        return error

    def _explain_returned(self, message: AddressedMessage) -> BrokerkitError:
        if not message.exchange:
            return NotFound(f"{self._link.url}: there is no queue {message.routing_key!r}")
        return Unroutable(
            f"{self._link.url}: no queue is bound to exchange {message.exchange!r} for routing key {message.routing_key!r}; "
            "start a group first, or bind a queue"
        )

    def _explain_failure(self, message: AddressedMessage, error: BaseException) -> BrokerkitError:
        match error:
            case ChannelNotFoundEntity() | ChannelAccessRefused():
                return self._link.error(error, f"publish to {message.exchange!r}")
            case ChannelPreconditionFailed() if found := _TOO_LARGE.search(str(error)):
                self._body_limit = int(found[1])
                if len(message.body) > self._body_limit:
                    return self._too_large(len(message.body), self._body_limit)
            case _:
                pass
        return ConnectionLost(
            f"{self._link.url}: the channel closed before a message to {message.exchange or message.routing_key!r} was "
            f"confirmed ({error}): the broker may or may not have it"
        )

    def _too_large(self, size: int, limit: int) -> MessageTooLarge:
        return MessageTooLarge(size=size, limit=limit, what=str(self._link.url))

    def _explain_unconfirmed(self) -> ConnectionLost:
        return ConnectionLost(
            f"{self._link.url}: no confirmation within {CONFIRM_TIMEOUT:g} s: the broker may or may not have the message"
        )

    async def _wait(self, under_way: set[Confirmation]) -> None:
        """Wait for confirmations as long as some of them come; then give up those that are left."""
        while under_way:
            before = len(under_way)
            _, under_way = await asyncio.wait(under_way, timeout=CONFIRM_TIMEOUT)
            if len(under_way) == before:
                for confirmation in under_way:
                    confirmation.cancel()
                # They may still come, and a second try must not meet them on the same channel.
                async with self._opening:
                    await self._drop()
                return

    def _abandon(self) -> None:
        """Let go of the connection without waiting for its end."""
        connection, self._connection = self._connection, None
        self._channels.clear()
        if connection is not None:
            ending = start(discard(connection), lambda error: logger.debug("%r: %s", self, error))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._channels.clear()
        if connection is not None:
            await discard(connection)
