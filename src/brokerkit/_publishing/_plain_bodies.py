"""Messages for a target that takes only bodies: a publish with anything else is refused, never silently cut."""

from __future__ import annotations

from typing import Final

from brokerkit._errors import InvalidMessage
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import CAUSATION, CORRELATION, TRACEPARENT, TRACESTATE, Headers
from brokerkit._messages._message import Message
from brokerkit._messages._name_rules import compile_rules
from brokerkit._messages._outgoing import Outgoing
from brokerkit.formats import Format

_FOLLOWING: Final = frozenset({CAUSATION, CORRELATION, TRACEPARENT, TRACESTATE})
"""Headers that brokerkit adds itself. The publisher did not ask for them, so they may be left out."""


class Bare:
    """Key, id and headers at a target that takes only bodies.

    Args:
        broker: name of the broker.
        wire: the target's format, which may hold the id in the body.
    """

    def __init__(self, broker: str, wire: Format) -> None:
        self._broker = broker
        self._format = wire.name
        self._id_of = compile_rules(wire.id_from, what="id_from", fields_if=wire.fields_if) if wire.id_from else None

    def __repr__(self) -> str:
        return f"<Bare messages for {self._broker}>"

    def strip(
        self,
        outgoing: Outgoing,
        message: Message | None,
        *,
        key: str | bytes | None,
        headers: Headers | None,
        id: str | None,
    ) -> None:
        """Remove what brokerkit has added to the body.

        Args:
            outgoing: the message.
            message: the message that it was made from, if any.
            key: key that the publisher gave.
            headers: headers that the publisher gave.
            id: id that the publisher gave.

        Raises:
            InvalidMessage: the publisher or the format needs more than a body.
        """
        given = {*(headers or ()), *(message.headers if message is not None else ())}
        lost = [f"header {name!r}" for name in outgoing.headers if name in given or name not in _FOLLOWING]
        lost += [f"header {name!r}" for name in given if name not in outgoing.headers]
        if key is not None or outgoing.key is not None:
            lost.append("the key")
        asked = id or (message.id if message is not None else None)
        if asked is not None and asked != self._id_in_body(outgoing):
            lost.append("the id")
        if outgoing.body is None:
            lost.append("the absence of a body")
        if lost:
            raise InvalidMessage(
                f"{', '.join(dict.fromkeys(lost))} cannot be sent to a {self._broker}, where a value is a body and nothing "
                f"else{self._advice}"
            )
        outgoing.headers, outgoing.content_type = {}, None

    def explained(self, error: InvalidMessage) -> InvalidMessage:
        """Return the error for a name that cannot be written, with what to do."""
        return InvalidMessage(f"{error}: a value of a {self._broker} is a body and nothing else{self._advice}")

    @property
    def _advice(self) -> str:
        return (
            f'. Set envelope = "brokerkit" if only brokerkit reads it. For other readers, put the name into the body: use '
            f'another format than {self._format} (cloudevents-structured), or name_from = "field:NAME"'
        )

    def _id_in_body(self, outgoing: Outgoing) -> str | bytes | None:
        if self._id_of is None:
            return None
        return self._id_of(Delivery(body=outgoing.body, topic=outgoing.topic))
