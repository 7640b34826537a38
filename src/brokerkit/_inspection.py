"""What messages tell about their producer: where the event name is, whose events they are, and which format fits.

Pure: it is given messages that somebody looked at, and knows no broker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from brokerkit import events, formats
from brokerkit._errors import DecodeError
from brokerkit._message import INTERNAL, Delivery, header_text, text
from brokerkit._rules import NOT_JSON, compile_rules, parsed, split_rule
from brokerkit.events import Family
from brokerkit.formats import Format

_DEPTH: Final = 3
_FIELDS: Final = 200
_LONGEST: Final = 200
_NAME: Final = re.compile(r"[A-Za-z][\w.:/-]{1,99}")
_PLAIN_WORD: Final = re.compile(r"[a-z]+")

_ORDER: Final = ("header", "type", "routing_key", "key", "field", "topic")
"""Places in the order in which producers use them for the event name; of equal ones the first is proposed."""

_LIKELY: Final = frozenset(
    {"action", "cetype", "event", "eventname", "eventtype", "messagename", "messagetype", "msgname", "msgtype"}
    | {"name", "type"}
)
"""What a header or field with the event name is called, without case, hyphens and underscores."""


class Guess(NamedTuple):
    """A place that may hold the event name, where no family knows what is there.

    Attributes:
        messages: how many of them have a value there.
        different: how many different values that are.
    """

    rule: str
    example: str
    messages: int
    different: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, and the settings that follow from it.

    Attributes:
        messages: how many were looked at.
        format: the wire format.
        family: whose events they are; None where several families', or nobody's.
        name_from: rules that find the event name; empty where no place is better than another.
        names: wire name → event name, where the producer writes names in another way.
        known: event names that a family knows, with the number of messages.
        unknown: other names that the rules find, with the number of messages.
        nameless: messages for which the rules find no name.
        unreadable: of event names whose model refuses a body, what it said first.
        no_json: bodies that are no JSON.
        guesses: places that may hold the name, where nothing is known; the best one first.
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
    no_json: int
    guesses: tuple[Guess, ...]


class _Candidate(NamedTuple):
    """One way to read the messages; ``family`` is empty for the events of any."""

    family: str
    rule: str


def inspect(deliveries: Sequence[Delivery], places: AbstractSet[str]) -> Finding:
    """Say how messages are to be read.

    Args:
        deliveries: the messages.
        places: where this broker can have the event name (`Capabilities.name_places`).
    """
    seen = [observed(delivery, places) for delivery in deliveries]
    if (wire := _cloud_events(deliveries)) is not None:
        return _finding(deliveries, wire, None, wire.name_from, {})
    if (best := _best(deliveries, _exact(seen))) is not None:
        family = events.get_family(best.family) if best.family else None
        wire = formats.get(family.format if family else "json")
        return _finding(deliveries, wire, family, _with_others(best, seen), {})
    alike = _alike(seen)
    if (best := _best(deliveries, {candidate: list(found) for candidate, found in alike.items()})) is not None:
        family = events.get_family(best.family)
        names = {seen[index][best.rule]: name for index, name in alike[best].items()}
        return _finding(deliveries, formats.get(family.format), family, (best.rule,), names)
    guesses = _guesses(seen)
    # What is called as a name is called is worth a proposal; anything else only a hint.
    rules = tuple(guess.rule for guess in guesses[:1] if _is_likely(guess.rule))
    return _finding(deliveries, formats.get("json"), None, rules, {}, guesses)


def known_name(delivery: Delivery, places: AbstractSet[str]) -> str | None:
    """The event name of one message: what a family knows, else what stands where names usually stand, else None."""
    seen = observed(delivery, places)
    for candidate in sorted(_exact([seen]), key=_rank):
        return seen[candidate.rule]
    return next((seen[guess.rule] for guess in _guesses([seen]) if _is_likely(guess.rule)), None)


def observed(delivery: Delivery, places: AbstractSet[str]) -> dict[str, str]:
    """Every rule that finds a short text in a message, with that text."""
    found: dict[str, str | bytes | None] = {
        "key": delivery.key,
        "topic": delivery.topic,
        "routing_key": delivery.routing_key,
        "type": delivery.type,
    }
    for name in delivery.headers:
        if name and not name.startswith(INTERNAL):
            found[f"header:{name}"] = header_text(delivery.headers, name)
    found |= {f"field:{path}": value for path, value in _fields(parsed(delivery), "", _DEPTH)}
    values = {
        rule: text(value)
        for rule, value in found.items()
        if value and rule.isprintable() and rule.partition(":")[0] in places
    }
    return {rule: value for rule, value in values.items() if isinstance(value, str) and len(value) <= _LONGEST}


def _fields(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    """Texts in an object and in the first element of lists, by path."""
    if value is NOT_JSON or not depth:
        return
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = list(cast("dict[str, Any]", value).items())[:_FIELDS]
    elif isinstance(value, list) and prefix:
        items = [("0", one) for one in cast("list[Any]", value)[:1]]  # type: ignore[redundant-cast]
    for name, inside in items:
        if not name or "." in name:
            continue  # no path leads there
        if isinstance(inside, str):
            yield prefix + name, inside
        else:
            yield from _fields(inside, f"{prefix}{name}.", depth - (name != "0"))


# ---- candidates ------------------------------------------------------------------------------------------------------


def _cloud_events(deliveries: Sequence[Delivery]) -> Format | None:
    """The format where most messages say that they are CloudEvents."""
    structured = formats.get("cloudevents-structured")
    binary = sum("ce_specversion" in delivery.headers for delivery in deliveries)
    whole = sum(bool(structured.fields_if and structured.fields_if(delivery)) for delivery in deliveries)
    if 2 * (binary + whole) <= len(deliveries):
        return None
    return formats.get("cloudevents") if binary >= whole else structured


def _exact(seen: Sequence[Mapping[str, str]]) -> dict[_Candidate, list[int]]:
    """For each way to read the messages, those whose name is known then."""
    found: dict[_Candidate, list[int]] = {}
    for index, values in enumerate(seen):
        for rule, value in values.items():
            families = {one.family.name for one in events.find(value) if one.name == value}
            # "error" or "balance" may stand anywhere.
            if _PLAIN_WORD.fullmatch(value) and not _is_likely(rule):
                continue
            for family in families:
                found.setdefault(_Candidate(family, rule), []).append(index)
            if families:
                found.setdefault(_Candidate("", rule), []).append(index)
    return found


def _alike(seen: Sequence[Mapping[str, str]]) -> dict[_Candidate, dict[int, str]]:
    """The same for names that are written in another way (``game.done``), with the event name of each message."""
    written: dict[str, dict[str, str | None]] = {}
    for family, known in events.families().items():
        for name in known.models:
            for bare in _bare(name):
                others = written.setdefault(bare, {})
                others[family] = None if others.get(family, name) != name else name
    found: dict[_Candidate, dict[int, str]] = {}
    for index, values in enumerate(seen):
        for rule, value in values.items():
            if not _NAME.fullmatch(value) or not _is_likely(rule):
                continue
            bare = next((bare for bare in _bare(value) if bare in written), "")
            for family, event in written.get(bare, {}).items():
                if event is not None:
                    found.setdefault(_Candidate(family, rule), {})[index] = event
    return found


def _bare(name: str) -> list[str]:
    """A name without case and signs, as a whole and from its last part on; also without "on" before and "event" behind."""
    wholes = [name, re.split(r"[.:/]", name)[-1]]
    plain = [re.sub(r"[\W_]", "", whole).lower() for whole in wholes]
    return list(dict.fromkeys([*plain, *(word.removeprefix("on").removesuffix("event") for word in plain)]))


def _best(deliveries: Sequence[Delivery], found: Mapping[_Candidate, Sequence[int]]) -> _Candidate | None:
    """The way by which most names are known; of equal ones that by which most bodies can be read."""
    if not found:
        return None
    most = max(len(indexes) for indexes in found.values())
    equal = {candidate: indexes for candidate, indexes in found.items() if len(indexes) == most}
    if len(equal) > 1:
        named = {candidate: indexes for candidate, indexes in equal.items() if candidate.family}
        equal = named or equal
    read = {
        candidate: sum(_reads(deliveries[index], candidate) for index in indexes)
        for candidate, indexes in equal.items()
        if candidate.family
    }
    return min(equal, key=lambda candidate: (-read.get(candidate, 0), _rank(candidate)))


def _reads(delivery: Delivery, candidate: _Candidate) -> bool:
    family = events.get_family(candidate.family)
    name = compile_rules([candidate.rule], what="name_from")(delivery)
    return isinstance(found := text(name or ""), str) and _refusal(family, found, delivery.body) is None


def _rank(candidate: _Candidate) -> tuple[Any, ...]:
    """What a family's format looks at itself comes first, then places in their usual order, then what is least deep."""
    place, argument = split_rule(candidate.rule, what="name_from")
    usual = formats.get(events.get_family(candidate.family).format).name_from if candidate.family else ()
    at = usual.index(candidate.rule) if candidate.rule in usual else len(usual)
    likely = not _is_likely(candidate.rule)
    return (not candidate.family, at, _ORDER.index(place), argument.count("."), likely, *candidate)


def _is_likely(rule: str) -> bool:
    place, argument = split_rule(rule, what="name_from")
    if place in ("header", "field"):
        return re.sub(r"[\W_]", "", argument.rpartition(".")[2]).lower() in _LIKELY
    return place in ("type", "routing_key")


def _with_others(best: _Candidate, seen: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The rule, and others that find names in what it leaves: a producer may have changed its mind."""
    rules = [best.rule]
    left = [values for values in seen if best.rule not in values]
    while left:
        others = {
            candidate: indexes
            for candidate, indexes in _exact(left).items()
            if candidate.family == best.family and "." not in candidate.rule and candidate.rule != "topic"
        }
        if not others:
            break
        rule = min(others, key=lambda candidate: (-len(others[candidate]), _rank(candidate))).rule
        rules.append(rule)
        left = [values for values in left if rule not in values]
    return tuple(rules)


def _guesses(seen: Sequence[Mapping[str, str]]) -> tuple[Guess, ...]:
    """Places with something like names in them, those with usual titles first."""
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


# ---- the finding -----------------------------------------------------------------------------------------------------


def _finding(
    deliveries: Sequence[Delivery],
    wire: Format,
    family: Family | None,
    rules: tuple[str, ...],
    names: Mapping[str, str],
    guesses: tuple[Guess, ...] = (),
) -> Finding:
    """Read the messages as a source with these settings would."""
    lookup = compile_rules(rules, what="name_from", fields_if=wire.fields_if) if rules else None
    known, unknown = Counter[str](), Counter[str]()
    nameless = 0
    unreadable: dict[str, str] = {}
    for delivery in deliveries:
        value = text((lookup and lookup(delivery)) or "")
        wire_name = value if isinstance(value, str) else value.decode(errors="backslashreplace")
        name = names.get(wire_name, wire_name)
        meanings = [one for one in events.find(name) if one.name == name and family in (None, one.family)]
        if not name:
            nameless += 1
        elif not meanings:
            unknown[name] += 1
        else:
            known[name] += 1
            refusal = _refusal(meanings[0].family, name, _payload(wire, delivery))
            if refusal is not None:
                unreadable.setdefault(name, refusal)
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
        no_json=sum(parsed(delivery) is NOT_JSON for delivery in deliveries),
        guesses=guesses,
    )


def _only_family(known: Mapping[str, int]) -> str | None:
    families = {one.family.name for name in known for one in events.find(name)}
    return families.pop() if len(families) == 1 else None


def _payload(wire: Format, delivery: Delivery) -> Any:
    try:
        return wire.payload(delivery) if wire.payload else delivery.body
    except DecodeError:
        return None


def _refusal(family: Family, name: str, body: Any) -> str | None:
    """What the model of an event says against a body; None where it takes it."""
    try:
        family.read(name, b"" if body is None else body)
    except DecodeError as error:
        return str(error)
    return None
