"""ThrillConnect's messages: jackpots and requests."""

from brokerkit._vendors import thrillconnect as _thrillconnect
from brokerkit._vendors.thrillconnect import *  # noqa: F403 (the public path of a vendor's part)

__all__: list[str] = []
__all__ += _thrillconnect.__all__
