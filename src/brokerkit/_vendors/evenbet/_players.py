"""Events of players' sessions and accounts."""

from __future__ import annotations

from brokerkit._vendors.evenbet._fields import ExternalId, ExternalSessionId, ExternalSystemCode, PlayerId, SkinId
from brokerkit.events._model import Event, wire
from brokerkit.events._types import Text


class OnUserLoggedIn(Event):
    """A user logged in, in a poker client or on a casino site.

    Source: brokers page and "player-session-events". Written under `params`, as both show it.
    """

    player_id: PlayerId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    nick: str | None = wire("nickname")
    client_version: str | None = wire("kind or version of the client")
    skin: str | None = wire("skin key")
    device_id: int | None = wire("internal device id; 0 is possible")
    device_unique_id: str | None = wire("unique device id")
    platform: str | None = wire("platform: a word here ('html5'), a single letter at logout")
    os_name: str | None = wire("operating system: a word here, a single letter at logout")
    os_version: str | None = wire(
        'operating system version; a bare number in the brokers page\'s sample, text in "player-session-events"'
    )
    motherboard_id: Text = wire("motherboard id; empty or left out where unknown")
    cpu_id: Text = wire("cpu id; empty or left out where unknown")
    app_version: str | None = wire("version of the client application")
    ip: str | None = wire("the player's IP address")
    mac_address: Text = wire("MAC address; empty or left out where unknown")
    latitude: float | None = wire("latitude; a plain 0 if unknown", unit="degrees")
    longitude: float | None = wire("longitude; a plain 0 if unknown", unit="degrees")
    skin_id: SkinId = None
    is_first_login: bool | None = wire("the player's first login ever")
    external_session_id: ExternalSessionId = None


class OnUserLoggedOut(Event):
    """A user logged out, or the session ended, expired or was terminated.

    Source: brokers page (its sample lacks the opening brace) and "player-session-events" (its table is cut after
    deviceId). Unlike the login it has no macAddress and no isFirstLogin. Written under `params`.
    """

    player_id: PlayerId = None
    external_id: ExternalId = None
    external_system_code: ExternalSystemCode = None
    nick: str | None = wire("nickname")
    client_version: str | None = wire("kind or version of the client")
    skin: str | None = wire("skin key")
    device_id: int | None = wire("internal device id; 0 is possible")
    device_unique_id: str | None = wire("unique device id")
    platform: str | None = wire("platform: a single letter here ('H'), a word at login")
    os_name: str | None = wire("operating system: a single letter here ('W'), a word at login")
    os_version: str | None = wire("operating system version")
    motherboard_id: Text = wire("motherboard id; empty in the sample")
    cpu_id: Text = wire("cpu id; empty in the sample")
    app_version: str | None = wire("version of the client application")
    ip: str | None = wire("the player's IP address")
    latitude: float | None = wire("latitude; a plain 0 if unknown", unit="degrees")
    longitude: float | None = wire("longitude; a plain 0 if unknown", unit="degrees")
    skin_id: SkinId = None
    external_session_id: ExternalSessionId = None


class OnPlayerRegistered(Event):
    """A user was created, from the client or the back office.

    Source: brokers page, which neither describes nor shows activationCode and callbackParam. Written under `params`.
    """

    player_id: PlayerId = None
    activation_code: str | None = wire("activation code; type inferred")
    callback_param: str | None = wire("not described; type inferred")
    device_id: int | None = wire("device id")


class OnPlayerAccountChanged(Event):
    """A player's account data changed.

    Source: named on the brokers page; its fields are not documented.
    """
