"""Events of balances, transactions, the seamless wallet and casino rounds."""

from __future__ import annotations

from brokerkit._vendors.evenbet._codes import (
    CasinoCloseMethodCode,
    MoneyTypeCode,
    TransactionSubTypeCode,
    TransactionTypeCode,
)
from brokerkit._vendors.evenbet._fields import ExternalId, ExternalSystemCode, PlayerId, SkinId
from brokerkit.events._model import Event, wire
from brokerkit.events._types import SqlDateTime


class OnPlayerBalanceChanged(Event):
    """A player's balance changed, in real or bonus money. Amounts are in cents.

    Source: "financial-events". Written flat, as its example is.
    """

    player_id: PlayerId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    skin_id: SkinId = None
    money_type: MoneyTypeCode | None = wire("currency code")
    old_amount: int | None = wire("real balance before", unit="cents")
    new_amount: int | None = wire("real balance after", unit="cents")
    old_bonus_amount: int | None = wire("bonus balance before", unit="cents")
    new_bonus_amount: int | None = wire("bonus balance after", unit="cents")
    new_in_play_amount: int | None = wire("amount in play after; there is no oldInPlayAmount", unit="cents")


class OnTransactionNotification(Event):
    """A transaction was booked for a player.

    The player is `param_player_id`; `player_id` and the three external fields without `param_` are not used by
    EvenBet and may hold anything. `transaction_id` is the natural key against duplicates.

    Source: "financial-events", which is cut after these fields; more may follow. Its example lies behind the cut:
    flat is inferred from the page's other example.
    """

    transaction_id: int | None = wire("transaction id in EvenBet")
    param_player_id: int | None = wire("player id")
    param_external_id: str | None = wire("player id in the operator's system")
    param_external_system_code: str | None = wire("code of the external system")
    skin_id: SkinId = None
    money_type: MoneyTypeCode | None = wire("currency code")
    amount: int | None = wire(
        "transaction amount, in the precision of the currency rather than plainly in cents",
        unit="smallest currency unit",
    )
    transaction_type: TransactionTypeCode | None = wire("transaction type")
    transaction_sub_type: TransactionSubTypeCode | None = wire("transaction subtype")
    spending_priority: int | None = wire("whether real or bonus money is spent first; its codes were not seen")
    param_table_id: int | None = wire("table concerned")
    param_tournament_id: int | None = wire("tournament concerned")
    notes: str | None = wire("free text")
    created_stamp: SqlDateTime = wire("creation time; typed as text, its form is inferred")
    param_external_session_id: str | None = wire("external session id")
    player_id: int | None = wire("not used: see paramPlayerId")
    external_id: str | None = wire("not used: see paramExternalId")
    external_system_code: str | None = wire("not used: see paramExternalSystemCode")
    external_session_id: str | None = wire("not used: see paramExternalSessionId; the name was cut and is inferred")


class OnP2PTransfer(Event):
    """A user tried to send money to another user. It tells of the attempt and does not prove that money moved.

    Source: named on the brokers page; its fields are not documented.
    """


class OnGetCash(Event):
    """Money was requested from the external wallet (seamless wallet only).

    Source: named on the brokers page and in "financial-events", which says only that it corresponds to the wallet
    method of this name. That method's HTTP request has method, userId, amount (cents), currency (ISO), transactionId,
    sessionId and details of table and tournament; whether the event has them was never seen, so none is declared.
    """


class OnReturnCash(Event):
    """Money went back to the external wallet (seamless wallet only).

    Source: as for OnGetCash. The wallet method's HTTP request adds result, sumOfBets, rake (thousandths of the
    smallest unit), linkedTransactionIds, extras and tableSumHands; none was seen in the event.
    """


class OnGetBalance(Event):
    """The external wallet was asked for a balance, at login and on RefreshExternalPlayerBalances.

    Source: as for OnGetCash. The wallet method's HTTP request has method, userId, currency and sessionId; none was
    seen in the event.
    """


class OnCasinoRoundClosed(Event):
    """A casino round was closed; after a reopening the same round may be closed again.

    Source: "casino-codes", which names these two fields; others exist. How it is wrapped is not said: written flat.
    """

    close_method: CasinoCloseMethodCode | None = wire("how the round was closed")
    old_round_close_method: CasinoCloseMethodCode | None = wire(
        "how it was closed before a reopening; meaningful where closeMethod is REOPEN"
    )
