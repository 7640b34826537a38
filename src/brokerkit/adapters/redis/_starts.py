"""How often entries of a stream were begun alone: one hash for each topic and group, with a field for each such entry."""

from __future__ import annotations

from typing import Final

from brokerkit.adapters.api import Delivery, derived_name
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._client import NAME_STYLE, Client
from brokerkit.adapters.redis._errors import translated

KEPT: Final = 7 * 86_400
"""Seconds after the last start for which all of them are kept."""


class Starts:
    """See `brokerkit.adapters.api.LoneStarts`.

    Args:
        group: the group, as Redis knows it.
    """

    def __init__(self, client: Client, topic: str, group: str) -> None:
        self.key: Final = derived_name(topic, group, "starts", NAME_STYLE)
        """Beside the stream, under its hash tag."""
        self._client = client

    async def begin(self, delivery: Delivery) -> int:
        """See `LoneStarts.begin_alone`."""
        with translated(self._client.where, f"counting a start in {self.key!r}"):
            answer = await self._client.call("EVAL", scripts.BEGIN_ALONE, 1, self.key, _field(delivery), KEPT)
        return int(answer)

    async def end(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`."""
        with translated(self._client.where, f"taking starts back in {self.key!r}"):
            await self._client.call("HDEL", self.key, _field(delivery))

    def __repr__(self) -> str:
        return f"<Starts in {self.key}>"


def _field(delivery: Delivery) -> bytes:
    stream, entry = delivery.token
    return b"%s %s" % (entry, stream.key)
