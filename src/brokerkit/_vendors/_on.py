"""The signature of ``on``: which event model a handler gets for which name.

Made by scripts/generate_on.py from the built-in families; do not edit. The last overloads take any text, so that a
misspelt name is an error of one line. A name that several families share is here only in its qualified form.
"""

# The last overloads take what the others do not, and return something else.
# mypy: disable-error-code="overload-overlap"

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from brokerkit._config._retry_policy import RetryPolicy
    from brokerkit._handlers._registrar import Registrar, UnknownEventName
    from brokerkit.dedupe import Dedupe
    from brokerkit.events import accelbyte, evenbet, session, thrillconnect, thrillpots

M = TypeVar("M")

Name: TypeAlias = Literal[
    "BackfillFoundEvent",
    "accelbyte:BackfillFoundEvent",
    "BackfillProposalAcceptedEvent",
    "accelbyte:BackfillProposalAcceptedEvent",
    "BackfillProposalExpiredEvent",
    "accelbyte:BackfillProposalExpiredEvent",
    "BackfillProposalRejectedEvent",
    "accelbyte:BackfillProposalRejectedEvent",
    "BackfillProposalSentEvent",
    "accelbyte:BackfillProposalSentEvent",
    "BackfillTicketExpiredEvent",
    "accelbyte:BackfillTicketExpiredEvent",
    "GameSessionBackfillUpdateEvent",
    "accelbyte:GameSessionBackfillUpdateEvent",
    "GameSessionCodeChangedEvent",
    "accelbyte:GameSessionCodeChangedEvent",
    "GameSessionCodeRevokedEvent",
    "accelbyte:GameSessionCodeRevokedEvent",
    "GameSessionCreatedEvent",
    "accelbyte:GameSessionCreatedEvent",
    "GameSessionDSStatusChangedEvent",
    "accelbyte:GameSessionDSStatusChangedEvent",
    "GameSessionEndedEvent",
    "accelbyte:GameSessionEndedEvent",
    "GameSessionInvitedEvent",
    "accelbyte:GameSessionInvitedEvent",
    "GameSessionJoinedEvent",
    "accelbyte:GameSessionJoinedEvent",
    "GameSessionKickedEvent",
    "accelbyte:GameSessionKickedEvent",
    "GameSessionMembersChangedEvent",
    "accelbyte:GameSessionMembersChangedEvent",
    "GameSessionRejectedEvent",
    "accelbyte:GameSessionRejectedEvent",
    "GameSessionUpdatedEvent",
    "accelbyte:GameSessionUpdatedEvent",
    "MatchFoundEvent",
    "accelbyte:MatchFoundEvent",
    "MatchHistoryEvent",
    "accelbyte:MatchHistoryEvent",
    "MatchmakingEvent",
    "accelbyte:MatchmakingEvent",
    "MatchmakingSessionTickEvent",
    "accelbyte:MatchmakingSessionTickEvent",
    "MatchmakingStartedEvent",
    "accelbyte:MatchmakingStartedEvent",
    "MatchmakingTickEvent",
    "accelbyte:MatchmakingTickEvent",
    "MatchmakingTicketCanceledEvent",
    "accelbyte:MatchmakingTicketCanceledEvent",
    "MatchmakingTicketExpiredEvent",
    "accelbyte:MatchmakingTicketExpiredEvent",
    "MatchmakingTicketFoundEvent",
    "accelbyte:MatchmakingTicketFoundEvent",
    "MatchmakingTicketRejectedEvent",
    "accelbyte:MatchmakingTicketRejectedEvent",
    "MatchmakingTicketReturnedToPoolEvent",
    "accelbyte:MatchmakingTicketReturnedToPoolEvent",
    "MetricAcquiringDsEvent",
    "accelbyte:MetricAcquiringDsEvent",
    "MetricAcquiringDsWaitTimeEvent",
    "accelbyte:MetricAcquiringDsWaitTimeEvent",
    "MetricCanceledMatchmakingTicketEvent",
    "accelbyte:MetricCanceledMatchmakingTicketEvent",
    "MetricCreatedMatchmakingTicketEvent",
    "accelbyte:MetricCreatedMatchmakingTicketEvent",
    "MetricExpiredMatchmakingTicketEvent",
    "accelbyte:MetricExpiredMatchmakingTicketEvent",
    "MetricMatchLengthDurationEvent",
    "accelbyte:MetricMatchLengthDurationEvent",
    "MetricMatchMatchmakingEvent",
    "accelbyte:MetricMatchMatchmakingEvent",
    "MetricMatchMatchmakingTicketEvent",
    "accelbyte:MetricMatchMatchmakingTicketEvent",
    "MetricTotalActiveSessionEvent",
    "accelbyte:MetricTotalActiveSessionEvent",
    "MetricTotalPlayerPersessionEvent",
    "accelbyte:MetricTotalPlayerPersessionEvent",
    "OnDSStatusChanged",
    "accelbyte:OnDSStatusChanged",
    "OnGameSessionInviteCancelled",
    "accelbyte:OnGameSessionInviteCancelled",
    "OnGameSessionInviteTimeout",
    "accelbyte:OnGameSessionInviteTimeout",
    "OnGameSessionUpdated",
    "accelbyte:OnGameSessionUpdated",
    "OnPartyCreated",
    "accelbyte:OnPartyCreated",
    "OnPartyInvited",
    "accelbyte:OnPartyInvited",
    "OnPartyJoined",
    "accelbyte:OnPartyJoined",
    "OnPartyKicked",
    "accelbyte:OnPartyKicked",
    "OnPartyMembersChanged",
    "accelbyte:OnPartyMembersChanged",
    "OnPartyRejected",
    "accelbyte:OnPartyRejected",
    "OnPartyUpdated",
    "accelbyte:OnPartyUpdated",
    "OnSessionEnded",
    "accelbyte:OnSessionEnded",
    "OnSessionInvited",
    "accelbyte:OnSessionInvited",
    "OnSessionJoined",
    "accelbyte:OnSessionJoined",
    "OnSessionJoinedSecret",
    "accelbyte:OnSessionJoinedSecret",
    "OnSessionKicked",
    "accelbyte:OnSessionKicked",
    "OnSessionMembersChanged",
    "accelbyte:OnSessionMembersChanged",
    "OnSessionNativePlatformSynced",
    "accelbyte:OnSessionNativePlatformSynced",
    "OnSessionRejected",
    "accelbyte:OnSessionRejected",
    "OnSessionStorageChanged",
    "accelbyte:OnSessionStorageChanged",
    "PartialBackfillProposalRejectedEvent",
    "accelbyte:PartialBackfillProposalRejectedEvent",
    "PartyBanEvent",
    "accelbyte:PartyBanEvent",
    "PartyCreatedEvent",
    "accelbyte:PartyCreatedEvent",
    "PartyDeletedEvent",
    "accelbyte:PartyDeletedEvent",
    "PartyDisconnectedEvent",
    "accelbyte:PartyDisconnectedEvent",
    "PartyDroppedEvent",
    "accelbyte:PartyDroppedEvent",
    "PartyInviteCancelled",
    "accelbyte:PartyInviteCancelled",
    "PartyInvitedEvent",
    "accelbyte:PartyInvitedEvent",
    "PartyJoinedEvent",
    "accelbyte:PartyJoinedEvent",
    "PartyKickedEvent",
    "accelbyte:PartyKickedEvent",
    "PartyLeaderChanged",
    "accelbyte:PartyLeaderChanged",
    "PartyLeaveEvent",
    "accelbyte:PartyLeaveEvent",
    "PartyLeftEvent",
    "accelbyte:PartyLeftEvent",
    "PartyMembersChangedEvent",
    "accelbyte:PartyMembersChangedEvent",
    "PartyRejectedEvent",
    "accelbyte:PartyRejectedEvent",
    "PartyRejoinedEvent",
    "accelbyte:PartyRejoinedEvent",
    "PartyUpdatedEvent",
    "accelbyte:PartyUpdatedEvent",
    "onPartyCreated",
    "accelbyte:onPartyCreated",
    "sessionNotification",
    "accelbyte:sessionNotification",
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
    "authenticate",
    "session:authenticate",
    "authenticate-reject",
    "session:authenticate-reject",
    "balance",
    "session:balance",
    "balance-updated",
    "session:balance-updated",
    "bet-place",
    "session:bet-place",
    "bet-place-rejected",
    "session:bet-place-rejected",
    "bet-placed",
    "session:bet-placed",
    "error",
    "session:error",
    "jackpot-details",
    "session:jackpot-details",
    "jackpot-details-result",
    "session:jackpot-details-result",
    "jackpot-paid",
    "session:jackpot-paid",
    "jackpot-pay",
    "session:jackpot-pay",
    "jackpot-pay-rejected",
    "session:jackpot-pay-rejected",
    "match-start",
    "session:match-start",
    "ping",
    "session:ping",
    "player-disconnected",
    "session:player-disconnected",
    "rtp-test-result",
    "session:rtp-test-result",
    "rtp-test-start",
    "session:rtp-test-start",
    "session",
    "session:session",
    "warning",
    "session:warning",
    "winning-paid",
    "session:winning-paid",
    "winning-pay",
    "session:winning-pay",
    "winning-pay-rejected",
    "session:winning-pay-rejected",
    "CampaignDropWin",
    "thrillconnect:CampaignDropWin",
    "JackpotUpdate",
    "thrillconnect:JackpotUpdate",
    "thrillconnect:OptInEvent",
    "PlayerBonusAdded",
    "thrillconnect:PlayerBonusAdded",
    "PlayerBonusConsumed",
    "thrillconnect:PlayerBonusConsumed",
    "PlayerBonusExpired",
    "thrillconnect:PlayerBonusExpired",
    "PlayerBonusRemoved",
    "thrillconnect:PlayerBonusRemoved",
    "PlayerBonusUpdated",
    "thrillconnect:PlayerBonusUpdated",
    "PlayerOptInRequest",
    "thrillconnect:PlayerOptInRequest",
    "PlayerOptInRequestV2",
    "thrillconnect:PlayerOptInRequestV2",
    "PlayerRaffleTicketResponse",
    "thrillconnect:PlayerRaffleTicketResponse",
    "PlayerRaffleTicketsRequest",
    "thrillconnect:PlayerRaffleTicketsRequest",
    "thrillconnect:RaffleWinEvent",
    "SubscribeRequest",
    "thrillconnect:SubscribeRequest",
    "WinEvent",
    "thrillconnect:WinEvent",
    "CommunityPayoutErrorEvent",
    "thrillpots:CommunityPayoutErrorEvent",
    "JackpotUpdateEvent",
    "thrillpots:JackpotUpdateEvent",
    "JackpotWinEvent",
    "thrillpots:JackpotWinEvent",
    "thrillpots:OptInEvent",
    "RafflePayoutErrorEvent",
    "thrillpots:RafflePayoutErrorEvent",
    "thrillpots:RaffleWinEvent",
]
"""Every known event name, plain where one family alone has it, and qualified with its family."""


class On(Protocol):
    """Registers handlers by event name or model class."""

    @overload
    def __call__(
        self,
        name: Literal["BackfillFoundEvent", "accelbyte:BackfillFoundEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.BackfillFoundEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["BackfillProposalAcceptedEvent", "accelbyte:BackfillProposalAcceptedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.BackfillProposalAcceptedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["BackfillProposalExpiredEvent", "accelbyte:BackfillProposalExpiredEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.BackfillProposalExpiredEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["BackfillProposalRejectedEvent", "accelbyte:BackfillProposalRejectedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.BackfillProposalRejectedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["BackfillProposalSentEvent", "accelbyte:BackfillProposalSentEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.BackfillProposalSentEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["BackfillTicketExpiredEvent", "accelbyte:BackfillTicketExpiredEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.BackfillTicketExpiredEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionBackfillUpdateEvent", "accelbyte:GameSessionBackfillUpdateEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionBackfillUpdateEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionCodeChangedEvent", "accelbyte:GameSessionCodeChangedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionCodeChangedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionCodeRevokedEvent", "accelbyte:GameSessionCodeRevokedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionCodeRevokedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionCreatedEvent", "accelbyte:GameSessionCreatedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionCreatedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionDSStatusChangedEvent", "accelbyte:GameSessionDSStatusChangedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionDSStatusChangedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionEndedEvent", "accelbyte:GameSessionEndedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionEndedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionInvitedEvent", "accelbyte:GameSessionInvitedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionInvitedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionJoinedEvent", "accelbyte:GameSessionJoinedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionJoinedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionKickedEvent", "accelbyte:GameSessionKickedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionKickedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionMembersChangedEvent", "accelbyte:GameSessionMembersChangedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionMembersChangedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionRejectedEvent", "accelbyte:GameSessionRejectedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionRejectedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["GameSessionUpdatedEvent", "accelbyte:GameSessionUpdatedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.GameSessionUpdatedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchFoundEvent", "accelbyte:MatchFoundEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchFoundEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchHistoryEvent", "accelbyte:MatchHistoryEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchHistoryEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingEvent", "accelbyte:MatchmakingEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingSessionTickEvent", "accelbyte:MatchmakingSessionTickEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingSessionTickEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingStartedEvent", "accelbyte:MatchmakingStartedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingStartedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingTickEvent", "accelbyte:MatchmakingTickEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingTickEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingTicketCanceledEvent", "accelbyte:MatchmakingTicketCanceledEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingTicketCanceledEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingTicketExpiredEvent", "accelbyte:MatchmakingTicketExpiredEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingTicketExpiredEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingTicketFoundEvent", "accelbyte:MatchmakingTicketFoundEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingTicketFoundEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingTicketRejectedEvent", "accelbyte:MatchmakingTicketRejectedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingTicketRejectedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MatchmakingTicketReturnedToPoolEvent", "accelbyte:MatchmakingTicketReturnedToPoolEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MatchmakingTicketReturnedToPoolEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricAcquiringDsEvent", "accelbyte:MetricAcquiringDsEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricAcquiringDsEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricAcquiringDsWaitTimeEvent", "accelbyte:MetricAcquiringDsWaitTimeEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricAcquiringDsWaitTimeEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricCanceledMatchmakingTicketEvent", "accelbyte:MetricCanceledMatchmakingTicketEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricCanceledMatchmakingTicketEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricCreatedMatchmakingTicketEvent", "accelbyte:MetricCreatedMatchmakingTicketEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricCreatedMatchmakingTicketEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricExpiredMatchmakingTicketEvent", "accelbyte:MetricExpiredMatchmakingTicketEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricExpiredMatchmakingTicketEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricMatchLengthDurationEvent", "accelbyte:MetricMatchLengthDurationEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricMatchLengthDurationEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricMatchMatchmakingEvent", "accelbyte:MetricMatchMatchmakingEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricMatchMatchmakingEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricMatchMatchmakingTicketEvent", "accelbyte:MetricMatchMatchmakingTicketEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricMatchMatchmakingTicketEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricTotalActiveSessionEvent", "accelbyte:MetricTotalActiveSessionEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricTotalActiveSessionEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["MetricTotalPlayerPersessionEvent", "accelbyte:MetricTotalPlayerPersessionEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.MetricTotalPlayerPersessionEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnDSStatusChanged", "accelbyte:OnDSStatusChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnDSStatusChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnGameSessionInviteCancelled", "accelbyte:OnGameSessionInviteCancelled"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnGameSessionInviteCancelled]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnGameSessionInviteTimeout", "accelbyte:OnGameSessionInviteTimeout"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnGameSessionInviteTimeout]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnGameSessionUpdated", "accelbyte:OnGameSessionUpdated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnGameSessionUpdated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPartyCreated", "accelbyte:OnPartyCreated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnPartyCreated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPartyInvited", "accelbyte:OnPartyInvited"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnPartyInvited]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPartyJoined", "accelbyte:OnPartyJoined"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnPartyJoined]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPartyKicked", "accelbyte:OnPartyKicked"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnPartyKicked]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPartyMembersChanged", "accelbyte:OnPartyMembersChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnPartyMembersChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPartyRejected", "accelbyte:OnPartyRejected"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnPartyRejected]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnPartyUpdated", "accelbyte:OnPartyUpdated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnPartyUpdated]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionEnded", "accelbyte:OnSessionEnded"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionEnded]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionInvited", "accelbyte:OnSessionInvited"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionInvited]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionJoined", "accelbyte:OnSessionJoined"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionJoined]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionJoinedSecret", "accelbyte:OnSessionJoinedSecret"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionJoinedSecret]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionKicked", "accelbyte:OnSessionKicked"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionKicked]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionMembersChanged", "accelbyte:OnSessionMembersChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionMembersChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionNativePlatformSynced", "accelbyte:OnSessionNativePlatformSynced"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionNativePlatformSynced]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionRejected", "accelbyte:OnSessionRejected"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionRejected]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnSessionStorageChanged", "accelbyte:OnSessionStorageChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.OnSessionStorageChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartialBackfillProposalRejectedEvent", "accelbyte:PartialBackfillProposalRejectedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartialBackfillProposalRejectedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyBanEvent", "accelbyte:PartyBanEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyBanEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyCreatedEvent", "accelbyte:PartyCreatedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyCreatedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyDeletedEvent", "accelbyte:PartyDeletedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyDeletedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyDisconnectedEvent", "accelbyte:PartyDisconnectedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyDisconnectedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyDroppedEvent", "accelbyte:PartyDroppedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyDroppedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyInviteCancelled", "accelbyte:PartyInviteCancelled"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyInviteCancelled]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyInvitedEvent", "accelbyte:PartyInvitedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyInvitedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyJoinedEvent", "accelbyte:PartyJoinedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyJoinedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyKickedEvent", "accelbyte:PartyKickedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyKickedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyLeaderChanged", "accelbyte:PartyLeaderChanged"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyLeaderChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyLeaveEvent", "accelbyte:PartyLeaveEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyLeaveEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyLeftEvent", "accelbyte:PartyLeftEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyLeftEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyMembersChangedEvent", "accelbyte:PartyMembersChangedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyMembersChangedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyRejectedEvent", "accelbyte:PartyRejectedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyRejectedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyRejoinedEvent", "accelbyte:PartyRejoinedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyRejoinedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PartyUpdatedEvent", "accelbyte:PartyUpdatedEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyUpdatedEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["onPartyCreated", "accelbyte:onPartyCreated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.PartyCreated]: ...
    @overload
    def __call__(
        self,
        name: Literal["sessionNotification", "accelbyte:sessionNotification"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[accelbyte.SessionNotification]: ...
    @overload
    def __call__(
        self,
        name: Literal["OnCasinoRoundClosed", "evenbet:OnCasinoRoundClosed"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[evenbet.OnStateInfoChanged]: ...
    @overload
    def __call__(
        self,
        name: Literal["authenticate", "session:authenticate"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.Authenticate]: ...
    @overload
    def __call__(
        self,
        name: Literal["authenticate-reject", "session:authenticate-reject"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.AuthenticateReject]: ...
    @overload
    def __call__(
        self,
        name: Literal["balance", "session:balance"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.Balance]: ...
    @overload
    def __call__(
        self,
        name: Literal["balance-updated", "session:balance-updated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.BalanceUpdated]: ...
    @overload
    def __call__(
        self,
        name: Literal["bet-place", "session:bet-place"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.BetPlace]: ...
    @overload
    def __call__(
        self,
        name: Literal["bet-place-rejected", "session:bet-place-rejected"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.BetPlaceRejected]: ...
    @overload
    def __call__(
        self,
        name: Literal["bet-placed", "session:bet-placed"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.BetPlaced]: ...
    @overload
    def __call__(
        self,
        name: Literal["error", "session:error"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.Error]: ...
    @overload
    def __call__(
        self,
        name: Literal["jackpot-details", "session:jackpot-details"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.JackpotDetails]: ...
    @overload
    def __call__(
        self,
        name: Literal["jackpot-details-result", "session:jackpot-details-result"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.JackpotDetailsResult]: ...
    @overload
    def __call__(
        self,
        name: Literal["jackpot-paid", "session:jackpot-paid"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.JackpotPaid]: ...
    @overload
    def __call__(
        self,
        name: Literal["jackpot-pay", "session:jackpot-pay"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.JackpotPay]: ...
    @overload
    def __call__(
        self,
        name: Literal["jackpot-pay-rejected", "session:jackpot-pay-rejected"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.JackpotPayRejected]: ...
    @overload
    def __call__(
        self,
        name: Literal["match-start", "session:match-start"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.MatchStart]: ...
    @overload
    def __call__(
        self,
        name: Literal["ping", "session:ping"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.Ping]: ...
    @overload
    def __call__(
        self,
        name: Literal["player-disconnected", "session:player-disconnected"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.PlayerDisconnected]: ...
    @overload
    def __call__(
        self,
        name: Literal["rtp-test-result", "session:rtp-test-result"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.RtpTestResult]: ...
    @overload
    def __call__(
        self,
        name: Literal["rtp-test-start", "session:rtp-test-start"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.RtpTestStart]: ...
    @overload
    def __call__(
        self,
        name: Literal["session", "session:session"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.Session]: ...
    @overload
    def __call__(
        self,
        name: Literal["warning", "session:warning"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.Warning]: ...
    @overload
    def __call__(
        self,
        name: Literal["winning-paid", "session:winning-paid"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.WinningPaid]: ...
    @overload
    def __call__(
        self,
        name: Literal["winning-pay", "session:winning-pay"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.WinningPay]: ...
    @overload
    def __call__(
        self,
        name: Literal["winning-pay-rejected", "session:winning-pay-rejected"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[session.WinningPayRejected]: ...
    @overload
    def __call__(
        self,
        name: Literal["CampaignDropWin", "thrillconnect:CampaignDropWin"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.CampaignDropWin]: ...
    @overload
    def __call__(
        self,
        name: Literal["JackpotUpdate", "thrillconnect:JackpotUpdate"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.JackpotUpdate]: ...
    @overload
    def __call__(
        self,
        name: Literal["thrillconnect:OptInEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.OptInEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerBonusAdded", "thrillconnect:PlayerBonusAdded"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerBonusAdded]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerBonusConsumed", "thrillconnect:PlayerBonusConsumed"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerBonusConsumed]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerBonusExpired", "thrillconnect:PlayerBonusExpired"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerBonusExpired]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerBonusRemoved", "thrillconnect:PlayerBonusRemoved"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerBonusRemoved]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerBonusUpdated", "thrillconnect:PlayerBonusUpdated"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerBonusUpdated]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerOptInRequest", "thrillconnect:PlayerOptInRequest"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerOptInRequest]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerOptInRequestV2", "thrillconnect:PlayerOptInRequestV2"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerOptInRequestV2]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerRaffleTicketResponse", "thrillconnect:PlayerRaffleTicketResponse"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerRaffleTicketResponse]: ...
    @overload
    def __call__(
        self,
        name: Literal["PlayerRaffleTicketsRequest", "thrillconnect:PlayerRaffleTicketsRequest"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.PlayerRaffleTicketsRequest]: ...
    @overload
    def __call__(
        self,
        name: Literal["thrillconnect:RaffleWinEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.RaffleWinEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["SubscribeRequest", "thrillconnect:SubscribeRequest"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.SubscribeRequest]: ...
    @overload
    def __call__(
        self,
        name: Literal["WinEvent", "thrillconnect:WinEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillconnect.WinEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["CommunityPayoutErrorEvent", "thrillpots:CommunityPayoutErrorEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillpots.CommunityPayoutErrorEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["JackpotUpdateEvent", "thrillpots:JackpotUpdateEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillpots.JackpotUpdateEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["JackpotWinEvent", "thrillpots:JackpotWinEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillpots.JackpotWinEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["thrillpots:OptInEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillpots.OptInEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["RafflePayoutErrorEvent", "thrillpots:RafflePayoutErrorEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillpots.RafflePayoutErrorEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["thrillpots:RaffleWinEvent"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[thrillpots.RaffleWinEvent]: ...
    @overload
    def __call__(
        self,
        name: Literal["*"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
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
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[M]: ...
    @overload
    def __call__(
        self,
        name: str,
        model: type[M],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[M]: ...
    @overload
    def __call__(
        self,
        first: Name | type[Any],
        second: Name | type[Any],
        /,
        *more: Name | type[Any],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Registrar[Any]: ...
    @overload
    def __call__(
        self,
        name: str,
        /,
        *more: str | type[Any],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Coroutine[UnknownEventName, Any, Any]: ...
    @overload
    def __call__(
        self,
        model: type[Any],
        name: str,
        /,
        *more: str | type[Any],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
    ) -> Coroutine[UnknownEventName, Any, Any]: ...
