"""ThrillPots' gateway messages."""

from brokerkit._vendors import thrillpots as _thrillpots
from brokerkit._vendors.thrillpots import *  # noqa: F403 (the public path of a vendor's part)

__all__: list[str] = []
__all__ += _thrillpots.__all__
