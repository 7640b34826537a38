"""Finds out from messages where the event name is, which family the events belong to, and which format fits.

Pure: it works on browsed messages, and knows no broker.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from brokerkit import events, formats
from brokerkit._errors import DecodeError
from brokerkit._messages._delivery import Delivery, State
from brokerkit._messages._encodings import undone
from brokerkit._messages._headers import INTERNAL_PREFIX, as_text, header_text
from brokerkit._messages._name_rules import NOT_JSON, compile_rules, field_path, parsed, split_rule
from brokerkit._paths import Path, join_path, parse_path
from brokerkit._tools._proposals import Finding, Guess, tried, verdict
from brokerkit.events import Family
from brokerkit.events._presence import Fit
from brokerkit.formats import Format
from brokerkit.formats._foreign import recognised

_ALL_FIELDS: Final = "*"
_DEPTH: Final = 3
_FIELDS: Final = 200
_LONGEST: Final = 200
_NAME: Final = re.compile(r"[A-Za-z][\w.:/-]{1,99}")
_CLASS: Final = re.compile(r'"?[A-Za-z][\w.:/\\$+-]{1,149}(?:[,;"].*)?')
"""A name as above, or the full name of a class. Spring may put either into quotes."""
_PLAIN_WORD: Final = re.compile(r"[a-z]+")

_ORDER: Final = ("header", "type", "routing_key", "key", "field", "topic")
"""Kinds of rules, in the order in which producers usually use them for the event name. The first of equal rules wins."""

_LIKELY: Final = frozenset(
    {"action", "cetype", "event", "eventname", "eventtype", "messagename", "messagetype", "msgname", "msgtype"}
    | {"name", "type", "class", "typeid", "pattern", "detailtype", "taskname", "actorname", "eventclass"}
    | {"enclosedmessagetypes", "mtmessagetype", "rbsmsgtype", "capmsgname", "enqueuetopic", "cloudeventstype"}
)
"""Usual names of a header or field with the event name, in lower case, without hyphens and underscores."""


class _Candidate(NamedTuple):
    """One way to read the messages; ``family`` is empty for events of any family."""

    family: str
    rule: str


def inspect(deliveries: Sequence[Delivery], places: AbstractSet[str], *, by_fields: bool = False) -> Finding:
    """Propose how to read messages.

    The proposal was tried on the messages. Settings that would read every event without its fields, or make each message a
    dead letter, are not proposed; then the finding says what was seen.

    Args:
        deliveries: the messages.
        places: the kinds of rules that this broker supports (`Capabilities.name_places`).
        by_fields: whether a setting says which of several fields is the body on this broker (Redis Streams).
    """
    body_field = _body_field(deliveries) if by_fields else None
    if body_field == _ALL_FIELDS:
        deliveries = [_flat(one) for one in deliveries]
    elif body_field is not None:
        deliveries = [_with_body(one, body_field) if body_field in one.headers else one for one in deliveries]
    reasons = [undecodable(delivery) for delivery in deliveries]
    broken = dict(Counter(reason for reason in reasons if reason is not None).most_common())
    readable = [delivery for delivery, reason in zip(deliveries, reasons, strict=True) if reason is None]
    found, fits = _inspect(readable, places)
    found = replace(found, messages=len(deliveries), undecodable=broken, body_field=body_field)
    if fits and (readable or not deliveries) and (body_field != _ALL_FIELDS or found.name_from):
        return found
    return replace(found, problem=_problem(deliveries, found))


def undecodable(delivery: Delivery) -> str | None:
    """Return why a message cannot be decoded; None where it can. A source makes a dead letter of it."""
    if delivery.state is State.UNREADABLE:
        return str(delivery.parsed)
    try:
        undone(delivery)
    except DecodeError as error:
        return str(error)
    return None


def _inspect(deliveries: Sequence[Delivery], places: AbstractSet[str]) -> tuple[Finding, bool]:
    """Return the best proposal, and whether it fits. If none does, the first one describes best what was seen."""
    seen = [observed(delivery, places) for delivery in deliveries]
    guesses = _guesses(seen)
    first: Finding | None = None
    for wire, family, rules, names in _proposals(deliveries, seen, guesses):
        found = tried(deliveries, wire, family, rules, names, guesses if not names and family is None else ())
        named = found.known or (found.unknown and found.format != "json")
        if found.works and (named or not any(recognised(delivery) for delivery in deliveries)):
            return found, True
        first = first or found
    assert first is not None
    return first, False


def _proposals(
    deliveries: Sequence[Delivery], seen: Sequence[Mapping[str, str]], guesses: tuple[Guess, ...]
) -> Iterator[tuple[Format, Family | None, tuple[str, ...], Mapping[str, str]]]:
    """Yield ways to read the messages, the most likely first."""
    if (wire := _recognised_format(deliveries)) is not None:
        yield wire, None, wire.name_from, {}
        if wire.name.startswith("cloudevents"):
            return
    if (best := _best(deliveries, _exact(seen))) is not None:
        family = events.get_family(best.family) if best.family else None
        yield formats.get(family.format if family else "json"), family, _with_others(best, seen), {}
    alike = _alike(seen)
    if (best := _best(deliveries, {candidate: list(found) for candidate, found in alike.items()}, alike)) is not None:
        family = events.get_family(best.family)
        names = {seen[index][best.rule]: name for index, name in alike[best].items()}
        yield formats.get(family.format), family, (best.rule,), names
    # A rule with a usual name is worth a proposal; any other rule is only a hint.
    rules = tuple(guess.rule for guess in guesses[:1] if _is_likely(guess.rule))
    yield formats.get("json"), None, rules, {}


def _problem(deliveries: Sequence[Delivery], found: Finding) -> str:
    """Return why nothing is proposed."""
    envelopes = Counter(envelope for delivery in deliveries if (envelope := recognised(delivery)) is not None)
    if envelopes:
        [(envelope, _)] = envelopes.most_common(1)
        return f"each is {envelope.what}: {envelope.advice}"
    if found.body_field == _ALL_FIELDS and not found.name_from:
        shown = ", ".join(sorted(json.loads(deliveries[0].body or b"{}"))[:5])
        return f"no field holds a JSON object, and none looks like an event name; the fields are {shown}"
    if sum(found.undecodable.values()) == len(deliveries):
        return f"none can be decoded: {next(iter(found.undecodable))}"
    if not any(isinstance(parsed(delivery), dict) for delivery in deliveries):
        start = (deliveries[0].body or b"")[:20]
        return f"no body is a JSON object; the first one begins with {start!r}: brokerkit cannot read it"
    if found.foreign:
        name, seen = next(iter(found.foreign.items()))
        return f"no event has a field of its model. {name}: {seen}"
    name, refusal = next(iter(found.unreadable.items()), ("", ""))
    return f"no body can be read as its event. {name}: {refusal}"


def _body_field(deliveries: Sequence[Delivery]) -> str | None:
    """Return the field that holds JSON objects in most messages, else all fields, if no message has a body."""
    if not deliveries or any(delivery.body is not None or not delivery.headers for delivery in deliveries):
        return None
    found = Counter(
        name
        for delivery in deliveries
        for name in delivery.headers
        if not name.startswith(INTERNAL_PREFIX) and _is_body(_with_body(delivery, name))
    )
    [(name, count)] = found.most_common(1) or [("", 0)]
    return name if 2 * count > len(deliveries) else _ALL_FIELDS


def _is_body(delivery: Delivery) -> bool:
    return isinstance(parsed(delivery), dict) or recognised(delivery) is not None


def _with_body(delivery: Delivery, field: str) -> Delivery:
    """Return a message as it is read if ``body_field`` names this field."""
    headers = {name: value for name, value in delivery.headers.items() if name != field}
    body = delivery.headers.get(field)
    body = body.encode() if isinstance(body, str) else body
    return Delivery(body=body, topic=delivery.topic, key=delivery.key, headers=headers, id=delivery.id)


def _flat(delivery: Delivery) -> Delivery:
    """Return a message as it is read if all its fields are the event."""
    fields = {name: as_text(value) for name, value in delivery.headers.items() if not name.startswith(INTERNAL_PREFIX)}
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    flat = Delivery(body=json.dumps(texts).encode(), topic=delivery.topic, key=delivery.key, id=delivery.id)
    if len(texts) < len(fields):
        flat.unreadable("a field of the entry is not UTF-8")
    return flat


def known_name(delivery: Delivery, places: AbstractSet[str]) -> str | None:
    """Return the event name of a message: one that a family knows, else one in a usual place, else None."""
    seen = observed(delivery, places)
    for candidate in sorted(_exact([seen]), key=_rank):
        return seen[candidate.rule]
    return next((seen[guess.rule] for guess in _guesses([seen]) if _is_likely(guess.rule)), None)


def observed(delivery: Delivery, places: AbstractSet[str]) -> dict[str, str]:
    """Return every rule that finds a short text in a message, with the text."""
    found: dict[str, str | bytes | None] = {
        "key": delivery.key,
        "topic": delivery.topic,
        "routing_key": delivery.routing_key,
        "type": delivery.type,
    }
    for name in delivery.headers:
        if name and "|" not in name and not name.startswith(INTERNAL_PREFIX):
            found[f"header:{name}"] = header_text(delivery.headers, name)
    found |= {f"field:{path}": value for path, value in _fields(parsed(delivery), (), _DEPTH)}
    values = {
        rule: as_text(value)
        for rule, value in found.items()
        if value and rule.isprintable() and rule.partition(":")[0] in places
    }
    return {rule: value for rule, value in values.items() if isinstance(value, str) and len(value) <= _LONGEST}


def _fields(value: Any, prefix: Path, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the texts in an object and in the first element of lists, with their paths."""
    if value is NOT_JSON or not depth:
        return
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = list(cast("dict[str, Any]", value).items())[:_FIELDS]
    elif isinstance(value, list) and prefix:
        items = [("0", one) for one in cast("list[Any]", value)[:1]]  # type: ignore[redundant-cast]
    for name, inside in items:
        if not name or {'"', "'"} <= set(name):
            continue  # no path leads there
        path = (*prefix, name)
        if isinstance(inside, str):
            yield join_path(path), inside
        else:
            yield from _fields(inside, path, depth - (name != "0"))


# ---- candidates ------------------------------------------------------------------------------------------------------


def _recognised_format(deliveries: Sequence[Delivery]) -> Format | None:
    """Return the format of the program that wrote most messages, if one is recognised and can be read."""
    found = Counter(
        envelope.format.name
        for delivery in deliveries
        if (envelope := recognised(delivery)) is not None and envelope.format is not None
    )
    # Both CloudEvents formats read both forms.
    alike = {name: count for name, count in found.items() if name.startswith("cloudevents")}
    name, count = max(found.items(), key=lambda one: one[1], default=("", 0))
    return formats.get(name) if 2 * max(count, sum(alike.values())) > len(deliveries) else None


def _exact(seen: Sequence[Mapping[str, str]]) -> dict[_Candidate, list[int]]:
    """Return each way to read the messages, with the messages whose names it knows."""
    found: dict[_Candidate, list[int]] = {}
    for index, values in enumerate(seen):
        for rule, value in values.items():
            families = {one.family.name for one in events.find(value) if one.name == value}
            # "error" or "balance" may be in any field.
            if _PLAIN_WORD.fullmatch(value) and not _is_likely(rule):
                continue
            for family in families:
                found.setdefault(_Candidate(family, rule), []).append(index)
            if families:
                found.setdefault(_Candidate("", rule), []).append(index)
    return found


def _alike(seen: Sequence[Mapping[str, str]]) -> dict[_Candidate, dict[int, str]]:
    """Return the same for names that are written differently (``game.done``), with the event name of each message."""
    written: dict[str, dict[str, str | None]] = {}
    for family, known in events.families().items():
        for name in known.models:
            for bare in _bare(name):
                others = written.setdefault(bare, {})
                others[family] = None if others.get(family, name) != name else name
    found: dict[_Candidate, dict[int, str]] = {}
    for index, values in enumerate(seen):
        for rule, value in values.items():
            if not _CLASS.fullmatch(value) or not _is_likely(rule):
                continue
            bare = next((bare for bare in _bare(value) if bare in written), "")
            for family, event in written.get(bare, {}).items():
                if event is not None:
                    found.setdefault(_Candidate(family, rule), {})[index] = event
    return found


def _bare(name: str) -> list[str]:
    r"""Return a name in lower case without punctuation: whole and last part, each also without "on" and "event" around it.

    The last part of a class name is the bare name of the class in any language: ``a.b.Paid``, ``A\B\Paid``,
    ``urn:message:A:Paid``, ``A.Paid, Assembly, Version=1.0``.
    """
    name = re.split(r"[,;]", name)[0]
    wholes = [name, re.split(r"[.:/\\\\$+]", name)[-1]]
    plain = [re.sub(r"[\W_]", "", whole).lower() for whole in wholes]
    return list(dict.fromkeys([*plain, *(word.removeprefix("on").removesuffix("event") for word in plain)]))


def _best(
    deliveries: Sequence[Delivery],
    found: Mapping[_Candidate, Sequence[int]],
    names: Mapping[_Candidate, Mapping[int, str]] = MappingProxyType({}),
) -> _Candidate | None:
    """Return the way that knows most names; of equal ways, the one that reads most bodies."""
    if not found:
        return None
    most = max(len(indexes) for indexes in found.values())
    equal = {candidate: indexes for candidate, indexes in found.items() if len(indexes) == most}
    if len(equal) > 1:
        named = {candidate: indexes for candidate, indexes in equal.items() if candidate.family}
        equal = named or equal
    read = {
        candidate: sum(_reads(deliveries[index], candidate, names.get(candidate, {}).get(index)) for index in indexes)
        for candidate, indexes in equal.items()
        if candidate.family
    }
    return min(equal, key=lambda candidate: (-read.get(candidate, 0), _rank(candidate)))


def _reads(delivery: Delivery, candidate: _Candidate, name: str | None) -> bool:
    family = events.get_family(candidate.family)
    found = name or as_text(compile_rules([candidate.rule], what="name_from")(delivery) or "")
    if not isinstance(found, str) or found not in family.models:
        return False
    wire = formats.get(family.format)
    judged = verdict(wire, family, found, delivery, (candidate.rule,))
    return judged.fit is not Fit.FOREIGN and judged.refusal is None


def _rank(candidate: _Candidate) -> tuple[Any, ...]:
    """Return a sort key: rules of the family's format first, then rules in their usual order, then the shortest paths."""
    place, _ = split_rule(candidate.rule, what="name_from")
    usual = formats.get(events.get_family(candidate.family).format).name_from if candidate.family else ()
    at = usual.index(candidate.rule) if candidate.rule in usual else len(usual)
    likely = not _is_likely(candidate.rule)
    depth = len(field_path(candidate.rule))
    return (not candidate.family, at, _ORDER.index(place), depth, likely, *candidate)


def _is_likely(rule: str) -> bool:
    place, argument = split_rule(rule, what="name_from")
    if place in ("header", "field"):
        last = parse_path(argument)[-1] if place == "field" else argument.rpartition(".")[2]
        last = argument if argument[-1:].isdigit() else last
        spelled = (re.sub(r"[\W_\d]", "", one).lower() for one in (argument, last))
        return not _LIKELY.isdisjoint(spelled)
    return place in ("type", "routing_key")


def _with_others(best: _Candidate, seen: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Return the rule, and other rules for messages in which it finds no name: a producer may have changed."""
    rules = [best.rule]
    left = [values for values in seen if best.rule not in values]
    while left:
        others = {
            candidate: indexes
            for candidate, indexes in _exact(left).items()
            if candidate.family == best.family and len(field_path(candidate.rule)) < 2 and candidate.rule != "topic"
        }
        if not others:
            break
        rule = min(others, key=lambda candidate: (-len(others[candidate]), _rank(candidate))).rule
        rules.append(rule)
        left = [values for values in left if rule not in values]
    return tuple(rules)


def _guesses(seen: Sequence[Mapping[str, str]]) -> tuple[Guess, ...]:
    """Return rules that find something like a name, those with usual names first."""
    values: dict[str, list[str]] = {}
    for one in seen:
        for rule, value in one.items():
            if _NAME.fullmatch(value) and rule != "topic":
                values.setdefault(rule, []).append(value)
    guesses = [
        Guess(rule, Counter(found).most_common(1)[0][0], len(found), len(set(found))) for rule, found in values.items()
    ]
    guesses.sort(key=lambda guess: (not _is_likely(guess.rule), -guess.messages, _rank(_Candidate("", guess.rule))))
    return tuple(guesses[:5])
