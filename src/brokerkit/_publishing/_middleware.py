"""Middleware around each publish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from brokerkit._errors import BrokerkitError, ConfigError
from brokerkit._handlers._middleware import run_through
from brokerkit._handlers._signatures import is_async, name_of
from brokerkit._messages._headers import Headers
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._publishing._arguments import BatchOptions, Publishable
from brokerkit._publishing._sender import Result
from brokerkit._publishing._target import Target

if TYPE_CHECKING:
    from typing import Unpack


@dataclass(slots=True)
class Publication:
    """One publish, as its middleware sees it. What is set here before ``proceed`` is what is published.

    Attributes:
        what: an event, a `Message`, or an event name.
        payload: the payload of an event name, else None.
        key: the ordering key.
        headers: the headers.
        id: the message's id, or None for a new one.
        after: how much later it is delivered, in seconds or as a `timedelta`, or None.
        at: when it is delivered, or None.
        priority: its priority, or None.
        target: name of the target.
    """

    what: Any
    payload: Mapping[str, Any] | Any = None
    key: str | bytes | None = None
    headers: Headers | None = None
    id: str | None = None
    after: float | timedelta | None = None
    at: datetime | None = None
    priority: int | None = None
    target: str = field(default="", kw_only=True)


PublishMiddleware = Callable[[Publication, Callable[[], Awaitable[Receipt]]], Awaitable[Receipt]]
"""Takes the publish and what runs it, and returns the receipt."""


class PublishInside:
    """Publishes inside the middleware of a bus.

    Attributes:
        middleware: each with the target that it is for, or None for all of them.
    """

    def __init__(self) -> None:
        self.middleware: list[tuple[PublishMiddleware, str | None]] = []

    def __repr__(self) -> str:
        return f"<PublishInside {len(self.middleware)} middleware>"

    def add(self, middleware: PublishMiddleware, target: str | None) -> None:
        """Run a function inside those that are here, for one target or for all.

        Raises:
            ConfigError: it is not a coroutine function.
        """
        if not is_async(middleware):
            raise ConfigError(f"middleware {name_of(middleware)} must be an async function of (publication, proceed)")
        self.middleware.append((middleware, target))

    async def one(self, target: Target, publication: Publication) -> Receipt:
        """Publish one message.

        Raises:
            BrokerkitError: as `Target.prepare` and `Target.publish` do.
        """
        return await self._run(target, publication, lambda: target.publish(_prepared(target, publication)))

    async def batch(
        self, target: Target, batch: Iterable[Publishable], *, key: str | bytes | None, **options: Unpack[BatchOptions]
    ) -> list[Result]:
        """Publish what `Bus.publish_many` takes; one result for each. Without middleware it costs nothing more.

        Raises:
            Exception: what a middleware raised, if it is not a `BrokerkitError`.
        """
        pairs = (item if isinstance(item, tuple) else (item, None) for item in batch)
        if not self.middleware:
            return await _publish_pairs(target, pairs, key=key, **options)
        publications = [Publication(what, payload, key, target=target.name, **options) for what, payload in pairs]
        return await self.many(target, publications)

    async def many(self, target: Target, publications: Sequence[Publication]) -> list[Result]:
        """Publish many. They are handed to the broker in order, however long the middleware of each takes before.

        Raises:
            Exception: what a middleware raised, if it is not a `BrokerkitError`.
        """
        turns = [asyncio.Event() for _ in range(len(publications) + 1)]
        turns[0].set()

        async def run(number: int, publication: Publication) -> Result:
            async def in_turn() -> Receipt:
                await turns[number].wait()
                sent = target.begin(_prepared(target, publication))
                turns[number + 1].set()
                return await sent

            try:
                return await self._run(target, publication, in_turn)
            except BrokerkitError as error:
                return error
            finally:
                await turns[number].wait()
                turns[number + 1].set()

        results = await asyncio.gather(*(run(*one) for one in enumerate(publications)), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, BrokerkitError):
                raise result
        return [result for result in results if isinstance(result, (Receipt, BrokerkitError))]

    async def _run(self, target: Target, publication: Publication, run: Callable[[], Awaitable[Receipt]]) -> Receipt:
        middleware = [each for each, only in self.middleware if only in (None, target.name)]
        return await run_through(middleware, publication, run)


async def _publish_pairs(
    target: Target, pairs: Iterable[tuple[Any, Any]], *, key: str | bytes | None, **options: Unpack[BatchOptions]
) -> list[Result]:
    """Publish many without middleware, each given by what `Target.prepare` takes; one result for each."""
    prepared: list[Outgoing | BrokerkitError] = []
    for what, payload in pairs:
        try:
            prepared.append(target.prepare(what, payload, key=key, **options))
        except BrokerkitError as error:
            prepared.append(error)
    return await target.publish_many(prepared)


def _prepared(target: Target, one: Publication) -> Any:
    return target.prepare(
        *(one.what, one.payload),
        key=one.key,
        headers=one.headers,
        id=one.id,
        after=one.after,
        at=one.at,
        priority=one.priority,
    )
