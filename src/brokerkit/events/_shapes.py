"""What an event's model may be: a pydantic model, a dataclass, a TypedDict or a msgspec Struct; and its fields."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, NotRequired, Protocol, Required, TypeAlias, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, is_typeddict


class Dataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Struct(Protocol):
    """An instance of any msgspec Struct."""

    __struct_fields__: ClassVar[tuple[str, ...]]


EventObject: TypeAlias = BaseModel | Dataclass | Struct
"""An event that knows its own class. The values of a TypedDict do not: they go with their event's name."""


def is_model(annotation: Any) -> bool:
    """Whether a type can be the model of an event."""
    if not isinstance(annotation, type):
        return False
    model = cast("type[Any]", annotation)
    return issubclass(model, BaseModel) or dataclasses.is_dataclass(model) or is_typeddict(model) or is_struct(model)


def is_struct(model: type[Any]) -> bool:
    """Whether a class is a msgspec Struct. Where msgspec was never imported, none is."""
    msgspec = sys.modules.get("msgspec")
    return msgspec is not None and issubclass(model, msgspec.Struct)


def fits(model: type[Any], annotated: type[Any]) -> bool:
    """Whether a function that takes ``annotated`` can take the events of a model; those of a TypedDict are dicts."""
    # Any is a class from Python 3.11 on; what a protocol asks for is the checkers' affair.
    if annotated in (model, Any) or getattr(annotated, "_is_protocol", False):
        return True
    return not is_typeddict(annotated) and issubclass(dict if is_typeddict(model) else model, annotated)


def fields(model: type[Any]) -> Mapping[str, FieldInfo]:
    """The fields of a model by attribute or key, as pydantic has them."""
    if issubclass(model, BaseModel):
        return model.model_fields
    if is_struct(model):
        from brokerkit.events import _structs  # msgspec is optional

        return _structs.fields(model)
    hints = typing.get_type_hints(model, include_extras=True)
    if is_typeddict(model):
        return {name: FieldInfo.from_annotation(_unqualified(hint)) for name, hint in hints.items()}
    return {
        one.name: FieldInfo.from_annotated_attribute(hints[one.name], one.default)
        if isinstance(one.default, FieldInfo)
        else FieldInfo.from_annotation(hints[one.name])
        for one in dataclasses.fields(model)
    }


def meaning(model: type[Any]) -> str:
    """The docstring of a model; "" if it has none, or only the signature that a dataclass gets."""
    own = inspect.cleandoc(model.__doc__ or "")
    return "" if own.startswith(f"{model.__name__}(") else own


def _unqualified(hint: Any) -> Any:
    """A key's type without what says whether the key may be left out."""
    while get_origin(hint) in (Required, NotRequired, ReadOnly):
        hint = get_args(hint)[0]
    return hint
