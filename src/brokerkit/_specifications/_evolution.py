"""What changed between two versions of a specification, and whom it breaks.

Two questions are asked of each change. Can a message of the new version be refused by a consumer of the old one? Then it
breaks readers: consumers must be updated first, if that helps at all. Can a message of the old version be refused by a
consumer of the new one? Then it breaks writers: producers must be updated first.

An unknown field does not make a message invalid unless the schema says so, so a new optional field is safe. If the effect is
unknown (rules such as ``if`` or ``not``), a change counts as breaking both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from brokerkit._specifications._choices import NUMBERS, alternatives, as_schema, fields_of, kind_of, values_of
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
            found.append(Change(event=name, kind="event-added", text="is new; readers that do not know it skip it"))
            continue
        if name in renamed:
            text = f"is called {renamed[name]!r} now: names that differ by case are different names"
            found.append(Change(event=name, kind="event-renamed", text=text, breaks_readers=True, breaks_writers=True))
        elif name in gone:
            text = "is gone: its handlers are never called, and readers do not understand programs that still send it"
            found.append(Change(event=name, kind="event-removed", text=text, breaks_readers=True, breaks_writers=True))
            continue
        compared = comparison.schemas(old.events[name], new.events[renamed.get(name, name)], "")
        found += [replace(change, event=name) for change in compared]
    return found


_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
_RULES: Final = (
    "pattern", "multipleOf", "uniqueItems", "not", "if", "then", "else", "allOf", "contains", "propertyNames",
    "patternProperties", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems",
    "unevaluatedProperties", "additionalItems", "contentEncoding", "contentMediaType",
)  # fmt: skip


class _Comparison:
    """Compares schemas of two specifications, each with its own definitions."""

    def __init__(self, old: Specification, new: Specification) -> None:
        self._old = old
        self._new = new
        self._open: set[tuple[str, str]] = set()

    def schemas(self, old: Schema, new: Schema, path: str) -> list[Change]:
        """What differs between two schemas at a path."""
        pair = (_json(old), _json(new))
        if pair in self._open:
            return []  # a schema that contains itself: its outer occurrence is compared already
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
        olds, news = list(alternatives(self._old, old)), list(alternatives(self._new, new))
        if len(olds) == 1 and len(news) == 1:
            yield from self._pair(olds[0], news[0], path)
            return
        left = list(news)
        for was in olds:
            now = next((one for one in left if one == was), None) or next(
                (one for one in left if kind_of(one) == kind_of(was)), None
            )
            if now is None:
                if not (covered := self._is_read(was, news)) or kind_of(was) != "null":
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
        was, now = kind_of(old), kind_of(new)
        if was != now and not (was in NUMBERS and now in NUMBERS):
            values_were, values_are = values_of(old), values_of(new)
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
        was, now = kind_of(old), kind_of(new)
        if (was, now) == ("integer", "number") and values_of(new) is None:
            yield Change(path=path, kind="type-widened", text="was integer, is number", breaks_readers=True)
        elif (was, now) == ("number", "integer") and values_of(old) is None:
            yield Change(path=path, kind="type-narrowed", text="was number, is integer", breaks_writers=True)

    def _fields(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        were, are = fields_of(old, "properties"), fields_of(new, "properties")
        needed, needs = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(were.keys() | are.keys() | needed | needs, key=str):
            at = f"{path}.{name}" if path else str(name)
            if name in were and name in are:
                yield from self.schemas(as_schema(were[name]), as_schema(are[name]), at)
            elif name in are:
                yield self._added(at, as_schema(are[name]), old, required=name in needs)
                needs.discard(name)
            elif name in were:
                yield self._removed(at, as_schema(were[name]), new, required=name in needed)
                needed.discard(name)
            if name in needs - needed:
                text = "is required now; messages without it are refused"
                yield Change(path=at, kind="required-added", text=text, breaks_writers=True)
            elif name in needed - needs:
                text = "may be missing now; readers that require it refuse the message"
                yield Change(path=at, kind="required-removed", text=text, breaks_readers=True)
        yield from self._others(old, new, path)

    def _added(self, path: str, field: Schema, old: Schema, *, required: bool) -> Change:
        others = old.get("additionalProperties", True)
        refused = others is False or self._breaks("readers", others, field)
        text = "is new and required" if required else "is new"
        text += "; the old version refuses it" if refused else ""
        return Change(path=path, kind="field-added", text=text, breaks_readers=refused, breaks_writers=required)

    def _removed(self, path: str, field: Schema, new: Schema, *, required: bool) -> Change:
        others = new.get("additionalProperties", True)
        refused = others is False or self._breaks("writers", field, others)
        text = "is gone; it was required" if required else "is gone"
        text += "; the new version refuses it" if refused else ""
        return Change(path=path, kind="field-removed", text=text, breaks_readers=required, breaks_writers=refused)

    def _breaks(self, who: Literal["readers", "writers"], old: Any, new: Any) -> bool:
        """Whether a change breaks: one version has a schema for the field, the other one for all unknown fields."""
        if old is True or new is True:
            return False  # unknown fields may be anything, and are not read
        found = self.schemas(as_schema(old), as_schema(new), "")
        return any(change.breaks_readers if who == "readers" else change.breaks_writers for change in found)

    def _others(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        were, are = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if were is not False and are is False:
            text = "takes no unknown fields any more"
            yield Change(path=path, kind="closed", text=text, breaks_writers=True)
        elif were is False and are is not False:
            text = "may hold fields that the old version refuses"
            yield Change(path=path, kind="opened", text=text, breaks_readers=True)
        elif were != are or isinstance(were, dict):
            yield from self.schemas(as_schema(were), as_schema(are), f"{path}.*" if path else "*")

    def _items(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        if "prefixItems" in old or "prefixItems" in new or isinstance(old.get("items"), list):
            yield from _rules(old, new, path, ("prefixItems", "items"))
        elif "items" in old or "items" in new:
            yield from self.schemas(as_schema(old.get("items", True)), as_schema(new.get("items", True)), f"{path}[]")


def _value_changes(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    were, are = values_of(old), values_of(new)
    if were is None and are is None:
        return
    if were is None:
        text = f"was any {kind_of(old)}, is one of {_listed(are or ())}"
        yield Change(path=path, kind="type-narrowed", text=text, breaks_writers=True)
    elif are is None:
        text = f"was one of {_listed(were)}, is any {kind_of(new)}"
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


def _type_text(schema: Schema) -> str:
    values = values_of(schema)
    return kind_of(schema) if values is None else f"one of {_listed(values)}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(_json, values))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(value: object) -> str:
    text = "free" if value is None else _json(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
