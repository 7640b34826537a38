"""Which families there are, and which of them know a name."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

from brokerkit._errors import ConfigError, DecodeError
from brokerkit.events._family import Family, suggestion
from brokerkit.events._names import NAMES

ENTRY_POINTS: Final = "brokerkit.families"

# Named here as well as in the package's metadata: reading the metadata takes longer than importing a family.
BUILT_IN: Final[Mapping[str, str]] = {
    "accelbyte": "brokerkit.events.accelbyte:FAMILY",
    "evenbet": "brokerkit.events.evenbet:FAMILY",
    "session": "brokerkit.events.session:FAMILY",
    "thrillconnect": "brokerkit.events.thrillconnect:FAMILY",
    "thrillpots": "brokerkit.events.thrillpots:FAMILY",
}


class Found(NamedTuple):
    """One meaning of an event name."""

    family: Family
    name: str
    model: type[Any]


class _Families(Mapping[str, Family]):
    """The families by name; each is imported when it is first looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Family] = {}
        self._places: dict[str, str] | None = None
        self.meanings: dict[str | type[Any], tuple[Found, ...]] = {}
        """What `find` has found, for as long as the families stay the same."""

    def __getitem__(self, name: str) -> Family:
        if name in self._loaded:
            return self._loaded[name]
        place = BUILT_IN.get(name) or self._all_places()[name]
        family = self._load(name, place)
        self._keep(family)
        return family

    def __iter__(self) -> Iterator[str]:
        return iter({**self._all_places(), **self._loaded})

    def __len__(self) -> int:
        return len({**self._all_places(), **self._loaded})

    def add(self, family: Family) -> None:
        if self._loaded.get(family.name) is family:
            return
        if family.name in self:
            raise ConfigError(f"there is a family {family.name!r} already")
        self._keep(family)

    def _keep(self, family: Family) -> None:
        self._loaded[family.name] = family
        self.meanings.clear()

    def _all_places(self) -> dict[str, str]:
        if self._places is None:
            from importlib.metadata import entry_points  # costs 20 ms, and only foreign families need it

            foreign = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
            self._places = {**foreign, **BUILT_IN}
        return self._places

    @staticmethod
    def _load(name: str, place: str) -> Family:
        module, _, attribute = place.partition(":")
        try:
            family = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"family {name!r} cannot be loaded from {place!r}: {error}") from error
        if not isinstance(family, Family) or family.name != name:
            raise ConfigError(f"{place!r} is not a brokerkit family named {name!r}")
        return family


_FAMILIES: Final = _Families()


def families() -> Mapping[str, Family]:
    """Return all families by name: the built-in ones, those of entry points, those that were registered.

    Looking one up imports it, and raises ConfigError if that fails; listing the names imports nothing.
    """
    return _FAMILIES


def register(family: Family) -> Family:
    """Make a family of your own known in this process; return it.

    A package does the same for all its users with an entry point in the group ``brokerkit.families``.

    Raises:
        ConfigError: another family has this name.
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

    An empty tuple means that no family knows it; `suggest` then says what may have been meant. Of the built-in families
    only those that know it are imported.
    """
    found = _FAMILIES.meanings.get(event) or _find(event)
    if found:  # names that nobody knows are without end: they are not kept
        _FAMILIES.meanings[event] = found
    return found


def _find(event: str | type[Any]) -> tuple[Found, ...]:
    if isinstance(event, str):
        prefix, colon, rest = event.partition(":")
        if colon and prefix in _FAMILIES:
            model = _FAMILIES[prefix].models.get(rest)
            return () if model is None else (Found(_FAMILIES[prefix], rest, model),)
        each = (_FAMILIES[name] for name in _FAMILIES if name not in BUILT_IN or name in NAMES.get(event, ()))
        return tuple(Found(known, event, known.models[event]) for known in each if event in known.models)
    return tuple(
        Found(_FAMILIES[family], name, model)
        for family in _FAMILIES
        if family not in BUILT_IN or _is_imported(family)  # else nobody can have the class
        for name, model in _FAMILIES[family].models.items()
        if model is event
    )


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
