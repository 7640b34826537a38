"""Events of tournaments."""

from __future__ import annotations

from brokerkit._vendors.evenbet._codes import (
    MoneyTypeCode,
    SharedPrizeTypeCode,
    TicketReasonCode,
    TournamentStateCode,
    TournamentTypeCode,
)
from brokerkit._vendors.evenbet._fields import (
    ExternalId,
    ExternalSessionId,
    ExternalSystemCode,
    PlayerEntryIdx,
    PlayerId,
    PlayerInTournamentId,
    PlayerObjectId,
    SkinId,
    TableId,
    TournamentId,
)
from brokerkit.events._model import Event, WireObject, wire
from brokerkit.events._types import BoolNumber, SqlDateTime


class OnTournamentPlayerSeatedDown(Event):
    """A player was seated at a tournament table, for the first time or by balancing.

    Source: brokers page. Written under `params`, as its sample is (which never closes its braces).
    """

    tournament_id: TournamentId = None
    first_seating: bool | None = wire("true while seating before play begins")
    table_id: TableId = None
    player_id: PlayerId = None
    player_entry_idx: PlayerEntryIdx = None
    skin_id: SkinId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    player_in_tournament_id: PlayerInTournamentId = None
    tournament_name: str | None = wire("tournament name")
    tournament_type: TournamentTypeCode | None = wire("kind of tournament")
    object_id: PlayerObjectId = None
    external_session_id: ExternalSessionId = None


class OnPlayerTournamentTicketUpdated(Event):
    """A tournament ticket was issued, used or given back.

    Source: brokers page, which has no sample values; "Events" is cut within this name. Written under `params`.
    """

    player_id: PlayerId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    skin_id: SkinId = None
    tournament_id: TournamentId = None
    ticket_id: int | None = wire("ticket id")
    ticket_value: int | None = wire("value of the ticket; unit assumed", unit="cents")
    credit_reason: TicketReasonCode | None = wire("why the ticket was credited")
    debit_reason: TicketReasonCode | None = wire("why the ticket was debited")
    external_session_id: ExternalSessionId = None


class OnPlayerWinInTournament(Event):
    """A player won a tournament prize, cash or a ticket.

    Source: brokers page. Written under `params`, as its sample is.
    """

    player_id: PlayerId = None
    tournament_id: TournamentId = None
    tournament_name: str | None = wire("tournament name")
    place_from: int | None = wire("low end of the shared place")
    place_to: int | None = wire("high end of the shared place")
    amount: int | None = wire("prize; unit assumed", unit="cents")
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    skin_id: SkinId = None
    won_ticket: BoolNumber | None = wire("whether the prize is a ticket: 1 on the wire, 0 for cash")
    external_session_id: ExternalSessionId = None


class OnTournamentStateChanged(Event):
    """A tournament moved to another state.

    Source: brokers page and "tournament-events". Written under `params`, as both show it.
    """

    tournament_id: TournamentId = None
    tournament_state: TournamentStateCode | None = wire(
        "new state; the same numbers mean other things in tournamentType and in ticket reasons"
    )
    is_prize_paid: bool | None = wire("prizes are paid already")


class OnPlayerLeftTournament(Event):
    """A player was eliminated from a tournament.

    Source: brokers page. Written under `params`, as its sample is.
    """

    tournament_id: TournamentId = None
    player_id: PlayerId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    player_entry_idx: PlayerEntryIdx = None
    scheme_id: int | None = wire("deprecated, do not rely on it")
    place_from: int | None = wire("low end of the place")
    place_to: int | None = wire("high end of the place")
    prize_place: BoolNumber | None = wire(
        "whether any prize was won: 1 or 0 on the wire, although the name suggests a place"
    )
    main_prize_amount: int | None = wire("part of the main prize pool won; unit assumed", unit="cents")
    skin_id: SkinId = None
    level: int | None = wire("blind level reached")
    player_in_tournament_id: PlayerInTournamentId = None
    object_id: int | None = wire(
        "player id again; snake_case on this wire, objectId in the seating and leave events",
        name="object_id",
        also="objectId",
    )
    external_session_id: ExternalSessionId = None


class OnPlayerUnregisteredFromTournament(Event):
    """A player signed off from a tournament.

    Source: brokers page, whose overview repeats the text of OnPlayerLeftTournament; its section and
    "tournament-events" say unregistration. Written under `params`, as its sample is.
    """

    object_id: int | None = wire("player id again; snake_case on this wire", name="object_id", also="objectId")
    player_id: PlayerId = None
    tournament_id: TournamentId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    skin_id: SkinId = None
    external_session_id: ExternalSessionId = None


class TournamentFee(WireObject):
    """Result and fees of one entry of one player. Source: brokers page."""

    number_addon: int | None = wire("add-ons taken")
    rebuy_fee: int | None = wire("rebuy fee; unit assumed", unit="cents")
    player_id: PlayerId = None
    external_system_code: ExternalSystemCode = None
    buy_in: int | None = wire("buy-in; unit assumed", unit="cents")
    skin_id: SkinId = None
    external_id: ExternalId = None
    entry_fee: int | None = wire("entry fee; unit assumed", unit="cents")
    shared_prize_type: SharedPrizeTypeCode | None = wire(
        "prize split chosen by this player; filled only where the tournament's type is PLAYER_DECISION"
    )
    number_rebuy: int | None = wire("rebuys taken")
    player_entry_idx: PlayerEntryIdx = None
    extra_buy_in: int | None = wire("total of extra buy-ins; unit assumed", unit="cents")
    is_share_prize: bool | None = wire("the player decided to share the prize")
    addon_fee: int | None = wire("add-on fee; unit assumed", unit="cents")
    level: int | None = wire("blind level reached")
    place_from: int | None = wire("low end of the place")
    place_to: int | None = wire("high end of the place")
    tournament_id: TournamentId = None
    late_reg_finished_stamp: SqlDateTime = wire("end of late registration, repeated in each row")


class OnTournamentCompleted(Event):
    """A tournament finished: result and fees of every participant.

    The biggest message of the family: `fee_list` has one row for each entry of each player.

    Source: brokers page and "tournament-events"; the rows' fields only on the former. Written under `params`.
    """

    late_reg_finished_stamp: SqlDateTime = wire("end of late registration; None if there was none")
    object_id: int | None = wire("tournament id (not the player)")
    tournament_id: int | None = wire(
        'tournament id; at this level only in "tournament-events", the brokers page has it in the rows alone'
    )
    switch_to_share_prize_distribution: bool | None = wire("shared prize distribution was used")
    used_shared_prize_type: SharedPrizeTypeCode | None = wire("prize split type")
    money_type: MoneyTypeCode | None = wire("currency code")
    shared_prize_calculated_on_complete_after_addon_pause_by_td: bool | None = wire(
        "shared prize computed after the add-on pause", name="sharedPrizeCalculatedOnCompleteAfterAddonPauseByTD"
    )
    fee_list: list[TournamentFee] | None = wire("one row for each participant's entry")


class OnTournamentPlayerRegisterResult(Event):
    """A player registered for a tournament successfully.

    Source: named on the brokers page and in "tournament-events"; its fields are not documented.
    """


class OnPlayerRebuyOrAddonMaked(Event):
    """A player bought a rebuy or an add-on in a tournament. The spelling is the wire's.

    Source: named on the brokers page and in "tournament-events"; its fields are not documented.
    """


class OnTournamentCreated(Event):
    """A tournament was created, in the back office or by API.

    Source: "tournament-events". Written flat, as its example is.
    """

    object_id: int | None = wire("tournament id")
    tournament_id: int | None = wire("tournament id; equal to objectId in the example")
