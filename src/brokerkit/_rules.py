"""Where the event name, the key and the id of a message sit on the wire: rules, compiled once for a source.

A rule is one of ``header:NAME``, ``key``, ``topic``, ``routing_key``, ``type``, ``field:PATH``. A source states its rules
in order of preference, because a producer is somebody else's program: EvenBet's documents, for one, never say where
the event name travels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from brokerkit._errors import ConfigError, InvalidMessage
from brokerkit._message import Delivery, Outgoing
from brokerkit.events._types import ExactFloat

Lookup = Callable[[Delivery], str | bytes | None]
WriteName = Callable[[Outgoing], None]

PLACES: Final = ("header", "key", "topic", "routing_key", "type", "field")
NOT_JSON: Final = object()
"""Stands in `Delivery.parsed` for a body that was looked at and is no JSON."""


def compile_rules(rules: Iterable[str], *, what: str, fields_if: Callable[[Delivery], bool] | None = None) -> Lookup:
    """One function that tries each rule in order; it gives the first value that is there and not empty.

    Args:
        rules: in order of preference.
        fields_if: whether ``field`` rules hold for a message; for each where it is None.
        what: the setting, for errors: ``"name_from"``, ``"key_from"`` or ``"id_from"``.

    Raises:
        ConfigError: a rule is not one of the forms above.
    """
    first, *others = (_compile(rule, what, fields_if) for rule in rules)

    def lookup(delivery: Delivery) -> str | bytes | None:
        if value := first(delivery):
            return value
        for other in others:
            if value := other(delivery):
                return value
        return None

    return lookup if others else first


def split_rule(rule: str, *, what: str) -> tuple[str, str]:
    """Take a rule apart into place and argument.

    Raises:
        ConfigError: it is not one of the forms above.
    """
    place, colon, argument = rule.partition(":")
    if place not in PLACES or not (argument if place in ("header", "field") else not colon):
        raise ConfigError(
            f"{what}: {rule!r} is no rule; allowed are header:NAME, key, topic, routing_key, type, field:PATH"
        )
    return place, argument


def parsed(delivery: Delivery) -> Any:
    """The body as JSON, parsed once for all who ask; `NOT_JSON` where it is none. Fractions keep their text."""
    if delivery.parsed is None:
        try:
            delivery.parsed = json.loads(delivery.body or b"", parse_float=ExactFloat, parse_constant=_refuse)
        except (ValueError, RecursionError):
            delivery.parsed = NOT_JSON
    return delivery.parsed


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def name_writer(rules: Iterable[str], places: frozenset[str]) -> WriteName:
    """One function that puts a message's event name where the first rule says that can be written on this broker.

    The rule ``topic`` addresses a message that has no topic yet to the topic of that name.

    The function raises InvalidMessage: no rule can be written, or something else stands where the name goes.

    Raises:
        ConfigError: a rule is not one of the forms above.
    """
    rules = tuple(rules)
    writable = [
        (place, argument)
        for place, argument in (split_rule(rule, what="name_from") for rule in rules)
        if place in places
    ]
    by_topic = writable[:1] == [("topic", "")]
    other = next((rule for rule in writable if rule[0] != "topic"), None)
    write_other = other and _name_writer(*other)

    def write(outgoing: Outgoing) -> None:
        if by_topic and outgoing.topic in ("", outgoing.name):
            outgoing.topic = outgoing.name
        elif write_other is not None:
            write_other(outgoing)
        else:
            raise InvalidMessage(
                f"none of the rules {', '.join(rules)} can be written here; name_from needs one that can"
            )

    return write


def _name_writer(place: str, argument: str) -> WriteName:
    """The function for one rule, ``topic`` left out."""

    def to_header(outgoing: Outgoing) -> None:
        found = outgoing.headers.get(argument)
        if found is not None and found not in (outgoing.name, outgoing.name.encode()):
            raise InvalidMessage(f"the event name goes into header {argument!r}, which holds something else")
        outgoing.headers = {**outgoing.headers, argument: outgoing.name}

    def to_key(outgoing: Outgoing) -> None:
        if outgoing.key not in (None, outgoing.name, outgoing.name.encode()):
            raise InvalidMessage("the event name is the key here (name_from), so no other key can be given")
        outgoing.key = outgoing.name

    def to_routing_key(outgoing: Outgoing) -> None:
        outgoing.routing_key = outgoing.name

    def to_type(outgoing: Outgoing) -> None:
        outgoing.type = outgoing.name

    def to_field(outgoing: Outgoing) -> None:
        outgoing.body = _with_field(outgoing.body, argument, outgoing.name)

    writers = {"header": to_header, "key": to_key, "routing_key": to_routing_key, "type": to_type, "field": to_field}
    return writers[place]


def _compile(rule: str, what: str, fields_if: Callable[[Delivery], bool] | None) -> Lookup:
    place, argument = split_rule(rule, what=what)
    match place:
        case "header":
            return lambda delivery: delivery.headers.get(argument)
        case "key":
            return lambda delivery: delivery.key
        case "topic":
            return lambda delivery: delivery.topic
        case "routing_key":
            return lambda delivery: delivery.routing_key
        case "type":
            return lambda delivery: delivery.type
        case _:
            path = argument.split(".")
            if fields_if is None:
                return lambda delivery: _field(parsed(delivery), path)
            return lambda delivery: _field(parsed(delivery), path) if fields_if(delivery) else None


def _field(value: Any, path: list[str]) -> str | None:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):  # pyright: ignore[reportUnknownArgumentType]
            value = value[int(part)]  # pyright: ignore[reportUnknownVariableType]
        else:
            return None
    if isinstance(value, str):
        # JSON's escapes can spell a lone surrogate; with one the dead letter could never be published.
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    return str(value) if isinstance(value, (int, ExactFloat)) and not isinstance(value, bool) else None


def _with_field(body: bytes | None, field: str, name: str) -> bytes:
    """Put the name into a top-level field by splicing, so that every other byte stays as its writer made it."""
    if "." in field:
        raise InvalidMessage(f"the event name can be written into a top-level field only, not into {field!r}")
    try:
        value: object = json.loads((body or b"").decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidMessage(f"the event name goes into field {field!r}, but the body is no JSON object")
    if field in value:
        if value[field] == name:
            return body or b""
        raise InvalidMessage(f"the event name goes into field {field!r}, which already holds something else")
    entry = f"{json.dumps(field)}:{json.dumps(name)}{',' if value else ''}"
    return b"{" + entry.encode() + (body or b"").lstrip()[1:]
