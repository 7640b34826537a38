"""Redis lists: ``redis+list://`` and ``rediss+list://``.

URL and options
    ``redis+list://[user:password@]host[:6379][/database]``; ``rediss+list://`` is the same over TLS. Options are the
    keyword arguments of ``redis.asyncio.Redis``.

What a topic and a group become
    A topic is a list: brokerkit adds at the tail (RPUSH) and takes from the head. The list is its only group. Beside it
    lie, with one hash tag, the set of its members, for each member a processing list and a heartbeat key, and a sorted
    set of retries that wait. An empty list does not exist in Redis, so a missing one is never an error.

Delivery
    At least once. A value moves into the member's processing list in one step and is removed when it is acknowledged.
    The lease is the heartbeat key: when it expires, any member puts the whole processing list back to the head, within
    seconds. `RetryLater` trades the value for a copy in the sorted set, in one script. Redis counts no deliveries and a
    plain producer's value has no id: duplicates can only be told by one of its own (``id_from``).

Order
    As pushed with RPUSH; released and due values go back to the head. What a producer pushes with LPUSH arrives newest
    first.

Limits and escaping
    A plain producer's value is the body. brokerkit writes an envelope where a key, an id or headers travel with the body
    (`brokerkit.adapters.redis._wire`), which plain consumers see as a prefix. A value has at most
    ``proto-max-bulk-len`` bytes (512 MiB by default), the envelope included.

Native access
    `Message.native` is the value as it lay in the list, in bytes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from redis.exceptions import OutOfMemoryError

from brokerkit._derived import REDIS, derived_name
from brokerkit._errors import BrokerkitError, Unroutable, UnsupportedFeature
from brokerkit._message import Ack, Delivery, Outcome, Outgoing, Receipt, RetryLater, Settled
from brokerkit._transport import Capabilities, Connection, Lost, Subscription
from brokerkit.adapters._looking import refuse_to_follow
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._client import Client, Command, publish_error, translated
from brokerkit.adapters.redis._look import look_at_lists
from brokerkit.adapters.redis._wire import unwrap, utf8, wrap

log = logging.getLogger("brokerkit.redis")

CAPABILITIES: Final = Capabilities(
    broker="Redis list",
    groups="one",
    lease=30.0,
    durable_retry=math.inf,
    broadcast=False,
    look="free",
    look_stored="free",
)

BLOCK: Final = 1.0
"""Seconds that one read of an empty list waits."""

TICK: Final = 0.5
"""Seconds between two looks for retries that are due."""

SWEEP: Final = 5.0
"""The most seconds between two looks for members whose heartbeat stopped."""

_MOVE: Final = 200
_UNIQUE: Final = 12
"""Random bytes before a waiting copy: a sorted set holds equal members once."""


class RedisListAdapter:
    """One Redis server, its lists as topics."""

    def __init__(self, connection: Connection, /) -> None:
        self._client = Client(connection)

    def capabilities(self, topic: str = "") -> Capabilities:
        return CAPABILITIES

    async def open(self) -> None:
        await self._client.open()

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        await _check_lists(self._client, topics)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return await self._client.send(batch, self._command, self._result)

    def _command(self, outgoing: Outgoing) -> Command:
        return "RPUSH", utf8(outgoing.topic, "the topic"), wrap(outgoing, self._client.bulk_limit)

    def _result(self, outgoing: Outgoing, answer: Any) -> Receipt | BrokerkitError:
        if not isinstance(answer, BaseException):
            return Receipt(outgoing.topic, outgoing.id)
        if str(answer).startswith("WRONGTYPE"):
            return Unroutable(f"{self._client.where}: the key {outgoing.topic!r} holds no list")
        return publish_error(answer, self._client.where, outgoing.topic)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, REDIS)

    def subscribe(self, subscription: Subscription, lost: Lost) -> RedisListSource:
        if subscription.broadcast:
            raise UnsupportedFeature(
                broker="Redis list",
                feature="a broadcast source: a value is taken once",
                alternative="use redis:// (streams) or redis+pubsub://",
            )
        return RedisListSource(self._client, subscription)

    async def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        if follow:
            raise refuse_to_follow("Redis list", "use redis:// (streams) or redis+pubsub://")
        await _check_lists(self._client, topics)
        async with aclosing(look_at_lists(self._client, topics if past else ())) as found:
            async for delivery in found:
                yield delivery

    async def close(self) -> None:
        await self._client.close()

    def __repr__(self) -> str:
        return f"<RedisListAdapter on {self._client!r}>"


async def _check_lists(client: Client, topics: Sequence[str]) -> None:
    """Refuse keys that hold something else; a key that does not exist is an empty list."""
    for topic in topics:
        with translated(client.where, f"looking for the list {topic!r}"):
            kind = await client.call("TYPE", topic)
        if kind not in (b"none", b"list"):
            raise UnsupportedFeature(
                broker="Redis list",
                feature=f"a topic {topic!r} whose key holds a {kind.decode()}",
                alternative="use another topic, or redis:// for a stream",
            )


class _List:
    """One list that a source reads, and this member's keys beside it."""

    __slots__ = ("_base", "epoch", "held", "members", "missing", "topic", "waiting")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._base = derived_name(topic, None, "taken", REDIS)
        self.members = derived_name(topic, None, "members", REDIS)
        self.waiting = derived_name(topic, None, "retry", REDIS)
        self.held: Counter[bytes] = Counter()
        """Values that were handed to the core and are not settled; equal ones are counted."""
        self.epoch = 0
        """Goes up when our processing list was taken over: what was handed out before is not ours any more."""
        self.missing = True
        """Whether the processing list may hold values that were never handed out."""

    def taken(self, member: str) -> str:
        return f"{self._base}:{member}"

    def heartbeat(self, member: str) -> str:
        return f"{self._base}:{member}:alive"


class RedisListSource:
    """A member that takes from one or more lists."""

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._client = client
        self._line = client.line(BLOCK)
        self._subscription = subscription
        self._lease = max(1, round(subscription.lease * 1000))
        self._sweep_every = min(subscription.lease / 2, SWEEP)
        self._member = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lists = [_List(topic) for topic in subscription.topics]
        self._turn = 0
        self._tick_at = 0.0
        self._sweep_at = 0.0
        self._alive_at = 0.0
        # Settling must not run between reading the processing list and comparing it with what is held.
        self._settling = asyncio.Lock()
        self._ready = False
        self._stopping = False
        self._closed = False

    async def open(self) -> None:
        if self._subscription.provision != "off":
            await _check_lists(self._client, self._subscription.topics)
        try:
            with translated(self._client.where, f"taking from {', '.join(self._subscription.topics)}"):
                await self._resume()
        except BaseException:
            await self._line.close()
            raise

    async def _resume(self) -> None:
        """Connect, and sign in. What a broken read had moved lies in our processing list, unseen."""
        async with asyncio.timeout(self._client.connect_timeout):
            await self._line.connect()
        await self._show_life()
        for each in self._lists:
            each.missing = True
        self._ready = True

    async def _show_life(self) -> None:
        for each in self._lists:
            keys = (2, each.members, each.heartbeat(self._member))
            known = await self._client.call("EVAL", scripts.ALIVE, *keys, self._member, self._lease)
            if not known and each.held:
                log.warning(
                    "%s: the lease on %d values of %s ran out and others have taken them over",
                    *(self._client.where, each.held.total(), each.topic),
                )
                each.epoch += 1
                each.held.clear()
        self._alive_at = asyncio.get_running_loop().time() + self._subscription.lease / 3

    async def receive(self, limit: int) -> Sequence[Delivery]:
        if self._stopping:
            return []
        with translated(self._client.where, f"taking from {', '.join(self._subscription.topics)}"):
            try:
                if not self._ready:
                    await self._resume()
                return await self._next(limit)
            except BaseException:
                self._ready = False
                raise

    async def _next(self, limit: int) -> list[Delivery]:
        now = asyncio.get_running_loop().time()
        block = BLOCK
        if now >= self._alive_at:
            await self._show_life()
        if now >= self._sweep_at:
            self._sweep_at = now + self._sweep_every
            await self._take_over()
            await self._look_for_missing()
        if now >= self._tick_at:
            self._tick_at = now + TICK
            block = await self._return_due()
        got: list[Delivery] = []
        # Each list takes its turn at being first.
        self._turn = (self._turn + 1) % len(self._lists)
        for each in self._lists[self._turn :] + self._lists[: self._turn]:
            if each.missing and len(got) < limit:
                got += await self._read_missing(each, limit - len(got))
            if len(got) < limit:
                keys = (2, each.topic, each.taken(self._member))
                values = await self._client.call("EVAL", scripts.TAKE, *keys, limit - len(got))
                got += self._hand_out(each, values)
        if got or self._stopping:
            return got
        return await self._wait(self._lists[self._turn], min(block, BLOCK / len(self._lists)))

    async def _wait(self, each: _List, block: float) -> list[Delivery]:
        """Wait at one list: no command takes safely from several. With more than one, they are looked at in turn."""
        value = await self._line.call(
            *("BLMOVE", each.topic, each.taken(self._member), "LEFT", "RIGHT", max(0.001, block))
        )
        return [] if value is None else self._hand_out(each, [value])

    def _hand_out(self, each: _List, values: list[bytes]) -> list[Delivery]:
        topic, held, epoch = each.topic, each.held, each.epoch
        got: list[Delivery] = []
        for value in values:
            body, key, id, headers = unwrap(value)
            got.append(Delivery(body, topic, key, headers, id, None, None, 0, value, (each, epoch, value)))
            held[value] += 1
        return got

    async def _read_missing(self, each: _List, limit: int) -> list[Delivery]:
        """Hand out what lies in our processing list although nobody here holds it."""
        async with self._settling:
            values = await self._client.call("LRANGE", each.taken(self._member), 0, -1)
            held = each.held.copy()
            found: list[bytes] = []
            for value in values:
                if held[value] > 0:
                    held[value] -= 1
                else:
                    found.append(value)
            each.missing = len(found) > limit
            return self._hand_out(each, found[:limit])

    async def _look_for_missing(self) -> None:
        """A server that has not noticed our broken connection may still move a value for its blocked read."""
        async with self._settling:
            for each in self._lists:
                if await self._client.call("LLEN", each.taken(self._member)) > each.held.total():
                    each.missing = True

    async def _take_over(self) -> None:
        for each in self._lists:
            for raw in await self._client.call("SMEMBERS", each.members):
                member = raw.decode()
                if member == self._member:
                    continue
                keys = (4, each.topic, each.taken(member), each.heartbeat(member), each.members)
                moved = await self._client.call("EVAL", scripts.TAKE_OVER, *keys, member)
                if moved:
                    log.warning(
                        "%s: took over %d values of %s from a dead member", self._client.where, moved, each.topic
                    )

    async def _return_due(self) -> float:
        """Put due copies back into their lists; the answer is how long the next read may block."""
        block = BLOCK
        for each in self._lists:
            try:
                keys = (2, each.waiting, each.topic)
                left = await self._client.call("EVAL", scripts.RETURN_DUE, *keys, _MOVE, _UNIQUE)
            except OutOfMemoryError:
                log.warning("%s: the server is full; due retries of %s wait", self._client.where, each.topic)
                continue
            if left >= 0:
                block = min(block, left / 1000)
        if block < BLOCK:
            self._tick_at = min(self._tick_at, asyncio.get_running_loop().time() + block)
        return block

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        answers = [Settled.DONE] * len(pairs)
        acks: dict[_List, list[int]] = {}
        releases: dict[_List, list[int]] = {}
        commands: list[Sequence[Any]] = []
        # For each command, the positions of the deliveries it settles.
        settled: list[list[int]] = []
        for position, (delivery, outcome) in enumerate(pairs):
            each, epoch, value = delivery.token
            if epoch != each.epoch:
                answers[position] = Settled.LOST
            elif isinstance(outcome, Ack):
                acks.setdefault(each, []).append(position)
            elif isinstance(outcome, RetryLater):
                try:
                    commands.append(self._postpone(each, value, outcome))
                    settled.append([position])
                except BrokerkitError:
                    log.exception("%s: the retry of %s cannot be stored", self._client.where, delivery)
                    answers[position] = Settled.FAILED
            else:
                releases.setdefault(each, []).append(position)
        for each, positions in acks.items():
            values = (pairs[position][0].token[2] for position in positions)
            commands.append(("EVAL", scripts.FINISH, 1, each.taken(self._member), *values))
            settled.append(positions)
        for each, positions in releases.items():
            values = (pairs[position][0].token[2] for position in positions)
            commands.append(("EVAL", scripts.GIVE_BACK, 2, each.topic, each.taken(self._member), *values))
            settled.append(positions)
        async with self._settling:
            results = await self._client.pipeline(commands)
            for positions, result in zip(settled, results, strict=True):
                self._note(pairs, positions, result, answers)
        return answers

    def _postpone(self, each: _List, value: bytes, outcome: RetryLater) -> Sequence[Any]:
        member = secrets.token_bytes(_UNIQUE) + wrap(outcome.copy, self._client.bulk_limit)
        after = max(0, round(outcome.after * 1000))
        return ("EVAL", scripts.POSTPONE, 2, each.waiting, each.taken(self._member), after, member, value)

    def _note(
        self, pairs: Sequence[tuple[Delivery, Outcome]], positions: list[int], result: Any, answers: list[Settled]
    ) -> None:
        """Write down the answers for the deliveries of one command, and hold no longer what is settled."""
        if isinstance(result, BaseException):
            log.warning("%s: settling failed: %s", self._client.where, result)
            for position in positions:
                answers[position] = Settled.FAILED
            return
        for position, found in zip(positions, result, strict=True):
            if not found:
                answers[position] = Settled.LOST
            each, epoch, value = pairs[position][0].token
            if epoch == each.epoch:
                if each.held[value] > 1:
                    each.held[value] -= 1
                else:
                    del each.held[value]

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        try:
            with translated(self._client.where, "extending the lease"):
                await self._show_life()
        except BrokerkitError as error:
            log.warning("%s", error)
            return [Settled.FAILED] * len(deliveries)
        tokens = (delivery.token for delivery in deliveries)
        return [Settled.DONE if epoch == each.epoch else Settled.LOST for each, epoch, _ in tokens]

    async def lag(self) -> int | None:
        with translated(self._client.where, "asking for the length of lists"):
            total = 0
            for each in self._lists:
                total += await self._client.call("LLEN", each.topic) + await self._client.call("ZCARD", each.waiting)
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
        for each in self._lists:
            taken, heartbeat = each.taken(self._member), each.heartbeat(self._member)
            keys = (4, each.topic, taken, heartbeat, each.members)
            # What is not settled goes back at once; when the server is away, others do it after the lease.
            await self._client.pipeline([("DEL", heartbeat), ("EVAL", scripts.TAKE_OVER, *keys, self._member)])

    def __repr__(self) -> str:
        state = (
            "closed" if self._closed else "stopping" if self._stopping else "ready" if self._ready else "not connected"
        )
        held = sum(each.held.total() for each in self._lists)
        return f"<RedisListSource {', '.join(self._subscription.topics)}: {state}, {held} held>"
