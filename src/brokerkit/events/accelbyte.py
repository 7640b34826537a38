"""AccelByte's events: sessions, parties, matchmaking and notifications."""

from brokerkit._vendors import accelbyte as _accelbyte
from brokerkit._vendors.accelbyte import *  # noqa: F403 (the public path of a vendor's part)

__all__: list[str] = []
__all__ += _accelbyte.__all__
