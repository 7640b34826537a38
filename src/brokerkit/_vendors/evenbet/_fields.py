"""Fields that many EvenBet events share, described once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from brokerkit.events._types import NullAs

PlayerId = Annotated[int | None, Field(description="player (user) id in the EvenBet system")]
TableId = Annotated[int | None, Field(description="table id")]
TournamentId = Annotated[int | None, Field(description="tournament id")]
SkinId = Annotated[int | None, Field(description="id of the player's skin (brand)")]
PlayerOnTableId = Annotated[int | None, Field(description="table session id")]
PlayerInTournamentId = Annotated[int | None, Field(description="tournament session id")]
PlayerEntryIdx = Annotated[int | None, Field(description="entry number; the brokers page's sample starts at 0")]
PlayerObjectId = Annotated[int | None, Field(description="player id again")]
ExternalId = Annotated[
    str | None,
    NullAs(""),
    Field(
        description='player id in the operator\'s own system; "" for a player without one. '
        "Some samples of the brokers page show a bare number, which is read as text"
    ),
]
ExternalSystemCode = Annotated[
    str | None,
    NullAs(""),
    Field(
        description='code of the operator\'s external system; "" if there is none. '
        "One sample of the brokers page shows a bare number, which is read as text"
    ),
]
ExternalSessionId = Annotated[
    str | None,
    NullAs(""),
    Field(
        description='extra session id of the external system; often left out or empty, and a single blank (" ") is '
        "possible"
    ),
]
