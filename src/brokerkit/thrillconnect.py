"""ThrillConnect as a source: the client of a running bus, and its requests as calls."""

from __future__ import annotations

from brokerkit._bus import Bus
from brokerkit._errors import ConfigError
from brokerkit._vendors.thrillconnect_source import Client, RequestFailed, ThrillConnectAdapter

__all__ = ["Client", "RequestFailed", "client_of"]


def client_of(bus: Bus, source: str | None = None, /) -> Client:
    """The client of a ThrillConnect source, for requests beside the running bus.

    The client is valid until the bus closes. Its requests work while the bus consumes.

    Args:
        bus: the bus.
        source: name of the source; needed only where there are several.

    Raises:
        ConfigError: there is no such source, or it is on another kind of broker.
    """
    adapter = bus.adapter(source)
    if not isinstance(adapter, ThrillConnectAdapter):
        raise ConfigError(
            f"source {source or 'of this bus'!r} is not on thrillconnect+wss:// but on {type(adapter).__name__}"
        )
    return adapter.client
