"""Stores by URL and by name; the library of each is loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, cast

from brokerkit._errors import ConfigError, MissingExtra
from brokerkit._url import mask
from brokerkit.dedupe._memory import MemoryStore
from brokerkit.dedupe._store import Store

_PLACES: Final = {"RedisStore": ("_redis", "redis"), "SqlStore": ("_sql", "sql")}
"""Module and extra of each store that needs a library."""


def load(name: str) -> Any:
    """The class of a store.

    Raises:
        MissingExtra: the library that it needs is not installed.
    """
    module, extra = _PLACES[name]
    try:
        return getattr(import_module(f"brokerkit.dedupe.{module}"), name)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "brokerkit"):
            raise
        raise MissingExtra(
            f"{name} needs {library}, which is not installed: pip install 'brokerkit-sdk[{extra}]'"
        ) from error


def store_of(url: str) -> Store:
    """The store of a URL, made but not opened.

    Raises:
        ConfigError: nothing serves the scheme, or the URL is wrong. The message shows no password.
        MissingExtra: the library that it needs is not installed.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "memory":
        return MemoryStore()
    if scheme.partition("+")[0] in ("redis", "rediss"):
        return cast("Store", load("RedisStore")(url))
    if scheme.partition("+")[0] in ("postgresql", "sqlite"):
        return cast("Store", load("SqlStore")(url))
    raise ConfigError(
        f"{mask(url)!r} is not a dedupe store; one looks like redis://host, postgresql+asyncpg://host/db, "
        "sqlite+aiosqlite:///file or memory://"
    )
