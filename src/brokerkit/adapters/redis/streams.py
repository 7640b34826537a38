"""Redis Streams: ``redis://`` and ``rediss://``.

URL and options
    ``redis://[user:password@]host[:6379][/database]``; ``rediss://`` is the same over TLS. Options are the keyword
    arguments of ``redis.asyncio.Redis`` (``socket_timeout=10``, ``ssl_ca_certs=...``, ``client_name=...``), but for the
    few that brokerkit sets itself. Redis 6.2 (7.0 for the lag) or later, one server: neither Cluster nor Sentinel yet,
    though all keys of a topic share one hash tag. An ACL user needs ``+@stream +@sortedset +@scripting +@connection
    +type +time`` on the topic and on ``{topic}.*``; a publisher ``+xadd +type +ping``.

What a topic and a group become
    A topic is a stream, a group a consumer group, each source a consumer of it with a name of its own. With
    ``provision="group"`` the stream must exist (Redis makes one with the first XADD); ``"all"`` makes an empty one. A
    group has a second stream for due retries and a sorted set for those that wait, named like its dead letters. A
    broadcast group is destroyed at close; after a crash ``XGROUP DESTROY`` is yours.

Delivery
    At least once. An entry stays with its consumer until XACK. The lease is its idle time: extending resets it, and
    every member claims what has been idle for a lease, every few seconds. `RetryLater` puts a copy into the sorted set
    and acknowledges the original in one script. A stream that vanishes is made again, with a warning. Nothing is
    trimmed: trimming loses what a group has not read, so XTRIM is left to whoever owns the stream.

Order
    In stream order within one process. Members of a group get entries as they ask; there is no order across them.

Limits and escaping
    A value has at most ``proto-max-bulk-len`` bytes (512 MiB by default). The body is the field ``body_field``, every
    other field a header; a header of that name is written as ``bk-h-<name>``. An entry without the body field (a
    plain producer with flat fields) has no body: it is dead-lettered as undecodable, with all its fields as headers.

Native access
    `Message.native` is ``(stream, entry id, fields)``: bytes, and a flat list of names and values.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from brokerkit._derived import REDIS, derived_name
from brokerkit._errors import BrokerkitError, ConfigError, NotFound, Unroutable, UnsupportedFeature
from brokerkit._message import Ack, Delivery, Outcome, Outgoing, Receipt, RetryLater, Settled
from brokerkit._transport import Capabilities, Connection, Lost, Subscription
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._client import Client, Command, publish_error, translated
from brokerkit.adapters.redis._look import look_at_streams
from brokerkit.adapters.redis._wire import EntryFormat, utf8

log = logging.getLogger("brokerkit.redis")

CAPABILITIES: Final = Capabilities(
    broker="Redis Streams",
    attempts="deliveries",
    lease=30.0,
    durable_retry=math.inf,
    stable_id=True,
    look="free",
    look_stored="free",
)

BLOCK: Final = 1.0
"""Seconds that one read waits: the most by which a retry parked by another member can be late."""

TICK: Final = 0.5
"""Seconds between two looks for retries that are due."""

SWEEP: Final = 5.0
"""The most seconds between two looks for entries whose lease is over, or that were released."""

STALE: Final = 3600
"""Seconds of silence after which a brokerkit consumer without pending entries is deleted: its process is dead, for a
living one asks every second."""

_CONSUMER: Final = "brokerkit-"
_MOVE: Final = 200
_FIRST: Final = b"0-0"


class RedisStreamsAdapter:
    """One Redis server, its streams as topics."""

    def __init__(self, connection: Connection, /) -> None:
        field = connection.body_field
        if not field or field.startswith("bk-"):
            raise ConfigError(
                f"{connection.url}: body_field must be a name that does not begin with bk-, got {field!r}"
            )
        self._client = Client(connection)
        self._format = EntryFormat(field)
        self._creatable: set[str] = set()

    def capabilities(self, topic: str = "") -> Capabilities:
        return CAPABILITIES

    async def open(self) -> None:
        await self._client.open()

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        for topic in topics:
            with translated(self._client.where, f"looking for the stream {topic!r}"):
                kind = await self._client.call("TYPE", topic)
                if kind == b"none" and create:
                    await self._client.call("EVAL", scripts.CREATE_STREAM, 1, topic)
            if kind == b"none" and not create:
                raise _missing(self._client, topic)
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
        # Redis would make a stream of a misspelt topic. What may be created was said by `ensure`.
        if outgoing.stored or outgoing.topic in self._creatable:
            return "XADD", topic, "*", *fields
        return "XADD", topic, "NOMKSTREAM", "*", *fields

    def _result(self, outgoing: Outgoing, answer: Any) -> Receipt | BrokerkitError:
        if isinstance(answer, bytes):
            return Receipt(outgoing.topic, outgoing.id, answer.decode())
        if answer is None:
            return _missing(self._client, outgoing.topic)
        if str(answer).startswith("WRONGTYPE"):
            return Unroutable(f"{self._client.where}: the key {outgoing.topic!r} holds no stream")
        return publish_error(answer, self._client.where, outgoing.topic)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, REDIS)

    def subscribe(self, subscription: Subscription, lost: Lost) -> RedisStreamsSource:
        if not (subscription.group or subscription.broadcast or subscription.stored):
            raise ConfigError(f"{self._client.where}: Redis Streams reads through a group; name one")
        return RedisStreamsSource(self._client, self._format, subscription)

    async def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        await self.ensure(topics, stored=stored, create=False)
        async with aclosing(look_at_streams(self._client, self._format, topics, past=past, follow=follow)) as found:
            async for delivery in found:
                yield delivery

    async def close(self) -> None:
        await self._client.close()

    def __repr__(self) -> str:
        return f"<RedisStreamsAdapter on {self._client!r}>"


def _missing(client: Client, topic: str) -> NotFound:
    return NotFound(
        f"{client.where}: there is no stream {topic!r}; Redis makes one with the first XADD, "
        "brokerkit makes an empty one with provision='all'"
    )


class _Stream:
    """One stream that a source reads: a topic, or the group's due retries of that topic."""

    __slots__ = ("claimed", "held", "history", "key", "name", "retry", "topic", "waiting")

    def __init__(self, topic: str, name: str, *, retry: bool, waiting: str) -> None:
        self.topic = topic
        self.name = name
        self.key = name.encode()
        self.retry = retry
        self.waiting = waiting
        """The sorted set of this topic's retries."""
        self.held: set[bytes] = set()
        """Entry ids that were handed to the core and are not settled."""
        self.history: bytes | None = None
        """Where reading our own pending entries goes on; None when that is done."""
        self.claimed: bytes = _FIRST
        """Where claiming goes on; `_FIRST` when a sweep is through."""


class RedisStreamsSource:
    """A consumer of a group, on one or more streams."""

    def __init__(self, client: Client, entries: EntryFormat, subscription: Subscription) -> None:
        self._client = client
        self._line = client.line(BLOCK)
        self._format = entries
        self._subscription = subscription
        self._lease = max(1, round(subscription.lease * 1000))
        self._sweep_every = min(subscription.lease / 2, SWEEP)
        self._consumer = f"{_CONSUMER}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._group = subscription.group or "brokerkit"
        if subscription.broadcast:
            self._group = f"{self._group}-{secrets.token_hex(8)}"
        self._topics: list[_Stream] = []
        self._retries: list[_Stream] = []
        for topic in subscription.topics:
            retry = derived_name(topic, self._group, "retry", REDIS)
            waiting = derived_name(topic, self._group, "waiting", REDIS)
            self._topics.append(_Stream(topic, topic, retry=False, waiting=waiting))
            self._retries.append(_Stream(topic, retry, retry=True, waiting=waiting))
        self._streams = self._topics + self._retries
        self._by_key = {stream.key: stream for stream in self._streams}
        self._turn = 0
        self._tick_at = 0.0
        self._sweep_at = 0.0
        # Settling must not run between reading what is pending and comparing it with what is held: an entry that was
        # acknowledged in that moment would be handed out again.
        self._settling = asyncio.Lock()
        self._ready = False
        self._stopping = False
        self._closed = False

    async def open(self) -> None:
        with translated(self._client.where, f"connecting within {self._client.connect_timeout:g} s"):
            async with asyncio.timeout(self._client.connect_timeout):
                await self._line.connect()
        try:
            with translated(self._client.where, f"opening the group {self._group!r}"):
                await self._provision()
                await self._forget_dead_members()
        except BaseException:
            await self._line.close()
            raise
        self._ready = True

    async def _provision(self) -> None:
        subscription = self._subscription
        if subscription.provision == "check" and not subscription.broadcast:
            for stream in self._streams:
                await self._check(stream)
        elif subscription.provision != "off" or subscription.broadcast:
            latest = subscription.broadcast or subscription.start == "latest"
            for stream in self._topics:
                await self._create(stream, "$" if latest else "0", make=subscription.provision == "all")
            for stream in self._retries:
                await self._create(stream, "0", make=True)

    async def _check(self, stream: _Stream) -> None:
        try:
            groups = await self._client.call("XINFO", "GROUPS", stream.name)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            raise _missing(self._client, stream.name) from error
        if not any(_pairs(group)[b"name"] == self._group.encode() for group in groups):
            raise self._no_group(stream)

    def _no_group(self, stream: _Stream) -> NotFound:
        return NotFound(
            f"{self._client.where}: the stream {stream.name!r} has no group {self._group!r}; make it with "
            f"XGROUP CREATE {stream.name} {self._group} 0 MKSTREAM, or with provision='group'"
        )

    async def _create(self, stream: _Stream, start: str, *, make: bool) -> None:
        command = ["XGROUP", "CREATE", stream.name, self._group, start]
        try:
            await self._client.call(*command, *(["MKSTREAM"] if make else []))
        except ResponseError as error:
            reason = str(error)
            if "requires the key to exist" in reason:
                raise _missing(self._client, stream.name) from error
            if not reason.startswith("BUSYGROUP"):
                raise

    async def _forget_dead_members(self) -> None:
        """Delete consumers that processes of ours left behind. One with pending entries stays until they are claimed."""
        for stream in self._streams:
            try:
                members = await self._client.call("XINFO", "CONSUMERS", stream.name, self._group)
            except ResponseError:
                continue  # "off": there may be no group; reading will tell.
            for member in map(_pairs, members):
                name = member[b"name"]
                if member[b"idle"] > STALE * 1000 and member[b"pending"] == 0 and name.startswith(_CONSUMER.encode()):
                    await self._client.call("EVAL", scripts.LEAVE, 1, stream.name, self._group, name)

    async def receive(self, limit: int) -> Sequence[Delivery]:
        if self._stopping:
            return []
        with translated(self._client.where, f"reading as group {self._group!r}"):
            try:
                if not self._ready:
                    await self._resume()
                return await self._next(limit)
            except ResponseError as error:
                # A read that was blocked when its stream was deleted gets UNBLOCKED, the next one NOGROUP.
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    self._ready = False
                    raise
                await self._recreate(error)
                return []
            except BaseException:
                self._ready = False
                raise

    async def _resume(self) -> None:
        """Connect again. What a broken read had fetched is pending with us, unseen: read our own history first."""
        async with asyncio.timeout(self._client.connect_timeout):
            await self._line.connect()
        for stream in self._streams:
            stream.history = _FIRST
        self._ready = True

    async def _recreate(self, error: ResponseError) -> None:
        if self._subscription.provision in ("check", "off"):
            raise NotFound(
                f"{self._client.where}: a stream or the group {self._group!r} of {self._subscription.topics} is gone"
            ) from error
        log.warning(
            "%s: a stream of group %s, or the group itself, was deleted; made again, to be read from its beginning",
            self._client.where,
            self._group,
        )
        for stream in self._streams:
            # From the beginning: whatever a new stream holds was added after the old one was gone.
            await self._create(stream, "0", make=True)

    async def _next(self, limit: int) -> list[Delivery]:
        now = asyncio.get_running_loop().time()
        got: list[Delivery] = []
        for stream in self._streams:
            if stream.history is not None and len(got) < limit:
                got += await self._read_history(stream, limit - len(got))
        if not got and now >= self._sweep_at:
            got = await self._sweep(limit)
        block = BLOCK
        if not got and now >= self._tick_at:
            self._tick_at = now + TICK
            got, block = await self._read_due(limit)
        return got or await self._read_new(limit, block)

    async def _read_history(self, stream: _Stream, limit: int) -> list[Delivery]:
        async with self._settling:
            answer = await self._client.call(
                *("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", limit),
                *("STREAMS", stream.name, stream.history),
            )
            entries: list[Any] = answer[0][1] if answer else []
            stream.history = entries[-1][0] if entries else None
            return await self._take_again(stream, entries)

    async def _sweep(self, limit: int) -> list[Delivery]:
        """Claim what has been idle for a lease: of dead members, and what anybody released."""
        got: list[Delivery] = []
        async with self._settling:
            for stream in self._streams:
                while len(got) < limit:
                    answer = await self._client.call(
                        *("XAUTOCLAIM", stream.name, self._group, self._consumer, self._lease, stream.claimed),
                        *("COUNT", limit - len(got)),
                    )
                    stream.claimed = answer[0]
                    got += await self._take_again(stream, answer[1])
                    if len(answer) > 2 and answer[2]:
                        self._report_vanished(stream, len(answer[2]))
                    if stream.claimed == _FIRST:
                        break
        if len(got) < limit:
            self._sweep_at = asyncio.get_running_loop().time() + self._sweep_every
        return got

    async def _take_again(self, stream: _Stream, entries: list[Any]) -> list[Delivery]:
        """Entries that were delivered before. Those still held are only ours again; those without fields are gone."""
        gone = [entry[0] for entry in entries if not entry[1]]
        if gone:
            await self._client.call("XACK", stream.name, self._group, *gone)
            self._report_vanished(stream, len(gone))
        fresh = [entry for entry in entries if entry[1] and entry[0] not in stream.held]
        counts = await self._client.pipeline([("XPENDING", stream.name, self._group, id, id, 1) for id, _ in fresh])
        deliveries = self._take(stream, fresh)
        for delivery, pending in zip(deliveries, counts, strict=True):
            if isinstance(pending, list) and pending:
                delivery.count = pending[0][3]
        return deliveries

    def _report_vanished(self, stream: _Stream, number: int) -> None:
        log.warning(
            "%s: %d entries of %s were deleted or trimmed before group %s had settled them",
            *(self._client.where, number, stream.name, self._group),
        )

    async def _read_due(self, limit: int) -> tuple[list[Delivery], float]:
        """Move retries that are due into their stream and read it; also how long the next read may block."""
        got: list[Delivery] = []
        block = BLOCK
        for stream in self._retries:
            if len(got) >= limit:
                break
            left, answer = await self._client.pipeline(
                [
                    ("EVAL", scripts.MOVE_DUE, 2, stream.waiting, stream.name, _MOVE),
                    (
                        *("XREADGROUP", "GROUP", self._group, self._consumer),
                        *("COUNT", limit - len(got), "STREAMS", stream.name, ">"),
                    ),
                ]
            )
            if isinstance(left, OutOfMemoryError):
                log.warning("%s: the server is full; due retries of %s wait", self._client.where, stream.topic)
            elif isinstance(left, BaseException):
                raise left
            elif left >= 0:
                block = min(block, left / 1000)
            if isinstance(answer, BaseException):
                raise answer
            if answer:
                got += self._take(stream, answer[0][1])
        if block < BLOCK:
            self._tick_at = min(self._tick_at, asyncio.get_running_loop().time() + block)
        return got, block

    async def _read_new(self, limit: int, block: float) -> list[Delivery]:
        topics = self._topics
        # COUNT is per stream, so with fewer free slots than streams they take turns.
        if len(topics) > limit:
            self._turn = (self._turn + limit) % len(topics)
            topics = (topics[self._turn :] + topics[: self._turn])[:limit]
            block = min(block, 0.05)
        if self._stopping:
            return []
        answer = await self._line.call(
            *("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", limit // len(topics)),
            *("BLOCK", max(1, round(block * 1000)), "STREAMS", *(stream.key for stream in topics)),
            *((">",) * len(topics)),
        )
        got: list[Delivery] = []
        for key, entries in answer or ():
            taken = self._take(self._by_key[key], entries)
            got = got + taken if got else taken
        return got

    def _take(self, stream: _Stream, entries: list[Any]) -> list[Delivery]:
        delivery = self._format.delivery
        got = [delivery(stream.topic, stream.key, id, flat, 1, (stream, id)) for id, flat in entries]
        stream.held.update([id for id, _ in entries])
        return got

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        answers = [Settled.DONE] * len(pairs)
        acks: dict[_Stream, list[bytes]] = {}
        releases: dict[_Stream, list[bytes]] = {}
        positions: dict[tuple[_Stream, bytes], int] = {}
        commands: list[Sequence[Any]] = []
        # For each command, which streams' ids it settles.
        settled: list[tuple[_Stream, list[bytes]]] = []
        for position, (delivery, outcome) in enumerate(pairs):
            stream, id = token = delivery.token
            positions[token] = position
            if isinstance(outcome, Ack):
                acks.setdefault(stream, []).append(id)
            elif isinstance(outcome, RetryLater):
                try:
                    commands.append(self._park(stream, id, outcome))
                    settled.append((stream, [id]))
                except BrokerkitError:
                    log.exception("%s: the retry of %s cannot be stored", self._client.where, delivery)
                    answers[position] = Settled.FAILED
            else:
                releases.setdefault(stream, []).append(id)
        for stream, ids in acks.items():
            commands.append(("XACK", stream.key, self._group, *ids))
            settled.append((stream, ids))
            if stream.retry or self._subscription.remove:  # Nobody else reads it: what is done need not be kept.
                commands.append(("XDEL", stream.key, *ids))
                settled.append((stream, ids))
        for stream, ids in releases.items():
            commands.append(("EVAL", scripts.RELEASE, 1, stream.key, self._group, self._consumer, self._lease, *ids))
            settled.append((stream, ids))
            self._sweep_at = 0.0
        async with self._settling:
            results = await self._client.pipeline(commands)
            for (stream, ids), result in zip(settled, results, strict=True):
                for id, answer in zip(ids, self._answers(result, len(ids)), strict=True):
                    if answer is not Settled.DONE:
                        answers[positions[stream, id]] = answer
                    if answer is not Settled.FAILED:
                        stream.held.discard(id)
        return answers

    def _park(self, stream: _Stream, id: bytes, outcome: RetryLater) -> Sequence[Any]:
        fields = self._format.fields(outcome.copy, self._client.bulk_limit)
        keys = (2, stream.key, stream.waiting)
        after = max(0, round(outcome.after * 1000))
        return (
            "EVAL",
            scripts.PARK,
            *keys,
            self._group,
            id,
            after,
            int(stream.retry or self._subscription.remove),
            *fields,
        )

    def _answers(self, result: list[int] | int | BaseException, number: int) -> list[Settled]:
        """One answer for each id of a command: a script tells them apart, a count (XACK, XDEL) need not be."""
        if isinstance(result, list):
            return [Settled.DONE if kept else Settled.LOST for kept in result]
        if isinstance(result, ResponseError) and str(result).startswith("NOGROUP"):
            return [Settled.LOST] * number
        if isinstance(result, BaseException):
            log.warning("%s: settling as group %s failed: %s", self._client.where, self._group, result)
            return [Settled.FAILED] * number
        return [Settled.DONE] * number

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        ids: dict[_Stream, list[bytes]] = {}
        for delivery in deliveries:
            stream, id = delivery.token
            ids.setdefault(stream, []).append(id)
        results = await self._client.pipeline(
            [
                ("EVAL", scripts.EXTEND, 1, stream.key, self._group, self._consumer, *of_stream)
                for stream, of_stream in ids.items()
            ]
        )
        answers: dict[tuple[_Stream, bytes], Settled] = {}
        for (stream, of_stream), result in zip(ids.items(), results, strict=True):
            for id, answer in zip(of_stream, self._answers(result, len(of_stream)), strict=True):
                answers[stream, id] = answer
                if answer is Settled.LOST:
                    stream.held.discard(id)
        return [answers[delivery.token] for delivery in deliveries]

    async def lag(self) -> int | None:
        with translated(self._client.where, f"asking for the lag of group {self._group!r}"):
            total = 0
            for stream in self._topics:
                groups = map(_pairs, await self._client.call("XINFO", "GROUPS", stream.name))
                ours = [group for group in groups if group[b"name"] == self._group.encode()]
                # Before 7.0 there is no lag; after deletions Redis cannot tell it.
                if not ours or ours[0].get(b"lag") is None:
                    return None
                total += ours[0][b"lag"]
            for stream in self._retries:
                waiting, length, pending = await self._client.pipeline(
                    [("ZCARD", stream.waiting), ("XLEN", stream.name), ("XPENDING", stream.name, self._group)]
                )
                if any(isinstance(answer, BaseException) for answer in (waiting, length, pending)):
                    return None
                # Settled retries are deleted, so what is not pending is unread.
                total += waiting + length - pending[0]
            return total

    async def stop(self) -> None:
        self._stopping = True
        await self._client.unblock(self._line)

    async def close(self) -> None:
        self._stopping = True
        if self._closed:
            return
        self._closed = True
        await self._line.close()
        commands: list[Sequence[Any]] = []
        for stream in self._streams:
            if self._subscription.broadcast:
                commands.append(("XGROUP", "DESTROY", stream.name, self._group))
            else:
                commands.append(("EVAL", scripts.LEAVE, 1, stream.name, self._group, self._consumer))
        if self._subscription.broadcast:
            commands.extend(("DEL", stream.name, stream.waiting) for stream in self._retries)
        # What this leaves undone when the server is away, a later member's start puts right.
        for error in await self._client.pipeline(commands):
            if isinstance(error, RedisError):
                log.debug("%s: leaving group %s: %s", self._client.where, self._group, error)

    def __repr__(self) -> str:
        state = (
            "closed" if self._closed else "stopping" if self._stopping else "ready" if self._ready else "not connected"
        )
        held = sum(len(stream.held) for stream in self._streams)
        return f"<RedisStreamsSource {', '.join(self._subscription.topics)} as {self._group}: {state}, {held} held>"


def _pairs(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
