"""Handlers that every type checker must accept. Never run, only checked."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID, uuid4

from pydantic import BaseModel

from brokerkit import Bus, Receipt
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._messages._message import Message
from brokerkit._vendors._on import On
from brokerkit.events import accelbyte, session, thrillconnect, thrillpots
from brokerkit.events.evenbet import GameType, OnCountryInfoChanged, OnGameDone, OnUserLoggedIn


class Mine(BaseModel):
    """A user's own event."""

    ante: int


async def published(bus: Bus, event: OnGameDone) -> Receipt:
    """Publish in each way."""
    bus.sync().publish("OnGameDone", {"gameId": 1}, key=b"1", headers={"a": "b"}, id=None, to=None)
    return await bus.publish(event, key="1", headers={"a": b"b"}, id="1", to="bonus")


def accepted(on: On) -> None:
    """Register each kind of handler."""

    @on("OnGameDone")
    async def settle(event: OnGameDone) -> None:
        if event.game_type == GameType.HOLDEM and event.participations:
            total: int | None = event.participations[0].bet
            print(total)

    @on("OnGameDone")
    async def tombstones_too(event: OnGameDone | None, message: Message) -> None:
        if event is not None:
            print(event.participations)

    @on("*")
    async def everything_and_tombstones(event: object | None) -> None: ...

    @on(OnGameDone)
    def class_or_tombstone(event: OnGameDone | None) -> None: ...

    @on("evenbet:OnGameDone")
    async def settle_with_message(event: OnGameDone, message: Message) -> None: ...

    @on("OnUserLoggedIn", retry=RetryPolicy(attempts=5, first=0.5, cap=30), timeout=5, source="poker")
    def audit(event: OnUserLoggedIn) -> str | None:
        return event.nick

    @on("OnUserLoggedIn")
    def audit_with_message(event: OnUserLoggedIn, message: Message) -> None: ...

    @on("onCountryInfoChanged")
    def country(event: OnCountryInfoChanged) -> None: ...

    @on("OnGameDone")
    async def takes_any_model(event: BaseModel) -> None: ...

    @on("*")
    async def everything(event: object, message: Message) -> None: ...

    @on(Mine)
    async def own(event: Mine) -> int:
        return event.ante

    @on(OnGameDone, source="poker")
    async def by_class(event: OnGameDone) -> None: ...

    @on("OnGameDone", "OnUserLoggedIn", timeout=1)
    async def either(event: OnGameDone | OnUserLoggedIn) -> None: ...

    @on(Mine, "OnGameDone", OnUserLoggedIn)
    async def mixed(event: Mine | OnGameDone | OnUserLoggedIn, message: Message) -> None: ...

    @on("onPartyCreated")
    def party_without_payload(event: accelbyte.PartyCreated) -> str | None:
        return event.session_id

    @on("OnPartyCreated")
    def party_notification(event: accelbyte.OnPartyCreated) -> None:
        told: accelbyte.Notification | accelbyte.Snapshot | None = event.decoded()
        print(told)

    @on("accelbyte:PartyCreatedEvent")
    def party_record(event: accelbyte.PartyCreatedEvent, message: Message) -> accelbyte.Snapshot | None:
        return event.decoded()

    @on("session")
    async def launch(event: session.Session) -> None:
        name: Literal["session"] = event.name
        balance: Decimal = event.balance
        print(name, balance, event.extra)

    @on("WinEvent")
    async def win(event: thrillconnect.WinEvent) -> None:
        sent: datetime = event.timestamp
        print(sent, event.operator_id, event.data.win_pot_id)

    @on("thrillconnect:RaffleWinEvent")
    async def raffle(event: thrillconnect.RaffleWinEvent) -> None: ...

    @on("thrillpots:RaffleWinEvent")
    async def raffle_at_the_gateway(event: thrillpots.RaffleWinEvent) -> UUID:
        return event.event_id

    @on(thrillpots.OptInEvent)
    async def opt_in(event: thrillpots.OptInEvent) -> None: ...

    on("OnGameDone")(lambda event: event.ante)
    OnGameDone(game_id=1, table_cards=[1, 2], participations=[])
    OnCountryInfoChanged(country=None)
    _ = (settle, settle_with_message, audit, audit_with_message, country, takes_any_model, everything, own)
    _ = (by_class, either, mixed, party_without_payload, party_notification, party_record, launch, win)
    _ = (raffle, raffle_at_the_gateway, opt_in)
    thrillpots.OptInEvent(event_id=uuid4(), data=thrillpots.OptIn(opted_in=True))
    accelbyte.SessionNotification(payload=accelbyte.Payload(message=accelbyte.pack(accelbyte.Snapshot())))
