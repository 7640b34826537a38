"""Middleware around each attempt of a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeVar

from brokerkit._messages._message import Message

Subject = TypeVar("Subject")
Result = TypeVar("Result")


@dataclass(slots=True)
class Attempt:
    """One attempt of one handler, as its middleware sees it.

    Attributes:
        event: the event; what is set here before ``proceed`` is what the handler gets.
        message: the message; its ``attempt`` says which attempt this is.
        handler: name of the handler.
    """

    event: Any
    message: Message
    handler: str


HandlerMiddleware = Callable[[Attempt, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Takes the attempt and what runs it: the next middleware, and at last the handler.

What it raises counts as the handler's error. If it does not call what runs the attempt, the handler is skipped and counts as
done.
"""


async def run_through(
    middleware: Sequence[Callable[[Subject, Callable[[], Awaitable[Result]]], Awaitable[Result]]],
    subject: Subject,
    innermost: Callable[[], Awaitable[Result]],
) -> Result:
    """Run a call inside all its middleware, the first outermost."""
    run = innermost
    for one in reversed(middleware):
        run = partial(one, subject, run)
    return await run()


def only_for(middleware: HandlerMiddleware, source: str | None) -> HandlerMiddleware:
    """A middleware that lets messages of other sources pass."""
    if source is None:
        return middleware

    @wraps(middleware)
    async def run(attempt: Attempt, proceed: Callable[[], Awaitable[None]]) -> None:
        await (middleware(attempt, proceed) if attempt.message.source == source else proceed())

    return run
