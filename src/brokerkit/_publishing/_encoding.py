"""Encodes messages whose format asks others how, such as a schema registry, before they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from brokerkit._backoff import backoff
from brokerkit._config._settings import TargetSettings
from brokerkit._errors import BrokerkitError, ConnectionLost
from brokerkit._messages._outgoing import Outgoing
from brokerkit._publishing._sender import Result
from brokerkit.formats import Preparation

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0

Send = Callable[[Sequence[Outgoing]], "asyncio.Future[list[Result]]"]


class Encoding:
    """The encoding of one target. Messages are sent in the order in which they were given to it.

    Args:
        preparation: the format's.
        timeout: seconds for which an outage of whoever is asked is waited out.
    """

    def __init__(self, preparation: Preparation, *, timeout: float) -> None:
        self._preparation = preparation
        self._timeout = timeout
        self._turns: asyncio.Lock | None = None

    @classmethod
    def of(cls, settings: TargetSettings) -> Encoding | None:
        """Return that of a target; None if its format needs none."""
        preparation = settings.preparation()
        return None if preparation is None else cls(preparation, timeout=settings.publish_timeout)

    def then(self, batch: Sequence[Outgoing], send: Send) -> asyncio.Future[list[Result]]:
        """Encode messages, then send them; one result for each, an error for those that could not be encoded."""
        return asyncio.ensure_future(self._then(batch, send))

    async def _then(self, batch: Sequence[Outgoing], send: Send) -> list[Result]:
        # Tasks begin in the order in which they were made, and a lock is given in the order of asking.
        errors: dict[int, BrokerkitError] = {}
        if self._turns is None:
            self._turns = asyncio.Lock()
        async with self._turns:
            for index, outgoing in enumerate(batch):
                try:
                    await self.encode(outgoing)
                except BrokerkitError as error:
                    errors[index] = error
                    if isinstance(error, ConnectionLost):  # each further one would wait as long
                        errors.update(dict.fromkeys(range(index, len(batch)), error))
                        break
            good = [outgoing for index, outgoing in enumerate(batch) if index not in errors]
            sent = send(good) if good else None
        results = iter(await sent if sent is not None else ())
        return [errors[index] if index in errors else next(results) for index in range(len(batch))]

    async def encode(self, outgoing: Outgoing) -> None:
        """Encode one message, and try again for a while if whoever is asked does not answer.

        Raises:
            InvalidMessage: the event does not fit its schema.
            ConnectionLost: there was no answer within the timeout.
        """
        loop = asyncio.get_running_loop()
        deadline, failures = loop.time() + self._timeout, 0
        while True:
            try:
                return await self._preparation.write(outgoing)
            except ConnectionLost:
                failures += 1
                wait = backoff(failures, first=_FIRST_WAIT, cap=_LONGEST_WAIT)
                if loop.time() + wait > deadline:
                    raise
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close connections."""
        await self._preparation.close()
