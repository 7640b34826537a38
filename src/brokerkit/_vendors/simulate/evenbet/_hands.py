"""The tables of the simulated room, and the hands that are dealt at them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from brokerkit._vendors.evenbet import GameType, MoneyType, OnGameDone, OutRound, Participation

MONEY: Final = MoneyType.MONEY_01
SKIN: Final = 3
RAKE_PART: Final = 0.05
FIRST_BALANCE: Final = 200_000
"""Cents on a new account."""


@dataclass(slots=True, kw_only=True)
class Player:
    """Somebody with an account; amounts in cents."""

    id: int
    nick: str
    platform: tuple[str, str]
    balance: int = FIRST_BALANCE
    in_play: int = 0
    seats: int = 0
    online: bool = False
    has_logged_in: bool = False

    @property
    def external_id(self) -> str:
        return f"op-{self.id}"


@dataclass(slots=True, kw_only=True)
class Seat:
    """A player at a table, with a stack."""

    player: Player
    session: int
    stack: int


@dataclass(slots=True, kw_only=True)
class Table:
    id: int
    game: GameType
    big_blind: int
    tournament: int = 0
    seats: list[Seat] = field(default_factory=list[Seat])
    button: int = 0

    @property
    def rake_part(self) -> float:
        return 0.0 if self.tournament else RAKE_PART

    @property
    def rake_cap(self) -> int:
        return 0 if self.tournament else 3 * self.big_blind


def deal(table: Table, chance: random.Random, *, game_id: int, began: datetime, ended: datetime) -> OnGameDone:
    """Deal one hand and move the stacks.

    Nobody bets more than the smallest stack at the table, so there are no side pots; without a flop there is no rake.
    """
    # one piece: the event is filled from the results of the hand, and two functions would pass on all of them.
    seats = table.seats
    table.button = (table.button + 1) % len(seats)
    small = seats[(table.button + 1) % len(seats)]
    big = seats[(table.button + 2) % len(seats)]
    betting = _bet(table, chance, small, big)
    winner = chance.choice(betting.alive)
    shown = len(betting.alive) if len(betting.alive) > 1 else 0
    flop, turn, river = (*betting.on_round, 0, 0, 0)[1:4]
    dealt = (0, 3, 4, 5)[len(betting.on_round) - 1]
    pot = sum(map(sum, betting.bets.values()))
    rake = min(table.rake_cap, int(pot * table.rake_part)) if dealt else 0
    deck = chance.sample(range(52), 52)
    last_round = OutRound.SHOWDOWN if shown else OutRound(len(betting.on_round))

    participations: list[Participation] = []
    for seat in seats:
        preflop, on_flop, on_turn, on_river = (*betting.bets[seat.session], 0, 0, 0)[:4]
        bet = preflop + on_flop + on_turn + on_river
        share = pot - rake if seat is winner else 0
        before, seat.stack = seat.stack, seat.stack - bet + share
        if not table.tournament:
            seat.player.in_play += seat.stack - before
        participations.append(
            Participation(
                player_id=seat.player.id,
                skin_id=SKIN,
                bet=bet,
                pot=share,
                rake=rake * 1_000 * bet // pot,
                is_out=seat.session in betting.out,
                out_round=betting.out.get(seat.session, last_round),
                is_win=seat is winner,
                is_sb=seat is small,
                is_bb=seat is big,
                pocket_cards=[deck.pop() for _ in range(4 if table.game == GameType.OMAHA else 2)],
                stack_at_hand_begin=before,
                stack_at_hand_end=seat.stack,
                external_id=seat.player.external_id,
                bet_on_preflop=preflop,
                bet_on_flop=on_flop,
                bet_on_turn=on_turn,
                bet_on_river=on_river,
                player_on_table_id=0 if table.tournament else seat.session,
                player_in_tournament_id=seat.session if table.tournament else 0,
            )
        )
    return OnGameDone(
        game_id=game_id,
        table_id=table.id,
        tournament_id=table.tournament,
        total_rake=rake,
        game_start=began,
        game_end=ended,
        table_cards=deck[:dealt],
        rake_part=table.rake_part,
        rake_cap=table.rake_cap,
        num_players_on_flop=flop,
        num_players_on_turn=turn,
        num_players_on_river=river,
        num_players_on_show_down=shown,
        game_type=table.game,
        unclaimed_pot=0,
        money_type=MONEY,
        small_blind=table.big_blind // 2,
        big_blind=table.big_blind,
        ante=0,
        participations=participations,
    )


@dataclass(slots=True, kw_only=True)
class _Betting:
    """How the betting of a hand went, by table session.

    Attributes:
        alive: who is left for the pot.
        out: the round in which the others folded.
        bets: cents of each player in each round.
        on_round: how many players each round began with.
    """

    alive: list[Seat]
    out: dict[int, OutRound] = field(default_factory=dict[int, OutRound])
    bets: dict[int, list[int]]
    on_round: list[int] = field(default_factory=list[int])


def _bet(table: Table, chance: random.Random, small: Seat, big: Seat) -> _Betting:
    deepest = min(seat.stack for seat in table.seats)
    blinds = {small.session: table.big_blind // 2, big.session: table.big_blind}
    hand = _Betting(
        alive=list(table.seats),
        bets={seat.session: [min(blinds.get(seat.session, 0), deepest)] for seat in table.seats},
    )
    level = min(table.big_blind, deepest)
    for round_ in (OutRound.PREFLOP, OutRound.FLOP, OutRound.TURN, OutRound.RIVER):
        hand.on_round.append(len(hand.alive))
        folding = 0.5 if round_ is OutRound.PREFLOP else 0.25
        for seat in list(hand.alive):
            if len(hand.alive) > 1 and chance.random() < folding:
                hand.alive.remove(seat)
                hand.out[seat.session] = round_
        if len(hand.alive) == 1:
            break
        pot = sum(map(sum, hand.bets.values()))
        raised = 2 * table.big_blind if round_ is OutRound.PREFLOP else pot // chance.choice((2, 3, 4))
        before, level = level, min(deepest, level + chance.choice((0, raised)))
        for seat in hand.alive:
            if round_ is OutRound.PREFLOP:
                hand.bets[seat.session] = [level]
            else:
                hand.bets[seat.session].append(level - before)
    return hand
