"""EvenBet's code tables. A code that a table lacks is kept as a plain int: every published table may be incomplete.

Where the documentation shows a code as a letter, its number is the letter's ASCII code.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Annotated

from brokerkit.events._types import KnownFirst


class GameType(IntEnum):
    """Variant of poker ("CodesToInterpretGameData"; the list seen there ends after Chinese, more values exist)."""

    UNKNOWN = 0
    SHORT_DECK = 54
    BADUGI = 66
    BADACEY = 67
    DEUCE_TO_SEVEN_TRIPLE_DRAW = 68
    BADEUCY = 69
    HOLDEM = 72
    CHINESE = 78
    OMAHA = 79
    OMAHA_HIGH_LOW = 80
    RAZZ = 82
    STUD = 83
    STUD_HIGH_LOW = 84


class MoneyType(IntEnum):
    """Currency slot of a table or balance: what each stands for is set by the operator, these are not ISO codes."""

    MONEY_18 = 65
    MONEY_19 = 66
    MONEY_20 = 67
    MONEY_21 = 68
    MONEY_22 = 69
    MONEY_17 = 80
    MONEY_01 = 82
    MONEY_02 = 102
    MONEY_03 = 103
    MONEY_04 = 104
    MONEY_05 = 105
    MONEY_06 = 106
    MONEY_07 = 107
    MONEY_08 = 108
    MONEY_09 = 109
    MONEY_10 = 110
    MONEY_11 = 111
    MONEY_12 = 113
    MONEY_13 = 115
    MONEY_14 = 117
    MONEY_15 = 118
    MONEY_16 = 119


class PotType(IntEnum):
    """Betting limit, or for Chinese poker the scoring. No event documented so far holds one."""

    NONE = 0
    FIXED = 70
    SCORING_1_6 = 79
    POT_LIMIT = 80
    SCORING_2_4 = 84
    NO_LIMIT = 85
    SCORING_2_6 = 87


class OutRound(IntEnum):
    """Round in which a player went out of a hand. Both 0 and 1 mean before the flop."""

    BEFORE_BETTING = 0
    PREFLOP = 1
    FLOP = 2
    TURN = 3
    RIVER = 4
    SHOWDOWN = 5


class StandUpCause(IntEnum):
    """Why a player stood up from a table (brokers page; 28 and 29 are not in its list)."""

    UNKNOWN = 0
    FF_REAL_TABLE_DESTROY = 1
    """The real table of a fast-fold pool was torn down."""
    FF_PLAYER_DISCONNECT = 2
    """Connection lost in fast fold."""
    FF_PLAYER_ENTRY_DESTROY = 3
    """One fast-fold entry was destroyed."""
    FF_PLAYER_ENTRY_FAST_FOLDED = 4
    """Pressed fast fold."""
    FF_PLAYER_ENTRY_SIT_OUT = 5
    """The fast-fold sit-out timer ended."""
    FF_PLAYER_ENTRY_LEAVE_TABLE = 6
    """Left fast fold by hand."""
    TABLE_CLOSED = 7
    """The table was closed: end of the tournament, back office, or balancing."""
    CRASH_RECOVERY = 8
    """Recovery after a crash of the server."""
    FICTITIOUS_GAME_STATE_RESET = 9
    """A fast-fold placeholder table was replaced by a real one."""
    KICK = 10
    """Kicked or banned."""
    DEFAULT_ACTION = 11
    """The automatic default action (rummy: drop, then stand up)."""
    UNAUTHORIZE_SESSION = 12
    """The session lost its authorisation, by logout for one."""
    RESERVED_SEAT_TIMEOUT = 13
    """Reserved a seat and never bought in."""
    DISCONNECT_TIMEOUT = 14
    """Disconnected for too long."""
    SITOUT_TIMEOUT = 15
    """Sat out for too long (not fast fold)."""
    NO_CASH_TIMEOUT = 16
    """Without cash for too long."""
    SAFE_BLOCK_TIMEOUT = 17
    """A blocked player, removed after the hands under way."""
    MANUAL_LEAVE_TABLE = 18
    """Stood up by hand."""
    NO_CASH = 19
    """Below the minimum of the table."""
    UNRESERVE_SEAT = 20
    """Gave up a reserved seat."""
    UNJOIN_CONTROL_LIST = 21
    """Left the waiting list."""
    MOVE_PLAYER = 22
    """Moved by tournament balancing."""
    TOUR_KNOCK_OUT = 23
    """Knocked out of the tournament."""
    UNREGISTER_PLAYER = 24
    """Unregistered from the tournament."""
    TOUR_WINNER = 25
    """Out of the tournament with a prize."""
    TOUR_FINAL_STAGE = 26
    """Moved to the final table."""
    UNION_STAGE = 27
    """Several entries were merged into one."""
    ELIMINATED = 30
    """Out once points were added up (big2, rummy)."""


class TournamentType(IntEnum):
    """How a tournament starts (brokers page)."""

    ANY = -1
    """A filter value rather than a kind; negative, so not a letter."""
    SIT_AND_GO = 71
    """Starts once enough players registered."""
    MANUAL = 77
    """Started by its creator, in the back office or a club."""
    SCHEDULED = 83
    """Starts at a set time."""


class TournamentState(IntEnum):
    """State of a tournament (brokers page and "tournament-events")."""

    ANNOUNCED = 65
    """Visible, registration not open."""
    CANCELLED = 67
    DONE = 68
    """Completed."""
    REGISTERING = 71
    """Registration is open."""
    RUNNING = 82
    SEATING = 83
    """Players are being seated."""
    UNFINISHED = 85
    """Ended without completing."""
    WAIT_FOR_ANNOUNCE = 87
    """Created and not visible yet."""


class TicketReason(IntEnum):
    """Why a tournament ticket was credited or debited (brokers page)."""

    ADMIN = 65
    """Done by an administrator."""
    REVERT = 66
    """Value given back after the ticket ran out."""
    AFTER_REGISTRATION = 82
    """Given automatically on sign-up."""
    TOURNAMENT_PRIZE = 84
    """Won in a tournament."""
    USE = 85
    """Spent on a registration."""
    UNKNOWN = 95
    """The default: nothing was credited, or nothing debited."""


class SharedPrizeType(IntEnum):
    """How a tournament's prize is split (brokers page; it quotes the codes in its list and sends numbers)."""

    EQUAL = 69
    ICM = 73
    """By the independent chip model."""
    PLAYER_DECISION = 80
    """The players chose."""
    STAKE_BASED = 83
    """By stake."""
    NONE = 95
    """Prize not shared."""


class TransactionType(IntEnum):
    """Kind of transaction ("CodesToInterpretGameData"; the list seen there is cut)."""

    FROM_TABLE = 70
    TO_TABLE = 84
    UNKNOWN = 95


class TransactionSubType(IntEnum):
    """Closer kind of transaction ("CodesToInterpretGameData"; the list seen there is cut)."""

    DEFAULT = 0
    """The default of every type."""
    INCORRECT_OPERATION = 120
    OPERATION_ERROR = 121
    LEAVE_TABLE = 122
    LEAVE_FAST_FOLD_TABLE = 123
    RETURN_PART_OF_MONEY = 124
    RETURN_ON_CRASH = 125
    LEAVE_TABLE_DURING_GAME = 129
    SIT_DOWN = 130
    TABLE_REBUY = 131
    MANUAL_REBUY = 132
    DELAYED_REBUY = 133
    NO_CASH_REBUY = 134


class CasinoCloseMethod(IntEnum):
    """How a casino round was closed ("casino-codes")."""

    UNKNOWN = 0
    BY_PLAYER = 1
    """The player ended it normally."""
    BY_ADMIN = 2
    BY_TIMEOUT = 3
    SALE = 4
    """A sports bet was sold before its result."""
    CANCEL = 5
    """Cancelled by the provider."""
    REOPEN = 6
    """Opened again for a correction; the same round may be closed once more."""


class FraudIncidentStatus(IntEnum):
    """Status of an anti-fraud incident ("security-events"; only the start of the last name was seen)."""

    OPEN = 1
    """Waits for a review."""
    RESOLVED = 2
    CLOSED = 3
    FALSE_ALARM = 4
    REOPENED = 5
    EXPIRED = 6
    """Nothing was done in time."""
    DUPLICATE = 7


class SkinFlag(IntFlag):
    """Settings of a skin, added up ("system-config-events")."""

    USE_EXTERNAL_LOGIN = 1
    ENABLED = 2


GameTypeCode = Annotated[GameType | int, KnownFirst()]
MoneyTypeCode = Annotated[MoneyType | int, KnownFirst()]
OutRoundCode = Annotated[OutRound | int, KnownFirst()]
StandUpCauseCode = Annotated[StandUpCause | int, KnownFirst()]
TournamentTypeCode = Annotated[TournamentType | int, KnownFirst()]
TournamentStateCode = Annotated[TournamentState | int, KnownFirst()]
TicketReasonCode = Annotated[TicketReason | int, KnownFirst()]
SharedPrizeTypeCode = Annotated[SharedPrizeType | int, KnownFirst()]
TransactionTypeCode = Annotated[TransactionType | int, KnownFirst()]
TransactionSubTypeCode = Annotated[TransactionSubType | int, KnownFirst()]
CasinoCloseMethodCode = Annotated[CasinoCloseMethod | int, KnownFirst()]
FraudIncidentStatusCode = Annotated[FraudIncidentStatus | int, KnownFirst()]

_RANKS = ("2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K", "A")
JOKER = 52


def card_name(code: int) -> str:
    """Return rank and suit of a card code: 35 is "10s", 52 is "joker". Suits are c, d, h and s.

    Raises:
        ValueError: the code is not within 0 to 52.
    """
    if code == JOKER:
        return "joker"
    if not 0 <= code < JOKER:
        raise ValueError(f"a card code lies between 0 and {JOKER}, got {code}")
    rank, suit = divmod(code, 4)
    return _RANKS[rank] + "cdhs"[suit]
