"""One handler that runs once for each message: what `Call.idempotent` does around the call of the function."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from brokerkit._backoff import backoff
from brokerkit._errors import BrokerkitError, ConnectionLost, Reject, describe
from brokerkit._handlers._handlers import Handler
from brokerkit._logging import get_logger
from brokerkit._messages._message import Message
from brokerkit.dedupe._dedupe import Dedupe
from brokerkit.dedupe._store import Claim, Done, Taken

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

logger = get_logger(__name__)

Run = Callable[[Any, Message], Awaitable[None]]

_LONGEST_KEY: Final = 400
_EXTENSIONS_FOR_EACH_LEASE: Final = 3
_SHORTEST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.5
"""Seconds until a message that another process handles is tried again. Most handlers are done long before the lease
ends."""
_STORE_AWAY: Final = 2.0
"""Seconds until a store that did not answer is asked again about a message."""
_LONGEST_CLAIM: Final = 30.0
"""Seconds for which a store is waited for that keeps a connection and does not answer."""
_GIVE_BACK: Final = 5.0
_LATELY: Final = 30.0
"""Seconds for which a store that did not answer counts as away. Messages that wait for it ask again much sooner."""


class Postponed(BrokerkitError):
    """The handler did not run, and nothing failed: try again later.

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


class IdempotentHandler:
    """Runs a handler, unless its store has the message as done or another process handles it.

    Args:
        handler: whose function runs.
        dedupe: its store and settings.
        scope: distinguishes the handler's keys from those of other groups.
        timeout: seconds that a call of the handler may take, if it has no timeout of its own.
    """

    def __init__(self, handler: Handler, dedupe: Dedupe, *, scope: str, timeout: float) -> None:
        self.handler = handler
        self.dedupe = dedupe
        # The handler has not begun by then: its timeout would count a failure that is none.
        self._longest_claim = min(_LONGEST_CLAIM, (handler.timeout or timeout) / 2)
        self._scope = (scope, dedupe.name or handler.name)
        self._claims: set[Claim] = set()
        self._problem: tuple[str, float, Callable[[], float]] | None = None

    def __repr__(self) -> str:
        return f"<IdempotentHandler {self.handler.name}: {len(self._claims)} running>"

    async def __call__(self, event: Any, message: Message, run: Run) -> bool:
        """Run the handler through ``run``. Return False if the message is done already.

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
        try:
            await run(event, message)
            finished = await self._finish(claim)
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
        """Extend the claims of running handlers, until cancelled."""
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
        logger.warning("%s lost its claim on a message while it was running", self.handler.name)
        self._claims.discard(claim)

    @property
    def problem(self) -> str:
        """Why the store does not answer; "" if it does, or was not asked recently."""
        if self._problem is None:
            return ""
        text, at, clock = self._problem
        return text if clock() - at <= _LATELY else ""

    def _lose_store(self, error: ConnectionLost) -> None:
        if self._problem is None:
            logger.warning("%s waits for its dedupe store: %s", self.handler.name, error)
        clock = asyncio.get_running_loop().time
        self._problem = (f"dedupe store: {describe(error)}", clock(), clock)

    def _find_store(self) -> None:
        if self._problem is not None:
            self._problem = None
            logger.warning("%s: the dedupe store is back", self.handler.name)

    async def _finish(self, claim: Claim) -> bool:
        """Mark the message as done after the handler has run. While the claim keeps others away, wait for a store that
        does not answer, because otherwise the handler would run again. A transaction is rolled back with everything
        that the handler did in it.
        """
        time = asyncio.get_running_loop().time
        give_up = time() + self.dedupe.lease
        while True:
            try:
                return await claim.done()
            except ConnectionLost as error:
                self._lose_store(error)
                if claim.session is not None or time() >= give_up:
                    raise
            await asyncio.sleep(_pause(_STORE_AWAY / 2))

    def _key(self, event: Any, message: Message) -> str:
        if callable(self.dedupe.key):
            found = self.dedupe.key(event)
            key = "" if found is None else str(found)
        else:
            key = message.id or ""
        if not key:
            raise Reject(f"{self.handler.name} runs once for each message, and this one has no key to recognise it by")
        return key

    async def _claim(self, key: str) -> Claim | Done:
        try:
            async with asyncio.timeout(self._longest_claim):
                answer = await self.dedupe.store.claim(key, lease=self.dedupe.lease, keep=self.dedupe.keep)
        except TimeoutError as error:
            self._lose_store(ConnectionLost(f"no answer for {self._longest_claim:.3g} s"))
            raise Postponed(_pause(_STORE_AWAY)) from error
        except ConnectionLost as error:
            self._lose_store(error)
            raise Postponed(_pause(_STORE_AWAY)) from error
        self._find_store()
        if isinstance(answer, Taken):
            raise Postponed(_pause(min(max(answer.wait, _SHORTEST_WAIT), _LONGEST_WAIT)))
        return answer

    async def _give_back(self, claim: Claim) -> None:
        try:
            async with asyncio.timeout(_GIVE_BACK):
                await claim.release()
        except (ConnectionLost, TimeoutError) as error:
            logger.warning("%s: a claim stays until its lease ends: %s", self.handler.name, describe(error))


def _pause(longest: float) -> float:
    """Return the seconds until a store is asked again. This backoff does not grow: each message asks for itself."""
    return backoff(1, first=longest, cap=longest)


def key_text(scope: str, handler: str, key: str) -> str:
    """Return the key that a store sees: readable, unambiguous, in ASCII, and never too long."""
    text = json.dumps([scope, handler, key])
    if len(text) <= _LONGEST_KEY:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
