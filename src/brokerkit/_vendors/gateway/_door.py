"""Lets clients in: checks path, token, operator and brand, and the limits of connections."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass
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
        return f"<Door: {self._inside[None]} inside>"

    async def admit(self, connection: ServerConnection, request: Request) -> Player:
        """Find the player of a connection's token.

        Raises:
            Refused: the client is refused.
        """
        credentials = self._credentials(connection, request)
        try:
            async with asyncio.timeout(self._settings.check_timeout):
                player = await ask(self._check, credentials)
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
    def count_connection(self, connection: ServerConnection, request: Request) -> Generator[None]:
        """Count a connection for the block.

        Raises:
            Refused: there are too many connections, in total or from its address.
        """
        settings = self._settings
        address = f"address {self.address(connection, request)}"
        with (
            self._counted(None, settings.max_connections, FULL),
            self._counted(address, settings.max_per_address, ADDRESS_FULL),
        ):
            yield

    @contextmanager
    def count_player(self, player: Player) -> Generator[None]:
        """Count a connection of a player for the block.

        Raises:
            Refused: the player has too many connections.
        """
        key = (player.operator_id, player.brand_id, player.player_id)
        with self._counted(key, self._settings.max_per_player, PLAYER_FULL):
            yield

    @contextmanager
    def _counted(self, key: Hashable, most: int | None, full: Refusal) -> Generator[None]:
        if most is not None and self._inside[key] >= most:
            raise Refused(full)
        self._inside[key] += 1
        try:
            yield
        finally:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]


def is_api_path(request: Request) -> bool:
    """Whether the path of a request belongs to the API."""
    try:
        return _PATH.fullmatch(urlsplit(request.path).path) is not None
    except ValueError:
        return False
