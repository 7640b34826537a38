"""Calls one handler, with its middleware and its dependencies. A handler without either is called directly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from brokerkit._consuming._routes import Call, Route
from brokerkit._handlers._middleware import Attempt, run_through
from brokerkit._handlers._scopes import Scope, Scopes
from brokerkit._messages._message import Message

if TYPE_CHECKING:
    from brokerkit._handlers._dependencies import Injection


class Caller:
    """Calls the handlers of one source.

    Args:
        bus_scope: the dependencies that live as long as the bus consumes.
        in_thread: runs a plain function.
    """

    def __init__(self, bus_scope: Scope, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._bus_scope = bus_scope
        self._in_thread = in_thread

    def __repr__(self) -> str:
        return f"<Caller with {self._bus_scope!r}>"

    def scopes(self, route: Route) -> Scopes | None:
        """Return new scopes for a message; None if no handler needs them."""
        return Scopes(self._bus_scope) if route.injects else None

    async def close(self, scopes: Scopes | None, error: BaseException | None = None) -> BaseException | None:
        """Close what the handlers of a message shared; return what that raised."""
        if scopes is None:
            return None
        try:
            await scopes.message.close(error)
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 (a dependency is a user's function)
            return raised
        return None

    async def call(self, call: Call, scopes: Scopes | None, event: Any, message: Message) -> None:
        """Run one handler inside its middleware, with its dependencies."""
        if not call.middleware:
            await self._call_function(call, scopes, event, message)
            return
        attempt = Attempt(event, message, call.handler.name)

        async def innermost() -> None:
            await self._call_function(call, scopes, attempt.event, attempt.message)

        await run_through(call.middleware, attempt, innermost)

    async def call_batch(self, call: Call, events: Sequence[Any], messages: Sequence[Message]) -> Any:
        """Run a handler of batches with its dependencies, and return what it returns.

        Args:
            call: the handler's.
            events: what it gets first.
            messages: what it gets second, if it takes them.
        """
        scopes = None if call.handler.injection is None else Scopes(self._bus_scope)
        try:
            answer = await self._call_function(call, scopes, events, messages)
        except BaseException as error:
            await self.close(scopes, error)
            raise
        if (failure := await self.close(scopes)) is not None:
            raise failure
        return answer

    async def _call_function(self, call: Call, scopes: Scopes | None, event: Any, message: Any) -> Any:
        if call.handler.injection is not None and scopes is not None:
            return await self._call_injected(call, call.handler.injection, scopes, event, message)
        arguments: tuple[Any, ...] = (event, message) if call.takes_message else (event,)
        if call.handler.is_async:
            return await call.function(*arguments)
        return await self._in_thread(call.function, *arguments)

    async def _call_injected(self, call: Call, injection: Injection, scopes: Scopes, event: Any, message: Any) -> Any:
        answer: Any = None
        failure: BaseException | None = None
        async with AsyncExitStack() as stack:
            values = await injection.solve(event, message, scopes, stack)
            try:
                if call.handler.is_async:
                    answer = await call.function(**values)
                else:
                    answer = await self._in_thread(partial(call.function, **values))
            except BaseException as error:
                failure = error
                raise
        if failure is not None:
            # If a generator catches the error and ends, the handler has still failed.
            raise failure
        return answer
