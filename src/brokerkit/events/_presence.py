"""Whether a body sets any of the fields that its event's model declares.

Where every field may be absent, as in most vendors' models, any JSON object is a valid event: one that is wrapped in an
envelope of somebody else's reads as an event without a single field. Pydantic cannot refuse it, so it is told here.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, Final, cast, get_args

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from brokerkit.events._shapes import fields, is_model, is_struct

Suspects = Callable[[Any], bool]

_DEEPEST: Final = 3
_SHOWN: Final = 6
_LONGEST_TEXT: Final = 1_000_000
_LONGEST_NAME: Final = 40
_JSON_IN_BASE64: Final = ("eyJ", "W3si")
"""What `{"` and `[{"` begin with in base64."""


class Fit(Enum):
    """What a message tells about how it is read."""

    UNKNOWN = "unknown"
    """Nobody knows its event name."""
    FOREIGN = "foreign"
    """Its name is known, and its body sets no field that the model declares."""
    UNDECIDED = "undecided"
    """Its name is known; its body tells nothing."""
    RIGHT = "right"
    """Its name is known, and its body sets fields of the model."""


class Presence:
    """What tells a body that has nothing of its model in it.

    Args:
        model: the model.
        beside: top-level fields that the source's rules read (name, id): an envelope has them too, so they tell nothing.
        shared: wire names that all models of the family declare (`Family.shared`), such as id and timestamp. An envelope
            may have them too, so they tell little.

    Attributes:
        judges: whether there is anything to tell: some field is declared, and none is required that an envelope would lack.
            A body that lacks a required field is refused by the model itself.
        suspects: says of an event that its body may have set nothing. It is called for each event, so it looks at no body.
    """

    def __init__(self, model: type[Any], beside: Collection[str] = (), shared: Collection[str] = ()) -> None:
        self._model = model
        self._beside = frozenset(beside)
        declared: Mapping[str, FieldInfo] = {} if _is_root(model) else fields(model)
        spelled = {name: spellings(model, name, field) for name, field in declared.items()}
        own = [name for name in declared if self._beside.isdisjoint(spelled[name])]
        telling = [name for name in own if not frozenset(shared).issuperset(spelled[name])]
        self._wire = frozenset(one for name in own for one in spelled[name])
        self._telling = frozenset(one for name in telling for one in spelled[name])
        self._objects = {one: inner for name in own if (inner := _wire_of(declared[name])) for one in spelled[name]}
        self._shown = sorted(spelled[name][0] for name in own)
        self.judges = bool(own) and not any(_is_required(model, name, declared[name]) for name in telling or own)
        plain = [name for name in telling if self._objects.keys().isdisjoint(spelled[name])]
        self.suspects: Suspects = self._make_suspects(frozenset(plain or telling or own), bool(telling))

    def __repr__(self) -> str:
        return f"<Presence of {self._model.__name__}: {len(self._wire)} wire names>"

    def _make_suspects(self, proof: frozenset[str], tells: bool) -> Suspects:
        """The quick look.

        Args:
            proof: fields that an event sets if it was read right.
            tells: whether no envelope has them.
        """
        if issubclass(self._model, BaseModel):
            if self._model.model_config.get("extra") != "allow":
                return lambda event: proof.isdisjoint(event.__pydantic_fields_set__)
            if not tells:
                return lambda event: bool(event.__pydantic_extra__)
            if not self._objects:
                return lambda event: bool(event.__pydantic_extra__) and proof.isdisjoint(event.__pydantic_fields_set__)
            # An object may have been read as another one, so unknown fields are not needed as evidence.
            return lambda event: proof.isdisjoint(event.__pydantic_fields_set__)
        if is_typeddict(self._model):
            return lambda event: proof.isdisjoint(event)
        blank: Any = None
        with suppress(Exception):  # a class of the user's
            blank = self._model()
        return lambda event: event == blank

    def judge(self, body: Mapping[str, Any]) -> Fit:
        """Judge a payload that the model has read.

        It is foreign where it sets nothing, and where an object inside it would set more than it does. Where it sets only
        fields that all models of the family have, an object that would set the same, or any other field, makes it foreign.
        """
        if not self._wire or self._beside.issuperset(body):
            return Fit.UNDECIDED
        if not self.judges:
            return Fit.RIGHT
        inside = [(path, self._wire.intersection(one)) for path, one in self._inside(body)]
        here = self._wire.intersection(body).difference(path for path, _ in inside)
        if not here or any(len(found) > len(here) for _, found in inside):
            return Fit.FOREIGN
        if not here.isdisjoint(self._telling):
            return Fit.RIGHT
        if any(here <= found or not found.isdisjoint(self._telling) for _, found in inside):
            return Fit.FOREIGN
        return Fit.UNDECIDED if self._telling else Fit.RIGHT

    def found_in(self, body: Mapping[str, Any]) -> str:
        """The path to the object inside a payload that has most of the declared fields; "" if none has any."""
        counted = [(len(self._wire.intersection(inside)), path) for path, inside in self._inside(body)]
        most, path = max(counted, key=lambda one: one[0], default=(0, ""))
        return path if most else ""

    def _inside(self, body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The objects that may hold the event, with their paths.

        They are under keys that the model does not declare, or under one whose value looks more like the event than like
        what belongs there.
        """
        for key, value in body.items():
            if key not in self._wire:
                yield from _objects({key: value}, "", _DEEPEST)
            elif (inner := self._objects.get(key)) is not None and isinstance(value, Mapping):
                found = cast("Mapping[str, Any]", value)
                if len(self._wire.intersection(found)) > len(inner.intersection(found)):
                    yield key, found

    def describe(self, body: Mapping[str, Any]) -> str:
        """Say what is declared and what is there."""
        return f"{self._model.__name__} declares {_some(self._shown)}; the body has {_some(sorted(map(str, body)))}"


def _objects(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, inside in value.items():
        if isinstance(inside, str) and len(inside) <= _LONGEST_TEXT:
            inside = _read(inside)
        path = f"{prefix}{key}"
        if isinstance(inside, list) and inside:
            path, inside = f"{path}.0", cast("list[Any]", inside)[0]  # type: ignore[redundant-cast]
        if isinstance(inside, Mapping):
            found = cast("Mapping[str, Any]", inside)
            yield path, found
            if depth > 1:
                yield from _objects(found, f"{path}.", depth - 1)


def _read(value: str) -> Any:
    """The JSON in a text, plain or in base64; the text where there is none."""
    with suppress(ValueError, RecursionError):
        if value.startswith(_JSON_IN_BASE64):
            return json.loads(base64.b64decode(value))
        if value.lstrip()[:1] in ("{", "["):
            return json.loads(value)
    return value


def wire_names(model: type[Any]) -> frozenset[str]:
    """All top-level names in a body that set a field of a model."""
    declared: Mapping[str, FieldInfo] = {} if _is_root(model) else fields(model)
    return frozenset(one for name, field in declared.items() for one in spellings(model, name, field))


def shared_fields(models: Iterable[type[Any]]) -> frozenset[str]:
    """The wire names that all models declare.

    Models without fields do not count, nor do those that cannot be used. The fields of a single model are not shared.
    """
    declared: list[frozenset[str]] = []
    for model in models:
        with suppress(Exception):  # Whoever uses it is told what is wrong with it.
            declared += filter(None, [wire_names(model)])
    return declared[0].intersection(*declared) if len(declared) > 1 else frozenset()


def _wire_of(field: FieldInfo) -> frozenset[str]:
    """The wire names of the model that a field holds; none where it holds no model, or is a list of them."""
    choices: list[Any] = [field.annotation, *get_args(field.annotation)]
    return frozenset[str]().union(*(wire_names(one) for one in choices if is_model(one)))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:_LONGEST_NAME] for name in names[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown or "nothing"


def _is_root(model: type[Any]) -> bool:
    return issubclass(model, RootModel)


def _is_required(model: type[Any], name: str, field: FieldInfo) -> bool:
    if is_typeddict(model):
        return name in model.__required_keys__
    if dataclasses.is_dataclass(model) and not is_struct(model):
        [one] = [one for one in dataclasses.fields(model) if one.name == name]
        return one.init and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    return field.is_required()


def spellings(model: type[Any], name: str, field: FieldInfo) -> list[str]:
    """The top-level wire names that set a field, the usual one first."""
    spelled: list[str] = []
    alias = field.validation_alias or field.alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    for choice in choices:
        first = choice.path[0] if isinstance(choice, AliasPath) else choice
        if isinstance(first, str):
            spelled.append(first)
    config: Mapping[str, Any] = getattr(model, "model_config", {})
    if not spelled or config.get("populate_by_name") or config.get("validate_by_name"):
        spelled.append(name)
    return spelled
