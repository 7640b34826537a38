"""The type of what ``on(...)`` returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")


class Registrar(Protocol[E]):
    """Registers a handler, plain or async, and returns it.

    The handler gets the event, the message too if it has a second parameter for it, and its dependencies.
    """

    def __call__(self, handler: Callable[Concatenate[E, P], R], /) -> Callable[Concatenate[E, P], R]: ...


class UnknownEventName:
    """Type checkers show this class if ``on`` gets a name that no family has. It has no instances."""
