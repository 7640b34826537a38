"""Adapters, found by URL scheme through the entry-point group ``brokerkit.adapters``; each is imported when it is used.

An adapter of another package is found the same way: its entry point is named like its URL scheme and refers to a class
that fits `brokerkit._transport.Adapter`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Final, cast

from brokerkit._errors import ConfigError, MissingExtra
from brokerkit._transport import Adapter, Connection

ENTRY_POINTS: Final = "brokerkit.adapters"


def schemes() -> list[str]:
    """All URL schemes that an installed adapter serves, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})


def make(connection: Connection) -> Adapter:
    """The adapter of a URL, made but not opened.

    Raises:
        ConfigError: nothing serves the scheme, or the URL or an option is wrong.
        MissingExtra: the broker's client library is not installed.
    """
    scheme = connection.url.scheme
    points = list(entry_points(group=ENTRY_POINTS, name=scheme))
    if not points:
        raise ConfigError(f"{connection.url}: no adapter for {scheme!r}; there are {', '.join(schemes())}")
    try:
        adapter_class = points[0].load()
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "brokerkit"):
            raise
        extra = points[0].extras[0] if points[0].extras else "all"
        distribution = points[0].dist.name if points[0].dist else "brokerkit-sdk"
        raise MissingExtra(
            f"{scheme}:// needs {library}, which is not installed: pip install '{distribution}[{extra}]'"
        ) from error
    return cast("Adapter", adapter_class(connection))
