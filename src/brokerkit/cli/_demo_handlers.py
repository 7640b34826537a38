"""The handlers of ``brokerkit demo``, written like those of your service; ``--code`` prints this file."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from brokerkit import Handlers, Message, RetryPolicy
from brokerkit._vendors.evenbet import (
    OnGameDone,
    OnPlayerBalanceChanged,
    OnTournamentCompleted,
    OnTransactionNotification,
    OnUserLoggedIn,
)

QUICKLY = RetryPolicy(attempts=3, first=0.2)


@dataclass(slots=True)
class Rake:
    """What a table earned; rake and turnover in cents."""

    game: str = ""
    hands: int = 0
    turnover: int = 0
    rake: int = 0


@dataclass(slots=True)
class Balance:
    """Where a player's money is, in cents."""

    account: int = 0
    at_tables: int = 0
    result: int = 0


@dataclass(slots=True)
class Books:
    """Everything that the handlers keep."""

    rakes: defaultdict[int, Rake] = field(default_factory=lambda: defaultdict(Rake))
    balances: defaultdict[int, Balance] = field(default_factory=lambda: defaultdict(Balance))
    nicks: dict[int, str] = field(default_factory=dict[int, str])
    booked: int = 0
    tournaments: int = 0
    handled: Counter[str] = field(default_factory=Counter[str])
    first_login: int | None = None


def make_handlers(books: Books) -> Handlers:
    """Handlers that keep the books up to date, whatever the broker."""
    handlers = Handlers()

    @handlers.on("OnGameDone")
    async def keep_rake(event: OnGameDone) -> None:
        for player in event.participations or ():
            books.balances[player.player_id or 0].result += (player.pot or 0) - (player.bet or 0)
        if not event.tournament_id:
            table = books.rakes[event.table_id or 0]
            table.game = getattr(event.game_type, "name", str(event.game_type))
            table.hands += 1
            table.turnover += sum(player.bet or 0 for player in event.participations or ())
            table.rake += event.total_rake or 0

    @handlers.on("OnPlayerBalanceChanged")
    async def keep_balance(event: OnPlayerBalanceChanged) -> None:
        balance = books.balances[event.player_id or 0]
        balance.account = event.new_amount or 0
        balance.at_tables = event.new_in_play_amount or 0

    # The message tells which attempt this is. After an error of a handler the message is tried again.
    @handlers.on("OnUserLoggedIn", retry=QUICKLY)
    async def greet(event: OnUserLoggedIn, message: Message) -> None:
        player = event.player_id or 0
        books.first_login = books.first_login or player
        if player == books.first_login and message.attempt <= 2:
            raise ConnectionError("the greeting service is down for a moment")
        books.nicks[player] = event.nick or str(player)

    # Attempts are finite: after the last one the message becomes a dead letter, and the others go on.
    @handlers.on("OnTransactionNotification", retry=QUICKLY)
    async def book(event: OnTransactionNotification) -> None:
        if event.param_player_id == 0:
            raise LookupError("there is no account for player 0")
        books.booked += 1

    # A plain function is a handler too. It runs in a thread.
    @handlers.on("OnTournamentCompleted")
    def close_tournament(event: OnTournamentCompleted) -> None:
        books.tournaments += 1

    # "*" is every event. It comes last, so it sees events that the handlers above have handled.
    @handlers.on("*")
    async def count(event: object, message: Message) -> None:
        books.handled[message.name] += 1

    return handlers
