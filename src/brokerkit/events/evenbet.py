"""EvenBet's events: poker hands, tournaments, tables, players and money."""

from brokerkit._vendors import evenbet as _evenbet
from brokerkit._vendors.evenbet import *  # noqa: F403 (the public path of a vendor's part)

__all__: list[str] = []
__all__ += _evenbet.__all__
