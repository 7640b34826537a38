"""Handlers that every type checker must refuse, at each line marked "error". Never run, only checked."""

from __future__ import annotations

from brokerkit import Bus
from brokerkit._messages._message import Message
from brokerkit._vendors._on import On
from brokerkit.events import accelbyte, session, thrillconnect, thrillpots
from brokerkit.events.evenbet import OnGameDone, OnUserLoggedIn


async def game(event: OnGameDone) -> None:
    """Handle one hand."""


async def login(event: OnUserLoggedIn, message: Message) -> None:
    """Handle one login."""


async def party(event: accelbyte.PartyCreated) -> None:
    """Handle one party."""


async def raffle(event: thrillconnect.RaffleWinEvent) -> None:
    """Handle one draw."""


def nothing() -> None:
    """Take no event."""


async def published(bus: Bus, event: OnGameDone) -> None:
    """Publish in wrong ways."""
    await bus.publish(event, kye="1")  # error: a misspelt keyword
    await bus.publish(event, headers={"a": 1})  # error: a header that is a number
    bus.sync().publish(event, id=1)  # error: an id that is a number
    bus.sync().publish(event, "OnGameDone", topic="t")  # error: no such keyword


def rejected(on: On, any_text: str) -> None:
    """Register each kind of wrong handler."""
    on("OnUserLoggedIn")(game)  # error: the wrong model
    on("OnGameDone")(login)  # error: the wrong model beside a message
    on("evenbet:OnUserLoggedIn")(game)  # error: the wrong model for a qualified name
    on(OnUserLoggedIn)(game)  # error: the wrong model for a class
    on("OnGameDnoe")  # error: a misspelt name
    on("OnGameDnoe")(game)  # error: a misspelt name of a handler
    on(OnGameDone, "OnUserLogedIn")(game)  # error: a misspelt name beside a class
    on(game)  # error: a handler without an event
    on("ongamedone")  # error: the wrong case
    on("onGameDone")  # error: the wrong case
    on("evenbot:OnGameDone")  # error: an unknown family
    on(any_text)  # error: any text
    on("OnGameDone", "OnUserLogedIn")  # error: a misspelt second name
    on("OnGameDone")(nothing)  # error: no parameter for the event
    on("OnGameDone", timeout="5")  # error: a timeout as text
    on("OnGameDone", attempts=5)  # error: no such option
    on(OnGameDone())  # error: an event instead of its class
    on()  # error: no name
    print(OnGameDone().tabel_cards)  # error: no such field
    OnGameDone(game_id="x")  # error: a hand id as text
    on("OnPartyCreated")(party)  # error: an event whose name differs in case
    on("PartyCreatedEvent")(party)  # error: the record, not the event of channel session
    on("session")(party)  # error: an event of another family
    on("Session")  # error: the title, not the name on the wire
    on("RaffleWinEvent")  # error: a name of two families
    on("OptInEvent", "WinEvent")  # error: a name of two families among several
    on("thrillpots:RaffleWinEvent")(raffle)  # error: the other family's model
    on("thrillpots:WinEvent")  # error: a name of the other family
    on(thrillpots.OptInEvent)(raffle)  # error: the wrong model for a class
    session.Session()  # error: required fields
    thrillconnect.WinEvent(data=thrillconnect.JackpotWin())  # error: required fields of the envelope
    print(accelbyte.PartyCreated().decoded())  # error: an event without payload
