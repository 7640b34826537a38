"""The bodies of ThrillConnect's and ThrillPots' events: what stands under `data`.

ThrillPots' events travel on two channels, so most bodies serve two families. The documentation marks nothing in them as
required, so every field is optional. Where it names a release (202410-1), earlier ones lack the field.

Amounts are in the currency that stands beside them, exact to the digits of the JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, ConfigDict

from brokerkit.events._constants import Fixed, constant
from brokerkit.events._model import WireObject, wire
from brokerkit.events._types import EpochMillis, EpochSeconds, KnownFirst, Money


class Body(WireObject):
    """An object of these APIs, whose wire names are the attribute names."""

    model_config = ConfigDict(alias_generator=None)


class JackpotType(StrEnum):
    """Kind of jackpot."""

    JACKPOT = "Jackpot"
    RAFFLE = "Raffle"


class BonusState(StrEnum):
    """State of an award; there is none for a removed one."""

    AVAILABLE = "Available"
    CONSUMED = "Consumed"
    EXPIRED = "Expired"


class Pot(Body):
    """One pot of a jackpot."""

    id: str | None = wire("pot id")
    is_progressive: bool | None = wire("whether the pot grows")
    current_value: Money | None = wire("value now", unit="currency of the jackpot")


class JackpotValues(Body):
    """What a jackpot instance is worth."""

    id: str | None = wire("jackpot instance id; a UUID in the example")
    jackpot_type: Annotated[JackpotType | str, KnownFirst()] | None = wire("kind of jackpot; since 202501-1")
    currency: str | None = wire("currency of the pots")
    pots: list[Pot] | None = wire("pots")
    allowed_brands: list[str] | None = wire("brands that may take part, as operator:brand")
    allowed_sources: list[str] | None = wire("contribution sources that count")
    status: str | None = wire("state of the jackpot; its values are not listed")
    timestamp_start: EpochMillis = wire("start; since 202501-1")
    timestamp_end: EpochMillis = wire("end; since 202501-1")
    last_updated: EpochMillis = wire("last change")


class CurrencyValue(Body):
    """An amount in one currency."""

    currency: str | None = wire("currency")
    value: Money | None = wire("amount", unit="currency beside it")


class CurrencyMultipliers(Body):
    """Exchange rates."""

    brand_id: str | None = wire("brand the rates hold for")
    base_currency: str | None = wire("currency the rates start from")
    multipliers: dict[str, Money] | None = wire("rate for each currency code")


class Payout(Body):
    """What one player won."""

    player_id: str | None = wire("winner")
    brand_id: str | None = wire("brand of the winner")
    currency: str | None = wire("currency")
    win_amount: Money | None = wire("amount won", unit="currency beside it")


def _payouts(value: object) -> object:
    """Make each pair [player id, {currency, value}], the form up to 202405-1, the object that came later."""
    if not isinstance(value, list):
        return value
    return [_payout_of_pair(one) for one in cast("list[object]", value)]


def _payout_of_pair(one: Any) -> Any:
    match one:
        case [player_id, {"currency": currency, "value": value}]:
            return {"player_id": player_id, "currency": currency, "win_amount": value}
        case _:
            return one


class OptIn(Body):
    """A player takes part in a jackpot, or no longer does."""

    instance_id: str | None = wire("jackpot instance")
    player_id: str | None = wire("player")
    ext_player_id: str | None = wire("operator's player id")
    player_brand_id: str | None = wire("brand of the player")
    preferred_contribution_value: Money | None = wire("stake that the player asked for")
    contribution_count: int | None = wire("contributions so far")
    contribution_value: Money | None = wire("stake in force")
    opted_in: bool | None = wire("whether the player takes part; requests call it opt_in")
    last_updated: EpochMillis = wire("last change")


class JackpotWin(Body):
    """A jackpot that was won, as the WebSocket tells it."""

    brand_id: str | None = wire("brand")
    player_id: str | None = wire("winner")
    source_id: str | None = wire("contribution source; may be null")
    instance_id: str | None = wire("jackpot instance")
    jackpot_name: str | None = wire("name of the jackpot")
    jackpot_currency: str | None = wire("currency of the jackpot")
    timestamp: EpochMillis = wire("when it was won")
    win_pot_id: str | None = wire("pot that was won")
    win_amounts: list[CurrencyValue] | None = wire(
        "amount in each currency, up to 202410-1; since then the WebSocket tells no amount"
    )
    currency_multipliers: CurrencyMultipliers | None = wire("exchange rates; since 202501-1")
    win_withheld: bool | None = wire("whether the payout is held back")
    community_winners: list[Payout] | None = wire("players who share in the win")
    games_in_jackpot: list[str] | None = wire("games that feed the jackpot")
    seed: Money | None = wire("value that the pot starts again from; the meaning is inferred from the name")
    metadata: dict[str, Any] | None = wire("notes of the caller; since 202501-1")


class GatewayJackpotWin(Body):
    """A jackpot that was won, as the gateway tells it: with its amount, without its currency."""

    brand_id: str | None = wire("brand")
    player_id: str | None = wire("winner")
    source_id: str | None = wire("contribution source; may be null")
    instance_id: str | None = wire("jackpot instance")
    jackpot_name: str | None = wire("name of the jackpot")
    timestamp: EpochMillis = wire("when it was won")
    win_pot_id: str | None = wire("pot that was won; 202410-1 misspells it", name="win_pot_id", also="win_pot_it")
    win_amount: Money | None = wire("amount won; its currency is not stated")
    currency_multipliers: CurrencyMultipliers | None = wire("exchange rates; since 202501-1")
    win_withheld: bool | None = wire("whether the payout is held back")
    community_winners: list[Payout] | None = wire("players who share in the win; may be null")
    games_in_jackpot: list[str] | None = wire("games that feed the jackpot")
    seed: Money | None = wire("value that the pot starts again from; the meaning is inferred from the name")
    seed_deficit: Money | None = wire("shortfall on that value; the meaning is inferred from the name")
    metadata: dict[str, Any] | None = wire("notes of the caller; since 202501-1")


class RaffleWin(Body):
    """A raffle that was drawn."""

    brand_id: str | None = wire("brand")
    instance_id: str | None = wire("jackpot instance")
    jackpot_name: str | None = wire("name of the jackpot")
    jackpot_currency: str | None = wire("currency of the jackpot")
    currency_multipliers: CurrencyMultipliers | None = wire("exchange rates; since 202410-1")
    timestamp: EpochMillis = wire("when it was drawn")
    winners: Annotated[list[Payout] | None, BeforeValidator(_payouts)] = wire(
        "winners; up to 202405-1 each was a pair of player id and amount, which is read too"
    )
    win_withheld: bool | None = wire("whether the payout is held back")


class CommunityPayoutError(Body):
    """Payouts to players who share in a win that failed."""

    instance_id: str | None = wire("jackpot instance")
    gameround_id: str | None = wire("game round")
    tx_credit_id: str | None = wire("credit transaction")
    failed_payouts: list[Payout] | None = wire("payouts that failed")


class RafflePayoutError(Body):
    """Payouts of a raffle that failed."""

    instance_id: str | None = wire("jackpot instance")
    failed_payouts: list[Payout] | None = wire("payouts that failed")


class RaffleTickets(Body):
    """How many raffle tickets a player has. The fields are not documented, and all are kept."""


class FixedFreeSpins(Fixed, Body):
    """A number of free bets of the same worth."""

    constants: ClassVar[Mapping[str, str]] = {"type": "PlayerFixedFreeSpins"}

    type: Literal["PlayerFixedFreeSpins"] = constant("which of the two shapes this is")
    currency: str | None = wire("currency")
    count: int | None = wire("number awarded")
    used: int | None = wire("number used")
    value: Money | None = wire("worth of each", unit="currency beside it")


class VariableFreeSpins(Fixed, Body):
    """A sum for free bets of any worth. Its amounts are text on the wire."""

    constants: ClassVar[Mapping[str, str]] = {"type": "PlayerVariableFreeSpins"}

    type: Literal["PlayerVariableFreeSpins"] = constant("which of the two shapes this is")
    currency: str | None = wire("currency")
    amount: Decimal | None = wire("sum awarded", unit="currency beside it")
    amount_used: Decimal | None = wire("sum used", unit="currency beside it")


class FreeSpins(Body):
    """An award of free bets."""

    id: str | None = wire("id")
    name: str | None = wire("name")
    freespin_type: Annotated[FixedFreeSpins | VariableFreeSpins | dict[str, Any], KnownFirst()] | None = wire(
        "a fixed number or a variable sum, told apart by its type; an unknown type stays a plain object"
    )


class BonusData(Body):
    """What was awarded."""

    freespins: FreeSpins | None = wire("free bets", name="Freespins")


class BonusPlaces(Body):
    """Where an award may be used."""

    provider_id: str | None = wire("game provider")
    game_ids: list[str] | None = wire("games")


class PlayerBonus(Body):
    """An award of free bets, the same in all events about it."""

    id: str | None = wire("record id")
    promo_id: str | None = wire("promotion; may be null")
    bonus_instance_id: str | None = wire("award id")
    available_for: list[BonusPlaces] | None = wire("where it may be used")
    bonus_data: BonusData | None = wire("the award")
    state: Annotated[BonusState | str, KnownFirst()] | None = wire("state of the award")
    timestamp_bonus_awarded: EpochSeconds = wire("when it was awarded")
    timestamp_bonus_expires: EpochSeconds = wire("when it runs out")
    timestamp_bonus_consumed: EpochSeconds = wire("when it was used up; may be null")


class DropWin(Body):
    """A reward of a drops campaign."""

    reward_id: str | None = wire("reward")
    reward_valid_from: EpochMillis = wire("usable from")
    reward_valid_to: EpochMillis = wire("usable until; optional")
    name: str | None = wire("name of the reward")
    currency: str | None = wire("currency")
    value: Money | None = wire("amount", unit="currency beside it")
    image: str | None = wire("URI of a picture; optional")
    animation: str | None = wire("name of an animation; optional")
