"""A family: the events of one source system, and how their bodies are read and written."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from brokerkit._errors import ConfigError, DecodeError
from brokerkit.events._model import Event
from brokerkit.events._types import ExactFloat, unmark

Reader = Callable[[bytes], BaseModel]


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """The events of one source system.

    Args:
        name: what the family is called in settings and qualified names, e.g. ``"evenbet"``.
        models: the model of each event name; any pydantic model will do. Names are case-sensitive.
        format: name of the wire format its messages use when a source does not say otherwise.
        wrapper: the key under which some producers of the family nest the payload. Both forms are read for every
            event; keys that stand beside the wrapper are kept with the payload's own.
        wrapped: names of the events that are written under the wrapper; the others are written flat.
    """

    name: str
    models: Mapping[str, type[BaseModel]]
    format: str = "json"
    wrapper: str | None = None
    wrapped: frozenset[str] = frozenset()
    _readers: dict[str, Reader] = field(default_factory=dict[str, Reader], init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name or ":" in self.name:
            raise ConfigError(f"a family's name must not be empty nor hold a ':', got {self.name!r}")
        if self.wrapped and self.wrapper is None:
            raise ConfigError(f"family {self.name!r} names wrapped events but no wrapper")
        if stray := self.wrapped - self.models.keys():
            raise ConfigError(f"family {self.name!r} has no model for the wrapped {', '.join(sorted(stray))}")

    def reader(self, name: str) -> Reader:
        """Return the function that reads bodies of one event; resolve it once, call it for each message.

        The function takes bytes and raises DecodeError for whatever is not a body of this event.

        Raises:
            DecodeError: no event has this name; the message suggests one that looks like it.
        """
        if (known := self._readers.get(name)) is not None:
            return known
        if (model := self.models.get(name)) is None:
            raise DecodeError(f"no such event{suggestion(name, self.models)}", family=self.name, event=name)
        reader = _make_reader(self, name, model)
        self._readers[name] = reader
        return reader

    def read(self, name: str, body: bytes | str | Mapping[str, Any]) -> BaseModel:
        """Read one body: JSON in UTF-8, JSON text, or an object that was parsed already.

        Raises:
            DecodeError: the body is not what the event promises, or no event has this name.
        """
        reader = self.reader(name)
        if isinstance(body, Mapping):
            try:
                return self.models[name].model_validate(self._unwrap(dict(body)))
            except Exception as error:
                raise _decode_error(self, name, body, error) from error
        if isinstance(body, str):
            try:
                body = body.encode()
            except UnicodeEncodeError as error:
                raise _decode_error(self, name, body, error) from error
        return reader(body)

    def write(self, event: BaseModel, *, name: str | None = None) -> bytes:
        """Write an event in its documented form: unset fields stay absent, None becomes the field's empty form.

        Args:
            name: the event name, needed only where one model serves several names.

        Raises:
            ConfigError: the event's model is not one of this family's.
        """
        if name is None:
            name = self.name_of(type(event))
        # A foreign model's defaults may be constants that its readers need; ours are all "not sent".
        body = event.__pydantic_serializer__.to_json(event, by_alias=True, exclude_unset=isinstance(event, Event))
        body = unmark(body)
        if name in self.wrapped:
            return b'{"%b":%b}' % (str(self.wrapper).encode(), body)
        return body

    def name_of(self, model: type[BaseModel]) -> str:
        """Return the event name of a model class or of a subclass of one.

        Raises:
            ConfigError: the family has no such model, or has it under several names.
        """
        for base in model.__mro__:
            names = [name for name, known in self.models.items() if known is base]
            if len(names) == 1:
                return names[0]
            if names:
                raise ConfigError(f"{model.__name__} stands for {', '.join(names)} in family {self.name!r}: say which")
        raise ConfigError(f"{model.__name__} is not an event of family {self.name!r}")

    def _unwrap(self, data: dict[str, Any]) -> dict[str, Any]:
        if self.wrapper is None or not isinstance(inner := data.get(self.wrapper), Mapping):
            return data
        del data[self.wrapper]
        return {**data, **inner}


def suggestion(name: str, known: Mapping[str, object] | set[str]) -> str:
    """Return '; did you mean …?' with the known name most like this one, or ''."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]!r}?"
    # Close matching gives up on names that differ in case alone or in a long ending.
    folded = {other.lower(): other for other in known}
    return f"; did you mean {folded[name.lower()]!r}?" if name.lower() in folded else ""


def _make_reader(family: Family, name: str, model: type[BaseModel]) -> Reader:
    """Build the reader: one call into pydantic for the usual body, everything unusual goes the long way."""
    model.model_rebuild()
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    flat = adapter.validator.validate_json
    long_way = _make_long_reader(family, name, model)
    if any(annotation is Decimal for annotation in _leaves(model, set())):
        return long_way
    if family.wrapper is None:

        def read(body: bytes) -> BaseModel:
            if b"NaN" in body or b"Infinity" in body:
                return long_way(body)
            try:
                return flat(body)  # type: ignore[no-any-return]
            except Exception as error:
                raise _decode_error(family, name, body, error) from error

        return read

    key = family.wrapper
    marker = f'"{key}"'.encode()
    nested: TypeAdapter[Any] = TypeAdapter(dict[Literal[key], model])  # type: ignore[valid-type]
    nested_json = nested.validator.validate_json

    def read_either(body: bytes) -> BaseModel:
        if b"NaN" in body or b"Infinity" in body:
            return long_way(body)
        try:
            if marker not in body:
                return flat(body)  # type: ignore[no-any-return]
            return nested_json(body)[key]  # type: ignore[no-any-return]
        except Exception:
            return long_way(body)

    return read_either


def _make_long_reader(family: Family, name: str, model: type[BaseModel]) -> Reader:
    """Build the reader for what pydantic's JSON parser cannot do by itself.

    Bodies with keys beside the wrapper, bodies that may hold the bare words NaN and Infinity (pydantic reads them,
    JSON has none), and models with a Decimal, for which pydantic would go through a double.
    """
    exact = any(annotation is Decimal for annotation in _leaves(model, set()))

    def read(body: bytes) -> BaseModel:
        try:
            data = from_json(body, allow_inf_nan=False)
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
            if exact:
                data = json.loads(body, parse_float=ExactFloat)
            return model.model_validate(family._unwrap(data))
        except Exception as error:
            raise _decode_error(family, name, body, error) from error

    return read
