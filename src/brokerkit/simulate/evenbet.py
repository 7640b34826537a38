"""A poker room that never closes: plausible EvenBet events from a seed."""

from brokerkit._vendors.simulate import evenbet as _evenbet
from brokerkit._vendors.simulate.evenbet import *  # noqa: F403 (the public path of a vendor's part)

__all__: list[str] = []
__all__ += _evenbet.__all__
