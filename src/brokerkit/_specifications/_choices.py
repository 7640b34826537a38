"""The alternatives in a schema: ``anyOf``, ``allOf`` and lists of types, resolved to one type at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from brokerkit._specifications._model import Schema, Specification

NUMBERS: Final = ("integer", "number")
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

_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


def alternatives(
    specification: Specification, schema: Schema, within: frozenset[object] = frozenset()
) -> Iterator[Schema]:
    """Yield the choices that a schema leaves, each of one type at most.

    Args:
        specification: whose definitions the schema refers to.
        schema: the schema.
        within: references whose choices are being collected: a choice that leads back to one of them adds none.
    """
    within |= {schema.get("$ref")} - {None}
    schema, within = _together(specification, specification.resolved(schema), within)
    for key in _CHOICES:
        if isinstance(choices := schema.get(key), list):
            beside = {name: value for name, value in schema.items() if name != key and name not in _NOTES}
            for choice in map(as_schema, cast("Iterable[Any]", choices)):
                reference = choice.get("$ref")
                if reference not in within:
                    resolved = specification.resolved(choice)
                    both = {"allOf": [beside, resolved]} if beside else resolved
                    yield from alternatives(specification, both, within | ({reference} - {None}))
            return
    types = schema.get("type")
    if schema.get("nullable") is True and isinstance(types, str):  # OpenAPI 3.0's word, in AsyncAPI 2 too
        types = [types, "null"]
    if isinstance(types, str):
        types = [types]
    if not isinstance(types, list):
        yield schema
        return
    values = values_of(schema)
    for one in cast("Iterable[str]", types):
        # A keyword for one type says nothing of values of another.
        own = _OF_TYPE.get("number" if one in NUMBERS else one, frozenset[str]())
        alternative = {key: value for key, value in schema.items() if key not in _BOUND or key in own}
        alternative.pop("nullable", None)
        if values is not None:
            alternative.pop("const", None)
            alternative["enum"] = [value for value in values if _is_a(value, one)]
        if values is None or alternative["enum"]:
            yield {**alternative, "type": one}


def _together(
    specification: Specification, schema: Schema, within: frozenset[object]
) -> tuple[Schema, frozenset[object]]:
    """Merge the schemas in ``allOf``, as far as no two of them say something about the same thing.

    Returns:
        That schema, and ``within`` with the references that are in it now: its choices may lead back to them.
    """
    if not isinstance(parts := schema.get("allOf"), list):
        return schema, within
    followed = within
    whole = {key: value for key, value in schema.items() if key != "allOf"}
    for part in map(as_schema, cast("Iterable[Any]", parts)):
        reference = part.get("$ref")
        if reference in within:
            continue
        resolved, seen = _together(specification, specification.resolved(part), within | ({reference} - {None}))
        followed |= seen
        for key, value in resolved.items():
            if key == "required":
                whole[key] = sorted({*whole.get(key, ()), *value})
            elif key == "properties":
                both = fields_of(whole, key)
                whole[key] = {
                    **both,
                    **{name: {"allOf": [both[name], one]} if name in both else one for name, one in value.items()},
                }
            elif key in _NOTES or whole.get(key, value) == value:
                whole.setdefault(key, value)
            else:
                whole.setdefault("allOf", []).append({key: value})
    return whole, followed


def kind_of(schema: Schema) -> str:
    """The type of a schema; where it does not say, the one that its values or keywords speak of; else any."""
    if isinstance(stated := schema.get("type"), str):
        return stated
    if (values := values_of(schema)) is not None:
        kinds = {next(kind for kind in _PYTHON if _is_a(value, kind)) for value in values}
        return kinds.pop() if len(kinds) == 1 else "any"
    return next((kind for kind, keys in _OF_TYPE.items() if schema.keys() & keys), "any")


def _is_a(value: object, kind: str) -> bool:
    return isinstance(value, _PYTHON[kind]) and (kind == "boolean" or not isinstance(value, bool))


def values_of(schema: Schema) -> list[Any] | None:
    """The only values that a schema takes, or None if it lists none."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return list(cast("Iterable[Any]", values)) if isinstance(values, list) else None


def as_schema(value: Any) -> Schema:
    """A schema as an object; true takes everything, false nothing."""
    if isinstance(value, dict):
        return cast("Schema", value)
    return {"not": {}} if value is False else {}


def fields_of(schema: Schema, key: str) -> dict[str, Any]:
    """The schemas that a keyword such as ``properties`` has by name."""
    value = schema.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
