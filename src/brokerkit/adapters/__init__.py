"""Adapters, found by URL scheme through the entry-point group ``brokerkit.adapters``; each is imported when it is used.

An adapter of another package is found the same way: its entry point is named like its URL scheme and refers to a class
that fits `brokerkit.adapters.api.Adapter`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from brokerkit._errors import ConfigError, MissingExtra
from brokerkit.adapters.api import Adapter, Connection

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS: Final = "brokerkit.adapters"


def _entry_points() -> Mapping[str, EntryPoint]:
    from importlib.metadata import entry_points  # costs 20 ms, and programs that only define handlers need none

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def schemes() -> list[str]:
    """All URL schemes that an installed adapter serves, sorted."""
    return sorted(_entry_points())


def make(connection: Connection) -> Adapter:
    """Return a new adapter for a URL, not opened.

    Raises:
        ConfigError: there is no adapter for the scheme, or the URL or an option is wrong.
        MissingExtra: the broker's client library is not installed.
    """
    scheme = connection.url.scheme
    point = _entry_points().get(scheme)
    if point is None:
        # `wss` alone would promise any WebSocket: the scheme says whose it is.
        longer = [known for known in schemes() if known.endswith(f"+{scheme}")]
        close = longer or difflib.get_close_matches(scheme, schemes(), n=1)
        hint = f"; did you mean {close[0]}://?" if close else ""
        raise ConfigError(f"{connection.url}: no adapter for {scheme!r}{hint} (there are {', '.join(schemes())})")
    try:
        adapter_class = point.load()
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "brokerkit"):
            raise
        extra = point.extras[0] if point.extras else "all"
        distribution = point.dist.name if point.dist else "brokerkit-sdk"
        raise MissingExtra(
            f"{scheme}:// needs {library}, which is not installed: pip install '{distribution}[{extra}]'"
        ) from error
    return cast("Adapter", adapter_class(connection))
