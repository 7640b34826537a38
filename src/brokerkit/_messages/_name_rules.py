"""Rules for where the event name, the key, the id and the payload of a message are. They are compiled once for each source.

A rule is one of ``header:NAME``, ``key``, ``topic``, ``routing_key``, ``type``, ``schema``, ``field:PATH``. A source
lists its rules in order of preference, because the producer is another company's program. EvenBet's documents, for
example, never say where the event name is. Steps may follow a rule, as in ``field:Message|json|field:type``: see `_steps`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from brokerkit._errors import ConfigError, DecodeError, InvalidMessage
from brokerkit._messages._codecs import codec_names, from_json
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._encodings import undone
from brokerkit._messages._outgoing import Outgoing, Unencoded
from brokerkit._messages._steps import Step, compile_steps, run, split_steps
from brokerkit._paths import MISSING, Path, parse_path, walk
from brokerkit.events._types import ExactFloat

Lookup = Callable[[Delivery], str | bytes | None]
Payload = Callable[[Delivery], Any]
WriteName = Callable[[Outgoing], None]

PLACES: Final = ("header", "key", "topic", "routing_key", "type", "field")
NOT_JSON: Final = object()
"""Value of `Delivery.parsed` for a body that was parsed and is not JSON."""


def compile_rules(rules: Iterable[str], *, what: str, fields_if: Callable[[Delivery], bool] | None = None) -> Lookup:
    """Return a function that tries each rule in order, and returns the first value that is not empty.

    Args:
        rules: in order of preference.
        fields_if: whether ``field`` rules apply to a message; None if they apply to all.
        what: the setting, for errors: ``"name_from"``, ``"key_from"`` or ``"id_from"``.

    Raises:
        ConfigError: a rule is not one of the forms above.
    """
    first, *others = rules
    lookup = _compile(first, what, fields_if)
    if not others:
        return lookup
    rest = compile_rules(others, what=what, fields_if=fields_if)
    place, argument = split_rule(first, what=what)
    if place == "header" and len(split_steps(first)) == 1:
        # Most formats look into a header first: one call less for each message.
        return lambda delivery: delivery.header(argument) or rest(delivery)
    return lambda delivery: lookup(delivery) or rest(delivery)


def split_rule(rule: str, *, what: str) -> tuple[str, str]:
    """Split a rule into place and argument.

    Raises:
        ConfigError: the rule is not one of the forms above.
    """
    place, colon, argument = split_steps(rule)[0].partition(":")
    if (
        place not in (*PLACES, "schema", "body")
        or not (argument if place in ("header", "field") else not colon)
        or (place == "body" and len(split_steps(rule)) == 1)
    ):
        raise ConfigError(
            f"{what}: {rule!r} is not a rule; allowed are header:NAME, key, topic, routing_key, type, schema, field:PATH"
        )
    try:
        if place == "field":
            parse_path(argument)
        _steps(rule, what)
    except ConfigError as error:
        raise ConfigError(f"{what}: {rule!r}: {error}") from None
    return place, argument


def field_path(rule: str) -> Path:
    """Return the path of a ``field`` rule; the empty one for another rule."""
    place, _, argument = split_steps(rule)[0].partition(":")
    return parse_path(argument) if place == "field" else ()


def _steps(rule: str, what: str) -> list[Step]:
    return compile_steps(split_steps(rule)[1:], rule=rule, what=what)


def compile_payload(rules: Iterable[str]) -> Payload:
    """Return a function that finds the payload of a message by the first rule that leads to something.

    A rule is ``body`` or ``field:PATH`` or ``header:NAME``, with steps after it. The function returns bytes, JSON text, or
    JSON that is parsed already; None for a message without a body.

    It raises DecodeError if no rule leads anywhere.

    Raises:
        ConfigError: a rule has another form.
    """
    rules = tuple(rules)
    lookups = [_compile_payload(rule) for rule in rules]

    def payload(delivery: Delivery) -> Any:
        if delivery.body is None:
            return None
        refusal: DecodeError | None = None
        for lookup in lookups:
            try:
                if (found := lookup(delivery)) is not MISSING:
                    return found
            except DecodeError as error:
                refusal = refusal or error
        raise refusal or DecodeError(
            f"there is no payload where payload_from looks for it: {', '.join(rules)}", value=delivery.body
        )

    return payload


def _compile_payload(rule: str) -> Payload:
    place, _, argument = split_steps(rule)[0].partition(":")
    steps = _steps(rule, "payload_from")
    if place == "body" and not argument:
        return lambda delivery: run(_readable(delivery) if steps else delivery.body, steps)
    if place == "field" and argument:
        path = parse_path(argument)
        return lambda delivery: run(walk(parsed(delivery), path), steps)
    if place == "header" and argument:
        return lambda delivery: run(delivery.headers.get(argument, MISSING), steps)
    raise ConfigError(
        f"payload_from: {rule!r} is not a rule; allowed are body, field:PATH and header:NAME, and after each | a path or "
        f"a codec: {', '.join(codec_names())}"
    )


def _readable(delivery: Delivery) -> bytes | None:
    plain = undone(delivery)
    return delivery.body if plain is None else plain


def parsed(delivery: Delivery) -> Any:
    """Return the body as JSON, parsed once, or `NOT_JSON` if it is not JSON. Fractions keep their text."""
    if delivery.parsed is None:
        try:
            delivery.parsed = from_json(delivery.body or b"")
        except (ValueError, RecursionError):
            delivery.parsed = _parsed_undone(delivery)
    return delivery.parsed


def _parsed_undone(delivery: Delivery) -> Any:
    try:
        plain = undone(delivery)
        return NOT_JSON if plain is None else from_json(plain)
    except (DecodeError, ValueError, RecursionError):
        return NOT_JSON


def name_writer(rules: Iterable[str], places: frozenset[str]) -> WriteName:
    """One function that puts a message's event name where the first rule says that can be written on this broker.

    The rule ``topic`` addresses a message that has no topic yet to the topic of that name.

    The function raises InvalidMessage if no rule can be written, or if something else is where the name must go.

    Raises:
        ConfigError: a rule is not one of the forms above.
    """
    rules = tuple(rules)
    writable = [
        (place, argument)
        for rule in rules
        for place, argument in [split_rule(rule, what="name_from")]
        if place in (*places, "schema") and len(split_steps(rule)) == 1
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
                f"none of the rules {', '.join(rules)} can be written on this broker; add one to name_from that can"
            )

    return write


def _name_writer(place: str, argument: str) -> WriteName:
    """Return the function for one rule other than ``topic``."""

    def to_header(outgoing: Outgoing) -> None:
        found = outgoing.headers.get(argument)
        if found is not None and found not in (outgoing.name, outgoing.name.encode()):
            raise InvalidMessage(f"the event name goes into header {argument!r}, which already holds something else")
        outgoing.headers = {**outgoing.headers, argument: outgoing.name}

    def to_key(outgoing: Outgoing) -> None:
        if outgoing.key not in (None, outgoing.name, outgoing.name.encode()):
            raise InvalidMessage("name_from makes the event name the key, so no other key can be given")
        outgoing.key = outgoing.name

    def to_routing_key(outgoing: Outgoing) -> None:
        outgoing.routing_key = outgoing.name

    def to_type(outgoing: Outgoing) -> None:
        outgoing.type = outgoing.name

    def to_field(outgoing: Outgoing) -> None:
        outgoing.body = _with_field(outgoing.body, argument, outgoing.name)

    writers = {
        "header": to_header,
        "key": to_key,
        "routing_key": to_routing_key,
        "type": to_type,
        "schema": _to_schema,
        "field": to_field,
    }
    return writers[place]


def _to_schema(outgoing: Outgoing) -> None:
    if not isinstance(outgoing.body, Unencoded):
        raise InvalidMessage("the event name is that of a schema: only a format with schemas can write it")
    outgoing.body.named_by_schema = True


def _compile(rule: str, what: str, fields_if: Callable[[Delivery], bool] | None) -> Lookup:
    place, argument = split_rule(rule, what=what)
    if steps := _steps(rule, what):
        return _after_steps(_place(place, argument, fields_if, whole=True), steps)
    return _place(place, argument, fields_if)


def _after_steps(lookup: Payload, steps: list[Step]) -> Lookup:
    def find(delivery: Delivery) -> str | None:
        try:
            return _as_name(run(lookup(delivery), steps))
        except DecodeError:
            return None

    return find


def _place(
    place: str, argument: str, fields_if: Callable[[Delivery], bool] | None, *, whole: bool = False
) -> Callable[[Delivery], Any]:
    """Return the lookup of one place. ``whole``: any value of a field, and not only one that can be a name."""
    match place:
        case "header":
            return lambda delivery: delivery.header(argument)
        case "key":
            return lambda delivery: delivery.key
        case "topic":
            return lambda delivery: delivery.topic
        case "routing_key":
            return lambda delivery: delivery.routing_key
        case "type":
            return lambda delivery: delivery.type
        case "schema":
            return lambda delivery: getattr(delivery, "schema", None)
        case "body":
            return _readable
        case _:
            path = parse_path(argument)
            find = _field_itself(path) if whole else _field(path)
            return find if fields_if is None else lambda delivery: find(delivery) if fields_if(delivery) else None


def _field(path: Path) -> Lookup:
    if len(path) != 1:
        return lambda delivery: _as_name(walk(parsed(delivery), path))
    key = path[0]

    def find(delivery: Delivery) -> str | None:
        body = parsed(delivery)
        return _as_name(body.get(key)) if body.__class__ is dict else None

    return find


def _field_itself(path: Path) -> Payload:
    return lambda delivery: walk(parsed(delivery), path)


def _as_name(value: Any) -> str | None:
    if isinstance(value, str):
        # JSON's escapes can spell a lone surrogate. A dead letter with one could never be published.
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if isinstance(value, float) and not isinstance(value, ExactFloat):
        # msgpackr for Node writes whole numbers from 2**32 on as floating-point numbers. Up to 2**53 those are exact.
        return str(int(value)) if value.is_integer() and abs(value) <= 2**53 else None
    return str(value) if isinstance(value, (int, ExactFloat)) and not isinstance(value, bool) else None


def _with_field(body: bytes | None, field: str, name: str) -> bytes:
    """Insert the name as a top-level field, so that all other bytes stay unchanged."""
    path = parse_path(field)
    if len(path) != 1:
        raise InvalidMessage(f"the event name can only be written into a top-level field, not into {field!r}")
    field = path[0]
    try:
        value: object = json.loads((body or b"").decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidMessage(f"the event name goes into field {field!r}, but the body is not a JSON object")
    if field in value:
        if value[field] == name:
            return body or b""
        raise InvalidMessage(f"the event name goes into field {field!r}, which already holds something else")
    entry = f"{json.dumps(field)}:{json.dumps(name)}{',' if value else ''}"
    return b"{" + entry.encode() + (body or b"").lstrip()[1:]
