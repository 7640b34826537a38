"""ThrillPots' gateway: jackpot events in an envelope of type, id and data.

The transport is not named in its documentation. `RaffleWinEvent` and `OptInEvent` exist on ThrillConnect's WebSocket too,
in another envelope: write ``"thrillpots:RaffleWinEvent"``, or name the class. The bodies are those of
`brokerkit.events.thrillconnect`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final
from uuid import UUID

from pydantic import ConfigDict, Field

from brokerkit._vendors.thrillconnect._bodies import (
    CommunityPayoutError,
    GatewayJackpotWin,
    JackpotValues,
    OptIn,
    RafflePayoutError,
    RaffleWin,
)
from brokerkit.events._constants import Fixed, constant
from brokerkit.events._family import Family
from brokerkit.events._model import Event

__all__ = [
    "FAMILY",
    "CommunityPayoutError",
    "CommunityPayoutErrorEvent",
    "GatewayJackpotWin",
    "JackpotUpdateEvent",
    "JackpotValues",
    "JackpotWinEvent",
    "OptIn",
    "OptInEvent",
    "RafflePayoutError",
    "RafflePayoutErrorEvent",
    "RaffleWin",
    "RaffleWinEvent",
]


class _GatewayEvent(Fixed, Event):
    """What every event of the gateway has."""

    model_config = ConfigDict(alias_generator=None)

    event_type: str = constant("name of the event")
    event_id: UUID = Field(description="unique id of the event")


class JackpotUpdateEvent(_GatewayEvent):
    """Values of one jackpot instance.

    Source: ThrillPots event structures, up to release 202501-1.
    """

    constants: ClassVar[Mapping[str, str]] = {"event_type": "JackpotUpdateEvent"}

    data: JackpotValues = Field(description="the values")


class JackpotWinEvent(_GatewayEvent):
    """A jackpot was won.

    Source: ThrillPots event structures, releases 202410-1 and 202501-1.
    """

    constants: ClassVar[Mapping[str, str]] = {"event_type": "JackpotWinEvent"}

    data: GatewayJackpotWin = Field(description="the win")


class RaffleWinEvent(_GatewayEvent):
    """A raffle was drawn.

    Source: ThrillPots event structures, which print the body without its envelope: that it has one is inferred.
    """

    constants: ClassVar[Mapping[str, str]] = {"event_type": "RaffleWinEvent"}

    data: RaffleWin = Field(description="the draw")


class OptInEvent(_GatewayEvent):
    """A player joined or left a jackpot.

    Source: ThrillPots event structures; that it has the gateway's envelope is inferred.
    """

    constants: ClassVar[Mapping[str, str]] = {"event_type": "OptInEvent"}

    data: OptIn = Field(description="the player's choice")


class CommunityPayoutErrorEvent(_GatewayEvent):
    """Paying the players who share in a win failed for some of them.

    Source: ThrillPots event structures; that it travels on the gateway is inferred.
    """

    constants: ClassVar[Mapping[str, str]] = {"event_type": "CommunityPayoutErrorEvent"}

    data: CommunityPayoutError = Field(description="the failed payouts")


class RafflePayoutErrorEvent(_GatewayEvent):
    """Paying the winners of a raffle failed for some of them.

    Source: ThrillPots event structures since 202410-1; that it travels on the gateway is inferred.
    """

    constants: ClassVar[Mapping[str, str]] = {"event_type": "RafflePayoutErrorEvent"}

    data: RafflePayoutError = Field(description="the failed payouts")


_ALL: Final = (
    CommunityPayoutErrorEvent,
    JackpotUpdateEvent,
    JackpotWinEvent,
    OptInEvent,
    RafflePayoutErrorEvent,
    RaffleWinEvent,
)

FAMILY: Final = Family(name="thrillpots", models={model.__name__: model for model in _ALL}, format="thrillpots")
"""All events of ThrillPots' gateway by name."""
