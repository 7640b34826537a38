"""msgspec Structs as models of events. msgspec reads and checks them; this module is used only where one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from brokerkit._errors import ConfigError

_REF = "#/$defs/{name}"


def fields(model: type[Any]) -> Mapping[str, FieldInfo]:
    """The fields of a Struct by attribute, with the names that they have in JSON."""
    return {
        one.name: FieldInfo(
            annotation=one.type, alias=one.encode_name, default=PydanticUndefined if one.required else None
        )
        for one in msgspec.structs.fields(model)
    }


def decoder(model: type[Any]) -> Callable[[bytes], Any]:
    """Return the function that reads a Struct from JSON; the fastest one there is."""
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(model).decode
    return decode


def annotated(model: type[Any]) -> Any:
    """What pydantic can make an adapter of, so that a Struct is read, written and described like any other model.

    Raises:
        ConfigError: msgspec cannot read or write a field of it.
    """
    try:
        msgspec.json.schema(model)
    except (TypeError, NameError) as error:
        raise ConfigError(f"{model.__name__} is not a usable model: {error}") from error
    return Annotated[model, _AsPydantic(model)]


@dataclass(frozen=True, slots=True)
class _AsPydantic:
    model: type[Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            self._convert,
            core_schema.union_schema([core_schema.is_instance_schema(self.model), core_schema.dict_schema()]),
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        (made,), definitions = msgspec.json.schema_components([self.model], ref_template=_REF)
        own = definitions.pop(self.model.__name__, made)
        return {**own, "$defs": definitions} if definitions else own

    def _convert(self, value: Any) -> Any:
        return msgspec.convert(value, self.model)
