"""ThrillConnect's messages: an envelope, and under `data` a body that is typed by the message's name.

A handler gets the whole envelope, because operator, brand and player stand outside the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from brokerkit._vendors.thrillconnect._bodies import (
    DropWin,
    JackpotValues,
    JackpotWin,
    OptIn,
    PlayerBonus,
    RaffleTickets,
    RaffleWin,
)
from brokerkit.events._constants import Fixed, constant
from brokerkit.events._model import Event
from brokerkit.events._types import SentAtMillis


class _Envelope(Fixed, Event):
    """What every message has."""

    model_config = ConfigDict(alias_generator=None)

    source: str = constant("system that sent it: thrillpots, thrillgate, thrilldrops or another")
    msg_name: str = constant("name of the message")
    operator_id: str = Field(description="operator that it is aimed at")
    brand_id: str = Field(
        description="brand that it is aimed at, without its operator; inside data often operator:brand"
    )
    player_id: str | None = Field(description="player that it is aimed at; null if it is not for a single player")
    timestamp: SentAtMillis = Field(
        description="when it was sent; the unit is not stated: seconds and milliseconds are told apart by size, "
        "milliseconds are written",
        json_schema_extra={"unit": "milliseconds"},
    )


class AnyMessage(_Envelope):
    """Any message by its envelope alone: one whose name is not known here, or an error, of which no shape is documented.

    Source: ThrillConnect WebSocket API, which names the envelope's fields and leaves the names of events open.
    """

    msg_type: Literal["Event", "Message", "Error"] = Field(
        description="Event: something happened; Message: an answer to a request; Error: named only"
    )
    data: dict[str, Any] = Field(description="body of any shape")


class _EventMessage(_Envelope):
    """A message that says that something happened."""

    msg_type: Literal["Event"] = constant("an event, pushed after subscribing")


class JackpotUpdate(_EventMessage):
    """Values of the running jackpots, sent every so often.

    Source: ThrillPots event structures, up to release 202501-1.
    """

    constants: ClassVar[Mapping[str, str]] = {"msg_type": "Event", "source": "thrillpots", "msg_name": "JackpotUpdate"}

    data: JackpotValues = Field(description="body")


class OptInEvent(_EventMessage):
    """The connected player joined or left a jackpot; also the answer to an accepted opt-in request.

    Source: ThrillPots event structures.
    """

    constants: ClassVar[Mapping[str, str]] = {"msg_type": "Event", "source": "thrillpots", "msg_name": "OptInEvent"}

    data: OptIn = Field(description="body")


class WinEvent(_EventMessage):
    """Somebody won a jackpot, not only the connected player. The gateway calls it JackpotWinEvent.

    Source: ThrillPots event structures, releases 202405-1 to 202501-1.
    """

    constants: ClassVar[Mapping[str, str]] = {"msg_type": "Event", "source": "thrillpots", "msg_name": "WinEvent"}

    data: JackpotWin = Field(description="body")


class RaffleWinEvent(_EventMessage):
    """A raffle was drawn.

    Source: ThrillPots event structures, releases 202405-1 to 202501-1.
    """

    constants: ClassVar[Mapping[str, str]] = {"msg_type": "Event", "source": "thrillpots", "msg_name": "RaffleWinEvent"}

    data: RaffleWin = Field(description="body")


class PlayerRaffleTicketResponse(_Envelope):
    """How many raffle tickets a player has; the answer to `PlayerRaffleTicketsRequest`.

    Source: ThrillConnect WebSocket API; its body was not seen.
    """

    constants: ClassVar[Mapping[str, str]] = {
        "msg_type": "Message",
        "source": "thrillpots",
        "msg_name": "PlayerRaffleTicketResponse",
    }

    msg_type: Literal["Message"] = constant("an answer to a request; it carries no request id")
    data: RaffleTickets = Field(description="body")


class PlayerBonusAdded(_EventMessage):
    """Free bets were given to a player.

    Source: ThrillConnect WebSocket API, since release 202509-1.
    """

    constants: ClassVar[Mapping[str, str]] = {
        "msg_type": "Event",
        "source": "thrillgate",
        "msg_name": "PlayerBonusAdded",
    }

    data: PlayerBonus = Field(description="body")


class PlayerBonusRemoved(_EventMessage):
    """Free bets were taken away.

    Source: ThrillConnect WebSocket API, since release 202509-1.
    """

    constants: ClassVar[Mapping[str, str]] = {
        "msg_type": "Event",
        "source": "thrillgate",
        "msg_name": "PlayerBonusRemoved",
    }

    data: PlayerBonus = Field(description="body")


class PlayerBonusUpdated(_EventMessage):
    """Part of the free bets was used, or their state changed.

    Source: ThrillConnect WebSocket API, since release 202509-1.
    """

    constants: ClassVar[Mapping[str, str]] = {
        "msg_type": "Event",
        "source": "thrillgate",
        "msg_name": "PlayerBonusUpdated",
    }

    data: PlayerBonus = Field(description="body")


class PlayerBonusConsumed(_EventMessage):
    """All the free bets are used.

    Source: ThrillConnect WebSocket API, since release 202509-1.
    """

    constants: ClassVar[Mapping[str, str]] = {
        "msg_type": "Event",
        "source": "thrillgate",
        "msg_name": "PlayerBonusConsumed",
    }

    data: PlayerBonus = Field(description="body")


class PlayerBonusExpired(_EventMessage):
    """The free bets ran out of time.

    Source: ThrillConnect WebSocket API, since release 202509-1.
    """

    constants: ClassVar[Mapping[str, str]] = {
        "msg_type": "Event",
        "source": "thrillgate",
        "msg_name": "PlayerBonusExpired",
    }

    data: PlayerBonus = Field(description="body")


class CampaignDropWin(_EventMessage):
    """A player won a reward in a drops campaign.

    Source: pages that are marked as upcoming.
    """

    constants: ClassVar[Mapping[str, str]] = {
        "msg_type": "Event",
        "source": "thrilldrops",
        "msg_name": "CampaignDropWin",
    }

    data: DropWin = Field(description="body")
