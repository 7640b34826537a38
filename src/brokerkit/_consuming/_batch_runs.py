"""Runs a batch in a slot: one call of its handler, and then what becomes of each of its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

from brokerkit._consuming._batches import Collected, batch_of
from brokerkit._consuming._caller import Caller
from brokerkit._consuming._failure import Stopped
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._lanes import Key
from brokerkit._consuming._once_each import Item, run_once_each
from brokerkit._consuming._retries import Retries
from brokerkit._consuming._routes import Call, NoValue, route_of
from brokerkit._consuming._slot import Slot, message_of
from brokerkit._errors import HandlerTimeout
from brokerkit._handlers._batch import FailedItems
from brokerkit._messages._delivery import Delivery, State
from brokerkit._messages._message import Message
from brokerkit._messages._trace_context import HANDLED

_NO_VALUE: Final = NoValue()
# Looked up for each message: a member costs several times what a global does.
_WAITING: Final = State.WAITING
_RUNNING: Final = State.RUNNING


@dataclass(slots=True)
class _Got:
    """What a handler of batches gets: lists, because an object for each message would cost as much as all else here.

    Attributes:
        events: empty where the handler takes messages only, and nothing else needs the events.
        messages: empty where nothing needs them.
    """

    deliveries: list[Delivery]
    events: list[Any]
    messages: list[Message]


class BatchRuns:
    """Runs the batches of one source.

    Args:
        flow: the source's.
        source: the source's name.
        retries: told of what failed.
        caller: calls the handlers.
        clock: measures durations; None where nobody asks.
        time_out: says that the handler of a slot took too long.
        handled: ends a message that all its handlers are done with.
        skip_tombstone: ends a message without a value that nobody takes.
        decide: decides about a message that failed.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        source: str,
        retries: Retries,
        caller: Caller,
        clock: Callable[[], float] | None,
        time_out: Callable[[Slot, Call], HandlerTimeout],
        handled: Callable[[Delivery], None],
        skip_tombstone: Callable[[Delivery], None],
        decide: Callable[[Delivery, Call | None, BaseException], None],
    ) -> None:
        self._flow = flow
        self._source = source
        self._retries = retries
        self._caller = caller
        self._clock = clock
        self._time_out = time_out
        self._handled = handled
        self._skip_tombstone = skip_tombstone
        self._decide = decide
        self._spans = flow.figures.spans

    def __repr__(self) -> str:
        return f"<BatchRuns of {self._source}>"

    async def collect(self, delivery: Delivery, call: Call, slot: Slot) -> None:
        """A slot has come to a handler of batches: let the delivery wait for its batch.

        A suspect, and a message that the circuit breaker tries, run alone and at once.
        """
        if self._spans is not None:
            self._spans.end(delivery)
        delivery.state = State.WAITING
        if self._retries.puts_off_again(delivery):
            return
        isolation = self._flow.isolation
        if isolation.on and (not isolation.paused or route_of(delivery).batch is call):
            alone = Collected(call)
            alone.deliveries.append(delivery)
            await self.run(alone, slot)
        else:
            self._wait(delivery, call)

    def _wait(self, delivery: Delivery, call: Call) -> None:
        """Let a delivery wait for a batch, or for the end of a pause or an isolation."""
        if self._flow.isolation.on:
            self._flow.inbox.append(delivery)
        else:
            self._flow.batches.add(delivery, call)

    async def run(self, batch: Collected, slot: Slot) -> bool:
        """Handle a batch. True if its handler has set a context variable, which no other message must see."""
        deliveries, call = self._begin(batch), batch.call
        if not deliveries:
            return False
        HANDLED.set(None)  # What the handler publishes follows from no single message.
        before = copy_context()
        slot.seen = (None, None, 0.0)  # The same batch may have been tried in this slot before.
        slot.delivery, slot.call, slot.batch = deliveries[0], call, deliveries
        try:
            failed = await self._outcomes(deliveries, call, slot)
            with self._retries.tracebacks.of_batch():
                self._end(deliveries, call, failed)
        except BaseException:
            # It is stopped, or a handler has raised what none may: nothing has failed.
            for delivery in deliveries:
                if delivery.state is State.RUNNING:
                    self._decide(delivery, None, Stopped())
            raise
        finally:
            slot.delivery, slot.batch = None, ()
        return copy_context() != before

    def _begin(self, batch: Collected) -> list[Delivery]:
        """Return the deliveries of a batch that are still ours, and let the others leave their lanes."""
        found = list[Delivery]()
        for delivery in batch.deliveries:
            if delivery.state is _WAITING:
                delivery.state = _RUNNING
                found.append(delivery)
            else:
                self._flow.advance(delivery)
        if self._spans is not None:
            self._spans.begin_many(found)
        return found

    async def _outcomes(self, deliveries: Sequence[Delivery], call: Call, slot: Slot) -> dict[Delivery, BaseException]:
        """Call the handler, and return the errors of what failed.

        Raises:
            asyncio.CancelledError: it was cancelled by a stop.
        """
        got, failed = self._read(deliveries, call)
        if not got.deliveries:
            return failed
        began = 0.0 if self._clock is None else self._clock()
        error: BaseException | None = None
        duplicates = set[Delivery]()
        try:
            if call.idempotent is None:
                failed |= await self._call(call, got)
            else:
                items = [Item(*one) for one in zip(got.deliveries, got.events, got.messages, strict=True)]
                await run_once_each(call, items, self._call_items, failed=failed, duplicate=duplicates.add)
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 (any error of a handler is a failure)
            error = raised
        if slot.timed_out:
            overdue = self._time_out(slot, call)
            overdue.__traceback__ = None if error is None else error.__traceback__
            error = overdue
        elif error is not None and slot.task.cancelling():
            raise asyncio.CancelledError from error
        if self._clock is not None:
            seconds = self._clock() - began
            if error is None:
                call.timing.add(seconds)
            else:
                self._flow.figures.took(call.handler.name, call.event, error, seconds)
        if error is not None:
            rest = (delivery for delivery in got.deliveries if delivery not in duplicates)
            failed |= {delivery: failed.get(delivery, error) for delivery in rest}
        for delivery in duplicates:
            self._flow.duplicate(delivery)
        return failed

    def _read(self, deliveries: Sequence[Delivery], call: Call) -> tuple[_Got, dict[Delivery, BaseException]]:
        """Read the events, and return the errors of what cannot be read beside them."""
        batch = batch_of(call)
        got, failed = _Got([], [], []), dict[Delivery, BaseException]()
        taken, events, messages = got.deliveries.append, got.events.append, got.messages.append
        read = call.read if batch.reads or call.idempotent is not None else None
        needs_message = call.takes_message or not batch.reads or call.idempotent is not None
        for delivery in deliveries:
            try:
                if read is not None:
                    events(read(delivery))
            except NoValue:
                failed[delivery] = _NO_VALUE
            except Exception as error:  # noqa: BLE001 (a body that cannot be read fails alone)
                failed[delivery] = error
            else:
                taken(delivery)
                if needs_message:
                    messages(message_of(delivery, self._source))
        return got, failed

    async def _call_items(self, call: Call, items: Sequence[Item]) -> dict[Delivery, BaseException]:
        got = _Got([each.delivery for each in items], [each.event for each in items], [each.message for each in items])
        return await self._call(call, got)

    async def _call(self, call: Call, got: _Got) -> dict[Delivery, BaseException]:
        events = got.events if batch_of(call).reads else got.messages
        answer = await self._caller.call_batch(call, events, got.messages)
        if answer is None:
            return {}
        if not isinstance(answer, FailedItems):
            raise TypeError(
                f"{call.handler.name} takes batches, so it returns None or FailedItems, not a {type(answer).__name__}"
            )
        if strange := [position for position in answer.errors if position >= len(got.deliveries)]:
            raise IndexError(
                f"{call.handler.name} says that position {strange[0]} has failed, of a batch of {len(got.deliveries)}"
            )
        return {got.deliveries[position]: error for position, error in answer.errors.items()}

    def _end(self, deliveries: Sequence[Delivery], call: Call, failed: dict[Delivery, BaseException]) -> None:
        """Acknowledge what is done, and have decided about the rest."""
        flow, retries = self._flow, self._retries
        before = len(flow.ready)
        handled = self._handled
        waiting: dict[Key, list[Delivery]] = {}
        for delivery in deliveries:
            if not failed or (error := failed.get(delivery)) is None:
                if route_of(delivery).batch is call:
                    handled(delivery)
                else:
                    self._done(delivery, call)
            elif error is _NO_VALUE:
                self._pass(delivery, call)
            else:
                key = delivery.lane
                self._decide(delivery, call, error)
                if key is not None and delivery.state is State.WAITING:
                    waiting.setdefault(key, []).append(delivery)
        for key, (_, *behind) in waiting.items():
            # Only the first of a key waits for its next attempt, and the others behind it, before all that came later.
            for delivery in behind:
                if not retries.let_go(delivery):
                    flow.isolation.suspects.remove(delivery)  # The circuit breaker is open.
            flow.lanes.put_back(key, behind)
        flow.wake(len(flow.ready) - before)

    def _pass(self, delivery: Delivery, call: Call) -> None:
        """Skip a message without a value, which this handler does not take."""
        if self._goes_on(delivery, call):
            return
        if delivery.retry_state is not None and delivery.retry_state.done:
            self._handled(delivery)
        else:
            self._skip_tombstone(delivery)

    def _done(self, delivery: Delivery, call: Call) -> None:
        """One of several handlers is done with a message: it is handled, or another handler of batches is next."""
        retry_state = delivery.need_retry_state()
        retry_state.done = (*retry_state.done, call.handler.name)
        if not self._goes_on(delivery, call):
            self._handled(delivery)

    def _goes_on(self, delivery: Delivery, call: Call) -> bool:
        """Let a message wait for the next handler of batches. False if there is none."""
        calls, retry_state = route_of(delivery).calls, delivery.retry_state
        done = () if retry_state is None else retry_state.done
        # Those of single messages come before, also where they passed over a message without a value, and so are not done.
        behind = calls[calls.index(call) + 1 :]
        following = next((each for each in behind if each.handler.name not in done), None)
        if following is None:
            return False
        if self._spans is not None:
            self._spans.end(delivery)
        delivery.state = State.WAITING
        self._wait(delivery, following)
        return True
