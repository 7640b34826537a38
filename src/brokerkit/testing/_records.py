"""Records of a test bus: values that a test compares and a failed assertion shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, cast

from brokerkit import events
from brokerkit._errors import BrokerkitError
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import INTERNAL_PREFIX, Headers, as_text, header_text
from brokerkit._messages._outgoing import Outgoing
from brokerkit._messages._retry_state import ERROR, ERROR_TYPE, EVENT, FAILURES, GROUP, HANDLER, TOPIC
from brokerkit.formats import Format


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """A message as a test sees it.

    Attributes:
        name: the event name.
        event: the decoded event; None if there is no body.
        key: the ordering key.
        headers: the headers, without brokerkit's own.
        topic: the topic that it went to or came from.
        id: the message's id.
        body: the bytes on the wire.
    """

    name: str
    event: Any = None
    key: str | bytes | None = None
    headers: Mapping[str, str | bytes] = field(default_factory=dict[str, "str | bytes"], repr=False)
    topic: str = ""
    id: str | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)

    def has(self, fields: Mapping[str, object]) -> bool:
        """Whether the event has all these values."""
        return all(_value(self.event, name) == value for name, value in fields.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Published(_Record):
    """A message that the bus has published.

    Attributes:
        target: name of the target.
    """

    target: str = ""

    @classmethod
    def of(cls, outgoing: Outgoing, name: str, event: Any, *, target: str) -> Self:
        """Make the record of a message that the bus sent."""
        return cls(
            name=name,
            event=event,
            key=None if outgoing.key is None else as_text(outgoing.key),
            headers=_shown(outgoing.headers),
            topic=outgoing.topic,
            id=outgoing.id,
            body=outgoing.body,
            target=target,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled(_Record):
    """A message that all its handlers have handled."""

    @classmethod
    def of(cls, delivery: Delivery, event: object) -> Self:
        """Make the record of a message that the core acknowledged."""
        return cls(
            name=delivery.name,
            event=event,
            key=None if delivery.key is None else as_text(delivery.key),
            headers=_shown(delivery.headers),
            topic=delivery.topic,
            id=delivery.stable_id,
            body=delivery.body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered:
    """A message that became a dead letter.

    Attributes:
        name: the event name, or ``""``.
        error_type: class name of the error.
        error: its text.
        handler: name of the handler, or ``""`` if none ran.
        attempts: how many attempts failed.
        topic: the topic that it came from.
        group: the group of its source.
        stored_in: the queue or topic with the dead letter.
        key: the ordering key.
        headers: the headers of the message.
        body: its bytes.
    """

    name: str
    error_type: str
    error: str
    handler: str
    attempts: int
    topic: str
    group: str
    stored_in: str
    key: str | bytes | None = None
    headers: Mapping[str, str | bytes] = field(default_factory=dict[str, "str | bytes"], repr=False)
    body: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, outgoing: Outgoing) -> Self | None:
        """Make the record of a dead letter; None if the message is not one."""
        if ERROR_TYPE not in outgoing.headers:
            return None

        def header(name: str) -> str:
            return header_text(outgoing.headers, name) or ""

        return cls(
            name=header(EVENT),
            error_type=header(ERROR_TYPE),
            error=header(ERROR),
            handler=header(HANDLER),
            attempts=int(header(FAILURES) or 0),
            topic=header(TOPIC),
            group=header(GROUP),
            stored_in=outgoing.topic,
            key=None if outgoing.key is None else as_text(outgoing.key),
            headers=_shown(outgoing.headers),
            body=outgoing.body,
        )

    def is_for(self, error: type[BaseException] | str | None) -> bool:
        """Whether it has this error, by class or by a part of the text."""
        if error is None:
            return True
        return error in self.error if isinstance(error, str) else error.__name__ == self.error_type


Record = TypeVar("Record", bound=_Record | DeadLettered)


def check(
    what: str,
    found: Sequence[Record],
    name: str,
    wanted: Mapping[str, object],
    fields: Mapping[str, object],
    times: int | None,
    describe: Callable[[], str],
) -> Record:
    """Return the first record of a name that has these attributes, and whose event has these fields.

    Raises:
        AssertionError: there is none, or not exactly ``times``.
    """
    fits = [
        one
        for one in found
        if one.name == name
        and all(getattr(one, attribute) == value for attribute, value in wanted.items())
        and (not fields or (isinstance(one, _Record) and one.has(fields)))
    ]
    if not fits or times not in (None, len(fits)):
        asked = "".join(f" {attribute}={value!r}" for attribute, value in {**wanted, **fields}.items())
        often = "at least once" if times is None else f"{times} times"
        raise AssertionError(
            f"{name or 'a message without a name'}{asked}: expected {what} {often}, got {len(fits)}\n{describe()}"
        )
    return fits[0]


def read_outgoing(outgoing: Outgoing, name: str, wire: Format) -> Any:
    """Return the event in a published message; its bytes if no family can read them."""
    shown = Delivery(
        body=outgoing.body,
        topic=outgoing.topic,
        key=outgoing.key,
        headers={**outgoing.headers, **({"content-type": outgoing.content_type} if outgoing.content_type else {})},
        id=outgoing.id,
    )
    try:
        body: Any = wire.payload(shown) if wire.payload else outgoing.body
        return events.parse(name, body, wire.family)
    except (BrokerkitError, TypeError):
        return outgoing.body


def _value(event: Any, name: str) -> object:
    if isinstance(event, Mapping):
        return cast("Mapping[str, object]", event).get(name)
    return getattr(event, name, None)


def _shown(headers: Headers) -> dict[str, str | bytes]:
    return {name: as_text(value) for name, value in headers.items() if not name.startswith(INTERNAL_PREFIX)}
