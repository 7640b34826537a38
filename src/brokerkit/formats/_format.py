"""What a wire format is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from brokerkit._errors import InvalidMessage
from brokerkit._messages._codecs import get_codec
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._event_names import compile_pattern
from brokerkit._messages._name_rules import Payload, compile_payload, compile_rules, field_path
from brokerkit._messages._outgoing import Outgoing
from brokerkit._messages._steps import split_steps
from brokerkit.formats._preparation import Preparation
from brokerkit.formats._registry import Registry

Wrap = Callable[[Outgoing, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One wire format: where name, id and payload are in a message. Most need only the rules.

    Args:
        name: what settings call it.
        name_from: rules for the event name, used if a source states none.
        family: the family whose names its messages carry; None if any family's may.
        id_from: rules for the producer's id, tried where a source states none.
        key_from: rules for the ordering key, tried where a source states none.
        payload_from: rules for the payload; empty if the body is the payload.
        name_pattern: a regular expression whose first group is the event name in a name on the wire.
        fields_if: whether the ``field`` rules of this format hold for a message, where they do not hold for each: in
            another body, a field of that name is something else.
        payload: takes the event's payload out of a message: bytes, or JSON that is parsed already. None where
            ``payload_from`` says it, or the body is the payload. Raises `DecodeError`, and nothing else.
        wrap: puts an event whose body is the bare payload into the format, at a Unix time in seconds. None where
            ``payload_from`` says it, or the body is all there is.
        preparation: makes what prepares messages before they are read or sent, given the schema registry of the settings.
            None for formats that are pure functions.
        writes_name: whether ``wrap`` has written the event name, so that no rule need be.
        read_only: whether nothing can be published in it.

    Raises:
        ConfigError: a rule or the pattern is not valid.
    """

    name: str
    name_from: tuple[str, ...]
    family: str | None = None
    id_from: tuple[str, ...] = ()
    key_from: tuple[str, ...] = ()
    payload_from: tuple[str, ...] = ()
    name_pattern: str | None = None
    fields_if: Callable[[Delivery], bool] | None = None
    payload: Payload | None = None
    wrap: Wrap | None = None
    preparation: Callable[[Registry | None], Preparation] | None = None
    writes_name: bool = False
    read_only: bool = False

    def __post_init__(self) -> None:
        for what in ("name_from", "id_from", "key_from"):
            if rules := getattr(self, what):
                compile_rules(rules, what=what)
        if self.name_pattern is not None:
            compile_pattern(self.name_pattern)
        if self.payload_from and self.payload is None:
            object.__setattr__(self, "payload", compile_payload(self.payload_from))
        if self.payload_from and self.wrap is None:
            object.__setattr__(self, "wrap", _make_wrap(self))


def _make_wrap(wire: Format) -> Wrap:
    """Return the function that writes a payload where the first rule finds it, and the id where its rule does."""
    rule, *steps = split_steps(wire.payload_from[0])
    path = field_path(rule)
    codecs = [get_codec(step) for step in reversed(steps) if not step.startswith("field:")]
    encoders = [codec.encode for codec in codecs if codec.encode is not None]
    in_body = rule == "body" or (path and not any(step.isdecimal() for step in path))
    writable = bool(in_body) and len(encoders) == len(steps)
    id_path = field_path(wire.id_from[0]) if wire.id_from else ()
    content_type = codecs[-1].content_type if codecs and rule == "body" else None

    def wrap(outgoing: Outgoing, now: float) -> None:
        value: bytes | str = outgoing.body or b"null"
        for encode in encoders:
            value = encode(value)
        if not writable or (path and encoders and isinstance(value, bytes)):
            raise InvalidMessage(
                f"format {wire.name!r} is only read: nothing can be written where {wire.payload_from[0]!r} finds it"
            )
        if not path:
            outgoing.body = value.encode() if isinstance(value, str) else value
            outgoing.content_type = content_type or outgoing.content_type
            return
        # JSON is spliced in, so that its numbers stay as they were written.
        body = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
        for step in reversed(path):
            body = b"{" + json.dumps(step).encode() + b":" + body + b"}"
        if len(id_path) == 1 and id_path[0] != path[0]:
            body = b"{" + f"{json.dumps(id_path[0])}:{json.dumps(outgoing.id)},".encode() + body[1:]
        outgoing.body = body

    return wrap
