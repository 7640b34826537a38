"""What a gateway counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class GatewayStats:
    """Counts of clients and events since the gateway was made.

    Attributes:
        connected: clients that are connected now.
        accepted: clients that were let in.
        refused: connections that were refused: by the token, the operator or brand, a limit, or a check that failed.
        expired: clients that were closed because their token expired.
        slow: clients that were closed because they read too slowly.
        flooding: clients that were closed because they sent too many requests.
        events: events that came from the broker.
        unaddressed: events that name too little to be sent to anybody, or are not a JSON object.
        sent: frames with an event that were given to a connection.
        dropped: frames that a client did not get, because it was closed as slow.
        requests: requests that clients sent.
        bad_requests: requests that were answered with an Error.
    """

    connected: int = 0
    accepted: int = 0
    refused: int = 0
    expired: int = 0
    slow: int = 0
    flooding: int = 0
    events: int = 0
    unaddressed: int = 0
    sent: int = 0
    dropped: int = 0
    requests: int = 0
    bad_requests: int = 0
