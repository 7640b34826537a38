"""Redis Streams: ``redis://`` and ``rediss://``, ``redis+cluster://`` and ``redis+sentinel://``.

URL and options
    ``redis://[user:password@]host[:6379][/database]``. ``rediss://`` is the same over TLS.
    ``redis+cluster://host1,host2`` is a cluster, and ``redis+sentinel://host1,host2/NAME`` a primary that Sentinels
    name; docs/redis-cluster.md is about both. Options are the keyword arguments of ``redis.asyncio.Redis``
    (``socket_timeout=10``, ``ssl_ca_certs=...``, ``client_name=...``), except the few that brokerkit sets itself, and two
    of its own. ``wait_replicas``: how many replicas must have a message before its publish is confirmed (0).
    ``keep_settled``: how many entries stay at least when a source trims what all groups have settled, or ``all`` to trim
    nothing; without it, 100000 where ``provision="all"``, else ``all``. Redis 6.2 or later is needed, 7.0 for the
    lag. docs/rights.md has the ACL rules that each role needs.

What a topic and a group become
    A topic is a stream, and a group is a consumer group. Each source is a consumer with its own name. With
    ``provision="group"`` the stream must exist (Redis creates one with the first XADD); ``"all"`` creates an empty one.
    For each group there is also a stream of due retries and a sorted set of retries that wait, named like its dead
    letters. A broadcast group is destroyed at close. After a crash it stays, and you must run ``XGROUP DESTROY``.

Delivery
    At least once. An entry stays with its consumer until XACK. The lease is its idle time: extending resets it. Every
    few seconds each member claims entries that have been idle for a lease. `RetryLater` puts a copy into the sorted set
    and acknowledges the original, in one script. The hash ``{topic}.group.starts`` counts the starts of messages that
    run alone after too many deliveries. What is published for later waits in the sorted set ``{topic}.all.later``; a member
    of any group moves it into the stream within half a second of its time. Without ``+hincrby +hdel +expire`` a crash
    loop does not end. A stream that vanishes is created again, with a warning. An entry that is trimmed or deleted
    while a member has it stays with that member. If it fails, or is released, a copy of it is kept for the group.
    Only what every group of a stream has settled is ever trimmed, from the front; see ``keep_settled``.
    One source reads a thousand topics over the same two connections, and checks the retries of all of them with a few
    commands a second.

Order
    In stream order within one process. Members of a group get entries as they ask for them, so there is no order across
    members.

Limits and escaping
    A value has at most ``proto-max-bulk-len`` bytes (512 MiB by default). The body is the field ``body_field``. Every
    other field is a header. A header with the name of the body field is written as ``bk-h-<name>``. An entry without the
    body field has no body: it becomes a dead letter, with all its fields as headers. So does an entry that cannot be
    decoded.

    With ``body_field="*"`` all fields are the event (``XADD s * type paid id 2``): the body is a JSON object of text, for
    Redis knows no other values. Published events are written in this form too. Numbers, lists and other JSON lie in
    fields as JSON, and a field ``bk-json`` names these, so that brokerkit reads what it has written. A body that is no
    JSON object lies in the field ``bk-body``, and headers in ``bk-h-<name>``. An entry with a field that is not UTF-8
    becomes a dead letter. Retries and dead letters keep all fields.

Native access
    `Message.native` is ``(stream, entry id, fields)``: bytes, and a flat list of names and values.
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
    ConfigError,
    Connection,
    Delivery,
    Lost,
    Outgoing,
    Receipt,
    SeekPlan,
    SeekTo,
    Subscription,
    Unroutable,
    UnsupportedFeature,
    WaitingRetries,
    derived_name,
)
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._browse import browse_streams
from brokerkit.adapters.redis._client import NAME_STYLE, Command
from brokerkit.adapters.redis._connect import client_of
from brokerkit.adapters.redis._cursor import StreamCursor
from brokerkit.adapters.redis._errors import publish_error, translated
from brokerkit.adapters.redis._flat_entries import FlatEntries
from brokerkit.adapters.redis._seek import move_ids, plan_ids
from brokerkit.adapters.redis._stream import DEFAULT_GROUP, keep_back, later_set, missing_stream, waiting_set
from brokerkit.adapters.redis._stream_source import RedisStreamsSource
from brokerkit.adapters.redis._trimming import Kept, kept_of
from brokerkit.adapters.redis._waiting import count_retries
from brokerkit.adapters.redis._wire import Entries, EntryFormat, utf8

CAPABILITIES: Final = Capabilities(
    broker="Redis Streams",
    needs_group=True,
    attempts="deliveries",
    lease=30.0,
    durable_retry=math.inf,
    own_queues=True,
    delays=math.inf,
    stable_id=True,
    browse="free",
    browse_queue="free",
)


class RedisStreamsAdapter:
    """One Redis server, its streams as topics."""

    def __init__(self, connection: Connection, /) -> None:
        field = connection.body_field
        if not field or field.startswith("bk-"):
            raise ConfigError(
                f"{connection.url}: body_field must be a name that does not begin with bk-, got {field!r}"
            )
        options = dict(connection.options)
        self._kept: Kept = kept_of(connection.url, options.pop("keep_settled", None))
        self._client = client_of(replace(connection, options=options))
        self._format: Entries = FlatEntries() if field == "*" else EntryFormat(field)
        self._creatable: set[str] = set()

    def capabilities(self, topic: str = "") -> Capabilities:
        return CAPABILITIES

    async def open(self) -> None:
        await self._client.open()

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        for topic in topics:
            with translated(self._client.where, f"looking for the stream {topic!r}"):
                kind = await self._client.call("TYPE", topic)
                if kind == b"none" and create:
                    await self._client.call("EVAL", scripts.CREATE_STREAM, 1, topic)
            if kind == b"none" and not create:
                raise missing_stream(self._client, topic)
            if kind not in (b"none", b"stream"):
                raise UnsupportedFeature(
                    broker="Redis Streams",
                    feature=f"a topic {topic!r} whose key holds a {kind.decode()}",
                    alternative="use another topic, or redis+list:// for a list",
                )
            if create:
                self._creatable.add(topic)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return await self._client.send(batch, self._command, self._result)

    def _command(self, outgoing: Outgoing) -> Command:
        fields = self._format.fields(outgoing, self._client.bulk_limit)
        topic = utf8(outgoing.topic, "the topic")
        if outgoing.due is not None:
            name, member = outgoing.topic, (secrets.token_bytes(8), *fields)
            return keep_back(name, later_set(name), outgoing.due, "stream", *member, create=name in self._creatable)
        # Redis would make a stream of a misspelt topic. What may be created was said by `ensure`.
        if outgoing.is_queue or outgoing.topic in self._creatable:
            return "XADD", topic, "*", *fields
        return "XADD", topic, "NOMKSTREAM", "*", *fields

    def _result(self, outgoing: Outgoing, answer: Any) -> Receipt | BrokerkitError:
        if isinstance(answer, bytes):
            return Receipt(outgoing.topic, outgoing.id, answer.decode())
        if answer is None:
            return missing_stream(self._client, outgoing.topic)
        if isinstance(answer, int):
            return Receipt(outgoing.topic, outgoing.id)
        if str(answer).startswith("WRONGTYPE"):
            return Unroutable(f"{self._client.where}: the key {outgoing.topic!r} is not a stream")
        return publish_error(answer, self._client.where, outgoing.topic)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, NAME_STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        if is_queue:
            return topic
        if group is None:
            raise ConfigError(f"{self._client.where}: Redis Streams reads through a group; name one")
        stream = self.derived(topic, group, "retry")
        await self.ensure([stream], is_queue=True, create=create)
        return stream

    def subscribe(self, subscription: Subscription, lost: Lost) -> RedisStreamsSource:
        if not (subscription.group or subscription.broadcast or subscription.is_queue):
            raise ConfigError(f"{self._client.where}: Redis Streams reads through a group; name one")
        return RedisStreamsSource(self._client, self._format, subscription, self._kept)

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        await self.ensure(topics, is_queue=is_queue, create=False)
        async with aclosing(browse_streams(self._client, self._format, topics, past=past, follow=follow)) as found:
            async for delivery in found:
                yield delivery

    async def waiting_retries(self, subscription: Subscription) -> list[WaitingRetries]:
        group = subscription.group or DEFAULT_GROUP
        return await count_retries(self._client, [waiting_set(topic, group) for topic in subscription.topics])

    def cursor(self, queue: str) -> StreamCursor:
        return StreamCursor(self._client, self._format, queue)

    async def plan_seek(self, topics: Sequence[str], group: str, to: SeekTo) -> SeekPlan:
        return await plan_ids(self._client, topics, group, to)

    async def seek(self, group: str, plan: SeekPlan) -> None:
        await move_ids(self._client, group, plan)

    async def close(self) -> None:
        await self._client.close()

    def __repr__(self) -> str:
        return f"<RedisStreamsAdapter on {self._client!r}>"
