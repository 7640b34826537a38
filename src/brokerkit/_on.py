"""The signature of ``on``: which event model a handler gets for which name.

Made by scripts/generate_on.py from the built-in families; do not edit. There is no overload for any ``str``: with one, a
misspelt name would pass. A name that several families share is here only in its qualified form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from pydantic import BaseModel

    from brokerkit._message import Message
    from brokerkit._retry import RetryPolicy
    from brokerkit.events import evenbet

E = TypeVar("E")
M = TypeVar("M", bound="BaseModel")
R = TypeVar("R")

Name: TypeAlias = Literal[
    "OnCasinoRoundClosed",
    "evenbet:OnCasinoRoundClosed",
    "OnCooperativeBlockDeleted",
    "evenbet:OnCooperativeBlockDeleted",
    "OnCooperativeBlockUpdated",
    "evenbet:OnCooperativeBlockUpdated",
    "OnExternalLogin",
    "evenbet:OnExternalLogin",
    "OnFraudAutoReactionApplied",
    "evenbet:OnFraudAutoReactionApplied",
    "OnFraudIncidentCreated",
    "evenbet:OnFraudIncidentCreated",
    "OnFraudIncidentStatusChangedAutomatically",
    "evenbet:OnFraudIncidentStatusChangedAutomatically",
    "OnFraudIncidentUpdated",
    "evenbet:OnFraudIncidentUpdated",
    "OnGameDone",
    "evenbet:OnGameDone",
    "OnGameHistoryDone",
    "evenbet:OnGameHistoryDone",
    "OnGetBalance",
    "evenbet:OnGetBalance",
    "OnGetCash",
    "evenbet:OnGetCash",
    "OnP2PTransfer",
    "evenbet:OnP2PTransfer",
    "OnPlayerAccountChanged",
    "evenbet:OnPlayerAccountChanged",
    "OnPlayerBalanceChanged",
    "evenbet:OnPlayerBalanceChanged",
    "OnPlayerEntrySeatedDown",
    "evenbet:OnPlayerEntrySeatedDown",
    "OnPlayerLeaveTable",
    "evenbet:OnPlayerLeaveTable",
    "OnPlayerLeftTournament",
    "evenbet:OnPlayerLeftTournament",
    "OnPlayerRebuyOrAddonMaked",
    "evenbet:OnPlayerRebuyOrAddonMaked",
    "OnPlayerRegistered",
    "evenbet:OnPlayerRegistered",
    "OnPlayerSeatedDown",
    "evenbet:OnPlayerSeatedDown",
    "OnPlayerTournamentTicketUpdated",
    "evenbet:OnPlayerTournamentTicketUpdated",
    "OnPlayerUnregisteredFromTournament",
    "evenbet:OnPlayerUnregisteredFromTournament",
    "OnPlayerWinInTournament",
    "evenbet:OnPlayerWinInTournament",
    "OnReturnCash",
    "evenbet:OnReturnCash",
    "OnTFALogin",
    "evenbet:OnTFALogin",
    "OnTFAPreLogin",
    "evenbet:OnTFAPreLogin",
    "OnTableCreated",
    "evenbet:OnTableCreated",
    "OnTournamentCompleted",
    "evenbet:OnTournamentCompleted",
    "OnTournamentCreated",
    "evenbet:OnTournamentCreated",
    "OnTournamentPlayerRegisterResult",
    "evenbet:OnTournamentPlayerRegisterResult",
    "OnTournamentPlayerSeatedDown",
    "evenbet:OnTournamentPlayerSeatedDown",
    "OnTournamentStateChanged",
    "evenbet:OnTournamentStateChanged",
    "OnTransactionNotification",
    "evenbet:OnTransactionNotification",
    "OnUpdatePlayerBlockStatus",
    "evenbet:OnUpdatePlayerBlockStatus",
    "OnUserLoggedIn",
    "evenbet:OnUserLoggedIn",
    "OnUserLoggedOut",
    "evenbet:OnUserLoggedOut",
    "onCountryInfoChanged",
    "evenbet:onCountryInfoChanged",
    "onSkinInfoChanged",
    "evenbet:onSkinInfoChanged",
    "onStateInfoChanged",
    "evenbet:onStateInfoChanged",
]
"""Every known event name, plain where one family alone has it, and qualified with its family."""


class Registrar(Protocol[E]):
    """What ``on(...)`` returns: takes a handler, plain or async, registers it and returns it.

    The handler gets the event, and the message too if it has a second parameter.
    """

    @overload
    def __call__(self, handler: Callable[[E], R], /) -> Callable[[E], R]: ...
    @overload
    def __call__(self, handler: Callable[[E, Message], R], /) -> Callable[[E, Message], R]: ...


class On(Protocol):
    """Registers handlers by event name or model class."""

    @overload
    def __call__(
        self,
        name: Literal["OnCasinoRoundClosed", "evenbet:OnCasinoRoundClosed"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnCasinoRoundClosed]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnCooperativeBlockDeleted", "evenbet:OnCooperativeBlockDeleted"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnCooperativeBlockDeleted]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnCooperativeBlockUpdated", "evenbet:OnCooperativeBlockUpdated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnCooperativeBlockUpdated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnExternalLogin", "evenbet:OnExternalLogin"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnExternalLogin]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnFraudAutoReactionApplied", "evenbet:OnFraudAutoReactionApplied"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnFraudAutoReactionApplied]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnFraudIncidentCreated", "evenbet:OnFraudIncidentCreated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnFraudIncidentCreated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnFraudIncidentStatusChangedAutomatically", "evenbet:OnFraudIncidentStatusChangedAutomatically"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnFraudIncidentStatusChangedAutomatically]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnFraudIncidentUpdated", "evenbet:OnFraudIncidentUpdated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnFraudIncidentUpdated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnGameDone", "evenbet:OnGameDone"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnGameDone]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnGameHistoryDone", "evenbet:OnGameHistoryDone"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnGameHistoryDone]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnGetBalance", "evenbet:OnGetBalance"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnGetBalance]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnGetCash", "evenbet:OnGetCash"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnGetCash]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnP2PTransfer", "evenbet:OnP2PTransfer"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnP2PTransfer]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerAccountChanged", "evenbet:OnPlayerAccountChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerAccountChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerBalanceChanged", "evenbet:OnPlayerBalanceChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerBalanceChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerEntrySeatedDown", "evenbet:OnPlayerEntrySeatedDown"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerEntrySeatedDown]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerLeaveTable", "evenbet:OnPlayerLeaveTable"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerLeaveTable]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerLeftTournament", "evenbet:OnPlayerLeftTournament"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerLeftTournament]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerRebuyOrAddonMaked", "evenbet:OnPlayerRebuyOrAddonMaked"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerRebuyOrAddonMaked]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerRegistered", "evenbet:OnPlayerRegistered"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerRegistered]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerSeatedDown", "evenbet:OnPlayerSeatedDown"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerSeatedDown]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerTournamentTicketUpdated", "evenbet:OnPlayerTournamentTicketUpdated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerTournamentTicketUpdated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerUnregisteredFromTournament", "evenbet:OnPlayerUnregisteredFromTournament"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerUnregisteredFromTournament]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPlayerWinInTournament", "evenbet:OnPlayerWinInTournament"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnPlayerWinInTournament]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnReturnCash", "evenbet:OnReturnCash"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnReturnCash]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTFALogin", "evenbet:OnTFALogin"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTFALogin]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTFAPreLogin", "evenbet:OnTFAPreLogin"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTFAPreLogin]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTableCreated", "evenbet:OnTableCreated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTableCreated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTournamentCompleted", "evenbet:OnTournamentCompleted"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTournamentCompleted]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTournamentCreated", "evenbet:OnTournamentCreated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTournamentCreated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTournamentPlayerRegisterResult", "evenbet:OnTournamentPlayerRegisterResult"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTournamentPlayerRegisterResult]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTournamentPlayerSeatedDown", "evenbet:OnTournamentPlayerSeatedDown"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTournamentPlayerSeatedDown]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTournamentStateChanged", "evenbet:OnTournamentStateChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTournamentStateChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnTransactionNotification", "evenbet:OnTransactionNotification"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnTransactionNotification]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnUpdatePlayerBlockStatus", "evenbet:OnUpdatePlayerBlockStatus"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnUpdatePlayerBlockStatus]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnUserLoggedIn", "evenbet:OnUserLoggedIn"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnUserLoggedIn]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnUserLoggedOut", "evenbet:OnUserLoggedOut"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnUserLoggedOut]: ...
    @overload
    def __call__(
        self,
        name: Literal["onCountryInfoChanged", "evenbet:onCountryInfoChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnCountryInfoChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["onSkinInfoChanged", "evenbet:onSkinInfoChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnSkinInfoChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["onStateInfoChanged", "evenbet:onStateInfoChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[evenbet.OnStateInfoChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["*"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[Any]: ...
    @overload
    def __call__(
        self,
        model: type[M],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[M]: ...
    @overload
    def __call__(
        self,
        first: Name | type[BaseModel],
        second: Name | type[BaseModel],
        /,
        *more: Name | type[BaseModel],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
    ) -> Registrar[Any]: ...
