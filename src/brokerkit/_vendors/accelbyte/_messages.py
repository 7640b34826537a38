"""What `payload.message` holds: JSON in base64, JSON as it stands, or nothing.

The published specification says only that it is text. The shapes come from an AccelByte sample consumer and from the
models of AccelByte's client SDKs; they are what those read, not a full schema, so unknown fields are kept.
"""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, ValidationError
from pydantic_core import from_json

from brokerkit._errors import DecodeError
from brokerkit.events._model import WireObject, wire
from brokerkit.events._types import KnownFirst


class MemberStatus(StrEnum):
    """State of a member (Unreal client SDK; older releases had ACTIVE and INACTIVE, so more may come)."""

    INVITED = "INVITED"
    JOINED = "JOINED"
    CONNECTED = "CONNECTED"
    LEFT = "LEFT"
    DROPPED = "DROPPED"
    REJECTED = "REJECTED"
    KICKED = "KICKED"
    TIMEOUT = "TIMEOUT"
    DISCONNECTED = "DISCONNECTED"
    TERMINATED = "TERMINATED"


class Joinability(StrEnum):
    """Who may join a session; no message documented so far holds one in a known place."""

    CLOSED = "CLOSED"
    INVITE_ONLY = "INVITE_ONLY"
    OPEN = "OPEN"
    FRIENDS_OF_LEADER = "FRIENDS_OF_LEADER"
    FRIENDS_OF_FRIENDS = "FRIENDS_OF_FRIENDS"
    FRIENDS_OF_MEMBERS = "FRIENDS_OF_MEMBERS"


class DSStatus(StrEnum):
    """State of a dedicated server; no message documented so far holds one in a known place."""

    NEED_TO_REQUEST = "NEED_TO_REQUEST"
    REQUESTED = "REQUESTED"
    AVAILABLE = "AVAILABLE"
    FAILED_TO_REQUEST = "FAILED_TO_REQUEST"
    ENDED = "ENDED"
    UNKNOWN = "UNKNOWN"


_Status = Annotated[MemberStatus | str, KnownFirst()]


class Member(WireObject):
    """A member of a session or party."""

    id: str | None = wire("user id", name="ID")
    status: _Status | None = wire("state, older form", name="Status")
    status_v2: _Status | None = wire("state, newer form", name="StatusV2")
    previous_status: _Status | None = wire("state before this change", name="PreviousStatus")
    platform_id: str | None = wire("name of the third-party platform", name="PlatformID")
    platform_user_id: str | None = wire("user id on that platform", name="PlatformUserID")
    updated_at: str | None = wire(
        "when the state changed; plain text in the specification, the client SDK reads a time", name="UpdatedAt"
    )


class TeamParty(WireObject):
    """A party inside a team."""

    party_id: str | None = wire("party id", name="partyID")
    user_ids: list[str] | None = wire("users of the party", name="userIDs")


class Team(WireObject):
    """A team of a game session."""

    team_id: str | None = wire("team id; may be blank, the sample consumer then takes the index", name="teamID")
    user_ids: list[str] | None = wire("users in the team", name="userIDs")
    parties: list[TeamParty] | None = wire("parties inside the team")


class SessionState(WireObject):
    """State of a session or party at one moment."""

    id: str | None = wire("session or party id; the sample consumer refuses a snapshot without it", name="ID")
    members: list[Member] | None = wire("members", name="Members")
    teams: list[Team] | None = wire("teams, of game sessions only", name="Teams")


class Snapshot(WireObject):
    """The decoded message of the events that record the life of a session or party."""

    requester_user_id: str | None = wire(
        "user whose action caused the event, such as joining, leaving or kicking", name="requesterUserID"
    )
    payload: SessionState | None = wire("state at that moment")


class Notification(WireObject):
    """The decoded message of a notification: all fields that any topic is known to carry.

    Which topic carries which is said in the docstrings of the events that are named after the topics. It is also the
    shape of the specification's "notification created v1", to which none of its messages refers.
    """

    model_config = ConfigDict(alias_generator=None)

    id: str | None = wire("session id, in OnGameSessionUpdated", name="ID")
    session_id: str | None = wire("session id", name="SessionID")
    party_id: str | None = wire("party id", name="PartyID")
    sender_id: str | None = wire("who invited", name="SenderID")
    joiner_id: str | None = wire("who joined", name="JoinerID")
    leader_id: str | None = wire("who leads", name="LeaderID")
    rejected_id: str | None = wire("who declined", name="RejectedID")
    actor_user_id: str | None = wire("who changed the storage", name="ActorUserID")
    created_by: str | None = wire("who created it", name="CreatedBy")
    code: str | None = wire("join code", name="Code")
    text_chat: bool | None = wire("whether text chat is on", name="TextChat")
    text_chat_mode: str | None = wire("text chat mode", name="TextChatMode")
    members: list[Member] | None = wire("members", name="Members")
    teams: list[Team] | None = wire("teams", name="Teams")
    session: Any = wire("the session; shape not documented", name="Session")
    game_server: Any = wire("the dedicated server; shape not documented", name="GameServer")
    error: Any = wire("what went wrong with the server; shape not documented", name="Error")
    configuration: Any = wire("the session's configuration; shape not documented", name="Configuration")
    version: int | None = wire("version of the session", name="Version")
    storage_changes: Any = wire("what changed in the storage; shape not documented", name="StorageChanges")
    expired_at: str | None = wire("when the invitation runs out", name="ExpiredAt")
    platform_name: str | None = wire("name of the third-party platform", name="PlatformName")
    platform_session_id: str | None = wire("session id on that platform", name="PlatformSessionID")
    secret: str | None = wire("secret for joining", name="secret")


def unpack(text: str | None) -> Any:
    """Take the JSON value out of a message's text; None if the text is blank or missing.

    Raises:
        ValueError: it is neither JSON nor base64 of JSON in UTF-8.
    """
    if text is None or not (text := text.strip()):
        return None
    if text.startswith("{"):
        return from_json(text, allow_inf_nan=False)
    # Padding is optional on the wire; Python insists on it.
    return from_json(base64.b64decode(text + "=" * (-len(text) % 4), validate=True), allow_inf_nan=False)


def pack(value: WireObject) -> str:
    """Make the text of a message from its value: base64 of the JSON, as the vendor sends it."""
    return base64.b64encode(value.model_dump_json(by_alias=True, exclude_unset=True).encode()).decode()


def refused(event: str, text: str | None, error: ValueError) -> DecodeError:
    """Make the error for a message that cannot be read."""
    value: object
    field, reason, value = "payload.message", str(error), text
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        reason, value = first["msg"], first["input"]
        field = ".".join([field, *map(str, first["loc"])])
    return DecodeError(reason, family="accelbyte", event=event, field=field, value=value)
