"""Reading Redis streams as a member of a group: the source behind ``redis://``."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any, Final, cast

from redis.exceptions import RedisError, ResponseError

from brokerkit.adapters.api import (
    RELEASE,
    Ack,
    BrokerkitError,
    Delivery,
    NotFound,
    Outcome,
    RetryLater,
    Settled,
    Subscription,
    derived_name,
    get_logger,
)
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._client import NAME_STYLE, Client, ask_parts, check_slot, in_slots, is_part_away
from brokerkit.adapters.redis._errors import code_of, is_denied, translated
from brokerkit.adapters.redis._starts import Starts
from brokerkit.adapters.redis._stream import (
    DEFAULT_GROUP,
    FIRST,
    Stream,
    by_name,
    is_gone,
    later_set,
    missing_stream,
    waiting_set,
)
from brokerkit.adapters.redis._stream_readers import BLOCK, reader_of
from brokerkit.adapters.redis._trimming import Kept, trimming_of
from brokerkit.adapters.redis._wire import Entries

logger = get_logger(__name__)

TICK: Final = 0.5
"""Seconds between two looks for retries that are due."""

SWEEP: Final = 5.0
"""The most seconds between two looks for entries whose lease is over, or that were released."""

STALE: Final = 3600
"""Seconds of silence after which a brokerkit consumer without pending entries is deleted: its process is dead, for a
living one asks every second."""

_CONSUMER: Final = "brokerkit-"
_MOVE: Final = 200


def _key(stream: Stream) -> bytes:
    return stream.key


class RedisStreamsSource:
    """A consumer of a group, on one or more streams."""

    def __init__(self, client: Client, entries: Entries, subscription: Subscription, kept: Kept) -> None:
        self._client = client
        self._format = entries
        self._subscription = subscription
        self._lease = max(1, round(subscription.lease * 1000))
        self._sweep_every = min(subscription.lease / 2, SWEEP)
        self._consumer = f"{_CONSUMER}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._group = subscription.group or DEFAULT_GROUP
        if subscription.broadcast:
            self._group = f"{self._group}-{secrets.token_hex(8)}"
        self._topics: list[Stream] = []
        self._retries: list[Stream] = []
        for topic in subscription.topics:
            retry = derived_name(topic, self._group, "retry", NAME_STYLE)
            waiting = waiting_set(topic, self._group)
            starts = Starts(client, topic, self._group)
            check_slot(client, topic, (retry, waiting, starts.key, later_set(topic)))
            is_own = subscription.is_queue
            self._topics.append(Stream(topic, topic, retry=False, waiting=waiting, starts=starts, is_own=is_own))
            self._retries.append(Stream(topic, retry, retry=True, waiting=waiting, starts=starts, is_own=True))
        self._streams = self._topics + self._retries
        self._parts = in_slots(client, self._streams, _key)
        self._retry_parts = in_slots(client, self._retries, _key)
        self._reader = reader_of(
            client,
            self._topics,
            ("GROUP", self._group, self._consumer),
            take=self._take,
            release=lambda got: self.settle([(delivery, RELEASE) for delivery in got]),
        )
        self._trimming = trimming_of(client, self._topics, subscription, kept)
        self._sees_later = True
        self._tick_at = 0.0
        self._sweep_at = 0.0
        # Settling must not run between reading what is pending and comparing it with what is held: an entry that was
        # acknowledged in that moment would be handed out again.
        self._settling = asyncio.Lock()
        self._taken: list[tuple[Stream, list[bytes]]] = []
        """What `receive` has taken since it was called."""
        self._ready = False
        self._stopping = False
        self._closed = False

    async def open(self) -> None:
        with translated(self._client.where, f"connecting within {self._client.connect_timeout:g} s"):
            await self._reader.connect()
        try:
            with translated(self._client.where, f"opening the group {self._group!r}"):
                await self._provision()
                await self._forget_dead_members()
        except BaseException:
            await self._reader.close()
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

    async def _check(self, stream: Stream) -> None:
        try:
            groups = await self._client.call("XINFO", "GROUPS", stream.name)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            raise missing_stream(self._client, stream.name) from error
        if not any(by_name(group)[b"name"] == self._group.encode() for group in groups):
            raise self._no_group(stream)

    def _no_group(self, stream: Stream) -> NotFound:
        return NotFound(
            f"{self._client.where}: the stream {stream.name!r} has no group {self._group!r}; make it with "
            f"XGROUP CREATE {stream.name} {self._group} 0 MKSTREAM, or with provision='group'"
        )

    async def _create(self, stream: Stream, start: str, *, make: bool) -> None:
        command = ["XGROUP", "CREATE", stream.name, self._group, start]
        try:
            await self._client.call(*command, *(["MKSTREAM"] if make else []))
        except ResponseError as error:
            reason = str(error)
            if "requires the key to exist" in reason:
                raise missing_stream(self._client, stream.name) from error
            if not reason.startswith("BUSYGROUP"):
                raise

    async def _forget_dead_members(self) -> None:
        """Delete consumers that processes of ours left behind. One with pending entries stays until they are claimed."""
        for stream in self._streams:
            try:
                members = await self._client.call("XINFO", "CONSUMERS", stream.name, self._group)
            except ResponseError:
                continue  # "off": there may be no group; reading will tell.
            for member in map(by_name, members):
                name = member[b"name"]
                if member[b"idle"] > STALE * 1000 and member[b"pending"] == 0 and name.startswith(_CONSUMER.encode()):
                    await self._client.call("EVAL", scripts.LEAVE, 1, stream.name, self._group, name)

    async def receive(self, limit: int) -> Sequence[Delivery]:
        if self._stopping:
            return []
        self._taken.clear()
        with translated(self._client.where, f"reading as group {self._group!r}"):
            try:
                if not self._ready:
                    await self._resume()
                return await self._next(limit)
            except ResponseError as error:
                self._forget_taken()
                if not is_gone(error):
                    raise
                await self._recreate(error)
                return []
            except BaseException:
                self._forget_taken()
                raise

    def _forget_taken(self) -> None:
        """What was taken in vain is not held: it stays pending with us, and is found in our history."""
        self._ready = False
        for stream, ids in self._taken:
            stream.held.difference_update(ids)

    async def _resume(self) -> None:
        """Connect again. What a broken read had fetched is pending with us, unseen: read our own history first."""
        await self._reader.connect()
        for stream in self._streams:
            stream.history = FIRST
        self._ready = True

    async def _recreate(self, error: ResponseError) -> None:
        if self._subscription.provision in ("check", "off"):
            raise NotFound(
                f"{self._client.where}: a stream or the group {self._group!r} of {self._subscription.topics} is gone"
            ) from error
        logger.warning(
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
                try:
                    got += await self._read_history(stream, limit - len(got))
                except (RedisError, OSError) as error:
                    if not is_part_away(self._client, error):
                        raise
        if not got and now >= self._sweep_at:
            got = await self._sweep(limit)
        if not got and self._trimming is not None:
            await self._trimming.turn(now)
        block = BLOCK
        if not got and now >= self._tick_at:
            self._tick_at = now + TICK
            got, block = await self._read_due(limit)
        return got or ([] if self._stopping else await self._reader.read(limit, block))

    async def _read_history(self, stream: Stream, limit: int) -> list[Delivery]:
        async with self._settling:
            answer = await self._client.call(
                *("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", limit),
                *("STREAMS", stream.name, stream.history),
            )
            entries: list[Any] = answer[0][1] if answer else []
            stream.history = entries[-1][0] if entries else None
            if stream.history is None:
                self._reader.look_again()
            return await self._take_again(stream, entries)

    async def _sweep(self, limit: int) -> list[Delivery]:
        """Claim what has been idle for a lease: of dead members, and what anybody released."""
        got: list[Delivery] = []
        async with self._settling:
            for stream in await self._claimable():
                while len(got) < limit:
                    answer = await self._client.call(
                        *("XAUTOCLAIM", stream.name, self._group, self._consumer, self._lease, stream.claimed),
                        *("COUNT", limit - len(got)),
                    )
                    stream.claimed = answer[0]
                    entries = [entry for entry in answer[1] if entry is not None]
                    if len(entries) < len(answer[1]):
                        # Before 7.0, what was trimmed is claimed without its id; our own history has that.
                        stream.history = FIRST
                    got += await self._take_again(stream, entries)
                    if len(answer) > 2 and answer[2]:
                        self._report_vanished(stream, len(answer[2]))
                    if stream.claimed == FIRST:
                        break
        if len(got) < limit:
            self._sweep_at = asyncio.get_running_loop().time() + self._sweep_every
        return got

    async def _claimable(self) -> list[Stream]:
        """The streams where something can be claimed: one question for many, for most have nothing."""
        parts = [(part, [stream.key for stream in part], [self._group, self._lease]) for part in self._parts]
        looks = await ask_parts(self._client, scripts.CLAIMABLE, parts)
        return [part[index] for part, indexes in looks for index in indexes]

    async def _take_again(self, stream: Stream, entries: list[Any]) -> list[Delivery]:
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

    def _report_vanished(self, stream: Stream, number: int) -> None:
        logger.warning(
            "%s: %d entries of %s were deleted or trimmed before group %s had settled them",
            *(self._client.where, number, stream.name, self._group),
        )

    async def _read_due(self, limit: int) -> tuple[list[Delivery], float]:
        """Move retries that are due into their stream and read it; also how long the next read may block."""
        got: list[Delivery] = []
        block = await self._bring_later()
        wanted: list[Stream] = []
        parts = [
            (part, [key for stream in part for key in (stream.waiting, stream.key)], [self._group])
            for part in self._retry_parts
        ]
        for part, (first, indexes) in await ask_parts(self._client, scripts.LOOK, parts):
            wanted += [part[index] for index in indexes]
            if first >= 0:
                block = min(block, first / 1000)
        for stream in wanted:
            if len(got) >= limit:
                block = 0.0  # the rest is due as well
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
            block = min(block, self._until_due(stream, left))
            if isinstance(answer, BaseException):
                raise answer
            if answer:
                got += self._take(stream, answer[0][1])
        if block < BLOCK:
            self._tick_at = min(self._tick_at, asyncio.get_running_loop().time() + block)
        return got, block

    def _take(self, stream: Stream, entries: list[Any]) -> list[Delivery]:
        kind = stream.kind
        got: list[Delivery] = [
            kind(self._format, stream.topic, stream.key, id, flat, 1, (stream, id)) for id, flat in entries
        ]
        ids = [id for id, _ in entries]
        stream.held.update(ids)
        self._taken.append((stream, ids))
        return got

    async def _bring_later(self) -> float:
        """Move what was published for later and is due into its topic; how long the next read may block."""
        block, late = BLOCK, list[Stream]()
        if not self._sees_later:
            return block
        try:
            parts = [(part, [one.later for one in part], [self._group]) for part in self._retry_parts]
            looks = await ask_parts(self._client, scripts.LOOK_LATER, parts)
        except ResponseError as error:
            if not is_denied(error):
                raise
            # A user with the rights for reading alone goes on to read.
            self._sees_later = False
            logger.info("%s: this user moves nothing that is published for later: %s", self._client.where, error)
            return block
        for part, (first, indexes) in looks:
            late += [part[index] for index in indexes]
            if first >= 0:
                block = min(block, first / 1000)
        for stream, left in zip(late, await self._client.pipeline([_bring(stream) for stream in late]), strict=True):
            block = min(block, self._until_due(stream, left))
        return block

    def _until_due(self, stream: Stream, left: Any) -> float:
        """How long the next read may block. ``left`` is what a script that moves what is due has answered."""
        if isinstance(left, BaseException):
            if code_of(left) != "OOM":
                raise left
            logger.warning("%s: the server is full; what is due in %s waits", self._client.where, stream.topic)
            return BLOCK
        return BLOCK if left < 0 else left / 1000

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        answers = [Settled.DONE] * len(pairs)
        acks: dict[Stream, list[bytes]] = {}
        releases: dict[Stream, list[bytes]] = {}
        positions: dict[tuple[Stream, bytes], int] = {}
        commands: list[Sequence[Any]] = []
        # For each command, which streams' ids it settles.
        settled: list[tuple[Stream, list[bytes]]] = []
        for position, (delivery, outcome) in enumerate(pairs):
            stream, id = token = delivery.token
            positions[token] = position
            if isinstance(outcome, Ack):
                acks.setdefault(stream, []).append(id)
            elif id not in stream.held:  # It is settled, or somebody else has it.
                answers[position] = Settled.LOST
            elif isinstance(outcome, RetryLater):
                try:
                    fields = self._format.fields(outcome.copy, self._client.bulk_limit)
                    commands.append(self._park(stream, id, outcome.after, fields))
                    settled.append((stream, [id]))
                except BrokerkitError:
                    logger.exception("%s: the retry of %s cannot be stored", self._client.where, delivery)
                    answers[position] = Settled.FAILED
            else:
                releases.setdefault(stream, []).append(id)
        for stream, ids in acks.items():
            commands.append(("XACK", stream.key, self._group, *ids))
            settled.append((stream, ids))
            if stream.retry:  # Nobody else reads it: what is done need not be kept.
                commands.append(("XDEL", stream.key, *ids))
                settled.append((stream, ids))
        for stream, ids in releases.items():
            commands.append(("EVAL", scripts.RELEASE, 1, stream.key, self._group, self._consumer, self._lease, *ids))
            settled.append((stream, ids))
            self._sweep_at = 0.0
        async with self._settling:
            results = await self._client.pipeline(commands)
            if releases and (trimmed := _trimmed(settled[-len(releases) :], results[-len(releases) :])):
                # No member could read them any more: what we have goes where retries wait.
                for stream, id in trimmed:
                    settled.append((stream, [id]))
                copies = [pairs[positions[token]][0].native[2] for token in trimmed]
                commands = [self._park(*token, 0, fields) for token, fields in zip(trimmed, copies, strict=True)]
                results += await self._client.pipeline(commands)
            for (stream, ids), result in zip(settled, results, strict=True):
                for id, answer in zip(ids, self._answers(stream, result, len(ids)), strict=True):
                    if answer is not Settled.DONE:
                        answers[positions[stream, id]] = answer
                    if answer is not Settled.FAILED:
                        stream.held.discard(id)
        return answers

    def _park(self, stream: Stream, id: bytes, after: float, fields: Sequence[bytes]) -> Sequence[Any]:
        keys = (2, stream.key, stream.waiting)
        milliseconds = max(0, round(after * 1000))
        return "EVAL", scripts.PARK, *keys, self._group, id, milliseconds, int(stream.retry), *fields

    def _answers(self, stream: Stream, result: list[int] | int | BaseException, number: int) -> list[Settled]:
        """One answer for each id of a command: a script tells them apart, a count (XACK, XDEL) need not be."""
        if isinstance(result, list):
            # What is settled leaves a retry stream, so there somebody else has settled what is gone.
            ours = (1,) if stream.retry else (1, scripts.GONE)
            return [Settled.DONE if kept in ours else Settled.LOST for kept in result]
        if isinstance(result, ResponseError) and code_of(result) == "NOGROUP":
            return [Settled.LOST] * number
        if isinstance(result, BaseException):
            logger.warning("%s: settling as group %s failed: %s", self._client.where, self._group, result)
            return [Settled.FAILED] * number
        return [Settled.DONE] * number

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        ids: dict[Stream, list[bytes]] = {}
        for delivery in deliveries:
            stream, id = delivery.token
            if id in stream.held:
                ids.setdefault(stream, []).append(id)
        results = await self._client.pipeline(
            [
                ("EVAL", scripts.EXTEND, 1, stream.key, self._group, self._consumer, *of_stream)
                for stream, of_stream in ids.items()
            ]
        )
        answers: dict[tuple[Stream, bytes], Settled] = {}
        for (stream, of_stream), result in zip(ids.items(), results, strict=True):
            for id, answer in zip(of_stream, self._answers(stream, result, len(of_stream)), strict=True):
                answers[stream, id] = answer
                if answer is Settled.LOST:
                    stream.held.discard(id)
        return [answers.get(delivery.token, Settled.LOST) for delivery in deliveries]

    async def begin_alone(self, delivery: Delivery) -> int:
        stream: Stream = delivery.token[0]
        return await stream.starts.begin(delivery)

    async def end_alone(self, delivery: Delivery) -> None:
        stream: Stream = delivery.token[0]
        await stream.starts.end(delivery)

    def delivery_limit(self, topic: str) -> int | None:
        return None

    async def lag(self) -> int | None:
        with translated(self._client.where, f"asking for the lag of group {self._group!r}"):
            total = 0
            for stream in self._topics:
                groups = map(by_name, await self._client.call("XINFO", "GROUPS", stream.name))
                ours = [group for group in groups if group[b"name"] == self._group.encode()]
                # Before 7.0 Redis knows no lag; after deletions it cannot compute it.
                if not ours or ours[0].get(b"lag") is None:
                    return None
                total += ours[0][b"lag"]
            for stream in self._retries:
                waiting, length, pending = await self._client.pipeline(
                    [("ZCARD", stream.waiting), ("XLEN", stream.name), ("XPENDING", stream.name, self._group)]
                )
                if any(isinstance(answer, BaseException) for answer in (waiting, length, pending)):
                    return None
                # Settled retries are deleted, so entries that are not pending are unread.
                total += waiting + length - pending[0]
            return total

    async def stop(self) -> None:
        self._stopping = True
        await self._reader.stop()

    async def close(self) -> None:
        self._stopping = True
        if self._closed:
            return
        self._closed = True
        await self._reader.close()
        commands: list[Sequence[Any]] = []
        for stream in self._streams:
            if self._subscription.broadcast:
                commands.append(("XGROUP", "DESTROY", stream.name, self._group))
            else:
                commands.append(("EVAL", scripts.LEAVE, 1, stream.name, self._group, self._consumer))
        if self._subscription.broadcast:
            commands.extend(("DEL", stream.name, stream.waiting, stream.starts.key) for stream in self._retries)
        # What this leaves undone when the server is away, a later member's start puts right.
        for error in await self._client.pipeline(commands):
            if isinstance(error, RedisError):
                # Nobody else removes what belongs to one broadcast; what LEAVE does is of use, and no more.
                level = logging.WARNING if self._subscription.broadcast and is_denied(error) else logging.DEBUG
                logger.log(level, "%s: leaving group %s: %s", self._client.where, self._group, error)

    def __repr__(self) -> str:
        state = (
            "closed" if self._closed else "stopping" if self._stopping else "ready" if self._ready else "not connected"
        )
        held = sum(len(stream.held) for stream in self._streams)
        return f"<RedisStreamsSource {', '.join(self._subscription.topics)} as {self._group}: {state}, {held} held>"


def _bring(stream: Stream) -> Sequence[Any]:
    """The command that moves what is due into the topic for which it was published."""
    return "EVAL", scripts.MOVE_DUE, 2, stream.later, stream.topic, _MOVE


def _trimmed(released: list[tuple[Stream, list[bytes]]], results: list[Any]) -> list[tuple[Stream, bytes]]:
    """Those of the released entries that were trimmed meanwhile."""
    return [
        (stream, id)
        for (stream, ids), result in zip(released, results, strict=True)
        if isinstance(result, list) and not stream.retry
        for id, kept in zip(ids, cast("list[int]", result), strict=True)
        if kept == scripts.GONE
    ]
