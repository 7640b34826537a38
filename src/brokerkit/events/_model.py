"""The base of every typed event: snake_case attributes over the wire's own names."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import SchemaSerializer

from brokerkit.events import _strict


class WireObject(BaseModel):
    """An object as it sits in an event's body.

    Every field may be absent on the wire: an absent field reads as None and stays absent when written, so None tells
    "not sent". Fields that the model does not know are kept and written back. Numbers where text is documented become
    text. Building of the validator waits until the first use, so importing a family costs little.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="allow",
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,
    )


class Event(WireObject):
    """An event's typed payload. Subclasses are registered under their event name in a `Family`."""


def event_json(serializer: SchemaSerializer, event: Any) -> bytes:
    """Write an event, or a root model of one, without the fields that are not set.

    Raises:
        ValueError: a value has no JSON form, or does not fit its field.
    """
    try:
        return _strict.to_json(serializer, event)
    except (TypeError, ValueError):
        # A serializer of the event may have warned of something else, and then it can be written.
        return serializer.to_json(event, by_alias=True, exclude_unset=True, warnings="error")


def wire(
    description: str,
    *,
    unit: str | None = None,
    name: str | None = None,
    also: str | None = None,
) -> Any:
    """Describe one optional field of an event; the default is None, "not sent".

    Args:
        description: what the value means, with doubts about the sources said aloud.
        unit: what a number counts, such as ``"cents"``.
        name: the wire name, where it is not the attribute name in camelCase.
        also: a second wire name that is read, never written.
    """
    extra: dict[str, Any] | None = {"unit": unit} if unit else None
    if also is not None:
        if name is None:
            raise TypeError("a field with a second wire name must state its first")
        return Field(
            default=None,
            validation_alias=AliasChoices(name, also),
            serialization_alias=name,
            description=description,
            json_schema_extra=extra,
        )
    return Field(default=None, alias=name, description=description, json_schema_extra=extra)
