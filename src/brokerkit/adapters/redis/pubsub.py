"""Redis Pub/Sub: ``redis+pubsub://`` and ``rediss+pubsub://``.

URL and options
    ``redis+pubsub://[user:password@]host[:6379]``; ``rediss+pubsub://`` is the same over TLS. Options are the keyword
    arguments of ``redis.asyncio.Redis``. Channels know no databases.

What a topic and a group become
    A topic is a channel, or a pattern where it holds ``*``, ``?`` or ``[``; `Delivery.topic` is the channel a message
    came through. There are no groups: every source gets everything, and a group in the settings changes nothing.

Delivery
    At most once. Nothing is stored: what is published while nobody listens, while a connection is away, or faster than
    the handlers are, is gone. A source reads ahead into a buffer of ``max_in_flight`` messages and drops what does not
    fit, because Redis cuts off a subscriber that reads slowly. Both kinds of loss are counted in the source's repr and
    logged. `Receipt.receivers` tells how many subscribers got a message; none is no error.

Order
    As published, on one connection.

Limits and escaping
    A plain producer's payload is the body. brokerkit writes an envelope where a key, an id or headers travel with the
    body (`brokerkit.adapters.redis._wire`), which plain subscribers see as a prefix. A message has at most
    ``proto-max-bulk-len`` bytes (512 MiB by default), the envelope included.

Native access
    `Message.native` is Redis's own push: ``[b"message", channel, payload]`` or ``[b"pmessage", pattern, channel, payload]``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from redis.exceptions import RedisError

from brokerkit._derived import REDIS, derived_name
from brokerkit._errors import BrokerkitError, ConnectionLost
from brokerkit._message import Delivery, Outcome, Outgoing, Receipt, RetryLater, Settled
from brokerkit._transport import Capabilities, Connection, Lost, Subscription
from brokerkit.adapters._looking import followed, listening
from brokerkit.adapters.redis._client import Client, Command, publish_error, translate, translated
from brokerkit.adapters.redis._wire import unwrap, utf8, wrap

log = logging.getLogger("brokerkit.redis")

CAPABILITIES: Final = Capabilities(
    broker="Redis Pub/Sub",
    at_least_once=False,
    confirmed_publish=False,
    groups="none",
    dead_letters=False,
    max_in_flight=10_000,
    look="new",
    look_stored="new",
)

QUIET: Final = 10.0
"""Seconds of silence after which the connection is asked whether it is alive; after as many again it counts as lost.
A subscriber never writes, so that a peer that went away without a word would look like a quiet channel for ever."""

_BREATH: Final = 256
"""Messages after which the reading task lets others run: reading what is buffered already never waits."""


class RedisPubSubAdapter:
    """One Redis server, its channels as topics."""

    def __init__(self, connection: Connection, /) -> None:
        self._client = Client(connection)

    def capabilities(self, topic: str = "") -> Capabilities:
        return CAPABILITIES

    async def open(self) -> None:
        await self._client.open()

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        """Channels need no making: one exists while somebody listens."""

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return await self._client.send(batch, self._command, self._result)

    def _command(self, outgoing: Outgoing) -> Command:
        return "PUBLISH", utf8(outgoing.topic, "the topic"), wrap(outgoing, self._client.bulk_limit)

    def _result(self, outgoing: Outgoing, answer: Any) -> Receipt | BrokerkitError:
        if isinstance(answer, int):
            return Receipt(outgoing.topic, outgoing.id, receivers=answer)
        return publish_error(answer, self._client.where, outgoing.topic)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, REDIS)

    def subscribe(self, subscription: Subscription, lost: Lost) -> RedisPubSubSource:
        return RedisPubSubSource(self._client, subscription)

    async def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        if follow:
            async with aclosing(followed(RedisPubSubSource(self._client, listening(topics)))) as found:
                async for delivery in found:
                    yield delivery

    async def close(self) -> None:
        await self._client.close()

    def __repr__(self) -> str:
        return f"<RedisPubSubAdapter on {self._client!r}>"


class RedisPubSubSource:
    """One connection that listens to channels and patterns.

    Attributes:
        dropped: messages that did not fit into the buffer, or that the core wanted again.
        gaps: how often the connection was away, with an unknown number of messages.
    """

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._client = client
        self._subscription = subscription
        self._line = client.line(None)
        self._buffer: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._broken: BrokerkitError | None = None
        self._asked = False
        self._bursting = False
        self._stopping = False
        self.dropped = 0
        self.gaps = 0

    async def open(self) -> None:
        topics = self._subscription.topics
        patterns = [topic for topic in topics if not set("*?[").isdisjoint(topic)]
        channels = [topic for topic in topics if topic not in patterns]
        try:
            with translated(self._client.where, f"subscribing to {', '.join(topics)}"):
                async with asyncio.timeout(self._client.connect_timeout):
                    await self._line.connect()
                    await self._listen(channels, patterns)
        except BaseException:
            await self._line.close()
            raise
        self._broken = None
        self._asked = False
        self._reader = asyncio.create_task(self._read(), name=f"brokerkit-pubsub-{topics[0]}")

    async def _listen(self, channels: list[str], patterns: list[str]) -> None:
        for command, names in (("SUBSCRIBE", channels), ("PSUBSCRIBE", patterns)):
            if names:
                await self._line.write(command, *names)
        confirmed = 0
        while confirmed < len(channels) + len(patterns):
            # Messages of the first channel may come before the last one is confirmed.
            push = await self._line.read()
            if push[0] in (b"subscribe", b"psubscribe"):
                confirmed += 1
            else:
                self._keep(push)

    async def _read(self) -> None:
        """Read as fast as Redis sends, for Redis cuts off who does not."""
        read, keep = self._line.read, self._keep
        number = 0
        try:
            while True:
                keep(await read())
                number += 1
                if number % _BREATH == 0:
                    await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task; whatever ends it must reach `receive`.
            self._broken = translate(error, self._client.where, "listening")
            self._broken.__cause__ = error
            self._news.set()

    def _keep(self, push: Any) -> None:
        self._asked = False
        if push[0] not in (b"message", b"pmessage"):
            return  # The answer to a PING.
        if len(self._buffer) >= self._subscription.max_in_flight:
            self.dropped += 1
            if not self._bursting:
                self._bursting = True
                log.warning(
                    "%s: messages come faster than they are handled; dropping what is beyond %d (so far %d dropped)",
                    *(self._client.where, self._subscription.max_in_flight, self.dropped),
                )
            return
        body, key, id, headers = unwrap(push[-1])
        topic = push[-2].decode(errors="backslashreplace")
        self._buffer.append(Delivery(body, topic, key, headers, id, None, None, 0, push, None))
        self._news.set()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        buffer = self._buffer
        if not buffer:
            await self._wait()
        return [buffer.popleft() for _ in range(min(limit, len(buffer)))]

    async def _wait(self) -> None:
        """Wait for the first message, for `stop`, or for the connection to break.

        Raises:
            ConnectionLost: it broke. The next call subscribes again.
        """
        if self._stopping:
            return
        if self._broken is None:
            if self._reader is None:
                await self.open()
                return  # so that the core knows that the server is back
            self._bursting = False
            self._news.clear()
            if not self._buffer:
                await self._hear()
        if self._broken is not None and not self._buffer and not self._stopping:
            self.gaps += 1
            log.warning("%s: the subscription broke; what is published until it is back is lost", self._client.where)
            broken, self._broken = self._broken, None
            await self._hang_up()
            raise broken

    async def _hear(self) -> None:
        try:
            async with asyncio.timeout(QUIET):
                await self._news.wait()
        except TimeoutError:
            await self._ask()

    async def _ask(self) -> None:
        if self._asked:
            self._broken = ConnectionLost(f"{self._client.where}: no answer to a PING for {QUIET:g} s")
            return
        try:
            self._asked = True
            await self._line.write("PING")
        except (RedisError, OSError) as error:
            self._broken = translate(error, self._client.where, "listening")

    async def _hang_up(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        await self._line.close()

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        again = sum(isinstance(outcome, RetryLater) for _, outcome in pairs)
        if again:
            self.dropped += again
            log.warning(
                "%s: %d messages to be retried later are dropped: nothing stores them", self._client.where, again
            )
        return [Settled.DONE] * len(pairs)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        return [Settled.DONE] * len(deliveries)

    async def lag(self) -> int | None:
        return None

    async def stop(self) -> None:
        self._stopping = True
        self._news.set()
        await self._hang_up()

    async def close(self) -> None:
        await self.stop()
        self._buffer.clear()

    def __repr__(self) -> str:
        state = (
            "stopped"
            if self._stopping
            else "broken"
            if self._broken
            else "listening"
            if self._reader
            else "not connected"
        )
        counts = f"{len(self._buffer)} buffered, {self.dropped} dropped, {self.gaps} gaps"
        return f"<RedisPubSubSource {', '.join(self._subscription.topics)}: {state}, {counts}>"
