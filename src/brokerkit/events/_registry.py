"""Which families there are, and which of them know a name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeVar

from brokerkit._errors import ConfigError, DecodeError
from brokerkit.events._family import Family, suggestion
from brokerkit.events._names import NAMES
from brokerkit.events._shapes import is_model
from brokerkit.events._versions import Versions

Model = TypeVar("Model")

ENTRY_POINTS: Final = "brokerkit.families"

# Named here as well as in the package's metadata: reading the metadata takes longer than importing a family.
BUILT_IN: Final[Mapping[str, str]] = {
    "accelbyte": "brokerkit._vendors.accelbyte:FAMILY",
    "evenbet": "brokerkit._vendors.evenbet:FAMILY",
    "session": "brokerkit._vendors.session:FAMILY",
    "thrillconnect": "brokerkit._vendors.thrillconnect:FAMILY",
    "thrillpots": "brokerkit._vendors.thrillpots:FAMILY",
}


OWN: Final = "class"
"""The family of classes that are events by themselves."""


class Found(NamedTuple):
    """One meaning of an event name."""

    family: Family
    name: str
    model: type[Any]


class _Families(Mapping[str, Family]):
    """The families by name; each is imported when it is first looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Family] = {}
        self._references: dict[str, str] | None = None
        self.own: dict[tuple[str, str], Found] = {}
        """Classes that are events by themselves, by their own name and the event name."""
        self.meanings: dict[str | type[Any], tuple[Found, ...]] = {}
        """What `find` has found, for as long as the families stay the same."""

    def __getitem__(self, name: str) -> Family:
        if name == OWN and self.own:
            return Family(OWN, {one.name: one.model for one in self.own.values()})
        if name in self._loaded:
            return self._loaded[name]
        reference = BUILT_IN.get(name) or self._all_references()[name]
        family = self._load(name, reference)
        self._keep(family)
        return family

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def _known(self) -> Mapping[str, object]:
        return {**self._all_references(), **self._loaded, **({OWN: None} if self.own else {})}

    def add(self, family: Family) -> None:
        known = self._loaded.get(family.name)
        if known is None and family.name in self:
            with suppress(ConfigError):  # that it cannot be loaded is not the fault of this one
                known = self[family.name]
        if known is not None and known.is_same(family):
            return
        if known is not None or family.name in self:
            raise ConfigError(f"there is another family {family.name!r} already, with other models or another format")
        self._keep(family)

    def adopt(self, name: str, model: type[Any], versions: Versions | None) -> Found:
        """Make a class an event by itself. One of the same module and name was defined again: it takes its place."""
        found = Found(Family(OWN, {name: model}, versions={name: versions} if versions else {}), name, model)
        self.own[f"{model.__module__}.{model.__qualname__}", name] = found
        self.meanings.clear()
        return found

    def _keep(self, family: Family) -> None:
        self._loaded[family.name] = family
        self.meanings.clear()

    def _all_references(self) -> dict[str, str]:
        if self._references is None:
            from importlib.metadata import entry_points  # costs 20 ms, and only foreign families need it

            foreign = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
            self._references = {**foreign, **BUILT_IN}
        return self._references

    @staticmethod
    def _load(name: str, reference: str) -> Family:
        module, _, attribute = reference.partition(":")
        try:
            family = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"family {name!r} cannot be loaded from {reference!r}: {error}") from error
        if not isinstance(family, Family) or family.name != name:
            raise ConfigError(f"{reference!r} is not a brokerkit family named {name!r}")
        return family


_FAMILIES: Final = _Families()


def families() -> Mapping[str, Family]:
    """Return all families by name: the built-in ones, those of entry points, those that were registered.

    Looking one up imports it, and raises ConfigError if that fails; listing the names imports nothing.
    """
    return _FAMILIES


def register(family: Family) -> Family:
    """Register your own family in this process, and return it.

    One that is known already, with the same models and the same format, changes nothing.

    A package does the same for all its users with an entry point in the group ``brokerkit.families``.

    Raises:
        ConfigError: a family with other models, or of another format, has this name.
    """
    _FAMILIES.add(family)
    return family


def get_family(name: str) -> Family:
    """Return the family of this name.

    Raises:
        ConfigError: there is none; the message suggests one that looks like it.
    """
    try:
        return _FAMILIES[name]
    except KeyError:
        known = ", ".join(sorted(_FAMILIES))
        raise ConfigError(f"no family {name!r}{suggestion(name, list(_FAMILIES))} (known: {known})") from None


def find(event: str | type[Any]) -> tuple[Found, ...]:
    """Return every meaning of an event name, plain or qualified ("evenbet:OnGameDone"), or of a model class.

    A class that extends a family's model means the event of that model. An empty tuple means that no family knows it;
    `suggest` then says what may have been meant. Of the built-in families only those that know it are imported.
    """
    found = _FAMILIES.meanings.get(event) or _find(event)
    if found:  # there is no limit to unknown names, so they are not kept
        _FAMILIES.meanings[event] = found
    return found


def _find(event: str | type[Any]) -> tuple[Found, ...]:
    if isinstance(event, str):
        prefix, colon, rest = event.partition(":")
        if colon and prefix in _FAMILIES and prefix != OWN:
            model = _FAMILIES[prefix].models.get(rest)
            return () if model is None else (Found(_FAMILIES[prefix], rest, model),)
        each = (
            _FAMILIES[name]
            for name in _FAMILIES
            if name != OWN and (name not in BUILT_IN or name in NAMES.get(event, ()))
        )
        found = tuple(Found(known, event, known.models[event]) for known in each if event in known.models)
        # A class of one's own that is called like a vendor's event does not make the plain name ambiguous.
        return found or tuple(one for one in _FAMILIES.own.values() if one.name == event.removeprefix(f"{OWN}:"))
    if found := tuple(one for one in _FAMILIES.own.values() if one.model is event) or _of_class(event):
        return found
    for base in event.__mro__[1:]:
        if extended := _of_class(base):
            return tuple(one._replace(model=event) for one in extended)
    return ()


def _of_class(model: type[Any]) -> tuple[Found, ...]:
    return tuple(
        Found(_FAMILIES[family], name, model)
        for family in _FAMILIES
        if family != OWN and (family not in BUILT_IN or _is_imported(family))  # otherwise its classes cannot be in use
        for name, known in _FAMILIES[family].models.items()
        if known is model
    )


def adopt(model: type[Any], name: str | None = None, versions: Versions | None = None) -> Found:
    """Make a class an event, under a name; by default that of the class. It needs no family.

    Raises:
        ConfigError: it cannot be a model.
    """
    name = name or model.__name__
    for known in _FAMILIES.own.values():
        if known.model is model and known.name == name and versions is None:
            return known
    if not is_model(model):
        raise ConfigError(
            f"{model.__module__}.{model.__qualname__} cannot be an event: write a pydantic model, a dataclass, a TypedDict "
            "or a msgspec Struct"
        )
    return _FAMILIES.adopt(name, model, versions)


def event(name: str | None = None, *, versions: Versions | None = None) -> Callable[[type[Model]], type[Model]]:
    """Decorate a class to make it an event.

    A class that is given to `on` or `publish` needs no decorator. It is for another name than that of the class, for older
    versions, and for events that are published by their name.

    Args:
        name: the event name; by default that of the class.
        versions: how older versions become the current one.

    Raises:
        ConfigError: the class cannot be a model.
    """

    def decorate(model: type[Model]) -> type[Model]:
        adopt(model, name, versions)
        return model

    return decorate


def _is_imported(family: str) -> bool:
    return BUILT_IN[family].partition(":")[0] in sys.modules


def suggest(name: str) -> str:
    """Return "; did you mean 'OnGameDone'?" for a name that is nearly an event's, else ""."""
    prefix, _, rest = name.partition(":")
    if prefix in _FAMILIES:
        return suggestion(rest, list(_FAMILIES[prefix].models))
    foreign = (known for family in _FAMILIES if family not in BUILT_IN for known in _FAMILIES[family].models)
    return suggestion(name, [*NAMES, *foreign])


def parse(name: str, body: bytes | str | Mapping[str, Any], family: str | Family | None = None) -> Any:
    """Turn one body into its event, without any bus.

    Args:
        name: the event name, plain or qualified with its family ("evenbet:OnGameDone").
        body: JSON in UTF-8, JSON text, or an object that was parsed already.
        family: whose event it is; needed only where two families share the name.

    Raises:
        DecodeError: the body is not what the event promises, or no event has this name.
        ConfigError: there is no such family, or several families have the name.
    """
    if family is not None:
        known = family if isinstance(family, Family) else get_family(family)
        return known.read(name.removeprefix(f"{known.name}:"), body)
    found = find(name)
    if len(found) > 1:
        choices = ", ".join(f"{each.family.name}:{each.name}" for each in found)
        raise ConfigError(f"{name!r} is an event of several families: {choices}; say which")
    if not found:
        raise DecodeError(f"no such event{suggest(name)}", event=name)
    return found[0].family.read(found[0].name, body)
