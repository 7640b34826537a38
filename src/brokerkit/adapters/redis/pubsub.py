"""Redis Pub/Sub: ``redis+pubsub://`` and ``rediss+pubsub://``, ``redis+cluster+pubsub://`` and ``redis+sentinel+pubsub://``.

URL and options
    ``redis+pubsub://[user:password@]host[:6379]``. ``rediss+pubsub://`` is the same over TLS.
    ``redis+cluster+pubsub://host1,host2`` is a cluster, and ``redis+sentinel+pubsub://host1,host2/NAME`` a primary
    that Sentinels name; docs/redis-cluster.md is about both. Options are the keyword arguments of
    ``redis.asyncio.Redis``. Channels do not belong to a database.

What a topic and a group become
    A topic is a channel. With ``*``, ``?`` or ``[`` in its name it is a pattern, and `Delivery.topic` is the channel that
    a message came through. There are no groups: every source gets everything. A group in the settings names only the
    channel ``{topic}.group.replay``, to which its sources listen for replays of dead letters.

Delivery
    At most once. Nothing is stored. Messages are lost if they are published while nobody listens, while the connection
    is lost, or faster than the handlers run. A source reads ahead into a buffer of ``max_in_flight`` messages and drops
    what does not fit, because Redis disconnects a subscriber that reads slowly. Both kinds of loss are counted in the
    source's repr and logged. `Receipt.receivers` says how many subscribers got a message. It is not an error if there
    were none.

Order
    As published, on one connection.

Limits and escaping
    brokerkit publishes the body alone, as any subscriber expects it. So the format must have the event's name in the
    body. A key, an id or headers from the publisher are refused. With ``envelope="brokerkit"`` they are sent, in a form
    that only brokerkit reads (`brokerkit.adapters.redis._wire`). Retries, dead letters and replays always have an
    envelope. Sources read both forms. A message has at most ``proto-max-bulk-len`` bytes (512 MiB by default), including
    an envelope. A message that cannot be decoded becomes a dead letter.

Native access
    `Message.native` is Redis's own push: ``[b"message", channel, payload]`` or ``[b"pmessage", pattern, channel, payload]``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from brokerkit.adapters.api import (
    BrokerkitError,
    Capabilities,
    Connection,
    ConnectionLost,
    Cursor,
    Delivery,
    Lost,
    Outcome,
    Outgoing,
    Receipt,
    RetryLater,
    Settled,
    Subscription,
    Unroutable,
    UnsupportedFeature,
    browse_source,
    browse_subscription,
    derived_name,
    get_logger,
    start,
    wait_for_event,
)
from brokerkit.adapters.redis._client import NAME_STYLE, Client, Command, Line
from brokerkit.adapters.redis._connect import client_of
from brokerkit.adapters.redis._errors import publish_error, translate, translated
from brokerkit.adapters.redis._wire import OwnValueDelivery, ValueDelivery, plain, utf8, wrap

logger = get_logger(__name__)

CAPABILITIES: Final = Capabilities(
    broker="Redis Pub/Sub",
    at_least_once=False,
    confirmed_publish=False,
    groups="none",
    own_queues=True,
    dead_letters=False,
    max_in_flight=10_000,
    browse="new",
    browse_queue="new",
)

QUIET: Final = 10.0
"""Seconds of silence after which the connection is asked whether it is alive; after as many again it counts as lost.
A subscriber never writes, so a peer that vanished would look like a quiet channel for ever."""

_BREATH: Final = 256
"""Messages after which the reading task lets others run: reading what is buffered already never waits."""


class RedisPubSubAdapter:
    """One Redis server, its channels as topics."""

    def __init__(self, connection: Connection, /) -> None:
        # A replica accepts a PUBLISH without an error, but passes it to its own subscribers only.
        self._client = client_of(connection, primary=True)
        is_plain = connection.envelope == "plain"
        self._write = plain if is_plain else wrap
        self._promises = replace(CAPABILITIES, metadata=False) if is_plain else CAPABILITIES

    def capabilities(self, topic: str = "") -> Capabilities:
        return self._promises

    async def open(self) -> None:
        await self._client.open()

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        """Do nothing: a channel exists while somebody listens."""

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return await self._client.send(batch, self._command, self._result)

    def _command(self, outgoing: Outgoing) -> Command:
        return "PUBLISH", utf8(outgoing.topic, "the topic"), self._write(outgoing, self._client.bulk_limit)

    def _result(self, outgoing: Outgoing, answer: Any) -> Receipt | BrokerkitError:
        if answer == 0 and outgoing.is_queue:
            return Unroutable(
                f"{self._client.where}: nobody listens to {outgoing.topic!r}, so this replay would be lost"
            )
        if isinstance(answer, int):
            # A server of a cluster counts the subscribers that are connected to it, and tells all others.
            return Receipt(outgoing.topic, outgoing.id, receivers=None if self._client.spread else answer)
        return publish_error(answer, self._client.where, outgoing.topic)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, NAME_STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        return _own_channel(topic, group)

    def subscribe(self, subscription: Subscription, lost: Lost) -> RedisPubSubSource:
        return RedisPubSubSource(self._client, subscription)

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        if follow:
            async with aclosing(browse_source(RedisPubSubSource(self._client, browse_subscription(topics)))) as found:
                async for delivery in found:
                    yield delivery

    def cursor(self, queue: str) -> Cursor:
        raise UnsupportedFeature(
            broker="Redis Pub/Sub",
            feature="storing dead letters",
            alternative="name a file or another broker in dead_letter",
        )

    async def close(self) -> None:
        await self._client.close()

    def __repr__(self) -> str:
        return f"<RedisPubSubAdapter on {self._client!r}>"


def _own_channel(topic: str, group: str | None) -> str:
    """The channel of replays for one group."""
    return derived_name(topic, group, "replay", NAME_STYLE)


class RedisPubSubSource:
    """One connection that listens to channels and patterns.

    Attributes:
        dropped: messages that did not fit into the buffer, or that the core wanted again.
        gaps: how often the connection was away, with an unknown number of messages.
    """

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._client = client
        self._subscription = subscription
        self._line = client.line(None, subscription.topics[0])
        topics = () if subscription.broadcast else subscription.topics
        self._own = {_own_channel(topic, subscription.group).encode(): topic for topic in topics}
        self._buffer: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._broken: BrokerkitError | None = None
        self._primary: bytes | None = None
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
                    self._primary = await _primary(self._line)
                    await self._listen(channels, patterns)
                    await self._listen_for_replays()
        except BaseException:
            await self._line.close()
            raise
        self._broken = None
        self._asked = False
        self._reader = start(self._read(), self._break, name=f"brokerkit-pubsub-{topics[0]}")

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

    async def _listen_for_replays(self) -> None:
        try:
            await self._listen([channel.decode() for channel in self._own], [])
        except NoPermissionError as error:
            logger.info("%s: replays cannot be received: %s", self._client.where, error)
            # One error came for all of these channels; nothing else is confirmed.

    async def _read(self) -> None:
        """Read as fast as Redis sends, because Redis disconnects a slow subscriber."""
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

    def _break(self, error: BaseException) -> None:
        self._broken = BrokerkitError(f"{self._client.where}: listening failed: {type(error).__name__}")
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
                logger.warning(
                    "%s: messages come faster than they are handled; dropping those beyond %d (%d dropped so far)",
                    *(self._client.where, self._subscription.max_in_flight, self.dropped),
                )
            return
        if (own := self._own.get(push[-2])) is not None:
            self._buffer.append(OwnValueDelivery(push[-1], own, push, None))
        else:
            self._buffer.append(ValueDelivery(push[-1], push[-2].decode(errors="backslashreplace"), push, None))
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
            logger.warning("%s: the subscription broke; messages are lost until it is back", self._client.where)
            broken, self._broken = self._broken, None
            await self._hang_up()
            raise broken

    async def _hear(self) -> None:
        if not await wait_for_event(self._news, QUIET):
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
            return
        if await self._has_moved():
            self._broken = ConnectionLost(f"{self._client.where}: the address leads to another primary now")

    async def _has_moved(self) -> bool:
        """Whether the address now leads to another primary than the one that we listen to, which may have become a
        replica without a link. A source that listens to a replica on purpose stays there.
        """
        if self._primary is None:
            return False
        line = self._client.line(QUIET, self._subscription.topics[0])
        try:
            async with asyncio.timeout(QUIET):
                await line.connect()
                return await _primary(line) not in (None, self._primary)
        except (RedisError, OSError):  # a timeout among them: what is listened to may be well
            return False
        finally:
            await line.close()

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
            logger.warning(
                "%s: %d messages that were to be retried later are dropped, because nothing stores them",
                self._client.where,
                again,
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


async def _primary(line: Line) -> bytes | None:
    """The id of the server that a connection leads to; None if it is not a primary, or the user may not ask."""
    try:
        role = await line.call("ROLE")
        about: bytes = await line.call("INFO", "server")
    except ResponseError:
        return None
    ids = [row.removeprefix(b"run_id:") for row in about.split(b"\r\n") if row.startswith(b"run_id:")]
    return ids[0] if ids and role[0] == b"master" else None
