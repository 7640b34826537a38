"""What a client sends over ThrillConnect: each request is one object whose only key is the request's name."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from brokerkit._vendors.thrillconnect._bodies import Body
from brokerkit.events._model import Event, wire
from brokerkit.events._types import Money


class Interest(Body):
    """One kind of event to receive."""

    source: str = Field(description="source system")
    event_type: str = Field(description='event name, or "*" for all of the source')


class Subscription(Body):
    """What to receive."""

    events: list[Interest] = Field(description="what to receive")


class OptInChoice(Body):
    """Join or leave a jackpot. Which fields are required is taken from the printed examples."""

    instance_id: str = Field(description="jackpot instance")
    player_id: str = Field(description="player")
    brand_id: str = Field(description="brand, as operator:brand")
    player_country: str = Field(description="country of two letters")
    opt_in: bool = Field(description="true joins, false leaves")
    contribution_value: Money | None = wire("stake; the default one if left out")


class OptInTarget(Body):
    """What to join."""

    type: str = Field(description='how the id is to be read: "source" in the example, the text says "instance" too')
    id: str = Field(description="source or instance id")


class OptInPlayer(Body):
    """Who joins."""

    id: str = Field(description="player")
    country: str = Field(description="country")
    brand_id: str = Field(description="brand, without its operator here")


class OptInChoiceV2(Body):
    """Join or leave a jackpot, second form; more fields may exist."""

    target: OptInTarget = Field(description="what to join")
    operator_id: str = Field(description="operator")
    player: OptInPlayer = Field(description="who joins")
    opt_in: bool | None = wire("true joins, false leaves; its place here is inferred from the first form")
    opt_linked: bool | None = wire("take linked jackpots along; its place here is inferred")


class RaffleTicketQuestion(Body):
    """Whose tickets of which raffle to count."""

    player_id: str = Field(description="player")
    instance_id: str = Field(description="raffle instance")
    brand_id: str = Field(description="brand, as operator:brand")


class SubscribeRequest(Event):
    """Ask for events; nothing is promised before it was sent, and no answer is documented.

    Source: ThrillConnect WebSocket API. Sent by the client.
    """

    model_config = ConfigDict(alias_generator=None)

    request: Subscription = Field(alias="SubscribeRequest", description="what to receive")


class PlayerOptInRequest(Event):
    """Let a player join or leave a jackpot; `OptInEvent` answers when it is accepted, nothing is said of a refusal.

    Source: ThrillConnect WebSocket API. Sent by the client.
    """

    model_config = ConfigDict(alias_generator=None)

    request: OptInChoice = Field(alias="PlayerOptInRequest", description="who joins or leaves what")


class PlayerOptInRequestV2(Event):
    """Let a player join or leave a jackpot or all jackpots of a source.

    Source: ThrillConnect WebSocket API since 202504-1, which was seen in part. Sent by the client.
    """

    model_config = ConfigDict(alias_generator=None)

    request: OptInChoiceV2 = Field(alias="PlayerOptInRequestV2", description="who joins or leaves what")


class PlayerRaffleTicketsRequest(Event):
    """Ask how many raffle tickets a player has; `PlayerRaffleTicketResponse` answers.

    Source: ThrillConnect WebSocket API. Sent by the client.
    """

    model_config = ConfigDict(alias_generator=None)

    request: RaffleTicketQuestion = Field(alias="PlayerRaffleTicketsRequest", description="whose tickets to count")
