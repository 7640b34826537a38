"""One handler that runs once for each message: what `Call.once` does around the call of the function."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from brokerkit._errors import BrokerkitError, ConnectionLost, Reject, describe
from brokerkit._handlers import Handler
from brokerkit._message import Message
from brokerkit.dedupe._dedupe import Dedupe
from brokerkit.dedupe._store import Claim, Done, Taken

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

logger = logging.getLogger("brokerkit")

InThread = Callable[..., Awaitable[None]]

_LONGEST_KEY: Final = 400
_EXTENSIONS_FOR_EACH_LEASE: Final = 3
_SHORTEST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.0
"""Seconds after which a message that somebody else is at is asked for again: he is mostly done long before his lease."""
_STORE_AWAY: Final = 2.0
"""Seconds after which a store that did not answer is asked again for a message."""
_GIVE_BACK: Final = 5.0


class Postponed(BrokerkitError):
    """The handler did not run and nothing failed: try again after a while.

    Attributes:
        wait: seconds.
    """

    def __init__(self, wait: float) -> None:
        super().__init__(f"to be tried again in {wait:.3g} s")
        self.wait = wait


class _MessageInTransaction(Message):
    """A message whose handler has a session."""

    __slots__ = ("_session",)

    def __init__(self, message: Message, session: AsyncSession) -> None:
        for name in Message.__slots__:
            setattr(self, name, getattr(message, name))
        self._session = session

    @property
    def session(self) -> AsyncSession:
        return self._session


class Once:
    """Runs a handler, unless its store has the message as done or somebody else is at it.

    Args:
        handler: whose function runs.
        dedupe: how.
        scope: what the handler's keys are told apart by from those of other groups.
    """

    def __init__(self, handler: Handler, dedupe: Dedupe, *, scope: str) -> None:
        self.handler = handler
        self.dedupe = dedupe
        self._scope = (scope, dedupe.name or handler.name)
        self._claims: set[Claim] = set()

    def __repr__(self) -> str:
        return f"<Once {self.handler.name}: {len(self._claims)} running>"

    async def __call__(self, event: Any, message: Message, in_thread: InThread) -> bool:
        """Run the handler; False where the message is done already.

        Raises:
            Postponed: it did not run, or its claim was lost: the message is to come again without counting a failure.
            Reject: the message has no key.
        """
        claim = await self._claim(key_text(*self._scope, self._key(event, message)))
        if isinstance(claim, Done):
            return False
        if claim.session is not None:
            message = _MessageInTransaction(message, claim.session)
        self._claims.add(claim)
        handler = self.handler
        arguments: Sequence[Any] = (event, message) if handler.takes_message else (event,)
        try:
            if handler.is_async:
                await handler.function(*arguments)
            else:
                await in_thread(handler.function, *arguments)
            finished = await claim.done()
        except BaseException as error:
            # A thread cannot be stopped: while it may still run, its claim ends with the lease and not before.
            if handler.is_async or not isinstance(error, asyncio.CancelledError):
                await self._give_back(claim)
            raise
        finally:
            self._claims.discard(claim)
        if not finished:
            logger.warning("%s took longer than its claim on a message lasted; it may run twice", handler.name)
            raise Postponed(_SHORTEST_WAIT)
        return True

    async def keep(self) -> None:
        """Extend the claims of what runs, until cancelled."""
        while True:
            await asyncio.sleep(self.dedupe.lease / _EXTENSIONS_FOR_EACH_LEASE)
            await asyncio.gather(*(self._extend(claim) for claim in self._claims))

    async def _extend(self, claim: Claim) -> None:
        try:
            if await claim.extend() or claim not in self._claims:
                return
        except ConnectionLost as error:
            logger.warning("%s: a claim could not be extended: %s", self.handler.name, error)
            return
        logger.warning("%s: the claim of a message was lost while it runs", self.handler.name)
        self._claims.discard(claim)

    def _key(self, event: Any, message: Message) -> str:
        if callable(self.dedupe.key):
            found = self.dedupe.key(event)
            key = "" if found is None else str(found)
        else:
            key = message.id or ""
        if not key:
            raise Reject(f"{self.handler.name} runs once for each message, and this one has nothing to tell it by")
        return key

    async def _claim(self, key: str) -> Claim | Done:
        try:
            answer = await self.dedupe.store.claim(key, lease=self.dedupe.lease, keep=self.dedupe.keep)
        except ConnectionLost as error:
            logger.warning("%s waits for its dedupe store: %s", self.handler.name, error)
            raise Postponed(_STORE_AWAY * random.uniform(0.5, 1.0)) from error
        if isinstance(answer, Taken):
            raise Postponed(min(max(answer.wait, _SHORTEST_WAIT), _LONGEST_WAIT) * random.uniform(1.0, 1.2))
        return answer

    async def _give_back(self, claim: Claim) -> None:
        try:
            async with asyncio.timeout(_GIVE_BACK):
                await claim.release()
        except (ConnectionLost, TimeoutError) as error:
            logger.warning("%s: a claim stays until its lease ends: %s", self.handler.name, describe(error))


def key_text(scope: str, handler: str, key: str) -> str:
    """The key that a store sees: readable, without ambiguity, in ASCII, and never too long."""
    text = json.dumps([scope, handler, key])
    if len(text) <= _LONGEST_KEY:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
