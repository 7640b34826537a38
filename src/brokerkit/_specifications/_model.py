"""The content of a specification, wherever it was read from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema that is an object, as all are but true and false."""

PREFIX: Final = "#/$defs/"

_MAPS: Final = ("properties", "patternProperties", "dependentSchemas")
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE: Final = (
    "items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains",
    "propertyNames", "not", "if", "then", "else",
)  # fmt: skip
DEFINITIONS: Final = ("$defs", "definitions", "$id", "id", "$schema", "$anchor", "$comment")


@dataclass(frozen=True, slots=True)
class Specification:
    """The events of one source system, as JSON Schemas.

    Attributes:
        origin: where it was read from: a file, a folder, or a module.
        name: what its family may be called.
        events: the schema of each event's payload, in its documented form, by event name.
        shared: the schemas that others refer to, as ``#/$defs/NAME``.
    """

    origin: str
    name: str
    events: Mapping[str, Schema]
    shared: Mapping[str, Schema]

    def resolved(self, schema: Schema) -> Schema:
        """Follow the schema's own reference, if it is one; what stands beside it wins."""
        passed: set[str] = set()
        while isinstance(reference := schema.get("$ref"), str) and reference not in passed:
            passed.add(reference)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**self.shared[reference.removeprefix(PREFIX)], **beside}
        return schema


def mapped(schema: Schema, change: Callable[[Any, str], Any]) -> Schema:
    """Copy a schema with each schema directly in it replaced; definitions and identifiers are left out.

    The schemas true and false stay as they are.

    Args:
        schema: what is copied; it stays as it is.
        change: gets a schema in it and its location below this one, as a JSON Pointer, and returns what to put there.
    """

    def one(inner: Any, below: str) -> Any:
        return inner if isinstance(inner, bool) else change(inner, below)

    copy: Schema = {}
    for key, value in schema.items():
        if key in DEFINITIONS and (isinstance(value, (str, dict)) or key == "$comment"):
            continue
        if key in _MAPS and isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            copy[key] = {name: one(each, f"/{key}/{escaped(name)}") for name, each in inner.items()}
        elif isinstance(value, list) and (key in _LISTS or key == "items"):
            copy[key] = [one(each, f"/{key}/{index}") for index, each in enumerate(cast("Iterable[Any]", value))]
        elif key in _SINGLE:
            copy[key] = one(value, f"/{key}")
        else:
            copy[key] = value
    return copy


def escaped(name: object) -> str:
    """Write a key as a part of a JSON Pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def class_name(text: str) -> str:
    """Turn any text into the name of a class: ``bet-place`` into ``BetPlace``; "" if it holds no letter."""
    parts = re.findall(r"[A-Za-z0-9]+", text)
    name = "".join(part[0].upper() + part[1:] for part in parts)
    return name if not name[:1].isdigit() else f"Event{name}"
