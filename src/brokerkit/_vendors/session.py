"""Fireball's session messages: `Session` v1.0.0, `Authenticate`, and the message names that are only known by name.

`Session` and `Authenticate` follow published JSON Schemas: what these require is required here, and what they refuse is
refused. The names of the other messages are constants of the vendor's C# SDK; nobody published their fields, so their
models are open.

The schemas are camelCase. The vendor's SDK has two writers, one of them PascalCase, and which of them reaches the wire
was not seen: both are read, camelCase is written. Keys that the schemas do not know (the SDK sends some) are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import AliasChoices, AliasGenerator, ConfigDict, Field
from pydantic.alias_generators import to_camel, to_pascal

from brokerkit.events._constants import Fixed, constant
from brokerkit.events._family import Family
from brokerkit.events._model import Event, WireObject, wire
from brokerkit.events._types import Money

__all__ = [
    "FAMILY",
    "Authenticate",
    "AuthenticateReject",
    "Balance",
    "BalanceUpdated",
    "BetPlace",
    "BetPlaceRejected",
    "BetPlaced",
    "Environment",
    "Error",
    "FreeBetCampaign",
    "GameMode",
    "JackpotDetails",
    "JackpotDetailsResult",
    "JackpotPaid",
    "JackpotPay",
    "JackpotPayRejected",
    "MatchStart",
    "Ping",
    "PlayerDisconnected",
    "RtpTestResult",
    "RtpTestStart",
    "Session",
    "SessionMessage",
    "Warning",
    "WinningPaid",
    "WinningPay",
    "WinningPayRejected",
]

_EITHER_CASE: Final = ConfigDict(
    alias_generator=AliasGenerator(
        validation_alias=lambda field: AliasChoices(to_camel(field), to_pascal(field)), serialization_alias=to_camel
    )
)


class Environment(StrEnum):
    """Deployment stage."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class GameMode(StrEnum):
    """Play mode. The vendor's C# SDK also knows "fun", which the schema refuses."""

    MONEY = "money"
    COINS = "coins"


class FreeBetCampaign(WireObject):
    """A free-bet campaign that the player holds; the schema requires none of its fields."""

    model_config = _EITHER_CASE

    id: UUID | None = wire("campaign")
    number_of_bets: int | None = wire("bets left")
    bet_amount: Money | None = wire("stake for each bet", unit="cents")
    settings: dict[str, Any] | None = wire("campaign settings; the schema says pairs of text, the SDK takes any value")


class _Message(Fixed, Event):
    """Fields shared by Session and Authenticate."""

    model_config = _EITHER_CASE

    action_id: str = Field(
        description="id of this one action; the schema names no format, the vendor's SDK uses a UUID"
    )
    environment: Environment = Field(description="deployment stage")
    operator_id: UUID = Field(description="operator")
    game_mode: GameMode = Field(description="play mode")
    game_id: UUID = Field(description="game")
    currency: str = Field(description="ISO currency code; the schema sets no pattern")
    connection_id: str = Field(description="websocket connection of the player")
    replay_id: str | None = wire("handle for history and replay; a null, which the SDK may send, stays one")
    extra: dict[str, str] | None = wire("pairs of text from the launch or the integration")


class Session(_Message):
    """An operator has accepted the player: who plays which game, in which currency and with what balance.

    Source: JSON Schema of the catalogue page "Session", version 1.0.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "session"}

    name: Literal["session"] = constant("message name, lower case on the wire")
    player_id: UUID = Field(description="player")
    operator_player_session: str = Field(description="operator's own session id")
    operator_player_id: str = Field(description="operator's own player id")
    balance: Money = Field(
        description="player's balance; no unit is stated: the SDK has a whole number, likely cents, the schema admits "
        "fractions"
    )
    free_bet_campaigns: list[FreeBetCampaign] | None = wire("free-bet campaigns that the player holds")


class Authenticate(_Message):
    """A game asks that a player be checked; `Session` is the answer.

    Source: JSON Schema of the catalogue page "Authenticate", version 1.0.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "authenticate"}

    name: Literal["authenticate"] = constant("message name")
    token: str = Field(description="player token to check")


class SessionMessage(Fixed, Event):
    """A message known by name alone; its fields are not documented and all are kept. Source: constants of the SDK."""

    model_config = _EITHER_CASE

    name: str = constant("message name")


class Ping(SessionMessage):
    """A sign of life, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "ping"}


class AuthenticateReject(SessionMessage):
    """A player was not accepted, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "authenticate-reject"}


class PlayerDisconnected(SessionMessage):
    """A player lost the connection, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "player-disconnected"}


class Error(SessionMessage):
    """Something failed, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "error"}


class Warning(SessionMessage):
    """Something is not as it should be, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "warning"}


class Balance(SessionMessage):
    """A balance is asked for or told, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "balance"}


class BalanceUpdated(SessionMessage):
    """A balance changed, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "balance-updated"}


class BetPlace(SessionMessage):
    """A bet is to be booked, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "bet-place"}


class BetPlaced(SessionMessage):
    """A bet was booked, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "bet-placed"}


class BetPlaceRejected(SessionMessage):
    """A bet was refused, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "bet-place-rejected"}


class WinningPay(SessionMessage):
    """A win is to be paid, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "winning-pay"}


class WinningPaid(SessionMessage):
    """A win was paid, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "winning-paid"}


class WinningPayRejected(SessionMessage):
    """Paying a win was refused, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "winning-pay-rejected"}


class JackpotDetails(SessionMessage):
    """The details of a jackpot are asked for, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "jackpot-details"}


class JackpotDetailsResult(SessionMessage):
    """The details of a jackpot, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "jackpot-details-result"}


class JackpotPay(SessionMessage):
    """A jackpot win is to be paid, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "jackpot-pay"}


class JackpotPaid(SessionMessage):
    """A jackpot win was paid, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "jackpot-paid"}


class JackpotPayRejected(SessionMessage):
    """Paying a jackpot win was refused, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "jackpot-pay-rejected"}


class MatchStart(SessionMessage):
    """A match begins, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "match-start"}


class RtpTestStart(SessionMessage):
    """A test of the return to player begins, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "rtp-test-start"}


class RtpTestResult(SessionMessage):
    """The result of a test of the return to player, by its name; fields not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "rtp-test-result"}


_ALL: Final = (
    Authenticate,
    Session,
    Ping,
    AuthenticateReject,
    PlayerDisconnected,
    Error,
    Warning,
    Balance,
    BalanceUpdated,
    BetPlace,
    BetPlaced,
    BetPlaceRejected,
    WinningPay,
    WinningPaid,
    WinningPayRejected,
    JackpotDetails,
    JackpotDetailsResult,
    JackpotPay,
    JackpotPaid,
    JackpotPayRejected,
    MatchStart,
    RtpTestStart,
    RtpTestResult,
)

FAMILY: Final = Family(name="session", models={model.constants["name"]: model for model in _ALL}, format="session")
"""All session messages by the name they carry, lower case as on the wire."""
