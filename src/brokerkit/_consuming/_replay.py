"""Dead letters as first attempts again, for the group that failed, confirmed by the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final

from brokerkit._consuming._letter import origin_of, replays_of
from brokerkit._consuming._trouble import TOPIC
from brokerkit._errors import BrokerkitError, ConnectionLost, InvalidMessage, MessageTooLarge
from brokerkit._message import Delivery, Outgoing, Receipt, header_text
from brokerkit._transport import Adapter

logger = logging.getLogger("brokerkit")

_PAUSE: Final = 0.2


class Replay:
    """Publishes letters to the topics that they were read from.

    Args:
        topics: what the source reads; a letter that names no topic goes to the first.
        stored: these are queues that exist for themselves.
        group: the source's group.
        patience: seconds for which it is tried again while the broker cannot be reached.
    """

    def __init__(
        self, adapter: Adapter, *, topics: Sequence[str], stored: bool, group: str | None, patience: float
    ) -> None:
        self._adapter = adapter
        self._topics = topics
        self._stored = stored
        self._group = group or ""
        self._patience = patience

    def __repr__(self) -> str:
        return f"<Replay to {', '.join(self._topics)} for group {self._group!r}>"

    async def __call__(self, letters: Sequence[Delivery]) -> list[bool | BrokerkitError]:
        """Publish them in order; see `Work`. False where the broker takes a message in no form."""
        results: list[bool | BrokerkitError] = [False] * len(letters)
        forms = [self._forms(letter) for letter in letters]
        open_places: list[int] = [*range(len(letters))]
        while open_places:
            batch: list[tuple[int, Outgoing]] = []
            for place in open_places:
                if (outgoing := next(forms[place], None)) is not None:
                    batch.append((place, outgoing))
                else:
                    logger.error("dead letter %s stays: %s", origin_of(letters[place]), results[place])
                    results[place] = False
            sent = await self._send([outgoing for _, outgoing in batch])
            open_places = []
            for (place, _), result in zip(batch, sent, strict=True):
                results[place] = True if isinstance(result, Receipt) else result
                if isinstance(result, MessageTooLarge | InvalidMessage):
                    open_places.append(place)
        return results

    def _forms(self, letter: Delivery) -> Iterator[Outgoing]:
        named = header_text(letter.headers, TOPIC)
        topic = named if named is not None and named in self._topics else self._topics[0]
        # A queue has no other group; neither has a topic where there are none.
        shared = not self._stored and self._adapter.capabilities(topic).groups != "one"
        return replays_of(letter, topic=topic, stored=self._stored, group=self._group, shared=shared)

    async def _send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Send, and again what a broken connection kept from being confirmed."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience
        results = await self._adapter.send(batch) if batch else []
        while again := [place for place, result in enumerate(results) if isinstance(result, ConnectionLost)]:
            if loop.time() + _PAUSE > give_up:
                break
            await asyncio.sleep(_PAUSE)
            for place, result in zip(again, await self._adapter.send([batch[place] for place in again]), strict=True):
                results[place] = result
        return results


async def forget(letters: Sequence[Delivery]) -> list[bool | BrokerkitError]:
    """The work of a purge: nothing."""
    return [True] * len(letters)
