"""Opens the bus for those who ask its brokers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from brokerkit._dead_letters._handle import DeadLetters
from brokerkit._runtime import Runtime


class OpenBus(Protocol):
    """An open bus."""

    @property
    def runtime(self) -> Runtime:
        """What exists from the opening of the bus to its closing."""
        ...

    def dead_letters(self, source: str | None, /) -> DeadLetters:
        """See `Bus.dead_letters`."""
        ...


class Opening:
    """A bus that is open while anybody needs it. It can be opened once at a time, and several may ask at once.

    Args:
        opened: opens it for the block.
    """

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[OpenBus]]) -> None:
        self._opened = opened
        self._changing = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._bus: OpenBus | None = None
        self._users = 0

    def __repr__(self) -> str:
        return f"<Opening for {self._users}>"

    @asynccontextmanager
    async def __call__(self) -> AsyncGenerator[OpenBus]:
        """Open the bus for the first, and close it behind the last.

        Raises:
            BrokerkitError: as opening the bus does.
        """
        self._users += 1
        try:
            async with self._changing:
                if self._bus is None:
                    self._bus = await self._stack.enter_async_context(self._opened())
                bus = self._bus
            yield bus
        finally:
            self._users -= 1
            async with self._changing:
                if self._users == 0 and self._bus is not None:
                    self._bus = None
                    await self._stack.aclose()
