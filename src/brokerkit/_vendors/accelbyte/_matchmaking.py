"""Events that matchmaking v2 publishes on channel `mpv2SessionHistory`.

Only the names and the base event are known (Matchmaking V2 Notification Events 0.1.0); the base event has no userId and no
sessionId there, and whatever else comes is kept. Four more names are shared with the session service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from brokerkit._vendors.accelbyte._envelope import BaseEvent


class MatchmakingEvent(BaseEvent):
    """Matchmaking made something known; what, is not documented, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingEvent"}


class MatchmakingStartedEvent(BaseEvent):
    """Matchmaking began, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingStartedEvent"}


class MatchmakingTicketExpiredEvent(BaseEvent):
    """A ticket ran out, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingTicketExpiredEvent"}


class MatchmakingTicketCanceledEvent(BaseEvent):
    """A ticket was taken back, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingTicketCanceledEvent"}


class MatchmakingTicketRejectedEvent(BaseEvent):
    """A ticket was refused, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingTicketRejectedEvent"}


class MatchmakingTicketFoundEvent(BaseEvent):
    """A match was found for a ticket, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingTicketFoundEvent"}


class MatchFoundEvent(BaseEvent):
    """A match was found, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchFoundEvent"}


class BackfillFoundEvent(BaseEvent):
    """Players for a backfill were found, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "BackfillFoundEvent"}


class BackfillProposalSentEvent(BaseEvent):
    """A backfill proposal was sent, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "BackfillProposalSentEvent"}


class BackfillProposalAcceptedEvent(BaseEvent):
    """A backfill proposal was accepted, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "BackfillProposalAcceptedEvent"}


class BackfillProposalRejectedEvent(BaseEvent):
    """A backfill proposal was turned down, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "BackfillProposalRejectedEvent"}


class BackfillProposalExpiredEvent(BaseEvent):
    """A backfill proposal ran out, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "BackfillProposalExpiredEvent"}


class BackfillTicketExpiredEvent(BaseEvent):
    """A backfill ticket ran out, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "BackfillTicketExpiredEvent"}


class MatchmakingSessionTickEvent(BaseEvent):
    """A round of matchmaking for one session, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingSessionTickEvent"}


class MatchmakingTicketReturnedToPoolEvent(BaseEvent):
    """A ticket went back to the pool, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingTicketReturnedToPoolEvent"}


class MatchmakingTickEvent(BaseEvent):
    """A round of matchmaking, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MatchmakingTickEvent"}


class MetricCanceledMatchmakingTicketEvent(BaseEvent):
    """Measurement: a ticket was taken back, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricCanceledMatchmakingTicketEvent"}


class MetricExpiredMatchmakingTicketEvent(BaseEvent):
    """Measurement: a ticket ran out, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "MetricExpiredMatchmakingTicketEvent"}


class PartialBackfillProposalRejectedEvent(BaseEvent):
    """A part of a backfill proposal was turned down, by its name; the body is not documented."""

    constants: ClassVar[Mapping[str, str]] = {"name": "PartialBackfillProposalRejectedEvent"}
