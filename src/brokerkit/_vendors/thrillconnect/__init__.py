"""ThrillConnect: the messages of its WebSocket, and the requests that a client sends over it.

A message is an envelope whose `msg_name` says what stands under `data`. Only the envelope's fields are documented as
always there. `RaffleWinEvent` and `OptInEvent` exist on ThrillPots' gateway too, in another envelope: see
`brokerkit.events.thrillpots`. A message whose name is not known here is read as `AnyMessage`.
"""

from __future__ import annotations

from typing import Final

from brokerkit._vendors.thrillconnect._bodies import (
    BonusData,
    BonusPlaces,
    BonusState,
    CurrencyMultipliers,
    CurrencyValue,
    DropWin,
    FixedFreeSpins,
    FreeSpins,
    JackpotType,
    JackpotValues,
    JackpotWin,
    OptIn,
    Payout,
    PlayerBonus,
    Pot,
    RaffleTickets,
    RaffleWin,
    VariableFreeSpins,
)
from brokerkit._vendors.thrillconnect._messages import (
    AnyMessage,
    CampaignDropWin,
    JackpotUpdate,
    OptInEvent,
    PlayerBonusAdded,
    PlayerBonusConsumed,
    PlayerBonusExpired,
    PlayerBonusRemoved,
    PlayerBonusUpdated,
    PlayerRaffleTicketResponse,
    RaffleWinEvent,
    WinEvent,
)
from brokerkit._vendors.thrillconnect._requests import (
    Interest,
    OptInChoice,
    OptInChoiceV2,
    OptInPlayer,
    OptInTarget,
    PlayerOptInRequest,
    PlayerOptInRequestV2,
    PlayerRaffleTicketsRequest,
    RaffleTicketQuestion,
    SubscribeRequest,
    Subscription,
)
from brokerkit.events._family import Family

__all__ = [
    "FAMILY",
    "AnyMessage",
    "BonusData",
    "BonusPlaces",
    "BonusState",
    "CampaignDropWin",
    "CurrencyMultipliers",
    "CurrencyValue",
    "DropWin",
    "FixedFreeSpins",
    "FreeSpins",
    "Interest",
    "JackpotType",
    "JackpotUpdate",
    "JackpotValues",
    "JackpotWin",
    "OptIn",
    "OptInChoice",
    "OptInChoiceV2",
    "OptInEvent",
    "OptInPlayer",
    "OptInTarget",
    "Payout",
    "PlayerBonus",
    "PlayerBonusAdded",
    "PlayerBonusConsumed",
    "PlayerBonusExpired",
    "PlayerBonusRemoved",
    "PlayerBonusUpdated",
    "PlayerOptInRequest",
    "PlayerOptInRequestV2",
    "PlayerRaffleTicketResponse",
    "PlayerRaffleTicketsRequest",
    "Pot",
    "RaffleTicketQuestion",
    "RaffleTickets",
    "RaffleWin",
    "RaffleWinEvent",
    "SubscribeRequest",
    "Subscription",
    "VariableFreeSpins",
    "WinEvent",
]

_BY_CLASS_NAME: Final = (
    CampaignDropWin,
    JackpotUpdate,
    OptInEvent,
    PlayerBonusAdded,
    PlayerBonusConsumed,
    PlayerBonusExpired,
    PlayerBonusRemoved,
    PlayerBonusUpdated,
    PlayerOptInRequest,
    PlayerOptInRequestV2,
    PlayerRaffleTicketResponse,
    PlayerRaffleTicketsRequest,
    RaffleWinEvent,
    SubscribeRequest,
    WinEvent,
)

FAMILY: Final = Family(
    name="thrillconnect",
    models={model.__name__: model for model in _BY_CLASS_NAME},
    format="thrillconnect",
    fallback=AnyMessage,
)
"""All ThrillConnect messages and requests by name."""
