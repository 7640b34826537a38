"""A call of a plain function in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Job:
    """A call of a plain function in a thread.

    Attributes:
        runs: whether its thread is running it.
    """

    __slots__ = ("_arguments", "_function", "runs")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self.runs = False

    def __repr__(self) -> str:
        return f"<Job {self._function!r}>"

    def run(self) -> Any:
        """Call the function. A StopIteration is replaced, because no future can carry it."""
        self.runs = True
        try:
            return self._function(*self._arguments)
        except StopIteration as error:
            raise RuntimeError("the handler raised StopIteration") from error
        finally:
            self.runs = False
