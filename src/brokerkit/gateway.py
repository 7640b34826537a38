"""The gateway: events of any broker to browsers, over ThrillConnect's WebSocket API."""

from brokerkit._vendors import gateway as _gateway
from brokerkit._vendors.gateway import *  # noqa: F403 (the public path of a vendor's part)

__all__: list[str] = []
__all__ += _gateway.__all__
