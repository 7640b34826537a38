"""Tries a configuration on browsed messages before it is proposed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from brokerkit import events
from brokerkit._errors import DecodeError
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._encodings import undone
from brokerkit._messages._event_names import EventNames
from brokerkit._messages._headers import as_text
from brokerkit._messages._name_rules import NOT_JSON, compile_rules, field_path, parsed
from brokerkit.events import Family
from brokerkit.events._presence import Fit, Presence
from brokerkit.formats import Format


class Guess(NamedTuple):
    """A place that may hold the event name, although no family knows the values there.

    Attributes:
        messages: how many of them have a value there.
        different: how many different values there are.
    """

    rule: str
    example: str
    messages: int
    different: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, and the settings that follow from it.

    Attributes:
        messages: how many there were.
        format: the wire format.
        family: the family of the events; None if there are several families or none.
        name_from: rules that find the event name; empty if no place is better than another.
        names: wire name → event name, if the producer writes names differently.
        known: event names that a family knows, with the number of messages.
        unknown: other names that the rules find, with the number of messages.
        nameless: messages for which the rules find no name.
        unreadable: of event names whose model refuses a body, what it said first.
        foreign: of event names with a body that sets none of their fields, what was seen instead.
        undecodable: why messages cannot be decoded, with their number; each becomes a dead letter. They are not looked at.
        not_json: bodies that are not JSON.
        works: whether the settings read some of the messages right; of unknown names, whether some are JSON objects.
        guesses: places that may hold the name, where nothing is known; the best one first.
        body_field: the field of an entry that holds the body, where it is not the usual one (Redis Streams).
        problem: why no configuration is proposed; "" where one is.
    """

    messages: int
    format: str
    family: str | None
    name_from: tuple[str, ...]
    names: Mapping[str, str]
    known: Mapping[str, int]
    unknown: Mapping[str, int]
    nameless: int
    unreadable: Mapping[str, str]
    foreign: Mapping[str, str]
    not_json: int
    works: bool
    guesses: tuple[Guess, ...]
    undecodable: Mapping[str, int] = field(default_factory=dict[str, int])
    body_field: str | None = None
    problem: str = ""


class Verdict(NamedTuple):
    """What a configuration makes of one message.

    Attributes:
        refusal: why the model refuses the body; None if it does not.
        seen: what the body holds instead of the declared fields, if it sets none of them.
    """

    fit: Fit
    refusal: str | None
    seen: str


def verdict(wire: Format, family: Family, name: str, delivery: Delivery, rules: Sequence[str]) -> Verdict:
    """Read a message as a source with these settings does."""
    try:
        body = wire.payload(delivery) if wire.payload else undone(delivery) or delivery.body
        family.read(name, b"" if body is None else body)
    except DecodeError as error:
        return Verdict(Fit.UNDECIDED, str(error), "")
    beside = [path[0] for rule in (*rules, *wire.id_from) if (path := field_path(rule))]
    presence = Presence(family.models[name], () if wire.payload else beside, family.shared())
    value: Any = body if wire.payload else parsed(delivery)
    if not isinstance(value, Mapping):
        return Verdict(Fit.UNDECIDED, None, "")
    content = family.unwrap(dict(cast("Mapping[str, Any]", value)))
    fit = presence.judge(content)
    return Verdict(fit, None, presence.describe(content) if fit is Fit.FOREIGN else "")


def tried(
    deliveries: Sequence[Delivery],
    wire: Format,
    family: Family | None,
    rules: tuple[str, ...],
    names: Mapping[str, str],
    guesses: tuple[Guess, ...] = (),
) -> Finding:
    """Read the messages as a source with these settings would."""
    event_names = EventNames(names, wire.name_pattern)
    lookup = compile_rules(rules, what="name_from", fields_if=wire.fields_if) if rules else None
    known, unknown = Counter[str](), Counter[str]()
    nameless = wrong = objects = 0
    unreadable: dict[str, str] = {}
    foreign: dict[str, str] = {}
    for delivery in deliveries:
        objects += _holds_object(wire, delivery)
        value = as_text((lookup and lookup(delivery)) or "")
        wire_name = value if isinstance(value, str) else value.decode(errors="backslashreplace")
        name = event_names.of(wire_name)
        meanings = [one for one in events.find(name) if one.name == name and family in (None, one.family)]
        if not name:
            nameless += 1
        elif not meanings:
            unknown[name] += 1
        else:
            known[name] += 1
            found = verdict(wire, meanings[0].family, name, delivery, rules)
            if found.refusal is not None:
                unreadable.setdefault(name, found.refusal)
            elif found.fit is Fit.FOREIGN:
                foreign.setdefault(name, found.seen)
            wrong += found.refusal is not None or found.fit is Fit.FOREIGN
    return Finding(
        messages=len(deliveries),
        format=wire.name,
        family=family.name if family else _only_family(known),
        name_from=rules,
        names=names,
        known=dict(known.most_common()),
        unknown=dict(unknown.most_common()),
        nameless=nameless,
        unreadable=unreadable,
        foreign=foreign,
        not_json=sum(parsed(delivery) is NOT_JSON for delivery in deliveries),
        works=wrong < known.total() if known else bool(objects) or not deliveries,
        guesses=guesses,
    )


def _holds_object(wire: Format, delivery: Delivery) -> bool:
    """Whether the payload is a JSON object, or bytes that may be one."""
    if wire.payload is None:
        return isinstance(parsed(delivery), dict)
    try:
        found = wire.payload(delivery)
    except DecodeError:
        return False
    return isinstance(found, (bytes, str, dict))


def _only_family(known: Mapping[str, int]) -> str | None:
    families = {one.family.name for name in known for one in events.find(name)}
    return families.pop() if len(families) == 1 else None
