"""What changed between two versions of a specification, and whom it breaks.

Two questions are asked of each change. Can a message of the new version be refused by a consumer of the old one? Then it
breaks readers: consumers must be updated first, if that helps at all. Can a message of the old version be refused by a
consumer of the new one? Then it breaks writers: producers must be updated first.

An unknown field is no reason to refuse a message unless the schema says so, so a new optional field is safe. Where it
cannot be told (rules such as ``if`` or ``not``), a change is taken to break both.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, cast

from brokerkit._specifications._model import Schema, Specification

Kind: TypeAlias = Literal[
    "event-added", "event-removed", "event-renamed", "field-added", "field-removed", "required-added",
    "required-removed", "type-changed", "type-narrowed", "type-widened", "value-added", "value-removed", "const-changed",
    "format-changed", "limit-tightened", "limit-loosened", "rule-changed", "closed", "opened", "unit-changed",
    "default-changed",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference.

    Attributes:
        event: name of the event, as it is in the old version if it is there.
        path: the field, such as ``players[].bet``; "" for the event itself.
        kind: what sort of difference it is.
        text: what was and what is, for people.
        breaks_readers: consumers of the old version may refuse what producers of the new one send.
        breaks_writers: consumers of the new version may refuse what producers of the old one send.
    """

    event: str = ""
    path: str = ""
    kind: Kind
    text: str
    breaks_readers: bool = False
    breaks_writers: bool = False

    @property
    def is_safe(self) -> bool:
        """Whether producers and consumers of both versions understand each other."""
        return not (self.breaks_readers or self.breaks_writers)


def changes(old: Specification, new: Specification) -> list[Change]:
    """Return all differences of two versions, by event name; [] if there are none."""
    comparison = _Comparison(old, new)
    gone, come = old.events.keys() - new.events.keys(), new.events.keys() - old.events.keys()
    folded = {name.casefold(): name for name in come}
    renamed = {name: folded[name.casefold()] for name in gone if name.casefold() in folded}
    found: list[Change] = []
    for name in sorted(old.events.keys() | (come - set(renamed.values()))):
        if name in come:
            found.append(Change(event=name, kind="event-added", text="is new; who does not know it passes it over"))
            continue
        if name in renamed:
            text = f"is called {renamed[name]!r} now: names that differ by case are different names"
            found.append(Change(event=name, kind="event-renamed", text=text, breaks_readers=True, breaks_writers=True))
        elif name in gone:
            text = "is gone: its handlers are never called, and who still sends it is not understood"
            found.append(Change(event=name, kind="event-removed", text=text, breaks_readers=True, breaks_writers=True))
            continue
        compared = comparison.schemas(old.events[name], new.events[renamed.get(name, name)], "")
        found += [replace(change, event=name) for change in compared]
    return found


_NUMBERS: Final = ("integer", "number")
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
_RULES: Final = (
    "pattern", "multipleOf", "uniqueItems", "not", "if", "then", "else", "allOf", "contains", "propertyNames",
    "patternProperties", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems",
    "unevaluatedProperties", "additionalItems", "contentEncoding", "contentMediaType",
)  # fmt: skip
_CHOICES: Final = ("anyOf", "oneOf")
_NOTES: Final = (
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "unit",
)

_OF_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset(
        {"properties", "required", "additionalProperties", "minProperties", "maxProperties", "propertyNames"}
        | {"patternProperties", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"}
    ),
    "array": frozenset(
        {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains"}
        | {"additionalItems", "unevaluatedItems"}
    ),
    "string": frozenset({"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}
_BOUND: Final = frozenset(itertools.chain.from_iterable(_OF_TYPE.values()))


class _Comparison:
    """Compares schemas of two specifications, each with its own definitions."""

    def __init__(self, old: Specification, new: Specification) -> None:
        self._old = old
        self._new = new
        self._open: set[tuple[object, object]] = set()

    def schemas(self, old: Schema, new: Schema, path: str) -> list[Change]:
        """What differs between two schemas at a path."""
        pair = (old.get("$ref") or id(old), new.get("$ref") or id(new))
        if pair in self._open:
            return []  # a schema that holds itself: compared already, further out
        self._open.add(pair)
        try:
            return [*self._notes(old, new, path), *self._choices(old, new, path)]
        finally:
            self._open.discard(pair)

    def _notes(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        old, new = self._old.resolved(old), self._new.resolved(new)
        if (was := old.get("unit")) != (now := new.get("unit")) and was is not None and now is not None:
            text = f"counted {was!r}, counts {now!r} now"
            yield Change(path=path, kind="unit-changed", text=text, breaks_readers=True, breaks_writers=True)
        if "default" in old and "default" in new and old["default"] != new["default"]:
            text = f"the default was {_json(old['default'])}, is {_json(new['default'])}"
            yield Change(path=path, kind="default-changed", text=text)

    def _choices(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        olds, news = list(_alternatives(self._old, old)), list(_alternatives(self._new, new))
        if len(olds) == 1 and len(news) == 1:
            yield from self._pair(olds[0], news[0], path)
            return
        left = list(news)
        for was in olds:
            now = next((one for one in left if one == was), None) or next(
                (one for one in left if _kind(one) == _kind(was)), None
            )
            if now is None:
                if not (covered := self._is_read(was, news)) or _kind(was) != "null":
                    text = f"was {_type_text(was)} too"
                    yield Change(path=path, kind="type-narrowed", text=text, breaks_writers=not covered)
                continue
            left.remove(now)
            if found := self._pair(was, now, path):
                readers = any(change.breaks_readers for change in found) and not self._was_read(now, olds)
                writers = any(change.breaks_writers for change in found) and not self._is_read(was, news)
                for change in found:
                    yield replace(
                        change,
                        breaks_readers=change.breaks_readers and readers,
                        breaks_writers=change.breaks_writers and writers,
                    )
        for now in left:
            text = f"is {_type_text(now)} too"
            yield Change(path=path, kind="type-widened", text=text, breaks_readers=not self._was_read(now, olds))

    def _was_read(self, now: Schema, olds: Iterable[Schema]) -> bool:
        """Whether the old version reads all values of one new alternative."""
        return any(not any(change.breaks_readers for change in self._pair(was, now, "")) for was in olds)

    def _is_read(self, was: Schema, news: Iterable[Schema]) -> bool:
        """Whether the new version reads all values of one old alternative."""
        return any(not any(change.breaks_writers for change in self._pair(was, now, "")) for now in news)

    def _pair(self, old: Schema, new: Schema, path: str) -> list[Change]:
        """What differs between two schemas of one type each."""
        was, now = _kind(old), _kind(new)
        if was != now and not (was in _NUMBERS and now in _NUMBERS):
            values_were, values_are = _values(old), _values(new)
            wider = now == "any" and values_are is None
            narrower = was == "any" and values_were is None
            kind: Kind = "type-widened" if wider else "type-narrowed" if narrower else "type-changed"
            text = f"was {_type_text(old)}, is {_type_text(new)}"
            return [Change(path=path, kind=kind, text=text, breaks_readers=not narrower, breaks_writers=not wider)]
        return [
            *self._numbers(old, new, path),
            *_value_changes(old, new, path),
            *_formats(old, new, path),
            *_limits(old, new, path),
            *_rules(old, new, path),
            *self._fields(old, new, path),
            *self._items(old, new, path),
        ]

    @staticmethod
    def _numbers(old: Schema, new: Schema, path: str) -> Iterator[Change]:
        was, now = _kind(old), _kind(new)
        if (was, now) == ("integer", "number") and _values(new) is None:
            yield Change(path=path, kind="type-widened", text="was integer, is number", breaks_readers=True)
        elif (was, now) == ("number", "integer") and _values(old) is None:
            yield Change(path=path, kind="type-narrowed", text="was number, is integer", breaks_writers=True)

    def _fields(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        were, are = _map(old, "properties"), _map(new, "properties")
        needed, needs = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(were.keys() | are.keys() | needed | needs, key=str):
            at = f"{path}.{name}" if path else str(name)
            if name in were and name in are:
                yield from self.schemas(_schema(were[name]), _schema(are[name]), at)
            elif name in are:
                yield self._added(at, _schema(are[name]), old, required=name in needs)
                needs.discard(name)
            elif name in were:
                yield self._removed(at, _schema(were[name]), new, required=name in needed)
                needed.discard(name)
            if name in needs - needed:
                text = "is required now; who does not send it yet is refused"
                yield Change(path=at, kind="required-added", text=text, breaks_writers=True)
            elif name in needed - needs:
                text = "may be missing now; who relies on it refuses the message"
                yield Change(path=at, kind="required-removed", text=text, breaks_readers=True)
        yield from self._others(old, new, path)

    def _added(self, path: str, field: Schema, old: Schema, *, required: bool) -> Change:
        others = old.get("additionalProperties", True)
        refused = others is not True and any(
            change.breaks_readers for change in self.schemas(_schema(others), field, path)
        )
        text = "is new and required" if required else "is new"
        text += "; the old version refuses fields that it does not know" if refused else ""
        return Change(path=path, kind="field-added", text=text, breaks_readers=refused, breaks_writers=required)

    def _removed(self, path: str, field: Schema, new: Schema, *, required: bool) -> Change:
        others = new.get("additionalProperties", True)
        refused = others is not True and any(
            change.breaks_writers for change in self.schemas(field, _schema(others), path)
        )
        text = "is gone; it was required" if required else "is gone"
        text += "; the new version refuses fields that it does not know" if refused else ""
        return Change(path=path, kind="field-removed", text=text, breaks_readers=required, breaks_writers=refused)

    def _others(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        were, are = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if were is not False and are is False:
            text = "takes no unknown fields any more"
            yield Change(path=path, kind="closed", text=text, breaks_writers=True)
        elif were is False and are is not False:
            text = "may hold fields that the old version refuses"
            yield Change(path=path, kind="opened", text=text, breaks_readers=True)
        elif were != are or isinstance(were, dict):
            yield from self.schemas(_schema(were), _schema(are), f"{path}.*" if path else "*")

    def _items(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        if "prefixItems" in old or "prefixItems" in new or isinstance(old.get("items"), list):
            yield from _rules(old, new, path, ("prefixItems", "items"))
        elif "items" in old or "items" in new:
            yield from self.schemas(_schema(old.get("items", True)), _schema(new.get("items", True)), f"{path}[]")


def _value_changes(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    were, are = _values(old), _values(new)
    if were is None and are is None:
        return
    if were is None:
        text = f"was any {_kind(old)}, is one of {_listed(are or ())}"
        yield Change(path=path, kind="type-narrowed", text=text, breaks_writers=True)
    elif are is None:
        text = f"was one of {_listed(were)}, is any {_kind(new)}"
        yield Change(path=path, kind="type-widened", text=text, breaks_readers=True)
    elif were != are and len(were) == len(are) == 1:
        text = f"was always {_listed(were)}, is always {_listed(are)}"
        yield Change(path=path, kind="const-changed", text=text, breaks_readers=True, breaks_writers=True)
    else:
        if added := [value for value in are if value not in were]:
            yield Change(path=path, kind="value-added", text=f"may be {_listed(added)} too", breaks_readers=True)
        if removed := [value for value in were if value not in are]:
            yield Change(path=path, kind="value-removed", text=f"may not be {_listed(removed)}", breaks_writers=True)


def _formats(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    was, now = old.get("format"), new.get("format")
    if was != now:
        text = f"the format was {was or 'free'}, is {now or 'free'}"
        yield Change(
            path=path,
            kind="format-changed",
            text=text,
            breaks_readers=was is not None,
            breaks_writers=now is not None,
        )


def _limits(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for key in (*_LOWER, *_UPPER):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        sign = 1 if key in _LOWER else -1
        tighter = was is None or (now is not None and now * sign > was * sign)
        text = f"{key} was {'free' if was is None else was}, is {'free' if now is None else now}"
        yield Change(
            path=path,
            kind="limit-tightened" if tighter else "limit-loosened",
            text=text,
            breaks_readers=not tighter,
            breaks_writers=tighter,
        )


def _rules(old: Schema, new: Schema, path: str, keys: Iterable[str] = _RULES) -> Iterator[Change]:
    for key in keys:
        was, now = old.get(key), new.get(key)
        if was != now:
            text = f"{key} was {_short(was)}, is {_short(now)}"
            yield Change(
                path=path,
                kind="rule-changed",
                text=text,
                breaks_readers=was is not None,
                breaks_writers=now is not None,
            )


def _alternatives(specification: Specification, schema: Schema) -> Iterator[Schema]:
    """Yield the choices that a schema leaves, each of one type at most."""
    schema = _together(specification, specification.resolved(schema))
    for key in _CHOICES:
        if isinstance(choices := schema.get(key), list):
            beside = {name: value for name, value in schema.items() if name != key and name not in _NOTES}
            for choice in cast("Iterable[Any]", choices):
                yield from _alternatives(
                    specification, {"allOf": [beside, _schema(choice)]} if beside else _schema(choice)
                )
            return
    types = schema.get("type")
    if schema.get("nullable") is True and isinstance(types, str):  # OpenAPI 3.0's word, in AsyncAPI 2 too
        types = [types, "null"]
    if isinstance(types, str):
        types = [types]
    if not isinstance(types, list):
        yield schema
        return
    values = _values(schema)
    for one in cast("Iterable[str]", types):
        # A keyword for one type says nothing of values of another.
        own = _OF_TYPE.get("number" if one in _NUMBERS else one, frozenset[str]())
        alternative = {key: value for key, value in schema.items() if key not in _BOUND or key in own}
        alternative.pop("nullable", None)
        if values is not None:
            alternative.pop("const", None)
            alternative["enum"] = [value for value in values if _is_a(value, one)]
        if values is None or alternative["enum"]:
            yield {**alternative, "type": one}


def _together(specification: Specification, schema: Schema) -> Schema:
    """Put what ``allOf`` lists into one schema, as far as no two of its parts speak of the same thing."""
    if not isinstance(parts := schema.get("allOf"), list):
        return schema
    whole = {key: value for key, value in schema.items() if key != "allOf"}
    for part in cast("Iterable[Any]", parts):
        resolved = _together(specification, specification.resolved(_schema(part)))
        for key, value in resolved.items():
            if key == "required":
                whole[key] = sorted({*whole.get(key, ()), *value})
            elif key == "properties":
                both = _map(whole, key)
                whole[key] = {
                    **both,
                    **{name: {"allOf": [both[name], one]} if name in both else one for name, one in value.items()},
                }
            elif key in _NOTES or whole.get(key, value) == value:
                whole.setdefault(key, value)
            else:
                whole.setdefault("allOf", []).append({key: value})
    return whole


def _kind(schema: Schema) -> str:
    """The type of a schema; where it does not say, the one that its values or keywords speak of; else any."""
    if isinstance(stated := schema.get("type"), str):
        return stated
    if (values := _values(schema)) is not None:
        kinds = {next(kind for kind in _PYTHON if _is_a(value, kind)) for value in values}
        return kinds.pop() if len(kinds) == 1 else "any"
    return next((kind for kind, keys in _OF_TYPE.items() if schema.keys() & keys), "any")


_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


def _is_a(value: object, kind: str) -> bool:
    return isinstance(value, _PYTHON[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _values(schema: Schema) -> list[Any] | None:
    """The only values that a schema takes, or None if it lists none."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return list(cast("Iterable[Any]", values)) if isinstance(values, list) else None


def _schema(value: Any) -> Schema:
    """A schema as an object; true takes everything, false nothing."""
    if isinstance(value, dict):
        return cast("Schema", value)
    return {"not": {}} if value is False else {}


def _map(schema: Schema, key: str) -> dict[str, Any]:
    value = schema.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _type_text(schema: Schema) -> str:
    values = _values(schema)
    return _kind(schema) if values is None else f"one of {_listed(values)}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(_json, values))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(value: object) -> str:
    text = "free" if value is None else _json(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
