"""Settlement in transactions: what handlers publish and the acknowledgement of their messages are made together.

It stands in the place of `Settlement` where a source is told to handle each message exactly once. What a handler publishes
is kept here until its message may be settled. A handler that fails has published nothing; the retry copy or the dead letter
of its message is part of a transaction too. Everything that may be settled by now is committed together, then what came
meanwhile, and so on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from brokerkit._consuming._in_order import InOrder
from brokerkit._errors import BrokerkitError, Closed, UnsupportedFeature
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Outcome, Part, RetryLater, Settled, State
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._messages._retry_state import RetryState
from brokerkit._publishing._transaction import TRANSACTION
from brokerkit.adapters.api import Adapter, Capabilities, Transactional

logger = get_logger(__name__)

_PAUSE: Final = 0.1
"""Seconds between two transactions of which the first settled nothing."""

OUTBOX: Final = "publish through brokerkit.outbox, which makes a database transaction and its events one"


class _Call:
    """What one call of a handler publishes, see `Collector`. It takes nothing from what the call leaves behind at its end.

    Attributes:
        done: how many handlers of the message were done before it.
        messages: what it has published.
        ended: it is over.
    """

    __slots__ = ("_admit", "done", "ended", "messages")

    def __init__(self, admit: Callable[[Outgoing, str, Adapter], Receipt | BrokerkitError], done: int) -> None:
        self._admit = admit
        self.done = done
        self.messages: list[Outgoing] = []
        self.ended = False

    def __repr__(self) -> str:
        return f"<_Call: {len(self.messages)} published{', ended' if self.ended else ''}>"

    def collect(self, batch: Sequence[Outgoing], *, target: str, adapter: Adapter) -> list[Receipt | BrokerkitError]:
        """See `Collector.collect`."""
        if self.ended:
            raise Closed(
                f"target {target!r}: the handler has ended, and its transaction with it: await what it publishes"
            )
        results = [self._admit(outgoing, target, adapter) for outgoing in batch]
        self.messages += (one for one, result in zip(batch, results, strict=True) if isinstance(result, Receipt))
        return results


class Transactions:
    """The transactions of one source. Handlers publish into them, and their outcomes are settled by them.

    Args:
        source: commits.
        name: the source's name, for the log.
        adapter: the source's; only what is published through it can be part of a transaction.
        capabilities: what its broker promises.
        acknowledged: told how many deliveries are acknowledged and over, all of one transaction at once.
        settled: told the broker's answer for each other delivery that is no longer ours.
        letter_stored: told of each delivery whose dead letter is committed.
        advance: told of each delivery whose lane has waited for its settlement, and that is settled in another way.
        refused: told of each part with a message that the broker takes in no case, the reason, and whether the part has a
            dead letter.
    """

    def __init__(
        self,
        source: Transactional,
        *,
        name: str,
        adapter: Adapter,
        capabilities: Capabilities,
        acknowledged: Callable[[int], None],
        settled: Callable[[Delivery, Outcome, Settled], None],
        letter_stored: Callable[[Delivery], None],
        advance: Callable[[Delivery], None],
        refused: Callable[[Part, BrokerkitError, bool], None],
    ) -> None:
        self._source = source
        self._name = name
        self._adapter = adapter
        self._broker = capabilities.broker
        self._order = InOrder() if capabilities.commits_offsets else None
        self._acknowledged = acknowledged
        self._settled = settled
        self._letter_stored = letter_stored
        self._advance = advance
        self._refused = refused
        # For each delivery the calls of its handlers that count so far, the running one last.
        self._calls: dict[Delivery, list[_Call]] = {}
        self._letters: dict[Delivery, Outgoing] = {}
        # What waits for a retry through the broker. Its lane is closed until then, see `Flow.finish`.
        self._put_off: set[Delivery] = set()
        self._ready: list[Part] = []
        self._idle: asyncio.Future[None] | None = None
        self._asked_at: float | None = None
        self._clock = asyncio.get_running_loop().time

    def __repr__(self) -> str:
        return f"<Transactions of {self._name}: {len(self._ready)} waiting, {self._order!r}>"

    # ---- what a handler publishes ----------------------------------------------------------------------------

    def begin(self, delivery: Delivery) -> None:
        """A handler begins. What it publishes, also in tasks and threads that it starts, is kept with this call of it."""
        calls = self._calls.setdefault(delivery, [])
        if calls:
            calls[-1].ended = True
        call = _Call(self._admit, _done(delivery))
        calls.append(call)
        TRANSACTION.set(call)

    def _admit(self, outgoing: Outgoing, target: str, adapter: Adapter) -> Receipt | BrokerkitError:
        """Check a message before it becomes part of a transaction."""
        if adapter is not self._adapter:
            raise UnsupportedFeature(
                broker=self._broker,
                feature=f"exactly_once (source {self._name!r}) for events of its handlers to target {target!r}, which "
                "is another broker or cluster, or has another URL or other options",
                alternative=f"give the target the URL and options of the source, or {OUTBOX}",
            )
        try:
            self._source.check(outgoing)
        except BrokerkitError as error:
            return error
        return Receipt(outgoing.topic, outgoing.id)

    def roll_back(self, delivery: Delivery) -> None:
        """An attempt has failed: drop what its handler has published. What handlers before it have published stays."""
        # What hooks publish about the failure is no part of it.
        TRANSACTION.set(None)
        if calls := self._calls.get(delivery):
            calls[-1].ended = True
            done = _done(delivery)
            calls[:] = [call for call in calls if call.done < done]

    # ---- settlement, see `Settlement` ------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether the broker has yet to be told something, or to answer."""
        return bool(self._ready) or self._asked_at is not None

    def silent_for(self) -> float:
        """Seconds for which the broker owes an answer; 0 if it owes none."""
        return 0.0 if self._asked_at is None else self._clock() - self._asked_at

    def receive(self, batch: Sequence[Delivery]) -> None:
        """A batch was received."""
        if self._order is not None:
            self._order.receive(batch)

    def add_letter(self, delivery: Delivery, letter: Outgoing) -> None:
        """Publish a dead letter, and acknowledge its message, with the next transaction."""
        self._letters[delivery] = letter
        self.add(delivery, ACK)

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle this delivery with the next transaction in which it may be."""
        delivery.state = State.FINISHED
        messages = self._end_calls(delivery)
        if outcome is RELEASE:
            messages = ()
            _forget_handlers(delivery)
        elif (letter := self._letters.get(delivery)) is not None:
            messages = (*messages, letter)
        elif isinstance(outcome, RetryLater):
            self._put_off.add(delivery)
        part = Part(delivery, outcome, messages)
        self._let_go([part] if self._order is None else self._order.finish(part))

    def drop(self, delivery: Delivery) -> None:
        """A delivery was lost before a handler began."""
        self._end_calls(delivery)
        _forget_handlers(delivery)
        if self._order is not None:
            self._let_go(self._order.advance(delivery.token))

    def _end_calls(self, delivery: Delivery) -> tuple[Outgoing, ...]:
        calls = self._calls.pop(delivery, ())
        if calls:
            calls[-1].ended = True
        return tuple(outgoing for call in calls for outgoing in call.messages)

    def _let_go(self, parts: Sequence[Part]) -> None:
        self._ready += parts
        if self._ready and self._idle is not None:
            if not self._idle.done():  # It is cancelled with the task.
                self._idle.set_result(None)
            self._idle = None

    async def run(self) -> None:
        """Commit what was added, until cancelled."""
        while True:
            if not self._ready:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
            parts, self._ready = self._ready, []
            self._asked_at = self._clock()
            answers = await self._source.commit(parts)
            self._asked_at = None
            if not self._take(parts, answers):
                await asyncio.sleep(_PAUSE)

    def _take(self, parts: Sequence[Part], answers: Sequence[Settled | BrokerkitError]) -> bool:
        """Do what the answers ask for. False if nothing was settled."""
        acknowledged, done, settled = 0, Settled.DONE, State.SETTLED
        open: list[Part] = []
        refused: dict[Delivery, BrokerkitError] = {}
        for part, answer in zip(parts, answers, strict=True):
            delivery, outcome = part.delivery, part.outcome
            if isinstance(answer, BrokerkitError):
                refused[delivery] = answer
                open.append(part)
            elif answer is Settled.FAILED:
                open.append(part)
            else:
                delivery.state = settled
                has_letter = self._letters.pop(delivery, None) is not None
                if answer is done and outcome is ACK:
                    acknowledged += 1
                    if has_letter:
                        self._letter_stored(delivery)
                else:
                    self._settled(delivery, outcome, answer)
                    if has_letter or (outcome is RELEASE and delivery in self._put_off):
                        self._advance(delivery)
                self._put_off.discard(delivery)
        if acknowledged:
            self._acknowledged(acknowledged)
        if open:
            self._put_back(open, refused)
        return len(open) < len(parts) or bool(refused)

    def _put_back(self, open: Sequence[Part], refused: Mapping[Delivery, BrokerkitError]) -> None:
        """Keep what is not settled, in its order, and have it decided anew about what the broker refuses."""
        if self._order is None:
            self._ready = [*(part for part in open if part.delivery not in refused), *self._ready]
        else:
            for token in dict.fromkeys(part.delivery.token for part in open):
                parts = [part for part in (*open, *self._ready) if part.delivery.token is token]
                self._ready = [part for part in self._ready if part.delivery.token is not token]
                self._order.put_back(parts, undecided=refused)
                self._let_go(self._order.advance(token))
        for part in open:
            if (error := refused.get(part.delivery)) is not None:
                # What the handlers that are done have published is dropped with the rest, so all of them run again.
                _forget_handlers(part.delivery)
                self._put_off.discard(part.delivery)
                self._refused(part, error, self._letters.pop(part.delivery, None) is not None)


def _done(delivery: Delivery) -> int:
    """How many handlers are done with a message."""
    return 0 if delivery.retry_state is None else len(delivery.retry_state.done)


def _forget_handlers(delivery: Delivery) -> None:
    """What comes again as it is comes to all its handlers: what those that were done have published is dropped."""
    if (retry_state := delivery.retry_state) is not None:
        retry_state.done = RetryState.from_headers(delivery.headers).done if retry_state.from_us else ()
