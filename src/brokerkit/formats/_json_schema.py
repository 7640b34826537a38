"""JSON by JSON Schemas of a schema registry. The schema says what the event is; the event's model checks the values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from brokerkit._messages._codecs import from_json


@dataclass(frozen=True, slots=True, eq=False)
class JsonSchema:
    """A JSON Schema.

    Attributes:
        text: as it was given.
        path: of Protobuf; always empty.
    """

    text: str
    _title: str
    path: None = None
    indexed: ClassVar[bool] = False

    @classmethod
    def of(cls, text: str, references: Sequence[str] = ()) -> JsonSchema:
        """Parse a schema.

        Raises:
            ValueError: it is not JSON.
        """
        schema: Any = json.loads(text)
        return cls(text, str(cast("dict[str, Any]", schema).get("title", "")) if isinstance(schema, dict) else "")

    def full_name(self, path: Sequence[int] = ()) -> str:
        """Its title, as Confluent's serializers take it; "" without one."""
        return self._title

    def read(self, body: bytes, path: Sequence[int], own: object = None) -> Any:
        """Parse JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return from_json(body)

    def write(self, value: bytes) -> bytes:
        """The JSON of an event is what is sent."""
        return value
