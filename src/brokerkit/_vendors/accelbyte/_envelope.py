"""AccelByte's base event, and what its decoded messages may be.

Empty fields are left out of the JSON by the vendor's stream SDK, so every field may be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from brokerkit._vendors.accelbyte._messages import Notification, Snapshot, refused, unpack
from brokerkit.events._constants import Fixed
from brokerkit.events._model import Event, WireObject, wire

T = TypeVar("T")


class Payload(WireObject):
    """A notification's body. Its message is text here; the event's method `decoded` reads it."""

    user_ids: list[str] | None = wire(
        "users that the notification is for; if it is empty, look into the decoded message"
    )
    namespace: str | None = wire("namespace of the notification")
    topic_name: str | None = wire("topic of the notification as game clients know it; this is not a Kafka topic")
    message: str | None = wire("the real body: base64 of JSON, padded or not, JSON as it stands, or blank")


class BaseEvent(Fixed, Event):
    """What every event has."""

    id: str | None = wire("unique id of the event, a UUID without hyphens")
    version: int | None = wire("version of the event's schema; text of digits is read too")
    name: str | None = wire("event name")
    namespace: str | None = wire("namespace of the game or publisher")
    parent_namespace: str | None = wire("namespace above that one")
    timestamp: datetime | None = wire("when the event was made, RFC 3339 in UTC")
    trace_id: str | None = wire("trace id, a UUID without hyphens")
    span_context: str | None = wire("Jaeger span context as text")
    union_namespace: str | None = wire("further grouping of namespaces; from the vendor's stream SDK")
    client_id: str | None = wire("publishing OAuth client; from the vendor's stream SDK")
    timestamp_unix_nano: int | None = wire("the time again; from the vendor's stream SDK", unit="nanoseconds")


class SessionServiceEvent(BaseEvent):
    """What every event of the session service has."""

    user_id: str | None = wire("user who caused it, a UUID without hyphens")
    session_id: str | None = wire("id of the game session or the party, whichever the event is about")


class PayloadEvent(SessionServiceEvent):
    """An event with a payload, whose message a subclass knows how to read."""

    payload: Payload | None = wire("body of the notification")

    def _decoded(self, read: Callable[[Any], T]) -> T | None:
        text = None if self.payload is None else self.payload.message
        try:
            value = unpack(text)
            return None if value is None else read(value)
        except ValueError as error:
            raise refused(self.constants["name"], text, error) from error


class HistoryEvent(PayloadEvent):
    """An event of channel `mpv2SessionHistory` that records a change of a game session or party."""

    def decoded(self) -> Snapshot | None:
        """Read `payload.message`; None if there is none. It is read anew at each call.

        Raises:
            DecodeError: it is not JSON, or not a snapshot.
        """
        return self._decoded(Snapshot.model_validate)


class MetricEvent(PayloadEvent):
    """A measurement on channel `mpv2SessionHistory`; what its message holds is not documented."""

    def decoded(self) -> Any:
        """Read `payload.message` as plain JSON; None if there is none. It is read anew at each call.

        Raises:
            DecodeError: it is not JSON.
        """
        return self._decoded(lambda value: value)


class NotificationEvent(PayloadEvent):
    """A notification that is forwarded to game clients."""

    def decoded(self) -> Notification | Snapshot | None:
        """Read `payload.message`; None if there is none. It is read anew at each call.

        Client SDKs read a `Notification`; a message with the keys of a `Snapshot` is read as one.

        Raises:
            DecodeError: it is not JSON, or neither of them.
        """
        return self._decoded(_either)


def _either(value: Any) -> Notification | Snapshot:
    is_snapshot = isinstance(value, dict) and ("payload" in value or "requesterUserID" in value)
    return (Snapshot if is_snapshot else Notification).model_validate(value)
