"""Lets clients in: checks path, token, operator and brand, and the limits of connections."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode
from websockets.http11 import Request

from brokerkit import _clock
from brokerkit._errors import AccessDenied
from brokerkit._logging import get_logger
from brokerkit._vendors.gateway._check import Check, Credentials, Player, ask, reason
from brokerkit._vendors.gateway._settings import GatewaySettings

logger = get_logger(__name__)

_CLIENTS: Final = "clients"
_CHECKS: Final = "checks"
_PER_ADDRESS: Final = 200
"""The default of ``max_per_address``. Many players may share the address of a mobile network."""
_NETWORK: Final = 64
"""Bits of an IPv6 address that a household gets as a whole."""
_PATH: Final = re.compile(r"/v1/events/([^/]+)/([^/]+)/?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client is refused.

    Attributes:
        code: the code that closes the WebSocket.
        status: the HTTP status that answers the upgrade instead.
    """

    code: int
    status: int
    reason: str


NO_TOKEN: Final = Refusal(4401, 401, "there is no token in the query")
UNKNOWN: Final = Refusal(4401, 401, "the token is unknown or has expired")
EXPIRED: Final = Refusal(4401, 401, "the token has expired")
FORBIDDEN: Final = Refusal(4403, 403, "the token is not for this operator and brand")
UNCHECKED: Final = Refusal(CloseCode.TRY_AGAIN_LATER, 503, "the token cannot be checked now; try again later")
BUSY: Final = Refusal(CloseCode.TRY_AGAIN_LATER, 503, "too many tokens are being checked; try again later")
FULL: Final = Refusal(CloseCode.TRY_AGAIN_LATER, 503, "too many connections; try again later")
ADDRESS_FULL: Final = Refusal(CloseCode.TRY_AGAIN_LATER, 429, "too many connections from this address")
PLAYER_FULL: Final = Refusal(CloseCode.TRY_AGAIN_LATER, 429, "too many connections of this player")


class Refused(Exception):
    """A client is refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Door:
    """Lets clients in, and counts them.

    Args:
        check: finds the player of a token.
    """

    def __init__(self, check: Check, settings: GatewaySettings) -> None:
        self._check = check
        self._settings = settings
        self._inside: Counter[Hashable] = Counter()

    def __repr__(self) -> str:
        return f"<Door: {self._inside[_CLIENTS]} inside, {self._inside[_CHECKS]} being checked>"

    async def admit(self, connection: ServerConnection, request: Request) -> Player:
        """Find the player of a connection's token.

        Raises:
            Refused: the client is refused.
        """
        credentials = self._credentials(connection, request)
        self._refuse_if_full(_CLIENTS, self._settings.max_connections, FULL)
        try:
            with self._counted(_CHECKS, self._settings.max_checks, BUSY):
                async with asyncio.timeout(self._settings.check_timeout):
                    player = await ask(self._check, credentials)
        except Refused:
            raise
        except AccessDenied:
            raise Refused(FORBIDDEN) from None
        except Exception as error:  # noqa: BLE001 (of a user's function; its text may hold the token)
            logger.error("a token cannot be checked: %s", reason(error))
            raise Refused(UNCHECKED) from None
        if player is None or (player.expires is not None and player.expires <= _clock.wall_time()):
            raise Refused(UNKNOWN)
        if (player.operator_id, player.brand_id) != (credentials.operator_id, credentials.brand_id):
            raise Refused(FORBIDDEN)
        return player

    def _credentials(self, connection: ServerConnection, request: Request) -> Credentials:
        parts = urlsplit(request.path)
        match = _PATH.fullmatch(parts.path)
        assert match is not None, "checked by `is_api_path`"
        query = parse_qs(parts.query)
        if not (token := query.get("token", [""])[0]):
            raise Refused(NO_TOKEN)
        return Credentials(
            token=token,
            operator_id=unquote(match[1]),
            brand_id=unquote(match[2]),
            currency=query.get("currency", [None])[0],
            address=self.address(connection, request),
        )

    def address(self, connection: ServerConnection, request: Request) -> str:
        """Return the address of a client."""
        name = self._settings.address_header
        if name is not None and (values := request.headers.get_all(name)):
            # The client wrote what is before the last comma: it may be anything.
            return values[-1].rpartition(",")[2].strip()
        peer = connection.remote_address
        return str(peer[0]) if peer else ""

    @contextmanager
    def count_address(self, connection: ServerConnection, request: Request) -> Generator[None]:
        """Count a connection of an address for the block.

        Raises:
            Refused: there are too many connections from its address.
        """
        settings = self._settings
        address = self.address(connection, request)
        most = settings.max_per_address
        if most is None and (settings.address_header is not None or _is_global(address)):
            most = _PER_ADDRESS
        with self._counted(("address", _network(address)), most, ADDRESS_FULL):
            yield

    @contextmanager
    def count_client(self, player: Player) -> Generator[None]:
        """Count a client that the check has let in, for the block.

        Raises:
            Refused: there are too many clients, in total or of the player.
        """
        key = (player.operator_id, player.brand_id, player.player_id)
        with (
            self._counted(_CLIENTS, self._settings.max_connections, FULL),
            self._counted(key, self._settings.max_per_player, PLAYER_FULL),
        ):
            yield

    @contextmanager
    def _counted(self, key: Hashable, most: int | None, full: Refusal) -> Generator[None]:
        self._refuse_if_full(key, most, full)
        self._inside[key] += 1
        try:
            yield
        finally:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]

    def _refuse_if_full(self, key: Hashable, most: int | None, full: Refusal) -> None:
        if most is not None and self._inside[key] >= most:
            raise Refused(full)


def _is_global(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:  # what a header says may be anything
        return False


def _network(address: str) -> str:
    """What counts as one address."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), _NETWORK), strict=False))


def is_api_path(request: Request) -> bool:
    """Whether the path of a request belongs to the API."""
    try:
        return _PATH.fullmatch(urlsplit(request.path).path) is not None
    except ValueError:
        return False
