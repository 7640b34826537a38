"""An example of any event, made from its JSON Schema and proved by reading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from brokerkit._errors import DecodeError, InvalidMessage
from brokerkit.events._family import Family

_MOST_CORRECTIONS: Final = 100
_DEEPEST: Final = 6
"""Depth at which a model that contains itself is cut."""

_TEXT: Final = "text"
_NUMBER: Final = "1"
"""What is tried where text is refused: schemas have decimals as text."""
_TEXTS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT1M",
    "uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "email": "ann@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
"""Example text for each JSON Schema format."""


def example(family: Family, name: str) -> bytes | None:
    """Return a body of this event as the family writes it, or None if its schema does not lead to one.

    A schema says less than a model: a value that the model refuses is mended or left out.
    """
    schema = family.adapter(family.models[name]).json_schema(by_alias=True, mode="serialization")
    body = _value(schema, schema.get("$defs", {}), _DEEPEST)
    for _ in range(_MOST_CORRECTIONS):
        try:
            event = family.read(name, json.dumps(body))
            return family.write(event, name=name)
        except DecodeError as error:
            if not error.field or not _mend(body, error.field.split(".")):
                return None
        except InvalidMessage:
            return None
    return None


def _value(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Any:
    if (reference := schema.get("$ref")) is not None:
        return _value(definitions[reference.rpartition("/")[2]], definitions, depth)
    for given in (schema.get("examples"), [schema["const"]] if "const" in schema else None, schema.get("enum")):
        if given:
            return given[0]
    if schema.get("default") not in (None, "", [], {}):
        return schema["default"]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        if choice.get("type") != "null":
            return _value(choice, definitions, depth)
    match schema.get("type"):
        case "object" if depth:
            fields: Mapping[str, Any] = schema.get("properties", {})
            return {name: _value(field, definitions, depth - 1) for name, field in fields.items()}
        case "array" if depth:
            items: list[Any] = schema.get("prefixItems") or [schema["items"]] * ("items" in schema)
            return [_value(item, definitions, depth - 1) for item in items]
        case "string":
            return _TEXTS.get(schema.get("format", ""), _TEXT)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "array":
            return []
        case _:
            return {}


def _mend(body: Any, path: list[str]) -> bool:
    """Make another value of one that was refused, or leave it out; say whether there was one."""
    try:
        for step in path[:-1]:
            body = body[int(step) if isinstance(body, list) else step]
        last: Any = int(path[-1]) if isinstance(body, list) else path[-1]
        if body[last] == _TEXT:
            body[last] = _NUMBER
        else:
            del body[last]
    except (LookupError, ValueError, TypeError):
        return False
    return True
