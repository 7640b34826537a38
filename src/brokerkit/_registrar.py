"""What ``on(...)`` returns, for type checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from brokerkit._message import Message

E = TypeVar("E")
R = TypeVar("R")


class Registrar(Protocol[E]):
    """Takes a handler, plain or async, registers it and returns it.

    The handler gets the event, and the message too if it has a second parameter.
    """

    @overload
    def __call__(self, handler: Callable[[E], R], /) -> Callable[[E], R]: ...
    @overload
    def __call__(self, handler: Callable[[E, Message], R], /) -> Callable[[E, Message], R]: ...
