"""Publishing: events become messages, which a `Sender` sends."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brokerkit import _clock, events
from brokerkit._config._settings import TargetSettings, event_names
from brokerkit._errors import BrokerkitError, ConnectionLost, DecodeError, InvalidMessage
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import CONTENT_TYPE, INTERNAL_PREFIX, PROPERTY_PREFIX, Headers, header_text
from brokerkit._messages._message import Message
from brokerkit._messages._name_rules import compile_rules, name_writer
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._messages._trace_context import following
from brokerkit._publishing._arguments import BatchOptions
from brokerkit._publishing._encoding import Encoding
from brokerkit._publishing._later import Later
from brokerkit._publishing._plain_bodies import Bare
from brokerkit._publishing._readback import Plan, ReadBack
from brokerkit._publishing._sender import LARGEST_BATCH, Result, Sender
from brokerkit._publishing._transaction import TRANSACTION
from brokerkit._status._figures import TargetFigures
from brokerkit._status._health import Status, TargetHealth
from brokerkit._status._hooks import Hooks, Notice
from brokerkit._status._spans import TargetSpans
from brokerkit.adapters._tls_cause import Tls
from brokerkit.adapters.api import Adapter
from brokerkit.events import Found
from brokerkit.events._shapes import EventObject, fits, is_model

if TYPE_CHECKING:
    from typing import Unpack


class Target:
    """One topic on one broker that events are published to."""

    def __init__(
        self,
        name: str,
        adapter: Adapter,
        settings: TargetSettings,
        hooks: Hooks,
        figures: TargetFigures,
        *,
        tls: Tls | None = None,
    ) -> None:
        self.name = name
        self._adapter = adapter
        self._settings = settings
        self._format = settings.wire
        self._rules = settings.name_from or self._format.name_from
        fields_if = None if settings.name_from else self._format.fields_if
        self._name_of = compile_rules(self._rules, what="name_from", fields_if=fields_if)
        promises = adapter.capabilities(settings.topic or "")
        self._places = promises.written_places
        self._bare = None if promises.metadata else Bare(promises.broker, self._format)
        self._names = event_names(settings)
        self._read_back = ReadBack(self._format, settings.name_from, self._names, self._places, settings.topic or "")
        self._write_name = self._read_back.writer(name_writer(self._rules, self._places))
        self._later = Later(promises)
        self._plans: dict[Found, Plan] = {}
        self._ids = _new_ids()
        self._topic = settings.topic or ""
        # The name rules look at this delivery, so that none is made for each message.
        self._shown = Delivery(body=None, topic=self._topic)
        about = Notice(kind="connection_back", broker=promises.broker, target=name, topic=settings.topic or "")
        self._status = Status(hooks, about, state="closed", good="open")
        self._sender = Sender(
            name, adapter, timeout=settings.publish_timeout, status=self._status, figures=figures, tls=tls
        )
        self._encoding = Encoding.of(settings)
        self._figures = figures
        self._spans: TargetSpans | None = None  # known when the bus is opened

    def __repr__(self) -> str:
        return f"<Target {self.name} to {self._settings.topic}: {len(self._sender)} unconfirmed>"

    async def open(self) -> None:
        """Check that the topic exists, or create it, according to ``provision``.

        Raises:
            NotFound: the topic must exist and does not exist.
        """
        capabilities = self._adapter.capabilities(self._settings.topic or "")
        provision = self._settings.provision or capabilities.default_provision
        if self._settings.topic is not None and provision != "off":
            await self._adapter.ensure([self._settings.topic], is_queue=False, create=provision == "all")
        # A bus that is made before a fork is opened in each child, and their ids must differ.
        self._ids = _new_ids()
        self._spans = self._figures.spans
        self._status.become("open")

    def health(self) -> TargetHealth:
        """Return the current state."""
        state, since, error = self._status.shown
        return TargetHealth(
            broker=self._status.broker,
            state=state,
            since=since,
            error=error,
            failures=self._status.failures,
            in_flight=len(self._sender),
        )

    def block(self, error: BaseException) -> None:
        """Note that a bridge is blocked until the broker takes a message that it refuses."""
        self._status.block("publishing", error)

    def unblock(self) -> None:
        """Note that the bridge continues."""
        self._status.unblock("publishing")

    def prepare(
        self,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        id: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> Outgoing:
        """Make the message of an event.

        Raises:
            InvalidMessage: it is no event, its payload is wrong, its name cannot be written, a header is brokerkit's own,
                or something that was given cannot be sent to this target.
            UnsupportedFeature: the broker cannot deliver it when or as was asked for.
        """
        if headers and (internal := [header for header in headers if header.startswith(INTERNAL_PREFIX)]):
            raise InvalidMessage(
                f"header {internal[0]!r}: names that begin with {INTERNAL_PREFIX!r} are brokerkit's own"
            )
        if isinstance(what, Message):
            outgoing = self._unchanged(what, key, headers, id)
        else:
            outgoing = self._written(what, payload, key, headers, id)
        if options:
            self._later.apply(outgoing, **options)
        if self._bare is not None:
            given = what if isinstance(what, Message) else None
            self._bare.strip(outgoing, given, key=key, headers=headers, id=id)
        return outgoing

    def _written(
        self,
        what: EventObject | str,
        payload: Mapping[str, Any] | EventObject | None,
        key: str | bytes | None,
        headers: Headers | None,
        id: str | None,
    ) -> Outgoing:
        found, event = _event(what, payload)
        plan = self._plans.get(found)
        if plan is None:
            plan = self._plans[found] = self._read_back.plan(found)
        # An event object comes without a payload. isinstance with an ABC costs a fifth of a microsecond.
        if (
            payload is not None
            and plan.presence is not None
            and isinstance(payload, Mapping)
            and plan.presence.suspects(event)
        ):
            self._read_back.refuse_foreign(found.family.unwrap(dict(payload)), plan)
        if plan.looks:
            event, id = self._read_back.checked(event, plan, id)
        content_type = None
        if headers:
            content_type, headers = _content_type(headers)
        outgoing = Outgoing(
            topic=self._topic,
            body=found.family.write(event, name=found.name),
            name=plan.wire_name,
            id=id or next(self._ids),
            key=key,
            headers=following(headers, trace=self._spans is None) if self._settings.propagate else headers or {},
            content_type=content_type or "application/json",
        )
        self._wrap(outgoing)
        return outgoing

    def _wrap(self, outgoing: Outgoing) -> None:
        if self._format.wrap is not None:
            self._format.wrap(outgoing, _clock.wall_time())
        if self._write_name is not None:
            try:
                self._write_name(outgoing)
            except InvalidMessage as error:
                raise error if self._bare is None else self._bare.explained(error) from None

    def _unchanged(
        self, message: Message, key: str | bytes | None, headers: Headers | None, id: str | None
    ) -> Outgoing:
        """Return a message as it is. Its name is added only if a reader would find none."""
        found: Headers = {**message.headers, **headers} if headers else message.headers
        content_type, sent = _content_type(found) if CONTENT_TYPE in found else (None, found)
        if self._settings.propagate and not message.topic:  # a received message goes out as it came
            sent = following(sent, trace=self._spans is None)
        outgoing = Outgoing(
            topic=self._topic,
            body=message.body,
            name=self._names.on_wire(message.name),
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
        """Return a received message for this target, with the same body. Its name is added only if a reader would find none.

        Args:
            delivery: the message.
            name: its event name; ``""`` if it has none.
            id: its id; None for a new one.
            headers: brokerkit's own headers; they replace those that it came with.

        Raises:
            InvalidMessage: the name cannot be written, or not without changing the body.
        """
        came = {header: value for header, value in delivery.headers.items() if not header.startswith(INTERNAL_PREFIX)}
        content_type = header_text(came, CONTENT_TYPE)
        if content_type is not None:
            del came[CONTENT_TYPE]
        kept = {PROPERTY_PREFIX + header: value for header, value in delivery.properties.items()}
        outgoing = Outgoing(
            topic=self._topic,
            body=delivery.body,
            name=self._names.on_wire(name),
            id=id or next(self._ids),
            key=delivery.key,
            headers={**came, **kept, **headers},
            routing_key=delivery.routing_key if "routing_key" in self._places else None,
            type=delivery.type if "type" in self._places else None,
            content_type=content_type,
        )
        shown = self._shown
        shown.body, shown.key, shown.headers, shown.parsed = outgoing.body, outgoing.key, delivery.headers, None
        if self._bare is not None:
            # This target carries only bodies, which the user of the bridge has accepted.
            outgoing.headers, outgoing.key, shown.headers, shown.key = {}, None, {}, None
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
        return _only(await self._send([outgoing]))

    async def encode(self, outgoing: Outgoing) -> None:
        """Complete a message that is kept before it is sent, as by encoding it where the format asks a schema registry how.

        Raises:
            InvalidMessage: the event does not fit its schema.
            ConnectionLost: whoever is asked did not answer for ``publish_timeout`` seconds.
        """
        if self._spans is not None:
            self._spans.create(outgoing)
        if self._encoding is not None:
            await self._encoding.encode(outgoing)

    def begin(self, outgoing: Outgoing) -> Awaitable[Receipt]:
        """Hand one message to the sender at once. `publish` also waits for the result.

        Raises:
            Closed: the bus is closed.
        """
        sent = self._send([outgoing])

        async def wait() -> Receipt:
            return _only(await sent)

        return wait()

    async def publish_many(self, batch: Sequence[Outgoing | BrokerkitError]) -> list[Result]:
        """Send many messages; one result for each. Errors that are in the batch already stay where they are."""
        good = [one for one in batch if isinstance(one, Outgoing)]
        results: list[Result] = []
        for first in range(0, len(good), LARGEST_BATCH):
            part = await self._send(good[first : first + LARGEST_BATCH])
            results += part
            if all(isinstance(result, ConnectionLost) for result in part):
                # Each further part would wait just as long.
                results += [ConnectionLost(f"target {self.name!r}: not sent: {part[-1]}")] * (len(good) - len(results))
                break
        if len(good) == len(batch):
            return results
        sent = iter(results)
        return [one if isinstance(one, BrokerkitError) else next(sent) for one in batch]

    def _send(self, batch: Sequence[Outgoing]) -> asyncio.Future[list[Result]]:
        """Have messages sent, or keep them where the handler that publishes them is part of a transaction."""
        if self._spans is not None:
            return self._spans.send(batch, self._send_untraced)
        return self._send_untraced(batch)

    def _send_untraced(self, batch: Sequence[Outgoing]) -> asyncio.Future[list[Result]]:
        if self._encoding is not None:
            return self._encoding.then(batch, self._send_encoded)
        return self._send_encoded(batch)

    def _send_encoded(self, batch: Sequence[Outgoing]) -> asyncio.Future[list[Result]]:
        if (transaction := TRANSACTION.get()) is None:
            return self._sender.add(batch)
        kept: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        kept.set_result(transaction.collect(batch, target=self.name, adapter=self._adapter))
        return kept

    async def close(self, timeout: float) -> None:
        """Refuse new messages, and wait for those that are on their way. Those not confirmed after ``timeout`` seconds have
        failed.
        """
        await self._sender.close(timeout)
        if self._encoding is not None:
            await self._encoding.close()
        self._status.become("closed")


def _new_ids() -> Iterator[str]:
    """Yield ids: a random part that is never used again, and a number. They are as unique as random ids, and cheaper."""
    prefix = os.urandom(16).hex()
    return (f"{prefix}-{number}" for number in itertools.count(1))


def _only(results: Sequence[Result]) -> Receipt:
    [result] = results
    if isinstance(result, BrokerkitError):
        raise result
    return result


def _content_type(headers: Headers) -> tuple[str | None, Headers]:
    """Return the media type from the headers, which is sent separately, and the other headers."""
    if not isinstance(named := headers.get(CONTENT_TYPE), str):
        return None, headers
    return named, {header: value for header, value in headers.items() if header != CONTENT_TYPE}


def _event(what: EventObject | str, payload: Mapping[str, Any] | EventObject | None) -> tuple[Found, Any]:
    """Return what an event is, and the event."""
    found = events.find(what if isinstance(what, str) else type(what))
    if not found and not isinstance(what, str) and is_model(type(what)):
        found = (events.adopt(type(what)),)
    if len(found) != 1:
        shown = what if isinstance(what, str) else type(what).__name__
        if found:
            choices = ", ".join(f"{each.family.name}:{each.name}" for each in found)
            raise InvalidMessage(f"{shown} is an event of several names: {choices}; publish(NAME, event) says which")
        hint = events.suggest(what) if isinstance(what, str) else ""
        raise InvalidMessage(f"no registered family knows the event {shown}{hint}")
    if not isinstance(what, str):
        if payload is not None:
            raise InvalidMessage(f"publish({found[0].name} event) takes no payload: the event has it already")
        return found[0], what
    family, name, model = found[0]
    if payload is None:
        raise InvalidMessage(f"publish({what!r}) needs a payload as well as the name")
    if not isinstance(payload, Mapping):
        if not fits(type(payload), model):
            raise InvalidMessage(f"{name} is a {model.__name__}, not a {type(payload).__name__}")
        return found[0], payload
    try:
        return found[0], family.read(name, payload)
    except DecodeError as error:
        raise InvalidMessage(f"the payload does not fit {name}: {error}") from error
