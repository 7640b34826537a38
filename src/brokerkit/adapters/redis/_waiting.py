"""Counts the retries that wait in sorted sets, by the time at which they are due."""

from __future__ import annotations

from collections.abc import Sequence

from brokerkit.adapters.api import WaitingRetries
from brokerkit.adapters.redis._client import Client
from brokerkit.adapters.redis._errors import translated


async def count_retries(client: Client, keys: Sequence[str]) -> list[WaitingRetries]:
    """Return what waits in each of these sorted sets.

    Raises:
        BrokerkitError: Redis does not answer, or refuses.
    """
    found = list[WaitingRetries]()
    for key in keys:
        with translated(client.where, f"asking for the retries in {key!r}"):
            count = await client.call("ZCARD", key)
            first = await client.call("ZRANGE", key, 0, 0, "WITHSCORES")
        due = float(first[1]) / 1000 if len(first) > 1 else None
        found.append(WaitingRetries(place=key, count=count, first_due=due))
    return found
