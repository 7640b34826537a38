"""Where settings come from: keyword, environment, file, URL query, default, in this order; each key keeps its origin."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from pydantic import ValidationError

from brokerkit._config._settings import ConnectionSettings, Section, SourceSettings, TargetSettings
from brokerkit._errors import ConfigError
from brokerkit._url import Url

PREFIX: Final = "BROKERKIT_"
ONLY: Final = "bus"
"""Name of the source and the target of a bus that has one of each."""

_SOURCE_KEYS: Final = frozenset(SourceSettings.model_fields)
_TARGET_KEYS: Final = frozenset(TargetSettings.model_fields)
_BUS_KEYS: Final = ("stop_timeout",)
_TABLES: Final = SourceSettings.TABLES | TargetSettings.TABLES

_sections: Final[set[str]] = set()

S = TypeVar("S", bound=Section)


def register_section(name: str) -> None:
    """Allow a table of this name in the file of a bus. A bus ignores it; `settings_of_section` reads it."""
    _sections.add(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """A checked bus.

    Attributes:
        sources: by name.
        targets: by name.
        stop_timeout: seconds that running handlers have to finish after a stop was requested.
        origins: where each setting comes from, such as ``{"url": "keyword", "group": "BROKERKIT_GROUP"}``. A key of one
            source or target is written with its table: ``"sources.vendor.topic"``. It holds names only, no values.
    """

    sources: Mapping[str, SourceSettings] = field(default_factory=dict[str, SourceSettings])
    targets: Mapping[str, TargetSettings] = field(default_factory=dict[str, TargetSettings])
    stop_timeout: float = 30.0
    origins: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def variables(self) -> list[str]:
        """The names of the environment variables that settings come from."""
        return sorted(
            {name for origin in self.origins.values() for name in origin.split(", ") if name.startswith(PREFIX)}
        )


class _Layered:
    """Settings of one table. A later layer overrides an earlier one, key by key."""

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
                if key in self.values and self.origins[key] != origin:
                    self.origins[key] = f"{self.origins[key]}, {origin}"
                    self.values[key] = merged
                    continue
            self.values[key] = merged
            self.origins[key] = origin
        return self

    def over(self, defaults: _Layered, keys: Iterable[str]) -> _Layered:
        """Return the table with missing keys taken from ``defaults``."""
        result = _Layered(self.table)
        for layer in (defaults, self):
            for key, value in layer.values.items():
                if layer is self or key in keys:
                    result.add({key: value}, layer.origins[key])
        return result

    def with_url_query(self, keys: Iterable[str]) -> _Layered:
        """Add the URL's query as the lowest layer: our keys are settings, all other keys are options of the client."""
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
            _refuse_near_miss(origin, key, keys)
            values = query if key in keys else query.setdefault("options", {})
            if key in values or key == "options":
                raise ConfigError(
                    f"{origin}: {key!r} is given twice" if key in values else f"{origin}: give each option by its name"
                )
            values[key] = value
        result = _Layered(self.table).add(query, origin)
        for key, value in self.values.items():
            result.add({key: value.partition("?")[0] if key == "url" else value}, self.origins[key])
        return result

    def check(self, model: type[S]) -> S:
        """The settings as their model.

        Raises:
            ConfigError: with the origin, the key, the value and what is allowed.
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
            shown = "" if key in model.SECRETS or key not in self.values else f" = {self.values[key]!r:.200}"
            message = detail["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{where}{shown}: {message}") from None
        except ConfigError as error:
            raise ConfigError(f"{self._origins}: {self.table}: {error}") from None

    @property
    def _origins(self) -> str:
        """All origins of its values, for errors that concern several of them."""
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
    """The settings of a bus whose sources and targets are named in code, as a file would name them.

    Args:
        tables: ``{"sources": {NAME: settings}, "targets": {NAME: settings}}``; they override the environment.
        keywords: settings that both have in common.
        environ: the environment.

    Raises:
        ConfigError: as `from_keywords` does.
    """
    return _build({}, "", keywords, environ, tables)


def from_file(path: Path, keywords: Mapping[str, Any], environ: Mapping[str, str]) -> BusSettings:
    """The settings in a TOML file; environment and keywords override them.

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
        raise ConfigError(f"{path} is not TOML: {error}") from error
    if strange := [key for key in tables if key not in ("bus", "sources", "targets", "registry", *_sections)]:
        raise ConfigError(
            f"{path}: {strange[0]!r} is not a table of brokerkit; allowed are [bus], [sources.NAME], [targets.NAME], "
            f"{', '.join(f'[{name}]' for name in sorted(_sections))}"
        )
    return tables


def settings_of_section(
    name: str, model: type[S], path: Path | None, keywords: Mapping[str, Any], environ: Mapping[str, str]
) -> S:
    """The settings of a part with its own table in the bus's file; environment and keywords override the table.

    Raises:
        ConfigError: as `from_file` does.
    """
    table = _Layered(name)
    if path is not None:
        table.add(_table(_tables(path), name, str(path)), str(path))
    for variable, value in environ.items():
        kind, separator, key = variable.removeprefix(PREFIX).lower().partition("__")
        if variable.startswith(PREFIX) and kind == name and separator:
            table.add({key: _from_text(key, value, variable, model.TABLES)}, variable)
    return table.add(keywords, "keyword").check(model)


def settings_of_url(url: str, query: Mapping[str, str], *, beside: ConnectionSettings) -> ConnectionSettings:
    """The settings of a connection that is given only by its URL, such as a dead-letter store.

    Args:
        url: without its query.
        query: of the URL.
        beside: another connection. Its password, or what returns it, counts also for the same user on the same hosts.

    Raises:
        ConfigError: the URL or an option in it is wrong.
    """
    known = ConnectionSettings.model_fields
    table = _Layered("dead_letter").add({"url": url}, "dead_letter")
    table.add({key: value for key, value in query.items() if key in known}, "dead_letter")
    table.add({"options": {key: value for key, value in query.items() if key not in known}}, "dead_letter")
    if not {"password", "password_file"} & query.keys() and _one_login(url, beside):
        shared = {"password": beside.password, "password_file": beside.password_file}
        table.add({key: value for key, value in shared.items() if value is not None}, "dead_letter")
    return table.check(ConnectionSettings)


def _one_login(url: str, other: ConnectionSettings) -> bool:
    """Whether a URL without a password names the broker and the user of another connection."""
    one, two = Url.parse(url), Url.parse(other.url.get_secret_value())
    same_broker = (one.scheme.partition("+")[0], one.hosts) == (two.scheme.partition("+")[0], two.hosts)
    return same_broker and one.user == two.user and one.password is None


def _build(
    tables: Mapping[str, Any],
    origin: str,
    keywords: Mapping[str, Any],
    environ: Mapping[str, str],
    over: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> BusSettings:
    bus = _Layered("bus").add(_table(tables, "bus", origin), origin)
    if "registry" in tables:
        bus.add({"registry": _table(tables, "registry", origin)}, origin)
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
    origins = _origins([bus, *named["sources"].values(), *named["targets"].values()])
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
            origins=origins,
        )
    sources, targets = _one_of_each(shared.with_url_query({*_SOURCE_KEYS, *_TARGET_KEYS}))
    return BusSettings(sources=sources, targets=targets, stop_timeout=stop_timeout, origins=origins)


def _origins(tables: Iterable[_Layered]) -> dict[str, str]:
    return {
        key if table.table == "bus" else f"{table.table}.{key}": table.origins[key]
        for table in tables
        for key in table.values
    }


def _seconds(table: _Layered, key: str, default: float) -> float:
    value = table.values.get(key, default)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(
            f"{table.origins[key]}: {table.table}.{key} = {value!r}: it must be a number of seconds above 0"
        )
    return seconds


def _one_of_each(bus: _Layered) -> tuple[dict[str, SourceSettings], dict[str, TargetSettings]]:
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
        return sources, {}
    return sources, {ONLY: writable.check(TargetSettings)}


def _check_names(bus: _Layered) -> None:
    known = {*_SOURCE_KEYS, *_TARGET_KEYS}
    for key in bus.values:
        if key not in known:
            raise _no_setting(f"{bus.origins[key]}: {bus.table}.{key}", key, {*known, *_BUS_KEYS})


def _refuse_near_miss(origin: str, key: str, keys: Iterable[str]) -> None:
    """Refuse a key that is almost one of our settings: as a client option it would do nothing."""
    known = set(keys)
    close = [] if key in known else difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    # Longer ones are real client options, such as redis-py's socket_connect_timeout.
    if close and abs(len(close[0]) - len(key)) <= 1:
        raise ConfigError(
            f"{origin}: {key!r} is not a setting; did you mean {close[0]!r}? Client options go into options"
        )


def _no_setting(where: str, key: str, allowed: Iterable[str]) -> ConfigError:
    allowed = sorted(allowed)
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"{where} is not a setting{hint} (allowed: {', '.join(allowed)})")


def _add_environment(environ: Mapping[str, str], bus: _Layered, named: Mapping[str, dict[str, _Layered]]) -> None:
    """Read ``BROKERKIT_URL`` for the bus, and ``BROKERKIT_SOURCES__NAME__URL`` for a source, even a new one."""
    known = {*_SOURCE_KEYS, *_TARGET_KEYS, *_BUS_KEYS}
    seen: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX):
            continue
        kind, *rest = variable.removeprefix(PREFIX).lower().split("__")
        if (kind in named or kind in known) and seen.setdefault(variable.upper(), variable) != variable:
            raise ConfigError(f"{variable} and {seen[variable.upper()]} are the same setting, given twice; remove one")
        if kind in named and len(rest) == 2:
            name, key = rest
            tables = named[kind]
            # Environment variables are usually upper case; the name in the file may not be.
            name = next((other for other in tables if other.lower() == name), name)
            table = tables.setdefault(name, _Layered(f"{kind}.{name}"))
            table.add({key: _from_text(key, value, variable, _TABLES)}, variable)
        elif kind in named:
            raise ConfigError(f"{variable} is not a setting; one looks like {PREFIX}{kind.upper()}__NAME__KEY")
        elif not rest and kind in known:
            bus.add({kind: _from_text(kind, value, variable, _TABLES)}, variable)
        elif close := difflib.get_close_matches(kind, [*known, *named], n=1, cutoff=0.8):
            # Other variables may begin like this by chance (an orchestrator's BROKERKIT_SERVICE_HOST).
            raise ConfigError(f"{variable} is not a setting; did you mean {PREFIX}{close[0].upper()}?")


def _from_text(key: str, value: str, variable: str, tables: Collection[str]) -> Any:
    """Read a table in the environment as JSON, and everything else as text."""
    if key in tables and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ConfigError(f"{variable} is not JSON: {error}") from None
    return value


def _table(tables: Mapping[str, Any], name: str, origin: str) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{origin}: {name} must be a table")
    return cast("dict[str, Any]", table)
