"""Handlers that every type checker must refuse, at each line marked "error". Never run, only checked."""

from __future__ import annotations

from brokerkit._message import Message
from brokerkit._on import On
from brokerkit.events.evenbet import OnGameDone, OnUserLoggedIn


async def game(event: OnGameDone) -> None:
    """Handle one hand."""


async def login(event: OnUserLoggedIn, message: Message) -> None:
    """Handle one login."""


def nothing() -> None:
    """Take no event."""


def three(event: OnGameDone, message: Message, more: int) -> None:
    """Take too much."""


def rejected(on: On, any_text: str) -> None:
    """Register each kind of wrong handler."""
    on("OnUserLoggedIn")(game)  # error: the wrong model
    on("OnGameDone")(login)  # error: the wrong model beside a message
    on("evenbet:OnUserLoggedIn")(game)  # error: the wrong model for a qualified name
    on(OnUserLoggedIn)(game)  # error: the wrong model for a class
    on("OnGameDnoe")  # error: a misspelt name
    on("ongamedone")  # error: the wrong case
    on("onGameDone")  # error: the wrong case
    on("evenbot:OnGameDone")  # error: an unknown family
    on(any_text)  # error: any text
    on("OnGameDone", "OnUserLogedIn")  # error: a misspelt second name
    on("OnGameDone")(nothing)  # error: no parameter for the event
    on("OnGameDone")(three)  # error: a third parameter
    on("OnGameDone", timeout="5")  # error: a timeout as text
    on("OnGameDone", attempts=5)  # error: no such option
    on(OnGameDone())  # error: an event instead of its class
    on()  # error: no name
    print(OnGameDone().tabel_cards)  # error: no such field
    OnGameDone(game_id="x")  # error: a hand id as text
