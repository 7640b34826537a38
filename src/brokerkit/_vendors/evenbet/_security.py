"""Events of anti-fraud and of logins that someone else must check."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from brokerkit._vendors.evenbet._codes import FraudIncidentStatusCode
from brokerkit._vendors.evenbet._fields import ExternalId, PlayerId
from brokerkit.events._model import Event, WireObject, wire
from brokerkit.events._types import KnownFirst, SqlDateTime

IncidentId = Annotated[int | None, Field(description="incident id")]
CheckTypesId = Annotated[
    list[int] | None, Field(description="codes of the checks; a list despite the name, its code table was not seen")
]
IncidentConfidence = Annotated[
    int | None, Field(description="confidence of the incident", json_schema_extra={"unit": "percent 0-100"})
]


class IncidentParticipant(WireObject):
    """A player in an anti-fraud incident. Source: "security-events"."""

    player_id: PlayerId = None
    player_confidence: int | None = wire("confidence for this player", unit="percent 0-100")
    external_id: ExternalId = None
    ip: str | None = wire("last known IP address")


class OnFraudIncidentCreated(Event):
    """The anti-fraud system opened an incident.

    Source: "security-events". Written flat, as its example is.
    """

    incident_id: IncidentId = None
    check_types_id: CheckTypesId = None
    incident_confidence: IncidentConfidence = None
    created_at: SqlDateTime = wire("creation time; no zone given")
    participants: list[IncidentParticipant] | None = wire("players involved")


class OnFraudIncidentUpdated(Event):
    """An anti-fraud incident was changed.

    Source: "security-events". Only its field table was seen: flat is inferred from OnFraudIncidentCreated.
    """

    incident_id: IncidentId = None
    check_types_id: CheckTypesId = None
    incident_confidence: IncidentConfidence = None
    updated_at: SqlDateTime = wire("time of the change; no zone given")
    participants: list[IncidentParticipant] | None = wire("players involved")
    status: FraudIncidentStatusCode | None = wire("status of the incident")
    manager_id: Annotated[int | str, KnownFirst()] | None = wire(
        'id of the administrator who changed it, or the word "System" for an automatic change'
    )


class OnFraudAutoReactionApplied(Event):
    """An automatic reaction was applied to a player because of an incident.

    Source: named on the brokers page; its fields are not documented.
    """


class OnFraudIncidentStatusChangedAutomatically(Event):
    """An incident's status was changed by the system.

    Source: named on the brokers page; its fields are not documented.
    """


class OnCooperativeBlockUpdated(Event):
    """A team block was updated.

    Source: named on the brokers page; its fields are not documented.
    """


class OnCooperativeBlockDeleted(Event):
    """A team block was deleted.

    Source: named on the brokers page; its fields are not documented.
    """


class OnUpdatePlayerBlockStatus(Event):
    """A user was blocked.

    Source: named on the brokers page; its fields are not documented.
    """


class OnTFAPreLogin(Event):
    """A player entered the login and two-factor login begins: the receiver sends or prepares a code.

    Source: named on the brokers page; its fields are not documented.
    """


class OnTFALogin(Event):
    """A player sent the two-factor code.

    Expects a reply: the receiver checks the code and calls the API method `poker_player_tfa_login_result`.

    Source: brokers page, which names one field in its prose. How it is wrapped is not said: written flat.
    """

    auth: str | None = wire("confirmation code as the player typed it, so leading zeros count; type inferred")


class OnExternalLogin(Event):
    """A login must be checked by the external system.

    Expects a reply: the receiver calls the API method `poker_external_login_validation_result`.

    Source: named on the brokers page; its fields are not documented.
    """
