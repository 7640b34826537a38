"""Avro: records and JSON values, by schemas of a schema registry. fastavro reads and writes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import Any, ClassVar, Final, cast

from brokerkit._errors import DecodeError, InvalidMessage

fastavro: Any = import_module("fastavro")  # of an extra, and without types

_MOMENTS: Final[Mapping[str, Callable[[str], Any]]] = {
    "timestamp-millis": datetime.fromisoformat,
    "timestamp-micros": datetime.fromisoformat,
    "local-timestamp-millis": datetime.fromisoformat,
    "local-timestamp-micros": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time-millis": time.fromisoformat,
    "time-micros": time.fromisoformat,
    "decimal": Decimal,
}


@dataclass(frozen=True, slots=True, eq=False)
class AvroSchema:
    """An Avro schema, parsed.

    Attributes:
        text: as it was given.
        path: of Protobuf; always empty.
    """

    text: str
    _parsed: Any
    _named: dict[str, Any]
    path: None = None
    indexed: ClassVar[bool] = False

    @classmethod
    def of(cls, text: str, references: Sequence[str] = ()) -> AvroSchema:
        """Parse a schema, after those that it refers to.

        Raises:
            ValueError: it is no Avro schema. fastavro has further classes of errors.
        """
        named: dict[str, Any] = {}
        for reference in references:
            fastavro.parse_schema(json.loads(reference), named_schemas=named)
        parsed: Any = fastavro.parse_schema(json.loads(text), named_schemas=named)
        return cls(text, parsed, named)

    def full_name(self, path: Sequence[int] = ()) -> str:
        """The name of the record, with its namespace; "" for other schemas."""
        return str(self._parsed.get("name", "")) if self._parsed.__class__ is dict else ""

    def read(self, body: bytes, path: Sequence[int], own: object = None) -> Any:
        """Read one record, as the schema of the settings has it if there is one.

        Raises:
            DecodeError: there is more than the record. What fastavro raises has other classes.
        """
        stream = io.BytesIO(body)
        value: Any = fastavro.schemaless_reader(
            stream, self._parsed, own._parsed if isinstance(own, AvroSchema) else None
        )
        if left := len(body) - stream.tell():
            raise DecodeError(f"{left} bytes are left after the record: it was written with another schema")
        return value

    def write(self, value: bytes) -> bytes:
        """Write one event, given as JSON.

        Raises:
            InvalidMessage: the schema has no place for a value. What fastavro raises has other classes.
        """
        stream = io.BytesIO()
        fastavro.schemaless_writer(
            stream, self._parsed, self._fitted(json.loads(value, parse_float=Decimal), self._parsed, "")
        )
        return stream.getvalue()

    def _fitted(self, value: Any, schema: Any, where: str) -> Any:
        """Turn what JSON can say into what fastavro writes: times, decimals and bytes are text in JSON."""
        if schema.__class__ is list:
            branches = [branch for branch in schema if branch != "null"]
            return value if value is None or len(branches) != 1 else self._fitted(value, branches[0], where)
        if isinstance(schema, str):
            if schema not in self._named:
                return _primitive(value, schema)
            schema = self._named[schema]
        kind, logical = schema["type"], schema.get("logicalType")
        if logical in _MOMENTS:
            return _MOMENTS[logical](str(value)) if isinstance(value, (str, Decimal)) else value
        if kind == "record" and isinstance(value, dict):
            return self._record(cast("dict[str, Any]", value), schema, where)
        if kind == "array" and value.__class__ is list:
            return [self._fitted(each, schema["items"], where) for each in value]
        if kind == "map" and isinstance(value, dict):
            entries = cast("dict[str, Any]", value).items()
            return {key: self._fitted(each, schema["values"], f"{where}{key}.") for key, each in entries}
        return (
            value
            if isinstance(kind, str) and kind in ("record", "array", "map", "enum", "fixed")
            else self._fitted(value, kind, where)
        )

    def _record(self, value: dict[str, Any], schema: Any, where: str) -> dict[str, Any]:
        types = {field["name"]: field["type"] for field in schema["fields"]}
        for name, each in value.items():
            if name not in types and each is not None:
                raise InvalidMessage(f"the schema {schema['name']} has no field {where}{name}: its value would be lost")
        return {
            name: self._fitted(value[name], kind, f"{where}{name}.") for name, kind in types.items() if name in value
        }


def _primitive(value: Any, kind: str) -> Any:
    if kind in ("float", "double") and isinstance(value, (str, Decimal)):
        return float(value)
    return value.encode() if kind == "bytes" and isinstance(value, str) else value
