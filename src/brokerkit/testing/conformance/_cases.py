"""A case of the suite, and the list of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from brokerkit.testing.conformance._harness import Harness

Run = Callable[[Harness], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case.

    Attributes:
        number: its number in the contract, e.g. ``"26"`` or ``"36b"``.
        title: what holds, in one sentence.
        section: what the cases around it are about.
        run: tries it; raises AssertionError where it does not hold.
    """

    number: str
    title: str
    section: str
    run: Run

    @property
    def id(self) -> str:
        """The number as test ids have it, and in the order in which they sort: ``"01"``, ``"36b"``."""
        return self.number.zfill(2)


CASES: Final[dict[str, Case]] = {}
"""Every case by its number; see `in_order`."""


def in_order() -> list[Case]:
    """All cases, by number."""
    return sorted(CASES.values(), key=lambda case: case.id)


def section(title: str) -> Callable[[int | str], Callable[[Run], Run]]:
    """A decorator that makes cases of one section; it takes the number, and the title is the function's docstring."""

    def case(number: int | str) -> Callable[[Run], Run]:
        def add(run: Run) -> Run:
            assert str(number) not in CASES
            text = " ".join((run.__doc__ or "").split()).removesuffix(".")
            CASES[str(number)] = Case(number=str(number), title=text, section=title, run=run)
            return run

        return add

    return case
