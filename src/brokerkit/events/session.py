"""Fireball's session messages."""

from brokerkit._vendors import session as _session
from brokerkit._vendors.session import *  # noqa: F403 (the public path of a vendor's part)

__all__: list[str] = []
__all__ += _session.__all__
