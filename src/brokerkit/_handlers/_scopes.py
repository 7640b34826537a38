"""How long a dependency lives: for one handler, for one message, or as long as the bus consumes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Literal

Lifetime = Literal["handler", "message", "bus"]


class Scope:
    """Values that are made once and shared, and what closes them."""

    __slots__ = ("_made", "_stack", "cache")

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._made: dict[Callable[..., Any], asyncio.Future[Any]] = {}
        self.cache: dict[Callable[..., Any], Any] = {}

    def __repr__(self) -> str:
        return f"<Scope: {len(self._made)} values>"

    async def get(
        self,
        dependency: Callable[..., Any],
        make: Callable[[AsyncExitStack, dict[Callable[..., Any], Any]], Awaitable[Any]],
    ) -> Any:
        """Return the value of a dependency; the first caller makes it, others wait for that."""
        while (made := self._made.get(dependency)) is not None:
            if made.done() and not made.cancelled():
                return made.result()
            await asyncio.wait([made])
            if made.cancelled():
                self._made.pop(dependency, None)
        made = self._made[dependency] = asyncio.get_running_loop().create_future()
        try:
            value = await make(self._stack, self.cache)
        except BaseException:
            # The next one who asks tries again.
            made.cancel()
            self._made.pop(dependency, None)
            raise
        made.set_result(value)
        return value

    async def close(self, error: BaseException | None = None) -> None:
        """Close what was made, the last first. Generators see the error, if there was one.

        Raises:
            Exception: what closing raised. An error that was given is not raised again.
        """
        stack, self._stack = self._stack, AsyncExitStack()
        self._made.clear()
        self.cache.clear()
        try:
            await stack.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except BaseException as raised:
            if raised is not error:
                raise


class Scopes:
    """The scopes that the handlers of one message see.

    Args:
        bus: that of the bus, which all messages share.
    """

    __slots__ = ("bus", "message")

    def __init__(self, bus: Scope) -> None:
        self.bus = bus
        self.message = Scope()

    def __repr__(self) -> str:
        return f"<Scopes: bus {self.bus!r}, message {self.message!r}>"
