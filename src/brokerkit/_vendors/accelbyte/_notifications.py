"""Notifications: channels `session`, `sessionNotification` and `sessionEvent`.

A notification for game clients has the name sessionNotification and its own topic in `payload.topicName`. The events that
are named after topics serve sources whose name rule is ``field:payload.topicName``; they have the same envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from brokerkit._vendors.accelbyte._envelope import NotificationEvent, SessionServiceEvent


class PartyCreated(SessionServiceEvent):
    """A party was created: the event named onPartyCreated, of channel `session`, without payload.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "onPartyCreated"}


class SessionNotification(NotificationEvent):
    """A notification for the listed users: the event named sessionNotification.

    Source: Session Notification Events 0.1.0.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "sessionNotification"}


class OnSessionEnded(NotificationEvent):
    """A game session is over. The message of the topic of this name holds SessionID.

    Source: Session Notification Events 0.1.0. As a topic: client SDKs.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionEnded"}


class OnPartyInvited(NotificationEvent):
    """Someone is asked to join a party. The message holds SenderID, PartyID.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnPartyInvited"}


class OnPartyJoined(NotificationEvent):
    """Someone entered a party. The message holds PartyID, Members, Code, TextChat.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnPartyJoined"}


class OnPartyMembersChanged(NotificationEvent):
    """The member list of a party changed. The message holds PartyID, JoinerID, LeaderID, Members, TextChat, Session.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnPartyMembersChanged"}


class OnPartyRejected(NotificationEvent):
    """An invitation to a party was turned down. The message holds PartyID, RejectedID, Members.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnPartyRejected"}


class OnPartyKicked(NotificationEvent):
    """Someone was thrown out of a party. The message holds PartyID.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnPartyKicked"}


class OnPartyCreated(NotificationEvent):
    """A party was created. The message holds PartyID, CreatedBy, Code, TextChat.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnPartyCreated"}


class OnPartyUpdated(NotificationEvent):
    """Settings of a party changed. What its message holds was not seen.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnPartyUpdated"}


class OnSessionInvited(NotificationEvent):
    """Someone is asked to join a session. The message holds SessionID, SenderID, ExpiredAt.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionInvited"}


class OnSessionJoined(NotificationEvent):
    """Someone entered a session. The message holds SessionID, Members.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionJoined"}


class OnSessionMembersChanged(NotificationEvent):
    """The member list of a session changed. The message holds SessionID, LeaderID, JoinerID, Members, Teams.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionMembersChanged"}


class OnSessionKicked(NotificationEvent):
    """Someone was thrown out of a session. The message holds SessionID.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionKicked"}


class OnSessionRejected(NotificationEvent):
    """An invitation to a session was turned down. The message holds SessionID, RejectedID, Members.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionRejected"}


class OnDSStatusChanged(NotificationEvent):
    """The dedicated server of a session went into another state. The message holds SessionID, GameServer, Error.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnDSStatusChanged"}


class OnGameSessionUpdated(NotificationEvent):
    """Settings of a game session changed. The message holds ID, Configuration, Version, LeaderID.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnGameSessionUpdated"}


class OnSessionStorageChanged(NotificationEvent):
    """The storage of a session changed. The message holds SessionID, StorageChanges, ActorUserID.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionStorageChanged"}


class OnGameSessionInviteTimeout(NotificationEvent):
    """An invitation to a game session ran out. The message holds SessionID.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnGameSessionInviteTimeout"}


class OnGameSessionInviteCancelled(NotificationEvent):
    """An invitation to a game session was taken back. The message holds SessionID.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnGameSessionInviteCancelled"}


class OnSessionNativePlatformSynced(NotificationEvent):
    """A session was matched with a third-party platform's. The message holds SessionID, PlatformName, PlatformSessionID.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionNativePlatformSynced"}


class OnSessionJoinedSecret(NotificationEvent):
    """The secret of a session for one who joined it. The message holds secret.

    Source: client SDKs, as a notification topic.
    """

    constants: ClassVar[Mapping[str, str]] = {"name": "OnSessionJoinedSecret"}
