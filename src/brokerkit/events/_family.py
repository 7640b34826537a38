"""A family: the events of one source system, and how their bodies are read and written."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, cast, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaValidator, core_schema, from_json, to_json

from brokerkit._errors import ConfigError, DecodeError, InvalidMessage
from brokerkit.events._model import Event, event_json
from brokerkit.events._presence import shared_fields
from brokerkit.events._shapes import fields, is_model, is_struct
from brokerkit.events._types import BOM, ExactFloat, unmark
from brokerkit.events._versions import Versions

Reader = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """The events of one source system.

    Args:
        name: what the family is called in settings and qualified names, e.g. ``"evenbet"``.
        models: the model of each event name: a pydantic model, a dataclass, a TypedDict or a msgspec Struct. Names are
            case-sensitive.
        format: name of the wire format that its producers use, for the documentation.
        wrapper: the key under which some producers of the family nest the payload. Both forms are read for every
            event; keys beside the wrapper are kept with those of the payload.
        wrapped: names of the events that are written under the wrapper; the others are written flat.
        fallback: the model of bodies whose name the family does not know; without one such a name is refused.
        versions: for events of which older versions are still on the way: how each becomes the current one.
    """

    name: str
    models: Mapping[str, type[Any]]
    format: str = "json"
    wrapper: str | None = None
    wrapped: frozenset[str] = frozenset()
    fallback: type[Any] | None = None
    versions: Mapping[str, Versions] = field(default_factory=dict[str, Versions])
    _readers: dict[tuple[str, type[Any] | None], Reader] = field(
        default_factory=dict[tuple[str, type[Any] | None], Reader], init=False, repr=False
    )
    _adapters: dict[type[Any], TypeAdapter[Any]] = field(
        default_factory=dict[type[Any], TypeAdapter[Any]], init=False, repr=False
    )
    _names: dict[type[Any], str] = field(default_factory=dict[type[Any], str], init=False, repr=False)
    _shared: list[frozenset[str]] = field(default_factory=list[frozenset[str]], init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name or ":" in self.name:
            raise ConfigError(f"a family's name must not be empty or contain a ':', got {self.name!r}")
        if self.wrapped and self.wrapper is None:
            raise ConfigError(f"family {self.name!r} has wrapped events but no wrapper")
        if stray := self.wrapped - self.models.keys():
            raise ConfigError(f"family {self.name!r} has no model for the wrapped {', '.join(sorted(stray))}")
        if stray := frozenset(self.versions) - self.models.keys():
            raise ConfigError(f"family {self.name!r} has versions but no model for {', '.join(sorted(stray))}")
        for name, model in self.models.items():
            if not is_model(model):
                raise ConfigError(
                    f"family {self.name!r}: the model of {name!r} must be a pydantic model, a dataclass, a TypedDict or a "
                    f"msgspec Struct, got {model!r}"
                )

    def is_same(self, other: Family) -> bool:
        """Whether another family reads and writes the same events: the same names, model classes and format."""
        mine = (self.name, dict(self.models), self.format, self.wrapper, self.wrapped, self.fallback, self.versions)
        others = (other.format, other.wrapper, other.wrapped, other.fallback, other.versions)
        return mine == (other.name, dict(other.models), *others)

    def reader(self, name: str, model: type[Any] | None = None) -> Reader:
        """Return the function that reads bodies of one event; resolve it once, call it for each message.

        The function takes bytes and raises DecodeError for whatever is not a body of this event.

        Args:
            name: the event name.
            model: read as this class, which extends or replaces the family's model; None for the family's.

        Raises:
            DecodeError: no event has this name; the message suggests one that looks like it.
        """
        if (known := self._readers.get((name, model))) is not None:
            return known
        if (taken := model or self.models.get(name)) is not None:
            made = self._versioned_reader(name, taken) if name in self.versions else _make_reader(self, name, taken)
            return self._readers.setdefault((name, model), made)
        if self.fallback is not None:
            return _make_reader(self, name, self.fallback)  # not kept: a producer can send names without end
        raise self._unknown(name)

    def read(
        self,
        name: str,
        body: bytes | str | Mapping[str, Any],
        *,
        model: type[Any] | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Any:
        """Read one body: JSON in UTF-8, JSON text, or an object that was parsed already.

        Args:
            name: the event name.
            body: the payload.
            model: read as this class instead of the family's model.
            headers: those of the message, where the version of an event stands in one.

        Returns an instance of the event's model; of a TypedDict, a dict.

        Raises:
            DecodeError: the body is not what the event promises, or no event has this name.
        """
        if isinstance(body, Mapping):
            if (model := model or self.models.get(name, self.fallback)) is None:
                raise self._unknown(name)
            try:
                content = self.unwrap(dict(body))
                if (versions := self.versions.get(name)) is not None:
                    content = versions.upgrade(content, versions.stated(content, headers or {}))
                return self.adapter(model).validate_python(content)
            except Exception as error:
                raise _decode_error(self, name, body, error) from error
        reader = self.reader(name, model)
        if isinstance(body, str):
            try:
                body = body.encode()
            except UnicodeEncodeError as error:
                raise _decode_error(self, name, body, error) from error
        if not isinstance(body, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] (a wire format found it in JSON)
            raise DecodeError("Input should be an object", family=self.name, event=name, value=_printable(body))
        return reader(body)

    def _versioned_reader(self, name: str, model: type[Any]) -> Reader:
        """Read by way of an object, which the upcasts need."""

        def read(body: bytes) -> Any:
            try:
                content = _exact_json(body.removeprefix(BOM).decode())
            except (ValueError, RecursionError) as error:
                raise _decode_error(self, name, body, error) from error
            if not isinstance(content, dict):
                raise DecodeError("Input should be an object", family=self.name, event=name, value=_printable(body))
            return self.read(name, cast("dict[str, Any]", content), model=model)

        return read

    def adapter(self, model: type[Any]) -> TypeAdapter[Any]:
        """Return what pydantic makes of a model, or of a subclass of one: built at its first use, then kept.

        Raises:
            ConfigError: pydantic cannot read or write a field of it.
        """
        if (known := self._adapters.get(model)) is not None:
            return known
        try:
            made = TypeAdapter(_structs().annotated(model) if is_struct(model) else model)
            made.rebuild(raise_errors=True)  # models that wait for their first use are built now
        except (PydanticUserError, NameError) as error:
            raise ConfigError(f"family {self.name!r}: {model.__name__} is not a usable model: {error}") from error
        return self._adapters.setdefault(model, made)

    def _unknown(self, name: str) -> DecodeError:
        return DecodeError(f"no such event{suggestion(name, self.models)}", family=self.name, event=name)

    def write(self, event: Any, *, name: str | None = None) -> bytes:
        """Write an event in its documented form: unset fields stay absent, None becomes the field's empty form.

        Args:
            event: one of this family's models.
            name: the event name, needed only where one model serves several names, and for the dict of a TypedDict.

        Raises:
            ConfigError: the event's model is not one of this family's.
            InvalidMessage: a value has no JSON form, or was assigned past the field's type.
        """
        # Maybe a subclass, with more fields than the family's model.
        model: type[Any] = type(event)  # pyright: ignore[reportUnknownVariableType]
        if name is None:
            name = self.name_of(model)
        if model is dict:  # it does not know its TypedDict
            model = self.models.get(name, model)
        # A foreign model's defaults may be constants that its readers need; ours are all "not sent".
        own = isinstance(event, Event) or isinstance(getattr(event, "root", None), Event)
        serializer = self.adapter(model).serializer
        try:
            body = event_json(serializer, event) if own else serializer.to_json(event, by_alias=True)
        except ValueError as error:
            raise InvalidMessage(f"{self.name}:{name} holds a value that cannot be written: {error}") from error
        body = unmark(body)
        if name in self.wrapped:
            return b'{"%b":%b}' % (str(self.wrapper).encode(), body)
        return body

    def name_of(self, model: type[Any]) -> str:
        """Return the event name of a model class or of a subclass of one.

        Raises:
            ConfigError: the family has no such model, or has it under several names.
        """
        if (cached := self._names.get(model)) is not None:
            return cached
        for base in model.__mro__:
            names = [name for name, known in self.models.items() if known is base]
            if len(names) == 1:
                return self._names.setdefault(model, names[0])
            if names:
                raise ConfigError(
                    f"{model.__name__} has several names in family {self.name!r}: choose one of {', '.join(names)}"
                )
        raise ConfigError(f"{model.__name__} is not an event of family {self.name!r}")

    def shared(self) -> frozenset[str]:
        """Return the top-level wire names that all of its models declare, such as id and timestamp."""
        if not self._shared:
            self._shared.append(shared_fields(set(self.models.values())))
        return self._shared[0]

    def unwrap(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the payload of a parsed body; if a key is both in and beside the wrapper, the inner one wins."""
        if self.wrapper is None or not isinstance(inner := data.get(self.wrapper), Mapping):
            return data
        del data[self.wrapper]
        return {**data, **inner}


def suggestion(name: str, known: Collection[str]) -> str:
    """Return '; did you mean …?' with the known name most like this one, or ''."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]!r}?"
    # Close matching gives up on names that differ only in case or in a long ending.
    folded = {other.lower(): other for other in known}
    return f"; did you mean {folded[name.lower()]!r}?" if name.lower() in folded else ""


def _structs() -> Any:
    from brokerkit.events import _structs  # msgspec is optional

    return _structs


def _make_reader(family: Family, name: str, model: type[Any]) -> Reader:
    """Build the reader: one call into pydantic for the usual body, everything unusual goes the long way."""
    adapter = family.adapter(model)
    flat = _structs().decoder(model) if is_struct(model) else adapter.validator.validate_json
    exact = _holds_decimal(model, set())
    long_way = _make_long_reader(family, name, model, exact=exact)
    if family.wrapper is None:

        def read_flat(body: bytes) -> Any:
            if _may_hold_nan(body) or (exact and _may_lose_digits(body)):
                return long_way(body)
            try:
                return flat(body)
            except Exception as error:
                if body.startswith(BOM):
                    return long_way(body)
                raise _decode_error(family, name, body, error) from error

        return read_flat

    key = family.wrapper
    may_hold_nan_or_key = _holds_one_of(f'{_NAN}|"{re.escape(key)}"')
    known = _structs().annotated(model) if is_struct(model) else model
    nested: TypeAdapter[Any] = TypeAdapter(dict[Literal[key], known])  # type: ignore[valid-type]
    nested_json = nested.validator.validate_json

    def read_either(body: bytes) -> Any:
        if exact and _may_lose_digits(body):
            return long_way(body)
        try:
            if not may_hold_nan_or_key(body):
                return flat(body)
            if not _may_hold_nan(body):
                return nested_json(body)[key]
        except ValidationError:
            pass
        return long_way(body)

    return read_either


# These run for each body, so each is the fastest way found (measured): pydantic's own regex engine looks for two words
# at many times the speed of `re`, which is fast only where a pattern begins with a plain character; `in` is fast for
# one byte, and for more `find` is faster. A body that is not UTF-8 matches nothing here: pydantic's parser refuses it.
def _holds_one_of(words: str) -> Callable[[bytes], bool]:
    return SchemaValidator(core_schema.str_schema(pattern=words)).isinstance_python


_NAN: Final = "NaN|Infinity"
_may_hold_nan: Final = _holds_one_of(_NAN)
_POINT: Final = ord(".")
# What follows the digits tells a number from text with points in it, which cards are full of.
_LONG_FRACTION: Final = re.compile(
    rb"\.(?=\d+[],}\seE])(?:\d*0(?!\d)|\d{11}|\d+[eE]|(?<=\d{5}\.)\d{6}|(?<=\d{10}\.)\d)"
).search
_AS_ZEROS: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LONG_BEFORE_E: Final = b"0" * 16 + b"e"
_exact_json: Final = json.JSONDecoder(parse_float=ExactFloat).decode


def _may_lose_digits(body: bytes) -> object:
    """Whether a body may hold an amount that pydantic, going through a double, would round or shorten.

    A double keeps 15 digits, and no zeros at the end of a fraction.
    """
    return (_POINT in body and _LONG_FRACTION(body)) or body.translate(_AS_ZEROS).find(_LONG_BEFORE_E) >= 0


def _make_long_reader(family: Family, name: str, model: type[Any], *, exact: bool) -> Reader:
    """Build the reader for what pydantic's JSON parser cannot do by itself.

    Bodies with keys beside the wrapper, bodies that may hold the bare words NaN and Infinity (pydantic reads them,
    JSON has none), amounts of too many digits, and a byte order mark.
    """
    adapter = family.adapter(model)

    def read(body: bytes) -> Any:
        body = body.removeprefix(BOM)
        try:
            data: object = from_json(body, allow_inf_nan=False)
            if not isinstance(data, dict):
                return adapter.validate_json(body)  # refuses it in pydantic's own words
            if exact:
                return adapter.validate_python(family.unwrap(_exact_json(body.decode())))
            return adapter.validate_json(to_json(family.unwrap(cast("dict[str, Any]", data))))
        except Exception as error:
            raise _decode_error(family, name, body, error) from error

    return read


def _holds_decimal(annotation: Any, seen: set[Any]) -> bool:
    """Whether a Decimal is anywhere in a type or in the fields of the models it names."""
    if annotation is Decimal:
        return True
    if is_model(annotation) and annotation not in seen:
        seen.add(annotation)
        return any(_holds_decimal(known.annotation, seen) for known in fields(annotation).values())
    return any(_holds_decimal(part, seen) for part in get_args(annotation))


_NOT_AN_OBJECT: Final = frozenset({"json_invalid", "model_type", "dataclass_type", "dict_type"})


def _decode_error(family: Family, name: str, body: object, error: Exception) -> DecodeError:
    if isinstance(error, DecodeError):
        return DecodeError(f"{error}", family=family.name, event=name)
    if not isinstance(error, ValidationError):
        return DecodeError(f"{error}", family=family.name, event=name, value=_printable(body))
    details = error.errors(include_url=False)
    first = details[0]
    if first["type"] in _NOT_AN_OBJECT and not first["loc"]:
        return DecodeError(first["msg"], family=family.name, event=name, value=_printable(body))
    path = _wire_path(family, body, first["loc"], missing=first["type"] == "missing")
    # A union reports each of its choices; the last one says best what was expected.
    same = [detail for detail in details if detail["loc"][: len(path)] == path]
    return DecodeError(
        same[-1]["msg"].removeprefix("Value error, "),
        family=family.name,
        event=name,
        field=".".join(map(str, path)),
        value=_printable(first["input"]),
    )


def _wire_path(family: Family, body: object, loc: tuple[int | str, ...], *, missing: bool) -> tuple[int | str, ...]:
    """Cut an error's location to what is in the body: pydantic adds the names of union choices."""
    try:
        node: Any = from_json(body) if isinstance(body, (bytes, str)) else body
        node = family.unwrap(dict(node))
    except (ValueError, TypeError):
        return loc
    for depth, step in enumerate(loc):
        try:
            node = node[step]
        except (LookupError, TypeError):
            return loc[: depth + missing]
    return loc


def _printable(value: object) -> object:
    """Return the value, or a word in place of one nested too deep for its own repr."""
    try:
        repr(value)
    except RecursionError:
        return "nested too deep to show"
    return value
