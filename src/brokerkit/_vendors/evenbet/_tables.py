"""Events of hands and tables."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from brokerkit._vendors.evenbet._codes import GameTypeCode, MoneyTypeCode, OutRoundCode, StandUpCauseCode
from brokerkit._vendors.evenbet._fields import (
    ExternalId,
    ExternalSessionId,
    ExternalSystemCode,
    PlayerEntryIdx,
    PlayerId,
    PlayerInTournamentId,
    PlayerObjectId,
    PlayerOnTableId,
    SkinId,
    TableId,
)
from brokerkit.events._model import Event, WireObject, wire
from brokerkit.events._types import BoolWord, Cards, CombinationCode, NullAs, SqlDateTime

GameId = Annotated[int | None, Field(description="hand id")]


class Participation(WireObject):
    """One player's part in a hand. Source: brokers page; "game-table-events" repeats the first eleven fields."""

    player_id: PlayerId = None
    skin_id: SkinId = None
    bet: int | None = wire("total bet by the player", unit="cents")
    pot: int | None = wire(
        "the player's share of the pot. The sources disagree: the brokers page reads as what the player got, "
        '"game-table-events" as what the player put in; cents assumed from the neighbours',
        unit="cents",
    )
    rake: int | None = wire(
        "rake charged to the player. The unit is not stated: the brokers page's sample (125000 beside a bet of 5000 "
        "and a rate of 0.025) fits thousandths of a cent, which is inferred; do not mix with totalRake (cents)",
        unit="unknown",
    )
    is_out: BoolWord | None = wire(
        'the player was out before the end. The brokers page says sat out or mucked, and writes "False"; '
        '"game-table-events" says folded or mucked, and types it boolean'
    )
    out_round: OutRoundCode | None = wire("round in which the player went out; 0 and 1 both mean preflop")
    is_win: BoolWord | None = wire(
        'the player won the hand; the brokers page writes "False", "game-table-events" types it boolean'
    )
    is_away: bool | None = wire("the player was away when the hand began")
    is_sb: bool | None = wire("small blind position", name="isSB")
    is_bb: bool | None = wire("big blind position", name="isBB")
    is_straddle: bool | None = wire("posted a straddle")
    high_combination: Cards = wire("cards of the best high hand; the brokers page calls it the player's cards")
    high_combination_code: CombinationCode = wire("coded best high hand")
    low_combination_code: CombinationCode = wire("coded best low hand; its cards may be empty")
    pocket_cards: Cards = wire("the player's hole cards")
    stack_at_hand_begin: int | None = wire("stack before the hand", unit="cents")
    stack_at_hand_end: int | None = wire("stack after the hand", unit="cents")
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    bet_on_preflop: int | None = wire("bet before the flop; unit assumed", unit="cents")
    bet_on_flop: int | None = wire("bet on the flop; unit assumed", unit="cents")
    bet_on_turn: int | None = wire("bet on the turn; unit assumed", unit="cents")
    bet_on_river: int | None = wire("bet on the river; unit assumed", unit="cents")
    insurance_fee: int | None = wire("insurance fee paid by the player; unit assumed", unit="cents")
    insurance_claim: int | None = wire(
        "insurance claim for the player; the brokers page words it as paid by the player; unit assumed", unit="cents"
    )
    player_on_table_id: PlayerOnTableId = None
    player_in_tournament_id: PlayerInTournamentId = None
    score_points: int | None = wire(
        "the player's points in this deal; rummy, Chinese poker, big2 and callbreak only", unit="points"
    )
    won_points: int | None = wire("points won; rummy, Chinese poker, big2 and callbreak only", unit="points")
    total_points: int | None = wire("points in all; rummy, Chinese poker, big2 and callbreak only", unit="points")
    rank: int | None = wire(
        "the player's rank, 0 is best. How it is ranked depends on the game: a rummy deal by fewest points, a rummy "
        "game by the biggest pot or the fewest points in all (most for Deals), Hold'em by the biggest pot or bet, "
        "Chinese by the biggest pot or most points, big2 and callbreak by most points in all"
    )
    external_session_id: ExternalSessionId = None


class OnGameDone(Event):
    """A hand ended: its overall outcome with everybody who took part, sent before the results are shown.

    Money is in cents, except each participation's rake, whose unit is not stated. Cards may repeat between board and
    pockets in EvenBet's own sample, so nothing here requires distinct cards. Times have no zone.

    Source: brokers page and "game-table-events". Written flat, as both show it.
    """

    game_id: GameId = None
    table_id: TableId = None
    tournament_id: Annotated[int | None, NullAs(0)] = wire("tournament id; 0 for cash games")
    total_rake: int | None = wire("rake taken from the hand", unit="cents")
    game_start: SqlDateTime = wire("start of the hand; no zone given")
    game_end: SqlDateTime = wire("end of the hand; no zone given")
    table_cards: Cards = wire("community cards")
    table_cards_lower_row: Cards = wire("second board; empty unless the hand was run twice")
    rake_part: float | None = wire(
        'rake rate as a fraction, 0.025 is 2.5 %; the brokers page calls it percent(1/100), "game-table-events" '
        "spells out the fraction",
        unit="fraction",
    )
    rake_cap: int | None = wire("most rake that may be taken", unit="cents")
    num_players_on_flop: int | None = wire("players left on the flop")
    num_players_on_turn: int | None = wire("players left on the turn")
    num_players_on_river: int | None = wire("players left on the river")
    num_players_on_show_down: int | None = wire("players left at showdown")
    game_type: GameTypeCode | None = wire("game variant; the brokers page's sample, 65, is in no published table")
    unclaimed_pot: int | None = wire("pot that nobody claimed", unit="cents")
    money_type: MoneyTypeCode | None = wire("currency code of the table")
    small_blind: int | None = wire("small blind", unit="cents")
    big_blind: int | None = wire("big blind", unit="cents")
    ante: int | None = wire("ante", unit="cents")
    participations: list[Participation] | None = wire("everybody who took part in the hand")


class OnGameHistoryDone(Event):
    """What happened in a hand, sent after the results are shown; one hand may come in several chunks.

    Source: brokers page. Written flat, as its table has it.
    """

    game_id: GameId = None
    table_id: TableId = None
    chunk_start: SqlDateTime = wire("start of this chunk; called a date, without a sample, so its form is inferred")
    events: Any = wire(
        "what happened at the table; text or list is not said. The code reference lists one-line mnemonics with "
        "arguments split by spaces and money in cents, such as 'AN seat amount' (ante) and 'BT seat amount' (bet)"
    )


class OnPlayerSeatedDown(Event):
    """A player sat down at a cash table.

    Source: brokers page. Written under `params`, as its sample is.
    """

    object_id: PlayerObjectId = None
    table_id: TableId = None
    player_id: PlayerId = None
    player_on_table_id: PlayerOnTableId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    entry_cnt: int | None = wire("entry number")
    skin_id: SkinId = None
    num_active_players: int | None = wire("active players at the table now")
    is_top_up: bool | None = wire(
        "sat down together with a request for money; the brokers page's sample has a bare True, which is not JSON"
    )
    rake_cap: int | None = wire("most rake that may be taken; unit as in OnGameDone", unit="cents")
    rake_part: float | None = wire("rake rate as a fraction", unit="fraction")
    max_players: int | None = wire("seats at the table")
    external_session_id: ExternalSessionId = None


class OnPlayerEntrySeatedDown(Event):
    """A player's entry was seated at a fast-fold table.

    Source: brokers page. Written flat: its sample has neither braces nor `params`.
    """

    player_id: PlayerId = None
    table_id: TableId = None
    player_entry_idx: PlayerEntryIdx = None
    skin_id: SkinId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    player_on_table_id: PlayerOnTableId = None
    object_id: PlayerObjectId = None
    external_session_id: ExternalSessionId = None


class OnPlayerLeaveTable(Event):
    """A player left a table: from a cash table the money returns to the balance, in a tournament out or moved.

    Source: brokers page. Written under `params`, as its sample is.
    """

    object_id: PlayerObjectId = None
    player_id: PlayerId = None
    amount: int | None = wire("amount returned", unit="cents")
    external_system_code: ExternalSystemCode = None
    external_session_id: ExternalSessionId = None
    template_table_id: Annotated[int | None, NullAs(0)] = wire("parent (template) table id; 0 for none")
    skin_id: SkinId = None
    stand_up_cause: StandUpCauseCode | None = wire("why the player stood up")
    session_time: float | None = wire("time spent at the table; unit not stated (sample 8.0)", unit="unknown")
    player_entry_idx: PlayerEntryIdx = None
    external_id: ExternalId = None
    table_id: TableId = None


class OnTableCreated(Event):
    """A table was created, also a new club table or one made by balancing.

    Source: named on the brokers page and in "Events"; its fields are not documented, so all are kept as they come.
    """
