"""Publishing: events become messages, and concurrent publishes leave in batches."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from brokerkit import _clock, events
from brokerkit._deadline import CLEAN_UP
from brokerkit._errors import BrokerkitError, Closed, ConnectionLost, DecodeError, InvalidMessage, PublishError
from brokerkit._following import following
from brokerkit._health import Life, TargetHealth
from brokerkit._hooks import Hooks, Notice
from brokerkit._message import CONTENT_TYPE, INTERNAL, Delivery, Headers, Message, Outgoing, Receipt, header_text
from brokerkit._rules import compile_rules, name_writer
from brokerkit._settings import TargetSettings
from brokerkit._transport import Adapter
from brokerkit.events._shapes import EventObject, fits

Publishable = EventObject | Message | tuple[str, Mapping[str, Any]]
"""What can be published: an event, a message that goes out as it is, or a name with its payload."""

Result = Receipt | BrokerkitError
Group = tuple[Sequence[Outgoing], asyncio.Future[list[Result]]]
"""Messages of one call, and who waits for what becomes of each."""

_LARGEST_BATCH: Final = 5_000
_LONG: Final = 5.0
"""Seconds without a confirmation after which a target counts as out of reach."""


class Target:
    """One topic on one broker that events are published to.

    A publish joins the batch that leaves next; while one batch is on its way the next one gathers, so a lone publish
    waits for nobody and many concurrent ones share their round trips. Messages leave in the order of the calls; after a
    broken connection, what was not confirmed is sent again behind what was.
    """

    def __init__(self, name: str, adapter: Adapter, settings: TargetSettings, hooks: Hooks) -> None:
        self.name = name
        self._adapter = adapter
        self._settings = settings
        self._format = settings.wire
        self._rules = settings.name_from or self._format.name_from
        self._name_of = compile_rules(self._rules, what="name_from", fields_if=self._format.fields_if)
        promises = adapter.capabilities(settings.topic or "")
        self._places = promises.name_places
        self._write_name = name_writer(self._rules, self._places)
        self._wire_names = {event: wire for wire, event in settings.names.items()}
        # Cheaper than a random id for each message, and as unique: one random part for each target and a number.
        self._ids = (f"{prefix}-{number}" for prefix in [os.urandom(16).hex()] for number in itertools.count(1))
        self._topic = settings.topic or ""
        # Looked at by the rules for the name, instead of one made for each message.
        self._shown = Delivery(None, self._topic, None, {}, None, None, None, 0, None, None)
        self._waiting: deque[Group] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._flying = 0
        about = Notice(kind="connection_back", broker=promises.broker, target=name, topic=settings.topic or "")
        self._life = Life(hooks, about, state="closed", good="open")
        self._closed = False

    def __repr__(self) -> str:
        return f"<Target {self.name} to {self._settings.topic}: {self._count} waiting>"

    async def open(self) -> None:
        """See that the topic exists, or create it, as ``provision`` has it.

        Raises:
            NotFound: the topic must exist and does not.
        """
        capabilities = self._adapter.capabilities(self._settings.topic or "")
        provision = self._settings.provision or capabilities.default_provision
        if self._settings.topic is not None and provision != "off":
            await self._adapter.ensure([self._settings.topic], stored=False, create=provision == "all")
        self._life.become("open")

    def health(self) -> TargetHealth:
        """How it is now."""
        return TargetHealth(
            broker=self._life.broker,
            state=self._life.state,
            since=self._life.since,
            error=self._life.error,
            failures=self._life.failures,
            in_flight=self._flying + self._count,
        )

    @property
    def _count(self) -> int:
        """How many messages wait for their batch."""
        return sum(len(group) for group, _ in self._waiting)

    def prepare(
        self,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None,
        *,
        key: str | bytes | None,
        headers: Headers | None,
        id: str | None,
    ) -> Outgoing:
        """Make the message of an event.

        Raises:
            InvalidMessage: it is no event, its payload is wrong, its name cannot be written, or a header is brokerkit's own.
        """
        if headers and (internal := [header for header in headers if header.startswith(INTERNAL)]):
            raise InvalidMessage(f"header {internal[0]!r}: names that begin with {INTERNAL!r} are brokerkit's own")
        if isinstance(what, Message):
            return self._unchanged(what, key=key, headers=headers, id=id)
        name, body = _write(what, payload)
        outgoing = Outgoing(
            topic=self._topic,
            body=body,
            name=self._wire_names.get(name, name),
            id=id or next(self._ids),
            key=key,
            headers=following(headers) if self._settings.propagate else headers or {},
            content_type="application/json",
        )
        self._wrap(outgoing)
        return outgoing

    def _wrap(self, outgoing: Outgoing) -> None:
        if self._format.wrap is not None:
            self._format.wrap(outgoing, _clock.now())
        if not self._format.writes_name:
            self._write_name(outgoing)

    def _unchanged(
        self, message: Message, *, key: str | bytes | None, headers: Headers | None, id: str | None
    ) -> Outgoing:
        """A message as it is; a name is added only where its reader would find none."""
        found = message.headers
        sent: Headers = {**found, **headers} if headers else found
        if self._settings.propagate and not message.topic:  # what was received goes out as it came
            sent = following(sent)
        content_type = sent.get(CONTENT_TYPE)
        if isinstance(content_type, str):
            sent = {header: value for header, value in sent.items() if header != CONTENT_TYPE}
        else:
            content_type = None
        outgoing = Outgoing(
            topic=self._topic,
            body=message.body,
            name=self._wire_names.get(message.name, message.name),
            id=id or message.id or next(self._ids),
            key=message.key if key is None else key,
            headers=sent,
            content_type=content_type,
        )
        shown = self._shown
        shown.body, shown.key, shown.headers, shown.parsed = outgoing.body, outgoing.key, found, None
        if message.name and not self._name_of(shown):
            self._wrap(outgoing)
        return outgoing

    def forward(self, delivery: Delivery, *, name: str, id: str | None, headers: Headers) -> Outgoing:
        """A received message for this target, its body untouched; its name is added where its reader would find none.

        Args:
            delivery: the message.
            name: its event name; ``""`` where it has none.
            id: its id; made if it is None.
            headers: brokerkit's own, to go with it in place of those that it came with.

        Raises:
            InvalidMessage: the name cannot be written, or not without changing the body.
        """
        came = {header: value for header, value in delivery.headers.items() if not header.startswith(INTERNAL)}
        content_type = header_text(came, CONTENT_TYPE)
        if content_type is not None:
            del came[CONTENT_TYPE]
        outgoing = Outgoing(
            topic=self._topic,
            body=delivery.body,
            name=self._wire_names.get(name, name),
            id=id or next(self._ids),
            key=delivery.key,
            headers={**came, **headers},
            routing_key=delivery.routing_key if "routing_key" in self._places else None,
            type=delivery.type if "type" in self._places else None,
            content_type=content_type,
        )
        shown = self._shown
        shown.body, shown.key, shown.headers, shown.parsed = outgoing.body, outgoing.key, delivery.headers, None
        shown.routing_key, shown.type = outgoing.routing_key, outgoing.type
        named = not name or self._name_of(shown)
        shown.routing_key = shown.type = None
        if not named:
            self._wrap(outgoing)
            outgoing.content_type = content_type
            if outgoing.body != delivery.body:
                raise InvalidMessage(f"{name!r} can be written here only by changing the body: use another format")
        return outgoing

    async def publish(self, outgoing: Outgoing) -> Receipt:
        """Send one message; returns when the broker has it.

        Raises:
            PublishError: the broker does not have it, or may not have it.
            ConnectionLost: the broker could not be reached for ``publish_timeout`` seconds.
            Closed: the bus is closed.
        """
        [result] = await self._enqueue([outgoing])
        if isinstance(result, BrokerkitError):
            raise result
        return result

    async def publish_many(self, batch: Sequence[Outgoing | BrokerkitError]) -> list[Result]:
        """Send many messages; one result for each. Errors that are in the batch already stay in their places."""
        good = [one for one in batch if isinstance(one, Outgoing)]
        parts = [good[first : first + _LARGEST_BATCH] for first in range(0, len(good), _LARGEST_BATCH)]
        results: list[Result] = []
        for waiting in [self._enqueue(part) for part in parts]:
            results += await waiting
        if len(good) == len(batch):
            return results
        sent = iter(results)
        return [one if isinstance(one, BrokerkitError) else next(sent) for one in batch]

    def _enqueue(self, group: Sequence[Outgoing]) -> asyncio.Future[list[Result]]:
        if self._closed:
            raise Closed(f"target {self.name!r} is closed")
        # Whoever waits may be cancelled; the messages are out all the same.
        waiter: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append((group, waiter))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        return waiter

    def _next_batch(self) -> tuple[list[Outgoing], list[Group]]:
        """As many groups as fit into one batch, and their messages."""
        batch: list[Outgoing] = []
        groups: list[Group] = []
        while self._waiting and len(batch) + len(self._waiting[0][0]) <= _LARGEST_BATCH:
            groups.append(self._waiting.popleft())
            batch += groups[-1][0]
        return batch, groups

    async def _send_all(self) -> None:
        """Send what waits, batch after batch, until nothing does."""
        try:
            while self._waiting:
                batch, groups = self._next_batch()
                self._flying = len(batch)
                slow = asyncio.get_running_loop().call_later(_LONG, self._notice_silence)
                results: list[Result]
                try:
                    results = await self._send(batch)
                except Exception as error:  # noqa: BLE001 (a defect of an adapter must not leave a publisher waiting)
                    failure = PublishError(f"target {self.name!r} failed with a {type(error).__name__}")
                    failure.__cause__ = error
                    results = [failure for _ in batch]
                except asyncio.CancelledError:
                    self._give_up(groups)
                    raise
                finally:
                    slow.cancel()
                    self._flying = 0
                first = 0
                for group, waiter in groups:
                    if not waiter.done():
                        waiter.set_result(results[first : first + len(group)])
                    first += len(group)
        finally:
            self._sending = None

    async def _send(self, batch: list[Outgoing]) -> list[Result]:
        """Send one batch, and again what a broken connection kept from being confirmed; ids stay the same."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._settings.publish_timeout
        results = await self._adapter.send(batch)
        failures = 0
        while not self._closed:
            again = [place for place, result in enumerate(results) if isinstance(result, ConnectionLost)]
            if again:
                self._life.lose(cast("ConnectionLost", results[again[0]]))
            elif self._life.failures:
                self._life.recover()
            failures += 1
            pause = min(5.0, 0.05 * 2.0**failures) * random.uniform(0.5, 1.0)
            if not again or loop.time() + pause > give_up:
                break
            await asyncio.sleep(pause)
            for place, result in zip(again, await self._adapter.send([batch[place] for place in again]), strict=True):
                results[place] = result
        return results

    def _give_up(self, groups: Iterable[Group]) -> None:
        """The bus closes: whoever waits for a confirmation gets to know that there will be none."""
        given_up = [*groups, *self._waiting]
        self._waiting.clear()
        for group, waiter in given_up:
            if not waiter.done():
                text = f"target {self.name!r} was closed before the broker confirmed: it may have the message"
                waiter.set_result([ConnectionLost(text) for _ in group])

    def _notice_silence(self) -> None:
        """A client library that connects again by itself (librdkafka) says nothing until it gives up."""
        self._life.lose(ConnectionLost(f"target {self.name!r}: no confirmation for {_LONG:g} s"))

    async def close(self, timeout: float) -> None:
        """Refuse more, and wait for what is on its way; what is not confirmed after ``timeout`` seconds has failed."""
        self._closed = True
        if (sending := self._sending) is not None:
            await asyncio.wait([sending], timeout=min(timeout, self._settings.publish_timeout))
            if not sending.done():
                sending.cancel()
                await asyncio.wait([sending], timeout=CLEAN_UP)
        self._life.become("closed")


def _write(what: EventObject | str, payload: Mapping[str, Any] | EventObject | None) -> tuple[str, bytes]:
    """The event name and the documented body of an event."""
    found = events.find(what if isinstance(what, str) else type(what))
    if len(found) != 1:
        shown = what if isinstance(what, str) else type(what).__name__
        if found:
            choices = ", ".join(f"{each.family.name}:{each.name}" for each in found)
            raise InvalidMessage(f"{shown} is an event of several names: {choices}; publish(NAME, event) says which")
        hint = events.suggest(what) if isinstance(what, str) else ""
        raise InvalidMessage(f"no registered family knows the event {shown}{hint}")
    family, name, model = found[0]
    if not isinstance(what, str):
        if payload is not None:
            raise InvalidMessage(f"publish({name} event) takes no payload beside the event")
        return name, family.write(what, name=name)
    if payload is None:
        raise InvalidMessage(f"publish({name!r}) needs the payload beside the name")
    if not isinstance(payload, Mapping):
        if not fits(type(payload), model):
            raise InvalidMessage(f"{name} is a {model.__name__}, not a {type(payload).__name__}")
        return name, family.write(payload, name=name)
    try:
        return name, family.write(family.read(name, payload), name=name)
    except DecodeError as error:
        raise InvalidMessage(f"the payload is no {name}: {error}") from error
