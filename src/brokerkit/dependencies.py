"""Dependencies of handlers: ``Annotated[Session, Depends(session)]``. Needs the extra ``depends``.

Example::

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened, opened.begin():
            yield opened


    @bus.on("OnGameDone")
    async def settle(event: OnGameDone, db: Annotated[AsyncSession, Depends(session)]) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from brokerkit._errors import MissingExtra
from brokerkit._handlers._scopes import Lifetime

try:
    from brokerkit._handlers import _dependencies
except ImportError as error:
    raise MissingExtra("dependencies of handlers need FastDepends: pip install 'brokerkit-sdk[depends]'") from error


def Depends(dependency: Callable[..., Any], *, scope: Lifetime = "handler", use_cache: bool = True) -> Any:  # noqa: N802 (the name that FastAPI gave it)
    """Mark a parameter of a handler, or of another dependency, that is filled by a function.

    The function may be plain or async, and may be a generator that yields the value once. A plain function runs in a thread.
    It may take ``event`` and ``message``, and dependencies of its own.

    Args:
        dependency: makes the value.
        scope: for how long the value lives. ``handler``: for one call of the handler. ``message``: for all handlers of a
            message in one attempt. ``bus``: as long as the bus consumes.
        use_cache: within one scope, make it once even if several dependencies ask for it.

    What follows the ``yield`` of a generator runs when its scope ends, before the message is acknowledged. It sees the
    handler's error, if there was one. If it raises, the handler has failed. It cannot hide the handler's error.

    Raises:
        ConfigError: the scope is unknown, or a dependency for the bus takes the event or the message.
    """
    return _dependencies.depends(dependency, scope=scope, use_cache=use_cache)


@contextmanager
def override(dependency: Callable[..., Any], replacement: Callable[..., Any]) -> Generator[None]:
    """Use another function in place of a dependency while the block runs, in all handlers of this process; for tests."""
    known = _dependencies.as_async(dependency)
    _dependencies.PROVIDER.override(known, _dependencies.as_async(replacement))
    try:
        yield
    finally:
        _dependencies.PROVIDER.overrides.pop(known, None)


__all__ = ["Depends", "override"]
