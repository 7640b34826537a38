"""The state behind the simulated events: players, their money, and the room's clock."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from brokerkit._messages._headers import CONTENT_TYPE
from brokerkit._messages._message import Message
from brokerkit._vendors.evenbet import (
    FAMILY,
    OnPlayerBalanceChanged,
    OnTransactionNotification,
    OnUserLoggedIn,
    OnUserLoggedOut,
    TransactionSubType,
    TransactionType,
)
from brokerkit._vendors.simulate.evenbet._hands import FIRST_BALANCE, MONEY, SKIN, Player, Table, deal
from brokerkit.events import Event

_NICKS: Final = (
    *("Birch", "Cobalt", "Dune", "Ember", "Fjord", "Gale", "Heron", "Iris", "Juniper", "Kestrel", "Larch"),
    *("Maple", "Nimbus", "Onyx", "Petrel", "Quartz", "Raven", "Sable", "Thistle", "Vesper", "Willow", "Zephyr"),
)
_PLATFORMS: Final = (("html5", "Windows"), ("html5", "macOS"), ("android", "Android"), ("ios", "iOS"))
_SUB_TYPES: Final = {
    TransactionType.TO_TABLE: TransactionSubType.SIT_DOWN,
    TransactionType.FROM_TABLE: TransactionSubType.LEAVE_TABLE,
}


class Simulated(NamedTuple):
    """One event of the stream.

    Attributes:
        name: the event name.
        event: the typed payload.
        key: the ordering key: the table of a hand, else the tournament or the player.
    """

    name: str
    event: Event
    key: str

    @property
    def message(self) -> Message:
        """The event as a message that any bus can publish."""
        body = FAMILY.write(self.event, name=self.name)
        return Message(self.name, body, key=self.key, headers={CONTENT_TYPE: "application/json"})


class Room:
    """One poker room: activities (sessions, tables, tournaments) take their players, numbers and chance from it."""

    def __init__(self, chance: random.Random, now: datetime) -> None:
        self.chance = chance
        self._now = now
        self._ids = itertools.count(chance.randrange(700_000, 800_000))
        self.players = [
            Player(id=90_201 + 7 * number, nick=nick, platform=chance.choice(_PLATFORMS))
            for number, nick in enumerate(_NICKS)
        ]

    def id(self) -> int:
        """A new number."""
        return next(self._ids)

    # ---- sessions --------------------------------------------------------------------------------------------

    def sessions(self) -> Iterator[Simulated]:
        """Players come. Those who play nowhere leave."""
        while True:
            away = [player for player in self.players if not player.online]
            idle = [player for player in self.players if player.online and not player.seats]
            if idle and (len(idle) > 5 or self.chance.random() < 0.5):
                yield self.log_out(self.chance.choice(idle))
            else:
                # With everybody here, somebody comes again from a second device.
                yield self.log_in(self.chance.choice(away or self.players))

    def log_in(self, player: Player) -> Simulated:
        """Have a player come."""
        first = not player.has_logged_in
        player.online = player.has_logged_in = True
        platform, system = player.platform
        login = OnUserLoggedIn(
            player_id=player.id,
            external_id=player.external_id,
            nick=player.nick,
            platform=platform,
            os_name=system,
            ip=f"192.0.2.{player.id % 250}",
            skin_id=SKIN,
            is_first_login=first,
        )
        return Simulated("OnUserLoggedIn", login, str(player.id))

    def log_out(self, player: Player) -> Simulated:
        """Have a player leave."""
        player.online = False
        logout = OnUserLoggedOut(
            player_id=player.id,
            external_id=player.external_id,
            nick=player.nick,
            platform=player.platform[0][0].upper(),
            skin_id=SKIN,
        )
        return Simulated("OnUserLoggedOut", logout, str(player.id))

    # ---- money -----------------------------------------------------------------------------------------------

    def move(
        self,
        player: Player,
        amount: int,
        in_play: int,
        *,
        kind: TransactionType,
        table: int = 0,
        tournament: int = 0,
    ) -> Iterator[Simulated]:
        """Book an amount on a balance, in cents; a negative one takes money. ``in_play`` is the change at the tables."""
        old, player.balance = player.balance, player.balance + amount
        player.in_play += in_play
        change = OnPlayerBalanceChanged(
            player_id=player.id,
            external_id=player.external_id,
            skin_id=SKIN,
            money_type=MONEY,
            old_amount=old,
            new_amount=player.balance,
            new_in_play_amount=player.in_play,
        )
        yield Simulated("OnPlayerBalanceChanged", change, str(player.id))
        transaction = OnTransactionNotification(
            transaction_id=self.id(),
            param_player_id=player.id,
            param_external_id=player.external_id,
            skin_id=SKIN,
            money_type=MONEY,
            amount=amount,
            transaction_type=kind,
            transaction_sub_type=_SUB_TYPES.get(kind, TransactionSubType.DEFAULT),
            param_table_id=table,
            param_tournament_id=tournament,
            created_stamp=self._now,
        )
        yield Simulated("OnTransactionNotification", transaction, str(player.id))

    def make_ready(self, player: Player, amount: int) -> Iterator[Simulated]:
        """Log in and deposit until the player is here and can pay. Nothing happens between the last check and the return."""
        while not player.online or player.balance < amount:
            if not player.online:
                yield self.log_in(player)
            else:
                yield from self.move(player, FIRST_BALANCE // 2, 0, kind=TransactionType.UNKNOWN)

    # ---- hands -----------------------------------------------------------------------------------------------

    def hand(self, table: Table) -> Simulated:
        """Deal one hand; the room's clock goes on by as long as it takes."""
        began, self._now = self._now, self._now + timedelta(seconds=self.chance.randrange(20, 90))
        done = deal(table, self.chance, game_id=self.id(), began=began, ended=self._now)
        return Simulated("OnGameDone", done, str(table.id))
