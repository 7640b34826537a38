"""The intake of one source: receives batches, gives each delivery its route, and sorts out unreadable ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from brokerkit._config._settings import SourceSettings, Unknown
from brokerkit._consuming._commit_watermark import CommitWatermark
from brokerkit._consuming._first_messages import FirstMessagesGuard
from brokerkit._consuming._fit import Foreign, show
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._hold_limit import HoldLimit
from brokerkit._consuming._leases import Leases
from brokerkit._consuming._preparing import Preparing
from brokerkit._consuming._retries import Retries
from brokerkit._consuming._routes import Route, Routes, route_of
from brokerkit._consuming._transactions import Transactions
from brokerkit._errors import BrokerkitError, ConnectionLost, DecodeError, Reject, WrongNameRule, describe
from brokerkit._guard import Failed, guarded
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery, State
from brokerkit._messages._headers import as_text
from brokerkit._messages._log_fields import about
from brokerkit._messages._name_rules import Lookup, compile_rules
from brokerkit._messages._retry_state import FAILURES
from brokerkit._status._health import Status
from brokerkit.adapters.api import Source
from brokerkit.events._presence import Fit
from brokerkit.formats import Format

logger = get_logger(__name__)

_MOST_UNKNOWN: Final = 1_000
"""How many unknown event names are logged, each once."""
_LONGEST_UNKNOWN: Final = 200
_FATES: Final[dict[Unknown, str]] = {"ack": "acknowledged", "reject": "dead letters", "retry": "tried again"}
_HELD: Final = 5.0
"""Seconds after which a connection counts as good if something was settled over it. AMQP does not confirm settlements:
a connection that breaks at once may have settled nothing."""
_HELD_WELL: Final = 60.0
"""Seconds after which a connection counts as good if nothing was settled over it."""
_LONGEST_GUARD: Final = 5.0
"""Seconds for which a message without a field of its model waits for a better message."""


class Intake:
    """Receives batches, and passes their deliveries on.

    Args:
        flow: the source's.
        source: what is read.
        name: the source's name, for the log.
        settings: the source's.
        routes: the handlers by event name.
        retries: remembers messages that failed before.
        status: the source's; it is told of lost connections.
        stopping: set when nothing more is received.
        over: set when the source has ended.
        back_off: waits between tries to receive, longer with each failure.
        lost: told of each lost connection.
        failed: ends the source.
        preparing: prepares each batch; None where the format needs no preparation.

    Attributes:
        guard: keeps the first messages until one shows that the settings are right; then None.
        leases: extended from here on; None where the broker has none. This and the next two are set when the source is
            open: some promises depend on what only the broker can tell.
        hold_limit: gives back what waits too long; None where there is no limit.
        watermark: how far each partition is done; None where the broker settles each message by itself.
        transactions: told of each batch; None where there are none.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        source: Source,
        name: str,
        settings: SourceSettings,
        routes: Routes,
        retries: Retries,
        status: Status,
        stopping: asyncio.Event,
        over: asyncio.Event,
        back_off: Callable[[int], Awaitable[None]],
        lost: Callable[[ConnectionLost], None],
        failed: Failed,
        preparing: Preparing | None = None,
    ) -> None:
        wire = settings.wire
        rules = settings.name_from or wire.name_from
        self._flow = flow
        self._source = source
        self._name = name
        self._settings = settings
        self._routes = routes
        self._retries = retries
        self.leases: Leases | None = None
        self.hold_limit: HoldLimit | None = None
        self.watermark: CommitWatermark | None = None
        self.transactions: Transactions | None = None
        self._status = status
        self._stopping = stopping
        self._over = over
        self._back_off = back_off
        self._lost = lost
        self._failed = failed
        self._preparing = preparing
        self._name_of = compile_rules(rules, what="name_from", fields_if=None if settings.name_from else wire.fields_if)
        self._id_of = _lookup(settings.id_from, wire.id_from, wire, what="id_from")
        self._key_of = _lookup(settings.key_from, (), wire, what="key_from")
        self._unknown: set[str] = set()
        self.guard: FirstMessagesGuard | None = FirstMessagesGuard(
            source=name,
            rules=rules,
            limit=flow.max_in_flight,
            names=settings.unknown != "ack",
            bodies=settings.foreign == "stop" and routes.reads_models,
        )
        self._too_long: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        routes.foreign = Foreign(source=name, stats=flow.stats).note

    def __repr__(self) -> str:
        return f"<Intake of {self._name}: {self.guard!r}>"

    async def poll(self, pollers: int) -> None:
        """Receive until the consumer stops.

        Args:
            pollers: how many tasks do so at once.
        """
        flow, status = self._flow, self._status
        # Never all at once: while one half is handled the adapter fetches the other.
        share = -(-flow.max_in_flight // max(pollers, 2))
        failures, settlements, back_at = 0, 0, self._loop.time()
        while not self._stopping.is_set():
            limit = min(flow.room(len(self._retries.held)), share)
            if limit <= 0 or flow.isolation.on:
                await flow.wait_for_room(len(self._retries.held))
                continue
            flow.asked += limit
            try:
                batch = await self._source.receive(limit)
            except ConnectionLost as error:
                held = self._loop.time() - back_at
                if held > _HELD_WELL or (held > _HELD and flow.settlements > settlements):
                    failures = 0
                failures += 1
                status.lose(error)
                self._lost(error)
                await self._back_off(failures)
                settlements, back_at = flow.settlements, self._loop.time()
                continue
            except Exception as error:  # noqa: BLE001 (whatever it is, it ends the source, and serve raises it)
                self._failed(error)
                return
            finally:
                flow.asked -= limit
            if status.failures and not self._stopping.is_set():
                self._retries.done_here.begin_anew()
                if self.hold_limit is not None:
                    self.hold_limit.reconnected()
                flow.isolation.learn_limits()
                flow.stats.reconnects += 1
                status.recover()
            if batch:
                try:
                    self._arrive(batch)
                    if self._preparing is None:
                        self._take(batch)
                    else:
                        await self._preparing.run(batch, self._take)
                except Exception as error:  # noqa: BLE001 (a defect in here must end the source, never stall it)
                    self._failed(error)
                    return

    def _arrive(self, batch: Sequence[Delivery]) -> None:
        self._flow.in_flight += len(batch)
        self._flow.stats.received += len(batch)
        if self.leases is not None:
            self.leases.add(batch)
        if self.hold_limit is not None:
            self.hold_limit.add(batch)
        if self.watermark is not None:
            self.watermark.add(batch)
        if self.transactions is not None:
            self.transactions.receive(batch)

    def _take(self, batch: Sequence[Delivery]) -> None:
        """Give each delivery its route, and have it handled."""
        flow = self._flow
        name_of, key_of, id_of = self._name_of, self._key_of, self._id_of
        find, inbox, ready, most_deliveries = self._routes.find, flow.inbox, flow.ready, flow.most_deliveries
        waiting, remembered = State.WAITING, self._retries.remembers
        before = len(ready)
        for delivery in batch:
            if delivery.state is not waiting:
                if delivery.state is State.UNREADABLE:
                    self._take_unreadable(delivery)
                continue  # else lost on the way here
            try:
                if key_of is not None:
                    delivery.key = key_of(delivery) or delivery.key
                if id_of is not None and (found := id_of(delivery)):
                    delivery.id = found if isinstance(found, str) else str(as_text(found))
                name = name_of(delivery)
            except Exception as error:  # noqa: BLE001 (a format of the user's must not end the source)
                delivery.unreadable(f"the rules of the format failed on this message: {describe(error)}")
                self._take_unreadable(delivery)
                continue
            route = find(name) or self._routes[name]
            if route.filtered:
                route = self._narrowed(route, delivery)
            delivery.route = route
            suspect = delivery.count > most_deliveries
            if (suspect or remembered or delivery.header(FAILURES) is not None) and not self._recalls(
                delivery, suspect
            ):
                continue
            if (not route.known or self.guard is not None) and not self._pass_guard(delivery, route):
                continue
            if not route.is_single:
                if not route.calls:
                    flow.skip(delivery)
                    continue
                if route.batch is not None and not suspect and inbox is ready and flow.batches.are_all_that_is_ready:
                    flow.batches.add(delivery, route.batch)
                    continue
            if suspect:
                flow.isolation.append(delivery)
                inbox = flow.inbox
            else:
                inbox.append(delivery)
        if flow.figures.samples is not None:
            flow.figures.samples.take(batch)
        flow.wake(len(ready) - before)

    def _recalls(self, delivery: Delivery, suspect: bool) -> bool:
        """Restore what is known of a message. False where it is not to be handled now.

        A suspect that the broker would take away if it came back is kept before anything else is done with it.
        """
        isolation, route = self._flow.isolation, route_of(delivery)
        is_skipped = route.known and not route.calls
        if not suspect or is_skipped or not isolation.is_last(delivery):
            return self._retries.restore(delivery)
        if not self._retries.is_done(delivery):
            self._retries.recall(delivery)
            isolation.save(delivery)
        return False

    def _narrowed(self, route: Route, delivery: Delivery) -> Route:
        try:
            return route.narrowed(delivery)
        except Exception:
            # A filter is a user's function. If it fails, the handlers decide.
            logger.exception(
                "source %s: a filter failed on %s: its handlers get the message",
                *(self._name, route.name),
                extra=about(delivery, self._name),
            )
            return route

    def again(self, delivery: Delivery) -> None:
        """Handle a failed message whose wait is over."""
        if route_of(delivery).known:
            self._flow.begin(delivery)
        else:
            self._take_unknown(delivery)

    def _take_unreadable(self, delivery: Delivery) -> None:
        error, delivery.parsed = delivery.parsed, None
        assert isinstance(error, DecodeError)  # see `Delivery.unreadable`
        try:
            delivery.route = self._routes[self._name_of(delivery)]
        except Exception:  # noqa: BLE001 (a rule may stumble over what is broken; the dead letter then has no event name)
            delivery.route = self._routes[None]
        # A replay may be unreadable too. Its number of copies must be known, or it would be replayed for ever.
        is_new = (
            self._retries.restore(delivery) if FAILURES in delivery.headers else not self._retries.is_done(delivery)
        )
        if is_new:
            self._retries.dead_letter(delivery, error)

    def _take_unknown(self, delivery: Delivery) -> None:
        name = delivery.name
        if delivery.body is None:
            if not name and self._routes.null.calls:
                delivery.route = self._routes.null
                self._flow.begin(delivery)
            else:
                self._flow.skip_tombstone(delivery)
            return
        if name and (begin := name[:_LONGEST_UNKNOWN]) not in self._unknown and len(self._unknown) < _MOST_UNKNOWN:
            self._unknown.add(begin)
            fate = _FATES[self._settings.unknown or "ack"]
            logger.warning(
                "source %s: no handler or family knows the event %r: its messages are %s",
                *(self._name, name, fate),
                extra=about(delivery, self._name),
            )
        if not name:
            self._retries.dead_letter(
                delivery, DecodeError("the message has no event name where name_from looks for it")
            )
        elif self._settings.unknown == "reject":
            self._retries.dead_letter(delivery, Reject(f"no handler for event {name!r}"))
        elif self._settings.unknown == "retry":
            self._retries.failed(delivery, None, BrokerkitError(f"no handler for event {name!r}"))
        else:
            self._flow.skip(delivery)

    # ---- the first messages ----------------------------------------------------------------------------------

    def _pass_guard(self, delivery: Delivery, route: Route) -> bool:
        """Decide about a message with an unknown name, or one of the first messages. Return True if it goes on.

        Until a message has shown that the settings are right, messages that do not fit are not acknowledged. Otherwise
        wrong settings would acknowledge a vendor's whole stream without notice.
        """
        guard = self.guard
        if guard is None or (delivery.body is None and not route.known and not self._routes.takes_null):
            self._take_unknown(delivery)
            return False
        if self._over.is_set():
            # The source has ended: all messages that came in one batch with the last one are given back.
            guard.kept.append(delivery)
            return False
        fit = route.fit(delivery) if guard.judges or not route.known else Fit.RIGHT
        if not guard.kept and fit in (Fit.UNKNOWN, Fit.FOREIGN):
            missing = "known event name" if fit is Fit.UNKNOWN else "event with a field of its model"
            extra = about(delivery, self._name)
            logger.warning("source %s: no %s yet; first message: %s", self._name, missing, show(delivery), extra=extra)
        try:
            free = guard.take(delivery, fit, route.judge)
        except WrongNameRule as error:
            self._failed(error)
            return False
        if guard.is_over:
            self.guard = None
        elif guard.sees_foreign and self._too_long is None:
            self._too_long = self._loop.call_later(_LONGEST_GUARD, guarded(self._end_guard, self._failed))
        for earlier in free:
            if not (found := route_of(earlier)).known:
                self._take_unknown(earlier)
            elif not found.calls:
                self._flow.skip(earlier)
            elif earlier is not delivery:
                self._flow.begin(earlier)
        return bool(free) and route.known and bool(route.calls)

    def _end_guard(self) -> None:
        """End the source if no message with a field of its model has come for a while: the kept messages would wait in
        vain.
        """
        self._too_long = None
        if self.guard is not None and self.guard.sees_foreign and not self._over.is_set():
            self._failed(self.guard.error())

    def drop(self, delivery: Delivery) -> None:
        """Forget a message that is not ours any more."""
        if self.guard is not None:
            self.guard.drop(delivery)

    def close(self) -> list[Delivery]:
        """Stop guarding, and return what was kept, and then what was not prepared."""
        kept, self.guard = self.guard.kept if self.guard else [], None
        if self._preparing is not None:
            kept += self._preparing.waiting
            self._preparing.waiting = []
        if self._too_long is not None:
            self._too_long.cancel()
        return kept


def _lookup(stated: Sequence[str], usual: Sequence[str], wire: Format, *, what: str) -> Lookup | None:
    """Return the lookup by the source's rules, or else the format's; None if there are no rules."""
    if stated:
        return compile_rules(stated, what=what)
    return compile_rules(usual, what=what, fields_if=wire.fields_if) if usual else None
