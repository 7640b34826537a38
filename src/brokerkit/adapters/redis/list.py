"""Redis lists: ``redis+list://`` and ``rediss+list://``, ``redis+cluster+list://`` and ``redis+sentinel+list://``.

URL and options
    ``redis+list://[user:password@]host[:6379][/database]``. ``rediss+list://`` is the same over TLS.
    ``redis+cluster+list://host1,host2`` is a cluster, and ``redis+sentinel+list://host1,host2/NAME`` a primary that
    Sentinels name; docs/redis-cluster.md is about both. Options are the keyword arguments of ``redis.asyncio.Redis``,
    and ``wait_replicas``: how many replicas must have a message before its publish is confirmed (0).

What a topic and a group become
    A topic is a list. brokerkit adds at the right (RPUSH) and takes from the left. With ``read_from="right"`` it adds
    at the left (LPUSH) and takes from the right. The list is its only group. Next to the list there are a sorted set of
    waiting retries, and a second list for due retries and replays. Each of the two lists has a set of its members, and
    for each member a processing list, a heartbeat key and a mark of its last acknowledgement. All these keys have the
    same hash tag. Redis keeps no empty lists, so a missing list is never an error.

Delivery
    At least once. A value moves into the member's processing list in one step, and is removed when it is acknowledged.
    The lease is the heartbeat key. When it expires, another member puts the whole processing list back to the end that
    is read, within seconds. `RetryLater` replaces the value by a copy in the sorted set, in one script. What is published
    for later waits in the sorted set ``{topic}-later`` until a reader moves it to the end that is read. Redis does not
    count deliveries, and a plain producer's value has no id. Only an id from the producer (``id_from``) tells
    duplicates apart.

Order
    As pushed with RPUSH. If the producer pushes with LPUSH (kombu, Resque and Sidekiq, php-enqueue, Yii), set
    ``read_from="right"``. Otherwise the newest value is taken first. Released values go back to the end that is
    read. `brokerkit inspect` says which end holds the older values, if the values show it.

Limits and escaping
    brokerkit publishes the body alone, as any consumer expects it. So the format must have the event's name in the body.
    A key, an id or headers from the publisher are refused. With ``envelope="brokerkit"`` they are sent, in a form that
    only brokerkit reads (`brokerkit.adapters.redis._wire`). Retries, dead letters and replays always have an envelope.
    Sources read both forms. A value has at most ``proto-max-bulk-len`` bytes (512 MiB by default), including an
    envelope. A value that cannot be decoded becomes a dead letter.

Native access
    `Message.native` is the value in the list, in bytes.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from brokerkit.adapters.api import (
    BrokerkitError,
    Capabilities,
    Connection,
    Delivery,
    Lost,
    Outgoing,
    ReadFrom,
    Receipt,
    Subscription,
    Unroutable,
    UnsupportedFeature,
    WaitingRetries,
    derived_name,
    refuse_to_follow,
)
from brokerkit.adapters.redis._browse import browse_lists
from brokerkit.adapters.redis._client import NAME_STYLE, Command
from brokerkit.adapters.redis._connect import client_of
from brokerkit.adapters.redis._cursor import ListCursor
from brokerkit.adapters.redis._errors import publish_error
from brokerkit.adapters.redis._list_source import UNIQUE, RedisListSource, check_lists
from brokerkit.adapters.redis._lists import List, later_set, own_list
from brokerkit.adapters.redis._stream import keep_back
from brokerkit.adapters.redis._waiting import count_retries
from brokerkit.adapters.redis._wire import plain, utf8, wrap

CAPABILITIES: Final = Capabilities(
    broker="Redis list",
    groups="one",
    lease=30.0,
    durable_retry=math.inf,
    own_queues=True,
    delays=math.inf,
    broadcast=False,
    browse="free",
    browse_queue="free",
)


class RedisListAdapter:
    """One Redis server, its lists as topics."""

    def __init__(self, connection: Connection, /) -> None:
        self._client = client_of(connection)
        self._end: ReadFrom = connection.read_from
        is_plain = connection.envelope == "plain"
        self._write = plain if is_plain else wrap
        self._promises = replace(CAPABILITIES, metadata=False) if is_plain else CAPABILITIES
        self._push = "RPUSH" if self._end == "left" else "LPUSH"

    def capabilities(self, topic: str = "") -> Capabilities:
        return self._promises

    async def open(self) -> None:
        await self._client.open()

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        await check_lists(self._client, topics)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return await self._client.send(batch, self._command, self._result)

    def _command(self, outgoing: Outgoing) -> Command:
        topic, value = utf8(outgoing.topic, "the topic"), self._write(outgoing, self._client.bulk_limit)
        if outgoing.due is not None:
            name, member = outgoing.topic, secrets.token_bytes(UNIQUE) + value
            return keep_back(name, later_set(name), outgoing.due, "list", member, create=True)
        return self._push, topic, value

    def _result(self, outgoing: Outgoing, answer: Any) -> Receipt | BrokerkitError:
        if not isinstance(answer, BaseException):
            return Receipt(outgoing.topic, outgoing.id)
        if str(answer).startswith("WRONGTYPE"):
            return Unroutable(f"{self._client.where}: the key {outgoing.topic!r} is not a list")
        return publish_error(answer, self._client.where, outgoing.topic)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, NAME_STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        return own_list(topic)

    def subscribe(self, subscription: Subscription, lost: Lost) -> RedisListSource:
        if subscription.broadcast:
            raise UnsupportedFeature(
                broker="Redis list",
                feature="a broadcast source: a value is taken once",
                alternative="use redis:// (streams) or redis+pubsub://",
            )
        return RedisListSource(self._client, subscription, self._end)

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        if follow:
            raise refuse_to_follow("Redis list", "use redis:// (streams) or redis+pubsub://")
        await check_lists(self._client, topics)
        async with aclosing(browse_lists(self._client, topics if past else (), self._end)) as found:
            async for delivery in found:
                yield delivery

    async def waiting_retries(self, subscription: Subscription) -> list[WaitingRetries]:
        return await count_retries(self._client, [List(topic).waiting for topic in subscription.topics])

    def cursor(self, queue: str) -> ListCursor:
        return ListCursor(self._client, queue, List(queue), self._end)

    async def close(self) -> None:
        await self._client.close()

    def __repr__(self) -> str:
        return f"<RedisListAdapter on {self._client!r}>"
