"""Dependencies of handlers, solved by FastDepends. This module is imported only where a handler has one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, contextmanager
from functools import cache, wraps
from typing import Any, Final

from fast_depends.core import CallModel, build_call_model
from fast_depends.dependencies import Dependant, Provider
from fast_depends.utils import is_async_gen_callable, is_coroutine_callable, is_gen_callable

from brokerkit._errors import ConfigError
from brokerkit._handlers._scopes import Lifetime, Scopes
from brokerkit._messages._message import Message

PROVIDER: Final = Provider()
"""Replacements for dependencies in tests."""

_SCOPES: Final = "brokerkit_scopes"
_GIVEN: Final = ("event", "message", _SCOPES)
"""Parameter names by which a dependency gets the event and the message."""


def depends(dependency: Callable[..., Any], *, scope: Lifetime, use_cache: bool) -> Any:
    """Make the marker for a parameter."""
    if scope not in ("handler", "message", "bus"):
        raise ConfigError(f"scope must be 'handler', 'message' or 'bus', not {scope!r}")
    dependency = as_async(dependency)
    made = dependency if scope == "handler" else _shared(dependency, scope)
    return Dependant(made, use_cache=use_cache, cast=False, cast_result=False)


@cache
def as_async(dependency: Callable[..., Any]) -> Callable[..., Any]:
    """Make a plain function run in a thread of the event loop, which virtual time takes into account."""
    if is_coroutine_callable(dependency) or is_async_gen_callable(dependency):
        return dependency
    if is_gen_callable(dependency):
        within = contextmanager(dependency)

        @wraps(dependency)
        async def generate(**values: Any) -> AsyncGenerator[Any]:
            manager = within(**values)
            value = await asyncio.to_thread(manager.__enter__)
            try:
                yield value
            except BaseException as error:
                await asyncio.to_thread(manager.__exit__, type(error), error, error.__traceback__)
                raise
            await asyncio.to_thread(manager.__exit__, None, None, None)

        return generate

    @wraps(dependency)
    async def run(**values: Any) -> Any:
        return await asyncio.to_thread(dependency, **values)

    return run


@cache
def _shared(dependency: Callable[..., Any], scope: Lifetime) -> Callable[..., Any]:
    """A dependency that is made once for each scope. The same one for equal arguments, so that its users share it."""

    async def get(event: Any, message: Message, brokerkit_scopes: Scopes) -> Any:
        given: dict[str, Any] = {_SCOPES: brokerkit_scopes}
        if scope == "message":
            given |= {"event": event, "message": message}

        async def make(stack: AsyncExitStack, cache: dict[Callable[..., Any], Any]) -> Any:
            model = PROVIDER.get_dependant(dependency)
            return await model.asolve(stack=stack, cache_dependencies=cache, nested=True, **given)

        return await (brokerkit_scopes.bus if scope == "bus" else brokerkit_scopes.message).get(dependency, make)

    inner = build_call_model(dependency, dependency_provider=PROVIDER, is_sync=False)
    PROVIDER.add_dependant(inner)
    _refuse_unfilled(inner, (_SCOPES,) if scope == "bus" else _GIVEN, f"dependency {inner.call_name} ({scope} scope)")
    return get


class Injection:
    """Fills the parameters of one handler.

    Args:
        function: the handler.
        name: of the handler, for errors.
        filled: the names of the parameters for the event and, if the handler takes it, the message.

    Raises:
        ConfigError: a dependency has a parameter that nothing fills.
    """

    def __init__(self, function: Callable[..., Any], name: str, filled: list[str], hints: dict[str, Any]) -> None:
        self._filled = filled
        parameters = inspect.signature(function).parameters.values()
        typed = [one.replace(annotation=hints.get(one.name, one.annotation)) for one in parameters]

        async def solved(**values: Any) -> dict[str, Any]:
            return values

        # FastDepends sees the parameters of the handler, and gives their values back. We call the handler ourselves: a plain
        # function runs in a thread of the source, and its timeout counts.
        solved.__signature__ = inspect.Signature(typed)  # type: ignore[attr-defined]
        self._model: CallModel = build_call_model(solved, dependency_provider=PROVIDER, is_sync=False)
        _refuse_unfilled(self._model, (*filled, *_GIVEN), f"handler {name}")

    def __repr__(self) -> str:
        return f"<Injection: {', '.join(self._model.dependencies)}>"

    async def solve(self, event: Any, message: Message, scopes: Scopes, stack: AsyncExitStack) -> dict[str, Any]:
        """Return the values of all parameters by name.

        ``stack`` closes what belongs only to this call of the handler.
        """
        values: dict[str, Any] = {"event": event, "message": message, _SCOPES: scopes}
        values |= dict(zip(self._filled, (event, message), strict=False))
        solved: dict[str, Any] = await self._model.asolve(stack=stack, cache_dependencies={}, **values)
        return solved


def _refuse_unfilled(model: CallModel, given: tuple[str, ...], what: str) -> None:
    for one in model.flat_params:
        if (
            one.field_name not in given
            and one.default_value is Ellipsis
            and one.kind
            not in (
                inspect.Parameter.VAR_POSITIONAL,
                inspect.Parameter.VAR_KEYWORD,
            )
        ):
            raise ConfigError(
                f"{what}: nothing fills the parameter {one.field_name!r} of its dependencies; give it a default, make it a "
                "dependency too, or call it event or message to get those"
            )
