"""Taking from Redis lists as a member: the source behind ``redis+list://``."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from brokerkit.adapters.api import (
    ACK,
    Ack,
    BrokerkitError,
    Delivery,
    Outcome,
    ReadFrom,
    RetryLater,
    Settled,
    Subscription,
    UnsupportedFeature,
    get_logger,
    is_role,
)
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._client import (
    Client,
    Line,
    ServerClient,
    ask_parts,
    check_slot,
    in_slots,
    is_part_away,
)
from brokerkit.adapters.redis._cluster import ClusterClient
from brokerkit.adapters.redis._errors import code_of, is_denied, translated
from brokerkit.adapters.redis._lists import Finishing, List, own_list
from brokerkit.adapters.redis._watch import Spread, Taken
from brokerkit.adapters.redis._wire import wrap

logger = get_logger(__name__)

BLOCK: Final = 1.0
"""Seconds that one read of an empty list waits."""

TICK: Final = 0.5
"""Seconds between two looks for retries that are due."""

SWEEP: Final = 5.0
"""The most seconds between two looks for members whose heartbeat stopped."""

PASS: Final = 0.2
"""Seconds between two looks at many lists at least: no command waits for several and loses nothing."""

_MOVE: Final = 200
UNIQUE: Final = 12
"""Random bytes before a waiting copy: a sorted set holds equal members once."""


async def check_lists(client: Client, topics: Sequence[str]) -> None:
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


def _is_unknown(result: Any) -> bool:
    """Whether a command had no answer: the server may have carried it out."""
    return isinstance(result, BaseException) and not isinstance(result, ResponseError)


def _key(each: List) -> str:
    return each.key


class RedisListSource:
    """A member that takes from one or more lists."""

    def __init__(self, client: Client, subscription: Subscription, end: ReadFrom) -> None:
        self._client = client
        self._end: ReadFrom = end
        self._line: Line | None = None
        self._spread: Spread[List, Delivery] | None = None
        self._subscription = subscription
        self._lease = max(1, round(subscription.lease * 1000))
        self._sweep_every = min(subscription.lease / 2, SWEEP)
        self._member = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        is_queue = subscription.is_queue
        self._lists = [List(topic, is_own=is_queue and is_role(topic, "dlq")) for topic in subscription.topics]
        self._own = [List(topic, key=own_list(topic), is_own=True) for topic in subscription.topics]
        self._all = self._lists + self._own
        for each in self._all:
            check_slot(client, each.topic, (each.key, each.members, each.waiting, each.later, each.taken(self._member)))
        self._parts = in_slots(client, self._lists, _key)
        self._own_parts = in_slots(client, self._own, _key)
        # Own lists that may have values.
        self._due: list[List] = []
        if isinstance(client, ClusterClient):
            by_key = {each.topic.encode(): each for each in self._lists}
            self._spread = Spread(client, by_key, look="LLEN", take=self._take_new)
        else:
            self._line = client.line(BLOCK, self._lists[0].topic)
        self._error: Exception | None = None
        self._handed_out: list[tuple[List, list[bytes]]] = []
        """What `receive` has taken since it was called."""
        self._turn = 0
        self._tick_at = 0.0
        self._sweep_at = 0.0
        self._alive_at = 0.0
        # Settling must not run between reading the processing list and comparing it with what is held.
        self._settling = asyncio.Lock()
        self._found_out: dict[Delivery, Settled] = {}
        """What was found out about deliveries whose settlement had no answer, until the core asks for it again."""
        self._ready = False
        self._stopping = False
        self._closed = False

    async def open(self) -> None:
        if self._subscription.provision != "off":
            await check_lists(self._client, self._subscription.topics)
        try:
            with translated(self._client.where, f"taking from {', '.join(self._subscription.topics)}"):
                await self._resume()
        except BaseException:
            await self._hang_up()
            raise

    async def _resume(self) -> None:
        """Connect, and sign in. What a broken read had moved lies in our processing list, unseen."""
        if self._line is not None:
            async with asyncio.timeout(self._client.connect_timeout):
                await self._line.connect()
        await self._send_heartbeat()
        for each in self._all:
            each.missing = True
        self._tick_at = 0.0
        self._ready = True

    async def _hang_up(self) -> None:
        if self._line is not None:
            await self._line.close()
        if self._spread is not None:
            await self._spread.close()

    async def _send_heartbeat(self) -> None:
        signs = await self._client.pipeline(
            [
                ("EVAL", scripts.ALIVE, 2, each.members, each.heartbeat(self._member), self._member, self._lease)
                for each in self._all
            ]
        )
        for each, known in zip(self._all, signs, strict=True):
            if is_part_away(self._client, known):
                continue
            if isinstance(known, BaseException):
                raise known
            if not known and each.held:
                logger.warning(
                    "%s: the lease on %d values of %s ran out and others have taken them over",
                    *(self._client.where, each.held.total(), each.topic),
                )
                each.epoch += 1
                each.held.clear()
        self._alive_at = asyncio.get_running_loop().time() + self._subscription.lease / 3

    async def receive(self, limit: int) -> Sequence[Delivery]:
        if self._stopping:
            return []
        self._handed_out.clear()
        with translated(self._client.where, f"taking from {', '.join(self._subscription.topics)}"):
            try:
                if not self._ready:
                    await self._resume()
                return await self._next(limit)
            except BaseException:
                self._ready = False
                for each, values in self._handed_out:  # in vain: they lie in our processing list, and are not held
                    each.held -= Counter(values)
                raise

    async def _next(self, limit: int) -> list[Delivery]:
        now = asyncio.get_running_loop().time()
        block = BLOCK
        if now >= self._alive_at:
            await self._send_heartbeat()
        if now >= self._sweep_at:
            self._sweep_at = now + self._sweep_every
            try:
                await self._take_over(await self._look_for_missing())
            except (RedisError, OSError) as error:
                if not is_part_away(self._client, error):
                    raise
        if now >= self._tick_at:
            self._tick_at = now + TICK
            block = await self._return_due()
        got = await self._read_own(limit) if self._due else []
        if self._spread is not None:
            return got or await self._read_spread(self._spread, limit, block)
        # Each list takes its turn at being first.
        self._turn = (self._turn + 1) % len(self._lists)
        for each in await self._filled(self._lists[self._turn :] + self._lists[: self._turn]):
            got += await self._take(each, limit - len(got))
        if got or self._stopping:
            return got
        return await self._wait(self._lists[self._turn], min(block, max(BLOCK / len(self._lists), PASS)))

    async def _read_own(self, limit: int) -> list[Delivery]:
        """Take from the own lists that have values."""
        due, self._due = self._due, []
        got: list[Delivery] = []
        for each in due:
            try:
                got += await self._take(each, limit - len(got))
            except (RedisError, OSError) as error:
                if not is_part_away(self._client, error):
                    raise
            if len(got) >= limit:
                self._due.append(each)  # it may have more
        return got

    async def _take(self, each: List, limit: int) -> list[Delivery]:
        """What lies in our processing list and nobody holds, then what is in the list."""
        got: list[Delivery] = []
        if each.missing and limit > 0:
            got = await self._read_missing(each, limit)
        if len(got) < limit:
            keys = (2, each.key, each.taken(self._member))
            values = await self._client.call("EVAL", scripts.TAKE[self._end], *keys, limit - len(got))
            got += self._hand_out(each, values)
        return got

    async def _read_spread(self, spread: Spread[List, Delivery], limit: int, block: float) -> list[Delivery]:
        """Take from lists in any slots of a cluster."""
        got: list[Delivery] = []
        self._error = None
        for each in self._lists:
            if each.missing and len(got) < limit:
                try:
                    got += await self._read_missing(each, limit - len(got))
                except (RedisError, OSError) as error:
                    if not is_part_away(self._client, error):
                        raise
                spread.look_again()
        if not got and not self._stopping:
            got = await spread.read(limit, block)
        if self._error is not None and not got:
            # Messages of other servers are handled. If there are none, report that a server is away.
            raise self._error
        return got

    async def _take_new(self, lists: list[List], count: int) -> Taken[Delivery]:
        taken = Taken[Delivery]()
        ready = [each for each in lists if not each.missing]
        answers = await self._client.pipeline(
            [("EVAL", scripts.TAKE[self._end], 2, each.topic, each.taken(self._member), count) for each in ready]
        )
        taken.failed.update(each.topic.encode() for each in lists if each.missing)
        for each, answer in zip(ready, answers, strict=True):
            if isinstance(answer, Exception):
                self._error = answer
                taken.failed.add(each.topic.encode())
                # What the server had moved, if anything, lies in our processing list, unseen.
                each.missing = each.missing or not isinstance(answer, ResponseError)
            elif answer:
                taken.got += self._hand_out(each, answer)
                taken.more.add(each.topic.encode())
        return taken

    async def _filled(self, lists: list[List]) -> list[List]:
        """Those that may have something: one question for many, for most have nothing."""
        if len(lists) == 1:
            return lists
        parts = [(part, [each.key for each in part], ()) for part in self._parts]
        looks = await ask_parts(self._client, scripts.FILLED, parts)
        filled: set[List] = {part[index] for part, indexes in looks for index in indexes}
        return [each for each in lists if each.missing or each in filled]

    async def _wait(self, each: List, block: float) -> list[Delivery]:
        """Wait at one list: no command takes safely from several. With more than one, they are looked at in turn."""
        assert self._line is not None
        value = await self._line.call(
            *("BLMOVE", each.topic, each.taken(self._member), self._end.upper(), "RIGHT", max(0.001, block))
        )
        return [] if value is None else self._hand_out(each, [value])

    def _hand_out(self, each: List, values: list[bytes]) -> list[Delivery]:
        topic, held, epoch, kind = each.topic, each.held, each.epoch, each.kind
        got: list[Delivery] = []
        for value in values:
            got.append(kind(value, topic, value, (each, epoch, value)))
            held[value] += 1
        self._handed_out.append((each, values))
        return got

    async def _read_missing(self, each: List, limit: int) -> list[Delivery]:
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

    async def _look_for_missing(self) -> list[List]:
        """See whether values lie in our processing lists that nobody here holds; the lists that this is to be done for,
        and those with other members.

        A server that has not noticed our broken connection may still move a value for its blocked read.
        """
        async with self._settling:
            parts = [
                (
                    part,
                    [key for each in part for key in (each.members, each.taken(self._member))],
                    [each.held.total() for each in part],
                )
                for part in self._parts + self._own_parts
            ]
            looks = await ask_parts(self._client, scripts.CENSUS, parts)
            found: list[List] = [part[index] for part, indexes in looks for index in indexes]
            for each in found:
                if await self._client.call("LLEN", each.taken(self._member)) > each.held.total():
                    each.missing = True
        return found

    async def _take_over(self, lists: list[List]) -> None:
        """Give back what members without a heartbeat have taken from lists."""
        for each in lists:
            for raw in await self._client.call("SMEMBERS", each.members):
                member = raw.decode()
                if member == self._member:
                    continue
                keys = (5, each.key, each.taken(member), each.heartbeat(member), each.members, each.mark(member))
                moved = await self._client.call("EVAL", scripts.TAKE_OVER[self._end], *keys, member)
                if moved:
                    logger.warning(
                        "%s: took over %d values of %s from a dead member", self._client.where, moved, each.topic
                    )

    async def _return_due(self) -> float:
        """Put due copies into the own lists, and note which of these have values; the answer is how long the next read may
        block.
        """
        block = BLOCK
        wanted: list[List] = []
        late: list[List] = []
        parts = [
            (part, [key for each in part for key in (each.waiting, each.key, each.later)], ())
            for part in self._own_parts
        ]
        for part, (first, indexes, late_indexes) in await ask_parts(self._client, scripts.NEXT_DUE, parts):
            wanted += [each for index, each in enumerate(part) if index in indexes or each.missing]
            late += [part[index] for index in late_indexes]
            if first >= 0:
                block = min(block, first / 1000)
        self._due = wanted
        for waiting, key, topic in [
            *((each.waiting, each.key, each.topic) for each in wanted),
            *((each.later, each.topic, each.topic) for each in late),
        ]:
            try:
                left = await self._client.call("EVAL", scripts.RETURN_DUE[self._end], 2, waiting, key, _MOVE, UNIQUE)
            except (RedisError, OSError) as error:
                if code_of(error) == "OOM":
                    logger.warning("%s: the server is full; what is due in %s waits", self._client.where, topic)
                elif not is_part_away(self._client, error):
                    raise
                continue
            if left >= 0:
                block = min(block, left / 1000)
        if block < BLOCK:
            self._tick_at = min(self._tick_at, asyncio.get_running_loop().time() + block)
        return block

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        async with self._settling:
            await self._clear_doubts()
            return await self._settle(pairs)

    async def _clear_doubts(self) -> None:
        """Make the calls again that had no answer. Those that were carried out do nothing."""
        doubtful: list[tuple[List, Finishing]] = []
        for each in self._all:
            if each.doubt is not None and each.doubt.epoch != each.epoch:
                each.doubt = None  # others have taken over what it was about
            if each.doubt is not None:
                doubtful.append((each, each.doubt))
        if not doubtful:
            return
        commands = [self._finish(each, doubt, again=True) for each, doubt in doubtful]
        for (each, doubt), result in zip(doubtful, await self._client.pipeline(commands), strict=True):
            if _is_unknown(result):
                continue
            each.doubt = None
            if not isinstance(result, ResponseError):
                answers = [Settled.DONE] * len(result)
                pairs = [(delivery, ACK) for delivery in doubt.deliveries]
                self._note(pairs, list(range(len(pairs))), result, answers)
                self._found_out.update(zip(doubt.deliveries, answers, strict=True))

    async def _settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        answers = [Settled.DONE] * len(pairs)
        acks: dict[List, list[int]] = {}
        releases: dict[List, list[int]] = {}
        commands: list[Sequence[Any]] = []
        # For each command, the positions of the deliveries it settles.
        settled: list[list[int]] = []
        for position, (delivery, outcome) in enumerate(pairs):
            each, epoch, value = delivery.token
            if (known := self._found_out.pop(delivery, None)) is not None:
                answers[position] = known
            elif epoch != each.epoch:
                answers[position] = Settled.LOST
            elif each.doubt is not None:
                answers[position] = Settled.FAILED
            elif isinstance(outcome, Ack):
                acks.setdefault(each, []).append(position)
            elif isinstance(outcome, RetryLater):
                try:
                    commands.append(self._postpone(each, value, outcome))
                    settled.append([position])
                except BrokerkitError:
                    logger.exception("%s: the retry of %s cannot be stored", self._client.where, delivery)
                    answers[position] = Settled.FAILED
            else:
                releases.setdefault(each, []).append(position)
        for each, positions in acks.items():
            deliveries = tuple(pairs[position][0] for position in positions)
            each.doubt = Finishing(secrets.token_bytes(UNIQUE), each.epoch, deliveries)
            commands.append(self._finish(each, each.doubt, again=False))
            settled.append(positions)
        for each, positions in releases.items():
            values = (pairs[position][0].token[2] for position in positions)
            commands.append(("EVAL", scripts.GIVE_BACK[self._end], 2, each.key, each.taken(self._member), *values))
            settled.append(positions)
        results = await self._client.pipeline(commands)
        for positions, result in zip(settled, results, strict=True):
            self._note(pairs, positions, result, answers)
            each = pairs[positions[0]][0].token[0]
            if acks.get(each) is positions and not _is_unknown(result):
                each.doubt = None
        return answers

    def _finish(self, each: List, call: Finishing, *, again: bool) -> Sequence[Any]:
        values = (delivery.token[2] for delivery in call.deliveries)
        keys = (2, each.taken(self._member), each.mark(self._member))
        return ("EVAL", scripts.FINISH, *keys, call.mark, int(again), *values)

    def _postpone(self, each: List, value: bytes, outcome: RetryLater) -> Sequence[Any]:
        member = secrets.token_bytes(UNIQUE) + wrap(outcome.copy, self._client.bulk_limit)
        after = max(0, round(outcome.after * 1000))
        return ("EVAL", scripts.POSTPONE, 2, each.waiting, each.taken(self._member), after, member, value)

    def _note(
        self, pairs: Sequence[tuple[Delivery, Outcome]], positions: list[int], result: Any, answers: list[Settled]
    ) -> None:
        """Note the answers for the deliveries of one command, and stop holding those that are settled."""
        if isinstance(result, BaseException):
            logger.warning("%s: settling failed: %s", self._client.where, result)
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
                await self._send_heartbeat()
        except BrokerkitError as error:
            logger.warning("%s", error)
            return [Settled.FAILED] * len(deliveries)
        tokens = (delivery.token for delivery in deliveries)
        return [Settled.DONE if epoch == each.epoch else Settled.LOST for each, epoch, _ in tokens]

    async def lag(self) -> int | None:
        with translated(self._client.where, "asking for the length of lists"):
            total = 0
            for each, own in zip(self._lists, self._own, strict=True):
                for command, key in (("LLEN", each.key), ("LLEN", own.key), ("ZCARD", each.waiting)):
                    total += await self._client.call(command, key)
            return total

    async def stop(self) -> None:
        self._stopping = True
        if self._spread is not None:
            self._spread.stop()
        elif self._line is not None and isinstance(self._client, ServerClient):
            await self._client.unblock(self._line)

    async def close(self) -> None:
        self._stopping = True
        if self._closed:
            return
        self._closed = True
        await self._hang_up()
        for each in self._all:
            taken, heartbeat = each.taken(self._member), each.heartbeat(self._member)
            keys = (5, each.key, taken, heartbeat, each.members, each.mark(self._member))
            # What is not settled goes back at once; when the server is away, others do it after the lease.
            for error in await self._client.pipeline(
                [("DEL", heartbeat), ("EVAL", scripts.TAKE_OVER[self._end], *keys, self._member)]
            ):
                if isinstance(error, RedisError):
                    level = logging.WARNING if is_denied(error) else logging.DEBUG
                    logger.log(level, "%s: giving back what is left of %s: %s", self._client.where, each.topic, error)

    def __repr__(self) -> str:
        state = (
            "closed" if self._closed else "stopping" if self._stopping else "ready" if self._ready else "not connected"
        )
        held = sum(each.held.total() for each in self._all)
        return f"<RedisListSource {', '.join(self._subscription.topics)}: {state}, {held} held>"
