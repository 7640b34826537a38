"""Where settings come from: keyword over environment over file over URL query over default, each key with its origin."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError

from brokerkit._errors import ConfigError
from brokerkit._settings import ConnectionSettings, SourceSettings, TargetSettings
from brokerkit._url import Url

PREFIX: Final = "BROKERKIT_"
ONLY: Final = "bus"
"""Name of the source and the target of a bus that has one of each."""

_SOURCE_KEYS: Final = frozenset(SourceSettings.model_fields)
_TARGET_KEYS: Final = frozenset(TargetSettings.model_fields)
_BUS_KEYS: Final = ("stop_timeout",)
_BESIDE: Final = ("gateway",)
"""Tables of what runs beside a bus."""
_SECRET_KEYS: Final = ("url", "dead_letter", "dedupe", "options", "endpoint", "check", "check_headers")


S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """A checked bus.

    Attributes:
        sources: by name.
        targets: by name.
        stop_timeout: seconds for which handlers may run on after a stop was asked for.
    """

    sources: Mapping[str, SourceSettings] = field(default_factory=dict[str, SourceSettings])
    targets: Mapping[str, TargetSettings] = field(default_factory=dict[str, TargetSettings])
    stop_timeout: float = 30.0


class _Layered:
    """Settings of one table, of which a later layer overrides an earlier one, key by key."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def add(self, values: Mapping[str, Any], origin: str) -> _Layered:
        for key, value in values.items():
            if value is None:
                continue
            merged = value
            if key == "options":
                if not isinstance(value, Mapping):
                    raise ConfigError(f"{origin}: {self.table}.options must be a table (JSON in the environment)")
                merged = {**self.values.get(key, {}), **cast("Mapping[str, Any]", value)}
            self.values[key] = merged
            self.origins[key] = origin
        return self

    def over(self, defaults: _Layered, keys: Iterable[str]) -> _Layered:
        """The table with what it leaves open taken from another."""
        result = _Layered(self.table)
        for layer in (defaults, self):
            for key, value in layer.values.items():
                if layer is self or key in keys:
                    result.add({key: value}, layer.origins[key])
        return result

    def with_url_query(self, keys: Iterable[str]) -> _Layered:
        """The URL's query as the layer below all others: our keys are settings, the others options of the client."""
        text = self.values.get("url")
        if not isinstance(text, str):
            return self
        origin = f"URL of {self.table}"
        query: dict[str, Any] = {}
        try:
            parsed = Url.parse(text)
        except ConfigError as error:
            raise ConfigError(f"{self.origins['url']}: {self.table}.url: {error}") from None
        for key, value in parsed.query:
            place = query if key in keys else query.setdefault("options", {})
            if key in place or key == "options":
                raise ConfigError(
                    f"{origin}: {key!r} is given twice" if key in place else f"{origin}: options go by name"
                )
            place[key] = value
        result = _Layered(self.table).add(query, origin)
        for key, value in self.values.items():
            result.add({key: value.partition("?")[0] if key == "url" else value}, self.origins[key])
        return result

    def check(self, model: type[S]) -> S:
        """The settings as their model.

        Raises:
            ConfigError: naming where, key, value and what is allowed.
        """
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            detail = error.errors(include_url=False, include_context=False)[0]
            key = str(detail["loc"][0]) if detail["loc"] else ""
            where = f"{self.origins.get(key, self._origins)}: " + (f"{self.table}.{key}" if key else self.table)
            if detail["type"] == "extra_forbidden":
                raise _no_setting(where, key, model.model_fields) from None
            if detail["type"] == "missing":
                raise ConfigError(f"{where} is missing") from None
            shown = "" if key in _SECRET_KEYS or key not in self.values else f" = {self.values[key]!r:.200}"
            message = detail["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{where}{shown}: {message}") from None
        except ConfigError as error:
            raise ConfigError(f"{self._origins}: {self.table}: {error}") from None

    @property
    def _origins(self) -> str:
        """All places that its values came from, for errors that are nobody's alone."""
        return ", ".join(dict.fromkeys(self.origins[key] for key in self.values)) or "nothing is set"


def from_keywords(keywords: Mapping[str, Any], environ: Mapping[str, str]) -> BusSettings:
    """The settings of ``Bus(url, topic=...)``.

    Raises:
        ConfigError: something is wrong; the message names key, value and what is allowed.
    """
    return _build({}, "", keywords, environ)


def from_tables(
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]], keywords: Mapping[str, Any], environ: Mapping[str, str]
) -> BusSettings:
    """The settings of a bus whose sources and targets have names that the code gives them, as a file would.

    Args:
        tables: ``{"sources": {NAME: settings}, "targets": {NAME: settings}}``; they go over the environment.
        keywords: what both have in common.
        environ: the environment.

    Raises:
        ConfigError: as `from_keywords` does.
    """
    return _build({}, "", keywords, environ, tables)


def from_file(path: Path, keywords: Mapping[str, Any], environ: Mapping[str, str]) -> BusSettings:
    """The settings in a TOML file, with the environment and keywords over them.

    Raises:
        ConfigError: the file cannot be read or something in it is wrong; the message names the file too.
    """
    return _build(_tables(path), str(path), keywords, environ)


def _tables(path: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    if strange := [key for key in tables if key not in ("bus", "sources", "targets", *_BESIDE)]:
        raise ConfigError(
            f"{path}: {strange[0]!r} is no table of ours; allowed are [bus], [sources.NAME], [targets.NAME], "
            f"{', '.join(f'[{name}]' for name in _BESIDE)}"
        )
    return tables


def beside(name: str, model: type[S], path: Path | None, keywords: Mapping[str, Any], environ: Mapping[str, str]) -> S:
    """The settings of what runs beside a bus, from its table in the bus's file, with environment and keywords over it.

    Raises:
        ConfigError: as `from_file` does.
    """
    table = _Layered(name)
    if path is not None:
        table.add(_table(_tables(path), name, str(path)), str(path))
    for variable, value in environ.items():
        kind, separator, key = variable.removeprefix(PREFIX).lower().partition("__")
        if variable.startswith(PREFIX) and kind == name and separator:
            table.add({key: _from_text(key, value, variable)}, variable)
    return table.add(keywords, "keyword").check(model)


def elsewhere(url: str, query: Mapping[str, str]) -> ConnectionSettings:
    """The settings of another place that is named by its URL alone, such as one for dead letters.

    Raises:
        ConfigError: something is wrong with it.
    """
    known = ConnectionSettings.model_fields
    table = _Layered("dead_letter").add({"url": url}, "dead_letter")
    table.add({key: value for key, value in query.items() if key in known}, "dead_letter")
    table.add({"options": {key: value for key, value in query.items() if key not in known}}, "dead_letter")
    return table.check(ConnectionSettings)


def _build(
    tables: Mapping[str, Any],
    origin: str,
    keywords: Mapping[str, Any],
    environ: Mapping[str, str],
    over: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> BusSettings:
    bus = _Layered("bus").add(_table(tables, "bus", origin), origin)
    named = {
        kind: {
            name: _Layered(f"{kind}.{name}").add(_table(_table(tables, kind, origin), name, origin), origin)
            for name in _table(tables, kind, origin)
        }
        for kind in ("sources", "targets")
    }
    _add_environment(environ, bus, named)
    bus.add(keywords, "keyword")
    for kind, values in (over or {}).items():
        for name, value in values.items():
            named[kind].setdefault(name, _Layered(f"{kind}.{name}")).add(value, "keyword")

    stop_timeout = _seconds(bus, "stop_timeout", BusSettings().stop_timeout)
    shared = _Layered("bus")
    shared.values = {key: value for key, value in bus.values.items() if key not in _BUS_KEYS}
    shared.origins = bus.origins
    if named["sources"] or named["targets"]:
        _check_names(shared)
        return BusSettings(
            sources={
                name: table.over(shared, _SOURCE_KEYS).with_url_query(_SOURCE_KEYS).check(SourceSettings)
                for name, table in named["sources"].items()
            },
            targets={
                name: table.over(shared, _TARGET_KEYS).with_url_query(_TARGET_KEYS).check(TargetSettings)
                for name, table in named["targets"].items()
            },
            stop_timeout=stop_timeout,
        )
    return _one_of_each(shared.with_url_query({*_SOURCE_KEYS, *_TARGET_KEYS}), stop_timeout)


def _seconds(table: _Layered, key: str, default: float) -> float:
    value = table.values.get(key, default)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(f"{table.origins[key]}: {table.table}.{key} = {value!r}: must be a number of seconds above 0")
    return seconds


def _one_of_each(bus: _Layered, stop_timeout: float) -> BusSettings:
    """A bus with one source and, unless it reads several topics, one target on the same broker."""
    _check_names(bus)
    readable = _Layered("bus").over(bus, _SOURCE_KEYS)
    writable = _Layered("bus").over(bus, _TARGET_KEYS)
    sources: dict[str, SourceSettings] = {}
    if "topic" in bus.values or "queue" in bus.values:
        sources[ONLY] = readable.check(SourceSettings)
    topics = sources[ONLY].topic if sources else ()
    if len(topics) == 1:
        writable.values["topic"] = topics[0]
    elif topics:
        return BusSettings(sources=sources, stop_timeout=stop_timeout)
    return BusSettings(sources=sources, targets={ONLY: writable.check(TargetSettings)}, stop_timeout=stop_timeout)


def _check_names(bus: _Layered) -> None:
    known = {*_SOURCE_KEYS, *_TARGET_KEYS}
    for key in bus.values:
        if key not in known:
            raise _no_setting(f"{bus.origins[key]}: {bus.table}.{key}", key, {*known, *_BUS_KEYS})


def _no_setting(where: str, key: str, allowed: Iterable[str]) -> ConfigError:
    allowed = sorted(allowed)
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"{where} is not a setting{hint} (allowed: {', '.join(allowed)})")


def _add_environment(environ: Mapping[str, str], bus: _Layered, named: Mapping[str, dict[str, _Layered]]) -> None:
    """``BROKERKIT_URL`` is the bus's; ``BROKERKIT_SOURCES__NAME__URL`` a source's, whose name may be new."""
    known = {*_SOURCE_KEYS, *_TARGET_KEYS, *_BUS_KEYS}
    seen: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX):
            continue
        kind, *rest = variable.removeprefix(PREFIX).lower().split("__")
        if (kind in named or kind in known) and seen.setdefault(variable.upper(), variable) != variable:
            raise ConfigError(f"{variable} and {seen[variable.upper()]} are one setting, given twice")
        if kind in named and len(rest) == 2:
            name, key = rest
            tables = named[kind]
            # Environment variables are upper case as a rule; a name in the file may be written otherwise.
            name = next((other for other in tables if other.lower() == name), name)
            tables.setdefault(name, _Layered(f"{kind}.{name}")).add({key: _from_text(key, value, variable)}, variable)
        elif kind in named:
            raise ConfigError(f"{variable} is not a setting; one looks like {PREFIX}{kind.upper()}__NAME__KEY")
        elif not rest and kind in known:
            bus.add({kind: _from_text(kind, value, variable)}, variable)
        elif close := difflib.get_close_matches(kind, [*known, *named], n=1, cutoff=0.8):
            # Other variables may begin so by chance (an orchestrator's BROKERKIT_SERVICE_HOST); near misses may not.
            raise ConfigError(f"{variable} is not a setting; did you mean {PREFIX}{close[0].upper()}?")


def _from_text(key: str, value: str, variable: str) -> Any:
    """Tables (options, names, retry, dedupe) are JSON in the environment; everything else is text."""
    if key in ("options", "names", "retry", "dedupe", "answers", "check_headers") and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ConfigError(f"{variable} is no JSON: {error}") from None
    return value


def _table(tables: Mapping[str, Any], name: str, origin: str) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{origin}: {name} must be a table")
    return cast("dict[str, Any]", table)
