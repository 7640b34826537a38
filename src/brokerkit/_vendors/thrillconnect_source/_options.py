"""Checks a URL and its options: address, token, parameters, and timeouts."""

from __future__ import annotations

import difflib
import inspect
import math
import os
import pkgutil
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

from pydantic import SecretStr
from websockets.exceptions import InvalidProxy, InvalidURI
from websockets.proxy import parse_proxy
from websockets.uri import parse_uri

from brokerkit.adapters.api import BrokerkitError, ConfigError, Connection, ConnectionLost, Url

TokenFunction = Callable[[], Awaitable[str]]

_ENVIRONMENT: Final = "env:"
_OURS: Final = ("token", "token_from", "headers", "ssl", "proxy", "ping_interval", "ping_timeout", "max_size")
_SCHEME: Final = "thrillconnect+"
_PING: Final = 20.0
_MAX_SIZE: Final = 1_048_576


class Token:
    """The token: a fixed value, or a function that is asked at each connect. Never shown.

    Args:
        where: the URL as errors show it.
    """

    def __init__(self, given: SecretStr | TokenFunction | None, where: str) -> None:
        self._given = given
        self._where = where

    @property
    def renews(self) -> bool:
        """Whether asking again may return another token."""
        return callable(self._given)

    async def get(self) -> str | None:
        """Return the token for a new connection; None if none is configured.

        Raises:
            ConnectionLost: the function failed; it may succeed the next time.
            ConfigError: the function did not return text.
        """
        given = self._given
        if given is None or isinstance(given, SecretStr):
            return None if given is None else given.get_secret_value()
        try:
            token: Any = given()
            if inspect.isawaitable(token):
                token = await token
        except BrokerkitError:
            raise
        except Exception as error:
            # The text of the error stays in the cause: it may hold secrets of the function.
            raise ConnectionLost(f"{self._where}: the token function raised {type(error).__name__}") from error
        if not isinstance(token, str):
            raise ConfigError(f"{self._where}: the token function did not return text but {type(token).__name__}")
        return token

    def __repr__(self) -> str:
        return f"<Token: {'none' if self._given is None else 'asked for' if self.renews else '***'}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A checked URL with its options.

    Attributes:
        where: the URL as errors and logs show it, without its query.
        address: the same for the client library, which knows ``ws://`` and ``wss://``.
        parameters: the query of the upgrade, without the token.
        ping_interval: seconds between two pings.
        ping_timeout: seconds within which a ping must be answered.
        max_size: bytes of the largest frame that is accepted.
    """

    where: str
    address: str
    token: Token
    parameters: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    ssl: ssl.SSLContext | None = field(repr=False)
    proxy: str | None = field(repr=False)
    ping_interval: float
    ping_timeout: float
    max_size: int

    def uri(self, token: str | None) -> str:
        """Return the URI to connect to. It holds the token and must not be shown."""
        query = urlencode({**({} if token is None else {"token": token}), **self.parameters}, quote_via=quote)
        return f"{self.address}?{query}" if query else self.address

    @classmethod
    def of(cls, connection: Connection) -> Options:
        """Check a URL and its options.

        Raises:
            ConfigError: an option is wrong; the message names it, but not its value.
        """
        url, given = connection.url, dict(connection.options)
        url.host(443)
        if url.user is not None or url.password is not None:
            raise ConfigError(
                f"{url}: a user or password does not belong in the URL; give the token in the option token"
            )
        ours: dict[str, object] = {name: given.pop(name) for name in _OURS if name in given}
        for name in given:
            if close := difflib.get_close_matches(name, _OURS, n=1, cutoff=0.8):
                raise ConfigError(f"{url}: the option {name!r} looks like {close[0]!r}, but would go into the query")
        where = f"{url.scheme}://{url.hosts[0]}/{quote(url.path)}"
        address = where.removeprefix(_SCHEME)
        try:
            parse_uri(address)  # before the token is in it: the client library's errors show the whole URI
        except (InvalidURI, ValueError) as error:
            raise ConfigError(f"{url}: not a WebSocket URL: {error}") from error
        return cls(
            where=where,
            address=address,
            token=Token(_token(url, ours), where),
            parameters={name: _text(url, name, value) for name, value in given.items()},
            headers=_headers(url, ours.get("headers")),
            ssl=_context(url, ours.get("ssl")),
            proxy=_proxy(url, ours.get("proxy")),
            ping_interval=_number(url, "ping_interval", ours.get("ping_interval", _PING)),
            ping_timeout=_number(url, "ping_timeout", ours.get("ping_timeout", _PING)),
            max_size=math.ceil(_number(url, "max_size", ours.get("max_size", _MAX_SIZE))),
        )


def _token(url: Url, ours: Mapping[str, object]) -> SecretStr | TokenFunction | None:
    token, reference = ours.get("token"), ours.get("token_from")
    if token is not None and reference is not None:
        raise ConfigError(f"{url}: token and token_from are both given: give one of them")
    if isinstance(token, SecretStr):
        return token
    if isinstance(token, str):
        return SecretStr(token)
    if token is not None:
        return _function(url, "token", token)
    if reference is None:
        return None
    if not isinstance(reference, str):
        raise ConfigError(f"{url}: token_from must be text: env:NAME or module:function")
    if reference.startswith(_ENVIRONMENT):
        variable = reference.removeprefix(_ENVIRONMENT)
        if not (value := os.environ.get(variable)):
            raise ConfigError(f"{url}: token_from names the environment variable {variable}, which is not set")
        return SecretStr(value)
    try:
        found: object = pkgutil.resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{url}: token_from = {reference!r} cannot be imported ({error}); write env:NAME or module:function"
        ) from error
    return _function(url, "token_from", found)


def _function(url: Url, name: str, found: object) -> TokenFunction:
    if not callable(found):
        raise ConfigError(f"{url}: {name} is not a function but {type(found).__name__}")
    return cast("TokenFunction", found)


def _text(url: Url, name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        raise ConfigError(f"{url}: the option {name!r} goes into the query and must be text or a number")
    return str(value)


def _number(url: Url, name: str, value: object) -> float:
    try:
        number = float(cast("str", value))
    except (TypeError, ValueError):
        number = 0.0
    if not (number > 0 and math.isfinite(number)):
        raise ConfigError(f"{url}: the option {name!r} must be a number above 0")
    return number


def _headers(url: Url, value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(part, str) and part.isprintable()
        for pair in cast("Mapping[object, object]", value).items()
        for part in pair
    ):
        raise ConfigError(f"{url}: the option 'headers' must be a table of text, without line breaks")
    return dict(cast("Mapping[str, str]", value))


def _context(url: Url, value: object) -> ssl.SSLContext | None:
    if not url.scheme.endswith("wss"):
        if value is not None:
            raise ConfigError(f"{url}: the option 'ssl' needs TLS; write thrillconnect+wss://")
        return None
    if isinstance(value, ssl.SSLContext):
        return value
    try:
        return ssl.create_default_context(cafile=cast("Any", value))
    except (OSError, TypeError) as error:
        raise ConfigError(
            f"{url}: the option 'ssl' must be an SSLContext or a file of certificate authorities in PEM form: {error}"
        ) from error


def _proxy(url: Url, value: object) -> str | None:
    if value is None:
        return None
    try:
        parse_proxy(cast("str", value))
    except (InvalidProxy, TypeError, AttributeError):  # the text of the error may hold the proxy's password
        raise ConfigError(f"{url}: the option 'proxy' must be a URL such as http://proxy:8080") from None
    return cast("str", value)
