"""Cash tables: players sit down with money, play hand after hand, and leave with what is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from brokerkit._vendors.evenbet import OnPlayerLeaveTable, OnPlayerSeatedDown, StandUpCause, TransactionType
from brokerkit._vendors.simulate.evenbet._hands import SKIN, Seat, Table
from brokerkit._vendors.simulate.evenbet._room import Room, Simulated

_SEATS: Final = 6


def cash_table(room: Room, table: Table) -> Iterator[Simulated]:
    """What happens at one table, without end."""
    while True:
        for seat in list(table.seats):
            if seat.stack < 20 * table.big_blind or room.chance.random() < 0.01:
                yield from _stand_up(room, table, seat)
        while len(table.seats) < 3 or (len(table.seats) < _SEATS and room.chance.random() < 0.1):
            yield from _sit_down(room, table)
        yield room.hand(table)


def _sit_down(room: Room, table: Table) -> Iterator[Simulated]:
    here = {seat.player.id for seat in table.seats}
    buy_in = 100 * table.big_blind
    free = [player for player in room.players if player.id not in here]
    player = room.chance.choice([player for player in free if player.online] or free)
    yield from room.make_ready(player, buy_in)
    seat = Seat(player=player, session=room.id(), stack=buy_in)
    table.seats.append(seat)
    player.seats += 1
    yield from room.move(player, -buy_in, buy_in, kind=TransactionType.TO_TABLE, table=table.id)
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


def _stand_up(room: Room, table: Table, seat: Seat) -> Iterator[Simulated]:
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
    yield from room.move(player, seat.stack, -seat.stack, kind=TransactionType.FROM_TABLE, table=table.id)
