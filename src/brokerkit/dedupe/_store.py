"""The seam between deduplication and what remembers: claims that end by themselves, and marks that say done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class Claim(Protocol):
    """The right to run one handler for one message. After `done` or `release` it is not used any more."""

    @property
    def session(self) -> AsyncSession | None:
        """The session whose transaction commits with `done`; None if the store has no transactions."""
        ...

    async def extend(self) -> bool:
        """Make the claim last for its lease again, from now. False: it was lost, somebody else may have it.

        Raises:
            ConnectionLost: the store cannot be asked now.
        """
        ...

    async def done(self) -> bool:
        """Mark the key as done. False: somebody else has a claim on it or is done with it, and nothing was changed.

        Raises:
            ConnectionLost: it may be marked or not.
        """
        ...

    async def release(self) -> None:
        """Give the claim back, so that anybody may claim the key at once; a claim that was lost is left alone."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """Somebody else has the key.

    Attributes:
        wait: seconds until the other's claim ends if nobody extends it, or a good time to ask again where the store does
            not know. The caller may ask again earlier.
    """

    wait: float


class Done:
    """The key is done."""

    __slots__ = ()


DONE: Final = Done()


class Store(Protocol):
    """What remembers which keys are done. One store serves any number of handlers, sources and processes."""

    @property
    def transactional(self) -> bool:
        """Whether claims carry a session, and `Claim.done` commits it."""
        ...

    async def open(self) -> None:
        """Be ready for claims. Called for each bus that uses the store, and again after `close`.

        Raises:
            ConnectionLost: it cannot be reached.
            NotFound: a table is missing.
        """
        ...

    async def claim(self, key: str, *, lease: float, keep: float) -> Claim | Taken | Done:
        """Claim a key, atomically: of all that ask at once, one gets it.

        Args:
            key: any text.
            lease: seconds until the claim ends by itself unless it is extended.
            keep: seconds for which the key stays done, once it is.

        Raises:
            ConnectionLost: the store cannot be asked now.
        """
        ...

    async def close(self) -> None:
        """Free everything that `open` made. Called once for each `open`."""
        ...
