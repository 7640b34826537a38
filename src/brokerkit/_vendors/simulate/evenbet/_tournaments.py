"""Tournaments, one after the other: registration, seating, play with rising blinds, prizes, results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from brokerkit._vendors.evenbet import (
    GameType,
    OnPlayerLeftTournament,
    OnPlayerUnregisteredFromTournament,
    OnPlayerWinInTournament,
    OnTournamentCompleted,
    OnTournamentCreated,
    OnTournamentPlayerRegisterResult,
    OnTournamentPlayerSeatedDown,
    OnTournamentStateChanged,
    SharedPrizeType,
    TournamentFee,
    TournamentState,
    TournamentType,
    TransactionType,
)
from brokerkit._vendors.simulate.evenbet._hands import MONEY, SKIN, Player, Seat, Table
from brokerkit._vendors.simulate.evenbet._room import Room, Simulated

_SEATS: Final = 6
_BUY_IN: Final = 5_000
_ENTRY_FEE: Final = 500
_CHIPS: Final = 20_000
_PRIZES: Final = (0.65, 0.35)
"""Shares of the prize pool, best place first."""


def tournaments(room: Room) -> Iterator[Simulated]:
    """Endless tournaments, one at a time."""
    while True:
        yield from _tournament(room, room.id())


def _tournament(room: Room, id_: int) -> Iterator[Simulated]:
    """One sit-and-go, from its announcement to its results."""
    # one piece: it reads as the tournament runs, from the first event to the last.
    name = f"Sit & Go {id_ % 1000}"
    key = str(id_)
    table = Table(id=room.id(), game=GameType.HOLDEM, big_blind=400, tournament=id_)
    yield Simulated("OnTournamentCreated", OnTournamentCreated(object_id=id_, tournament_id=id_), key)
    yield _state(id_, TournamentState.REGISTERING)
    while len(table.seats) < _SEATS:
        yield from _register(room, table)
        if room.chance.random() < 0.1:
            yield from _unregister(room, table, room.chance.choice(table.seats))
    yield _state(id_, TournamentState.SEATING)
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
    yield _state(id_, TournamentState.RUNNING)

    prizes = [round(share * _BUY_IN * _SEATS) for share in _PRIZES]
    rows: list[TournamentFee] = []
    level = 0
    while len(table.seats) > 1:
        level += 1
        yield room.hand(table)
        table.big_blind += 200
        for seat in [seat for seat in table.seats if seat.stack < table.big_blind]:
            if len(table.seats) > 1:
                yield _knock_out(table, seat, prizes, rows, level)
    [winner] = table.seats
    winner.player.seats -= 1
    rows.append(_fee(winner.player, id_, 1, level))
    by_place = {row.place_from: row.player_id for row in rows}
    for place, amount in enumerate(prizes, start=1):
        player = next(one for one in room.players if one.id == by_place[place])
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
        yield from room.move(player, amount, 0, kind=TransactionType.UNKNOWN, tournament=id_)
    yield _state(id_, TournamentState.DONE)
    completed = OnTournamentCompleted(
        object_id=id_,
        tournament_id=id_,
        money_type=MONEY,
        used_shared_prize_type=SharedPrizeType.NONE,
        fee_list=sorted(rows, key=lambda row: row.place_from or 0),
    )
    yield Simulated("OnTournamentCompleted", completed, key)


def _register(room: Room, table: Table) -> Iterator[Simulated]:
    here = {seat.player.id for seat in table.seats}
    player = room.chance.choice([player for player in room.players if player.id not in here])
    yield from room.make_ready(player, _BUY_IN + _ENTRY_FEE)
    table.seats.append(Seat(player=player, session=room.id(), stack=_CHIPS))
    player.seats += 1
    yield from room.move(player, -_BUY_IN - _ENTRY_FEE, 0, kind=TransactionType.UNKNOWN, tournament=table.tournament)
    # The documentation names this event without its fields; these two are what every other one has.
    registered = OnTournamentPlayerRegisterResult.model_validate(
        {"playerId": player.id, "tournamentId": table.tournament}
    )
    yield Simulated("OnTournamentPlayerRegisterResult", registered, str(table.tournament))


def _unregister(room: Room, table: Table, seat: Seat) -> Iterator[Simulated]:
    """Let a player sign off again, and return the money."""
    player = seat.player
    table.seats.remove(seat)
    player.seats -= 1
    signed_off = OnPlayerUnregisteredFromTournament(
        object_id=player.id,
        player_id=player.id,
        tournament_id=table.tournament,
        external_id=player.external_id,
        skin_id=SKIN,
    )
    yield Simulated("OnPlayerUnregisteredFromTournament", signed_off, str(table.tournament))
    yield from room.move(player, _BUY_IN + _ENTRY_FEE, 0, kind=TransactionType.UNKNOWN, tournament=table.tournament)


def _knock_out(table: Table, seat: Seat, prizes: list[int], rows: list[TournamentFee], level: int) -> Simulated:
    """Take a player out. Chips that are too few for a blind go to the player who has most."""
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


def _state(id_: int, state: TournamentState) -> Simulated:
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
