"""The check of a token: a function or an HTTP endpoint is asked once for each connection."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from brokerkit._errors import AccessDenied, BrokerkitError, ConfigError, ConnectionLost, MissingExtra

if TYPE_CHECKING:
    import httpx

_UNKNOWN_STATUS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND)
_AT_ONCE: Final = 100
"""Checks that run at once: after a restart all clients come back in the same second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a client came with.

    Attributes:
        token: the token from the query; never shown.
        operator_id: the operator in the path.
        brand_id: the brand in the path.
        currency: the player's currency, or None if the client gave none.
        address: where the client connects from.
    """

    token: str = field(repr=False)
    operator_id: str
    brand_id: str
    currency: str | None
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """The player of a token.

    Attributes:
        operator_id: the operator that the token is for.
        brand_id: the brand that the token is for, without its operator.
        player_id: the player.
        expires: Unix time in seconds at which the token expires; None if it does not expire.
    """

    operator_id: str
    brand_id: str
    player_id: str
    expires: float | None = None


Check = Callable[[Credentials], Awaitable[Player | None] | Player | None]
"""Finds the player of a token; None if the token is unknown or expired.

`AccessDenied` means that the token is known, but not for this operator and brand. Any other error means that the token could
not be checked: the client is asked to come again. A check runs on the event loop: make it a coroutine function if it waits.
"""


async def ask(check: Check, credentials: Credentials) -> Player | None:
    """Ask the check for the player of a token.

    Raises:
        AccessDenied: the token is not for this operator and brand.
        Exception: any error of the function; its text may hold the token.
    """
    player = check(credentials)
    return await player if inspect.isawaitable(player) else player


class _Answer(BaseModel):
    """The answer of an endpoint for a valid token."""

    model_config = ConfigDict(coerce_numbers_to_str=True, hide_input_in_errors=True)

    operator_id: str
    brand_id: str
    player_id: str
    expires_at: AwareDatetime | None = None


class HttpCheck:
    """Asks an HTTP endpoint: ``POST`` with JSON of ``token``, ``operator_id``, ``brand_id``, ``currency`` and ``address``.

    The endpoint answers 200 with JSON of ``operator_id``, ``brand_id``, ``player_id`` and, if the token expires,
    ``expires_at`` (ISO 8601 or Unix time); with 401 or 404 for a token that is unknown or expired; with 403 for a token that
    is not for this operator and brand. Redirects are not followed, and proxies of the environment are not used: a token goes
    only to the configured endpoint.

    Args:
        url: the endpoint.
        headers: HTTP headers of the request, such as the gateway's ``Authorization``.
        timeout: seconds for one answer.

    Raises:
        ConfigError: the URL is wrong, or holds a user or password.
        MissingExtra: httpx is not installed.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 5.0) -> None:
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "a check over HTTP needs httpx, which is not installed: pip install 'brokerkit-sdk[gateway]'"
            ) from error
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigError("the URL of the check cannot be read") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("the URL of the check must begin with http:// or https:// and name a host")
        if "@" in parts.netloc:
            raise ConfigError("the URL of the check holds a user: credentials go into check_headers")
        self._where = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._url = url
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._httpx = httpx
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Make the pool of connections."""
        limits = self._httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE)
        self._client = self._httpx.AsyncClient(
            headers=self._headers, timeout=self._timeout, limits=limits, trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def __call__(self, credentials: Credentials) -> Player | None:
        """Ask the endpoint for the player of a token.

        Raises:
            AccessDenied: the endpoint answered 403.
            ConnectionLost: the endpoint did not answer, or answered anything else.
        """
        assert self._client is not None, "use it in 'async with'"
        question: dict[str, Any] = {
            "token": credentials.token,
            "operator_id": credentials.operator_id,
            "brand_id": credentials.brand_id,
            "currency": credentials.currency,
            "address": credentials.address,
        }
        try:
            response = await self._client.post(self._url, json=question)
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
            raise ConnectionLost(f"{self._where}: no answer: {type(error).__name__}") from None
        if response.status_code in _UNKNOWN_STATUS:
            return None
        if response.status_code == HTTPStatus.FORBIDDEN:
            raise AccessDenied(f"{self._where} answered 403")
        if response.status_code != HTTPStatus.OK:
            raise ConnectionLost(f"{self._where} answered {response.status_code}")
        try:
            answer = _Answer.model_validate_json(response.content)
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, each["loc"])) or "not JSON" for each in error.errors())
            raise ConnectionLost(f"{self._where}: its answer is wrong: {wrong}") from None
        return Player(
            operator_id=answer.operator_id,
            brand_id=answer.brand_id,
            player_id=answer.player_id,
            expires=None if answer.expires_at is None else answer.expires_at.timestamp(),
        )

    def __repr__(self) -> str:
        return f"<HttpCheck {self._where}>"


def reason(error: BaseException) -> str:
    """Return an error of a check as the log shows it: the error text of a user's function may hold the token."""
    return str(error) if isinstance(error, BrokerkitError) else type(error).__name__
