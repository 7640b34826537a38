"""History records of game sessions and parties, and measurements: channel `mpv2SessionHistory`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from brokerkit._vendors.accelbyte._envelope import HistoryEvent, MetricEvent


class GameSessionEndedEvent(HistoryEvent):
    """A game session closed.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionEndedEvent"}


class GameSessionInvitedEvent(HistoryEvent):
    """Someone was asked to join a game session.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionInvitedEvent"}


class GameSessionJoinedEvent(HistoryEvent):
    """Someone entered a game session.

    Source: the public specification of the session service; Session Notification Events 0.1.0 prints
    GameSessionInvitedEvent a second time in its place.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionJoinedEvent"}


class GameSessionMembersChangedEvent(HistoryEvent):
    """The member list of a game session changed.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionMembersChangedEvent"}


class GameSessionKickedEvent(HistoryEvent):
    """Someone was thrown out of a game session.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionKickedEvent"}


class GameSessionCreatedEvent(HistoryEvent):
    """A game session was created.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionCreatedEvent"}


class GameSessionUpdatedEvent(HistoryEvent):
    """Settings or attributes of a game session changed.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionUpdatedEvent"}


class GameSessionRejectedEvent(HistoryEvent):
    """An invitation to a game session was turned down.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionRejectedEvent"}


class GameSessionDSStatusChangedEvent(HistoryEvent):
    """The dedicated server of a game session went into another state.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionDSStatusChangedEvent"}


class GameSessionCodeChangedEvent(HistoryEvent):
    """The join code of a game session was replaced.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionCodeChangedEvent"}


class GameSessionCodeRevokedEvent(HistoryEvent):
    """The join code of a game session was withdrawn.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionCodeRevokedEvent"}


class GameSessionBackfillUpdateEvent(HistoryEvent):
    """The backfill ticket of a game session changed.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "GameSessionBackfillUpdateEvent"}


class MatchHistoryEvent(HistoryEvent):
    """The record of a match. Matchmaking publishes it too, then without userId and sessionId.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchHistoryEvent"}


class PartyCreatedEvent(HistoryEvent):
    """A party was created.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyCreatedEvent"}


class PartyUpdatedEvent(HistoryEvent):
    """Settings of a party changed.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyUpdatedEvent"}


class PartyKickedEvent(HistoryEvent):
    """Someone was thrown out of a party.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyKickedEvent"}


class PartyLeaveEvent(HistoryEvent):
    """Someone walked out of a party.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyLeaveEvent"}


class PartyLeftEvent(HistoryEvent):
    """Someone left a party; how it differs from PartyLeaveEvent is not documented.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyLeftEvent"}


class PartyInvitedEvent(HistoryEvent):
    """Someone was asked to join a party.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyInvitedEvent"}


class PartyInviteCancelled(HistoryEvent):
    """An invitation to a party was taken back. Its name has no Event at the end.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyInviteCancelled"}


class PartyRejectedEvent(HistoryEvent):
    """An invitation to a party was turned down. Session service and session worker both publish it.

    Source: Session Notification Events 0.1.0 and Session Worker Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyRejectedEvent"}


class PartyJoinedEvent(HistoryEvent):
    """Someone entered a party.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyJoinedEvent"}


class PartyMembersChangedEvent(HistoryEvent):
    """The member list of a party changed.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyMembersChangedEvent"}


class PartyLeaderChanged(HistoryEvent):
    """Someone else leads the party. Its name has no Event at the end.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyLeaderChanged"}


class PartyRejoinedEvent(HistoryEvent):
    """A member who had gone came back to the party.

    Source: Session Worker Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyRejoinedEvent"}


class PartyDroppedEvent(HistoryEvent):
    """A member was lost from the party.

    Source: Session Worker Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyDroppedEvent"}


class PartyDisconnectedEvent(HistoryEvent):
    """A member of the party lost the connection.

    Source: Session Worker Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyDisconnectedEvent"}


class PartyBanEvent(HistoryEvent):
    """Someone was banned from the party.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyBanEvent"}


class PartyDeletedEvent(HistoryEvent):
    """A party was removed.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "PartyDeletedEvent"}


class MetricTotalActiveSessionEvent(MetricEvent):
    """Sessions that are open now.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricTotalActiveSessionEvent"}


class MetricAcquiringDsWaitTimeEvent(MetricEvent):
    """How long a dedicated server was waited for.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricAcquiringDsWaitTimeEvent"}


class MetricAcquiringDsEvent(MetricEvent):
    """A dedicated server was obtained.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricAcquiringDsEvent"}


class MetricMatchLengthDurationEvent(MetricEvent):
    """How long a match took.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricMatchLengthDurationEvent"}


class MetricCreatedMatchmakingTicketEvent(MetricEvent):
    """A matchmaking ticket was made. Matchmaking publishes it too, then without userId and sessionId.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricCreatedMatchmakingTicketEvent"}


class MetricMatchMatchmakingEvent(MetricEvent):
    """Matchmaking made a match. Matchmaking publishes it too, then without userId and sessionId.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricMatchMatchmakingEvent"}


class MetricMatchMatchmakingTicketEvent(MetricEvent):
    """A ticket was matched. Matchmaking publishes it too, then without userId and sessionId.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricMatchMatchmakingTicketEvent"}


class MetricTotalPlayerPersessionEvent(MetricEvent):
    """Players for each session; the small s in the name is the vendor's.

    Source: the public specification of the session service; not in Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricTotalPlayerPersessionEvent"}
