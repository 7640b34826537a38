"""The seam for formats that must ask somebody else, such as a schema registry, before a message can be read or sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing


class Preparation(Protocol):
    """What a format does before messages are read, and after they are written. Each source and target has its own.

    Only formats that have one are waited for. Where all that is needed is known already, nothing should be awaited.
    """

    async def read(self, batch: Sequence[Delivery]) -> None:
        """Make the messages of a batch readable: set `Delivery.parsed` to the payload, or to a `DecodeError`.

        It may be called again with the same batch.

        Raises:
            ConnectionLost: what is needed cannot be had now. The source asks again; no message fails for it.
        """
        ...

    async def write(self, outgoing: Outgoing) -> None:
        """Encode a body that `Format.wrap` has made `Unencoded`; leave others as they are.

        Raises:
            InvalidMessage: the event does not fit.
            ConnectionLost: what is needed cannot be had now.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
