"""A round through a place for dead letters: what is selected is worked on and taken out, the rest stays.

Nothing is taken out before it is done with, so that a round may be interrupted anywhere: what was done last may be done
again by the next one, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from brokerkit._consuming._deadletters import QueueOfDeadLetters
from brokerkit._consuming._leases import Leases
from brokerkit._consuming._letter import Selection, copies_of, copy_of_letter, origin_of
from brokerkit._consuming._letter_file import FileOfDeadLetters
from brokerkit._errors import BrokerkitError
from brokerkit._message import ACK, RELEASE, Delivery, Outcome, Settled, State
from brokerkit._transport import Source, Subscription

logger = logging.getLogger("brokerkit")

Work = Callable[[Sequence[Delivery]], Awaitable[list["bool | BrokerkitError"]]]
"""Does something with letters. For each: True where it is done with; False where it has to stay; an error where the
round has to end. Does not raise."""

_BATCH: Final = 100
_HELD: Final = 1_000
"""Letters that stay where they are while a round goes on; beyond that the oldest goes to the end of the queue."""
_LEASE: Final = 30.0
_QUIET: Final = 2.0
"""Seconds without a letter after which there is none, where the broker does not know of more."""
_QUIET_AND_COUNTED: Final = 0.5
"""The same where what waits can be counted, and is not only estimated or counted without what is on its way."""
_TURN: Final = 5.0
"""The same where it does; it may have counted what others took meanwhile."""
_PATIENCE: Final = 60.0
"""Seconds until the first letter where the broker knows of some: Kafka waits for a member that was killed."""
_TRIES: Final = 5


class Round:
    """One round through the places of a source.

    Attributes:
        done: letters that were worked on and are out of their place.
        passed: those that were looked at and stay.
    """

    def __init__(self, selection: Selection, work: Work, *, limit: int | None) -> None:
        self.done = 0
        self.passed = 0
        self._selection = selection
        self._work = work
        self._limit = limit

    def __repr__(self) -> str:
        return f"<Round: {self.done} done, {self.passed} passed>"

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and self.done >= self._limit

    async def through_file(self, place: FileOfDeadLetters) -> None:
        """Go through a file.

        Raises:
            BrokerkitError: the file cannot be read or written, or the work ended with an error.
        """
        letters = await place.letters()
        wanted = [letter for letter in letters if letter in self._selection]
        self.passed += len(letters) - len(wanted)
        while wanted and not self.is_full:
            batch = wanted[: self.first(wanted[:_BATCH])]
            del wanted[: len(batch)]
            results = await self._work(batch)
            done = [letter for letter, result in zip(batch, results, strict=True) if result is True]
            if done:
                await place.remove(done)
            self.done += len(done)
            self.passed += len(batch) - len(done)
            _raise_first(results)

    async def through_queue(self, place: QueueOfDeadLetters) -> None:
        """Go through a queue.

        Raises:
            NotFound: there is no such queue.
            BrokerkitError: the connection broke, or the work ended with an error.
        """
        if not self.is_full:
            await _QueueRound(self, place).run()

    async def work(
        self, letters: Sequence[Delivery]
    ) -> tuple[list[Delivery], list[Delivery], list[bool | BrokerkitError]]:
        """Sort letters into those that are done with and those that stay; and what the work said."""
        wanted = [letter for letter in letters if letter in self._selection]
        results = await self._work(wanted) if wanted else []
        done = {id(letter) for letter, result in zip(wanted, results, strict=True) if result is True}
        self.done += len(done)
        self.passed += len(letters) - len(done)
        return (
            [letter for letter in letters if id(letter) in done],
            [letter for letter in letters if id(letter) not in done],
            results,
        )

    def first(self, letters: Sequence[Delivery]) -> int:
        """How many of these letters may be looked at until the limit is reached."""
        if self._limit is None:
            return len(letters)
        left = self._limit - self.done
        for place, letter in enumerate(letters):
            left -= letter in self._selection
            if left < 0:
                return place
        return len(letters)


class _QueueRound:
    """One round through one queue, as the only group that reads it.

    What stays is held here until the end and then given back, so that nothing about it changes. Where that would keep the
    rest from being seen (Kafka remembers one number for all, SQS FIFO gives out no more of a message group), and beyond
    `_HELD`, a copy goes to the end of the queue before the letter is acknowledged.
    """

    def __init__(self, round: Round, place: QueueOfDeadLetters) -> None:
        self._round = round
        self._place = place
        promises = place.adapter.capabilities(place.topic)
        self._prefix = promises.prefix
        self._quiet = _QUIET_AND_COUNTED if promises.look_stored == "free" else _QUIET
        self._room = 0 if promises.prefix or promises.order == "group" else _HELD
        subscription = Subscription(
            topics=(place.topic,), group=place.topic, stored=True, remove=True, lease=_LEASE, max_in_flight=2 * _HELD
        )
        self._source: Source = place.adapter.subscribe(subscription, _lost)
        self._leases = Leases(self._source, seconds=_LEASE, lost=_lose) if promises.lease is not None else None
        self._staying: deque[Delivery] = deque()
        self._untouched: list[Delivery] = []
        self._seen: dict[str, int] = {}
        self._closed: set[int] = set()
        """Partitions that came to letters that the round has put there itself."""

    async def run(self) -> None:
        await self._source.open()
        keeping = asyncio.ensure_future(self._leases.keep()) if self._leases is not None else None
        try:
            await self._go(await self._waiting())
        finally:
            await self._settle([*self._untouched, *self._staying], RELEASE)
            if keeping is not None:
                keeping.cancel()
            await self._source.stop()
            await self._source.close()

    async def _waiting(self) -> int:
        """How many letters the broker knows of; 0 where it cannot tell."""
        with suppress(BrokerkitError):
            return await self._source.lag() or 0
        return 0

    async def _go(self, expected: int) -> None:
        seen = 0
        while (room := 2 * _HELD - len(self._staying) - len(self._untouched)) > 0:
            patience = self._quiet if seen >= expected else _TURN if seen else _PATIENCE
            batch = await self._next(min(room, _BATCH), patience=patience)
            if not batch:
                return
            fresh = [letter for letter in batch if self._is_fresh(letter)]
            first = self._round.first(fresh)
            self._untouched += fresh[first:]
            seen += len(fresh)
            try:
                done, staying, results = await self._round.work(fresh[:first])
            except BaseException:
                self._untouched += fresh[:first]
                raise
            self._staying += staying
            try:
                await self._put_back()
            finally:
                await self._settle(done, ACK)
            _raise_first(results)
            if self._round.is_full:
                return

    async def _next(self, limit: int, *, patience: float) -> Sequence[Delivery]:
        """The next letters; nothing when none came for so many seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while True:
            receiving = asyncio.ensure_future(self._source.receive(limit))
            try:
                await asyncio.wait([receiving], timeout=max(end - loop.time(), 0.0))
            finally:
                if not receiving.done():
                    await self._source.stop()
                    await asyncio.wait([receiving])
            batch = receiving.result()
            if batch or loop.time() >= end:
                if self._leases is not None:
                    self._leases.add(batch)
                return batch

    def _is_fresh(self, letter: Delivery) -> bool:
        """Whether the round has to look at a letter; if not, it stays: it was put there since the round began."""
        origin, copies = origin_of(letter) or "", copies_of(letter)
        if id(letter.token) in self._closed or copies > self._seen.get(origin, copies):
            if self._prefix:
                # What is done with behind it could not be remembered.
                self._closed.add(id(letter.token))
            self._untouched.append(letter)
            return False
        if origin:
            self._seen[origin] = copies
        return True

    async def _put_back(self) -> None:
        """Put letters to the end of the queue, until there is room for what stays."""
        while len(self._staying) > self._room:
            batch = [self._staying.popleft() for _ in range(min(len(self._staying) - self._room, _BATCH))]
            try:
                results = await self._place.put([copy_of_letter(letter, topic=self._place.topic) for letter in batch])
            except BaseException:
                self._untouched += batch
                raise
            stored = [letter for letter, failure in zip(batch, results, strict=True) if failure is None]
            self._untouched += [letter for letter, failure in zip(batch, results, strict=True) if failure is not None]
            for letter in stored:
                self._seen[origin_of(letter) or ""] = copies_of(letter)
            await self._settle(stored, ACK)
            _raise_first(results)

    async def _settle(self, letters: Sequence[Delivery], outcome: Outcome) -> None:
        """Tell the broker, several times if need be. What it does not get to know comes again."""
        for attempt in range(_TRIES):
            letters = [letter for letter in letters if letter.state is State.WAITING]
            if not letters:
                return
            if attempt:
                await asyncio.sleep(0.2 * 2**attempt)
            answers = await self._source.settle([(letter, outcome) for letter in letters])
            for letter, answer in zip(letters, answers, strict=True):
                if answer is not Settled.FAILED:
                    letter.state = State.SETTLED
        if outcome is ACK:
            logger.error("%d dead letters that are done with could not be acknowledged; they come again", len(letters))


async def _lost(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
    for delivery in deliveries:
        if gone:
            _lose(delivery)


def _lose(delivery: Delivery) -> None:
    if delivery.state is State.WAITING:
        delivery.state = State.LOST


def _raise_first(results: Sequence[bool | BrokerkitError | None]) -> None:
    for result in results:
        if isinstance(result, BrokerkitError):
            raise result
