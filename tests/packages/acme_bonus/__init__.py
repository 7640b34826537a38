"""The events of a bonus engine, as its makers would publish them: a family in a package of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, NotRequired

from pydantic import BaseModel, Field
from typing_extensions import TypedDict  # pydantic takes the one of typing from Python 3.12 on

from acme_bonus._on import on
from brokerkit.events import Family

__all__ = ["FAMILY", "BonusExpired", "BonusGranted", "BonusPaid", "Stake", "on"]


@dataclass(frozen=True, slots=True)
class Stake:
    """What a player put in."""

    amount: Decimal
    placed: datetime | None = None


@dataclass(frozen=True, slots=True)
class BonusGranted:
    """A player was given a bonus."""

    player: Annotated[int, Field(alias="playerId", description="whose bonus")]
    amount: Decimal
    stakes: list[Stake] = field(default_factory=list[Stake])


class BonusExpired(TypedDict):
    """A bonus ran out."""

    player: Annotated[int, Field(alias="playerId")]
    reason: Literal["time", "turnover"]
    at: NotRequired[datetime]


class BonusPaid(BaseModel):
    """A bonus became money."""

    player: int = Field(alias="playerId")
    amount: Decimal


FAMILY = Family("acme", {"BonusGranted": BonusGranted, "BonusExpired": BonusExpired, "BonusPaid": BonusPaid})
