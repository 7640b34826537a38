"""A poker room that never closes: plausible EvenBet events from a seed.

Every stack, balance and prize follows from the events before it: what a hand takes from the losers goes to the winner and
into the rake, and new money comes from deposits alone. The same seed gives the same events.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from brokerkit.cli._hands import FIRST_BALANCE, MONEY, SKIN, Player, Seat, Table, deal
from brokerkit.events import Event
from brokerkit.events.evenbet import (
    GameType,
    OnPlayerBalanceChanged,
    OnPlayerLeaveTable,
    OnPlayerLeftTournament,
    OnPlayerSeatedDown,
    OnPlayerWinInTournament,
    OnTournamentCompleted,
    OnTournamentCreated,
    OnTournamentPlayerRegisterResult,
    OnTournamentPlayerSeatedDown,
    OnTournamentStateChanged,
    OnTransactionNotification,
    OnUserLoggedIn,
    OnUserLoggedOut,
    SharedPrizeType,
    StandUpCause,
    TournamentFee,
    TournamentState,
    TournamentType,
    TransactionSubType,
    TransactionType,
)

_NICKS: Final = (
    *("Birch", "Cobalt", "Dune", "Ember", "Fjord", "Gale", "Heron", "Iris", "Juniper", "Kestrel", "Larch"),
    *("Maple", "Nimbus", "Onyx", "Petrel", "Quartz", "Raven", "Sable", "Thistle", "Vesper", "Willow", "Zephyr"),
)
_PLATFORMS: Final = (("html5", "Windows"), ("html5", "macOS"), ("android", "Android"), ("ios", "iOS"))
_SUB_TYPES: Final = {
    TransactionType.TO_TABLE: TransactionSubType.SIT_DOWN,
    TransactionType.FROM_TABLE: TransactionSubType.LEAVE_TABLE,
}
_SEATS: Final = 6
_EVENING: Final = datetime(2026, 3, 2, 18, 0)  # noqa: DTZ001 (EvenBet's times have no zone)
_BUY_IN: Final = 5_000
_ENTRY_FEE: Final = 500
_CHIPS: Final = 20_000
_PRIZES: Final = (0.65, 0.35)
"""Shares of the prize pool, best place first."""


class Simulated(NamedTuple):
    """One event of the stream.

    Attributes:
        name: the event name.
        event: the typed payload.
        key: what orders it: the table of a hand, the tournament or the player of everything else.
    """

    name: str
    event: Event
    key: str


def simulate(seed: int | None = None, *, start: datetime = _EVENING) -> Iterator[Simulated]:
    """Endless events of one poker room: sessions, three cash tables, and tournaments one after the other.

    Args:
        seed: the same one gives the same events; None gives others each time.
        start: time of the first event, without a zone as all EvenBet times.
    """
    return _Room(random.Random(seed), start).events()


class _Room:
    """The state that the events tell of; each activity is a generator, and chance decides which one goes on."""

    def __init__(self, chance: random.Random, now: datetime) -> None:
        self._chance = chance
        self._now = now
        self._ids = iter(range(chance.randrange(700_000, 800_000), 10_000_000))
        self._players = [
            Player(id=90_201 + 7 * number, nick=nick, platform=chance.choice(_PLATFORMS))
            for number, nick in enumerate(_NICKS)
        ]

    def events(self) -> Iterator[Simulated]:
        tables = (
            Table(id=660_091, game=GameType.HOLDEM, big_blind=100),
            Table(id=660_092, game=GameType.HOLDEM, big_blind=200),
            Table(id=660_107, game=GameType.OMAHA, big_blind=100),
        )
        for player in self._players[:14]:
            yield self._log_in(player)
        activities = [self._sessions(), self._tournaments(), *(self._cash_table(table) for table in tables)]
        while True:
            [activity] = self._chance.choices(activities, weights=(1, 5, 5, 4, 3))
            yield next(activity)

    def _id(self) -> int:
        return next(self._ids)

    # ---- sessions --------------------------------------------------------------------------------------------

    def _sessions(self) -> Iterator[Simulated]:
        """Players come; those who play nowhere go."""
        while True:
            away = [player for player in self._players if not player.online]
            idle = [player for player in self._players if player.online and not player.seats]
            if idle and (len(idle) > 5 or self._chance.random() < 0.5):
                yield self._log_out(self._chance.choice(idle))
            else:
                # With everybody here, somebody comes again from a second device.
                yield self._log_in(self._chance.choice(away or self._players))

    def _log_in(self, player: Player) -> Simulated:
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

    def _log_out(self, player: Player) -> Simulated:
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

    def _move(
        self,
        player: Player,
        amount: int,
        in_play: int,
        *,
        kind: TransactionType,
        table: int = 0,
        tournament: int = 0,
    ) -> Iterator[Simulated]:
        """Book an amount (cents, negative to take it) on a balance; ``in_play`` is what it changes at the tables."""
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
            transaction_id=self._id(),
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

    def _make_ready(self, player: Player, amount: int) -> Iterator[Simulated]:
        """Log in and deposit until the player is here and can pay; nothing comes between the last check and the return."""
        while not player.online or player.balance < amount:
            if not player.online:
                yield self._log_in(player)
            else:
                yield from self._move(player, FIRST_BALANCE // 2, 0, kind=TransactionType.UNKNOWN)

    # ---- cash tables -----------------------------------------------------------------------------------------

    def _cash_table(self, table: Table) -> Iterator[Simulated]:
        while True:
            for seat in list(table.seats):
                if seat.stack < 20 * table.big_blind or self._chance.random() < 0.01:
                    yield from self._stand_up(table, seat)
            while len(table.seats) < 3 or (len(table.seats) < _SEATS and self._chance.random() < 0.1):
                yield from self._sit_down(table)
            yield self._hand(table)

    def _sit_down(self, table: Table) -> Iterator[Simulated]:
        here = {seat.player.id for seat in table.seats}
        buy_in = 100 * table.big_blind
        free = [player for player in self._players if player.id not in here]
        player = self._chance.choice([player for player in free if player.online] or free)
        yield from self._make_ready(player, buy_in)
        seat = Seat(player=player, session=self._id(), stack=buy_in)
        table.seats.append(seat)
        player.seats += 1
        yield from self._move(player, -buy_in, buy_in, kind=TransactionType.TO_TABLE, table=table.id)
        seated = OnPlayerSeatedDown(
            table_id=table.id,
            player_id=player.id,
            object_id=player.id,
            player_on_table_id=seat.session,
            external_id=player.external_id,
            skin_id=SKIN,
            num_active_players=len(table.seats),
            rake_cap=table.rake_cap,
            rake_part=table.rake_part,
            max_players=_SEATS,
        )
        yield Simulated("OnPlayerSeatedDown", seated, str(player.id))

    def _stand_up(self, table: Table, seat: Seat) -> Iterator[Simulated]:
        table.seats.remove(seat)
        player = seat.player
        player.seats -= 1
        broke = seat.stack < 20 * table.big_blind
        left = OnPlayerLeaveTable(
            table_id=table.id,
            player_id=player.id,
            object_id=player.id,
            amount=seat.stack,
            stand_up_cause=StandUpCause.NO_CASH if broke else StandUpCause.MANUAL_LEAVE_TABLE,
            skin_id=SKIN,
            external_id=player.external_id,
        )
        yield Simulated("OnPlayerLeaveTable", left, str(player.id))
        yield from self._move(player, seat.stack, -seat.stack, kind=TransactionType.FROM_TABLE, table=table.id)

    def _hand(self, table: Table) -> Simulated:
        began, self._now = self._now, self._now + timedelta(seconds=self._chance.randrange(20, 90))
        done = deal(table, self._chance, game_id=self._id(), began=began, ended=self._now)
        return Simulated("OnGameDone", done, str(table.id))

    # ---- tournaments -----------------------------------------------------------------------------------------

    def _tournaments(self) -> Iterator[Simulated]:
        while True:
            yield from self._tournament(self._id())

    def _tournament(self, id_: int) -> Iterator[Simulated]:
        """One sit-and-go, from its announcement to its results."""
        name = f"Sit & Go {id_ % 1000}"
        key = str(id_)
        table = Table(id=self._id(), game=GameType.HOLDEM, big_blind=400, tournament=id_)
        yield Simulated("OnTournamentCreated", OnTournamentCreated(object_id=id_, tournament_id=id_), key)
        yield self._state(id_, TournamentState.REGISTERING)
        for player in self._chance.sample(self._players, _SEATS):
            yield from self._make_ready(player, _BUY_IN + _ENTRY_FEE)
            table.seats.append(Seat(player=player, session=self._id(), stack=_CHIPS))
            player.seats += 1
            yield from self._move(player, -_BUY_IN - _ENTRY_FEE, 0, kind=TransactionType.UNKNOWN, tournament=id_)
            # The documentation names this event without its fields; these two are what every other one has.
            registered = OnTournamentPlayerRegisterResult.model_validate({"playerId": player.id, "tournamentId": id_})
            yield Simulated("OnTournamentPlayerRegisterResult", registered, key)
        yield self._state(id_, TournamentState.SEATING)
        for seat in table.seats:
            seated = OnTournamentPlayerSeatedDown(
                tournament_id=id_,
                tournament_name=name,
                tournament_type=TournamentType.SIT_AND_GO,
                first_seating=True,
                table_id=table.id,
                player_id=seat.player.id,
                object_id=seat.player.id,
                external_id=seat.player.external_id,
                skin_id=SKIN,
                player_in_tournament_id=seat.session,
            )
            yield Simulated("OnTournamentPlayerSeatedDown", seated, key)
        yield self._state(id_, TournamentState.RUNNING)

        prizes = [round(share * _BUY_IN * _SEATS) for share in _PRIZES]
        rows: list[TournamentFee] = []
        level = 0
        while len(table.seats) > 1:
            level += 1
            yield self._hand(table)
            table.big_blind += 200
            for seat in [seat for seat in table.seats if seat.stack < table.big_blind]:
                if len(table.seats) > 1:
                    yield self._knock_out(table, seat, prizes, rows, level)
        [winner] = table.seats
        winner.player.seats -= 1
        rows.append(_fee(winner.player, id_, 1, level))
        by_place = {row.place_from: row.player_id for row in rows}
        for place, amount in enumerate(prizes, start=1):
            player = next(one for one in self._players if one.id == by_place[place])
            won = OnPlayerWinInTournament(
                player_id=player.id,
                tournament_id=id_,
                tournament_name=name,
                place_from=place,
                place_to=place,
                amount=amount,
                external_id=player.external_id,
                skin_id=SKIN,
                won_ticket=False,
            )
            yield Simulated("OnPlayerWinInTournament", won, key)
            yield from self._move(player, amount, 0, kind=TransactionType.UNKNOWN, tournament=id_)
        yield self._state(id_, TournamentState.DONE)
        completed = OnTournamentCompleted(
            object_id=id_,
            tournament_id=id_,
            money_type=MONEY,
            used_shared_prize_type=SharedPrizeType.NONE,
            fee_list=sorted(rows, key=lambda row: row.place_from or 0),
        )
        yield Simulated("OnTournamentCompleted", completed, key)

    def _knock_out(
        self, table: Table, seat: Seat, prizes: list[int], rows: list[TournamentFee], level: int
    ) -> Simulated:
        """Take a player out; the chips that are too few for a blind go to whoever has most."""
        place = len(table.seats)
        table.seats.remove(seat)
        seat.player.seats -= 1
        max(table.seats, key=lambda other: other.stack).stack += seat.stack
        rows.append(_fee(seat.player, table.tournament, place, level))
        left = OnPlayerLeftTournament(
            tournament_id=table.tournament,
            player_id=seat.player.id,
            object_id=seat.player.id,
            external_id=seat.player.external_id,
            place_from=place,
            place_to=place,
            prize_place=place <= len(prizes),
            main_prize_amount=prizes[place - 1] if place <= len(prizes) else 0,
            skin_id=SKIN,
            level=level,
            player_in_tournament_id=seat.session,
        )
        return Simulated("OnPlayerLeftTournament", left, str(table.tournament))

    def _state(self, id_: int, state: TournamentState) -> Simulated:
        changed = OnTournamentStateChanged(
            tournament_id=id_, tournament_state=state, is_prize_paid=state is TournamentState.DONE
        )
        return Simulated("OnTournamentStateChanged", changed, str(id_))


def _fee(player: Player, tournament: int, place: int, level: int) -> TournamentFee:
    return TournamentFee(
        player_id=player.id,
        external_id=player.external_id,
        skin_id=SKIN,
        tournament_id=tournament,
        buy_in=_BUY_IN,
        entry_fee=_ENTRY_FEE,
        number_rebuy=0,
        number_addon=0,
        place_from=place,
        place_to=place,
        level=level,
    )
