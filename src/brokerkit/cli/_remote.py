"""A client of the HTTP port of a running bus.

It uses the standard library's client, which follows no redirects and asks no proxies: a token goes to the port alone.
"""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import SplitResult, quote, urlsplit

from brokerkit import AccessDenied, BrokerkitError, ConfigError, ConnectionLost, NotFound
from brokerkit._http._answers import State

_PATIENCE: Final = 30.0
"""Seconds for an answer. Workers have two; a broker that cancels consumers may need more."""
_SHOWN: Final = 500
"""Characters of a text that is shown."""
_ERRORS: Final[dict[int, type[BrokerkitError]]] = {401: AccessDenied, 403: AccessDenied, 404: NotFound}


class Remote:
    """The HTTP port of a running bus.

    Args:
        address: its URL; or HOST:PORT, or a port of this machine.
        token: what it wants to be sent; None for none.

    Raises:
        ConfigError: it is no address.
    """

    def __init__(self, address: str, token: str | None) -> None:
        self._at = _parts(address)
        self._token = token

    def __repr__(self) -> str:
        return f"<Remote {self._at.geturl()}>"

    def state(self) -> State:
        """Return the state of its bus.

        Raises:
            ConnectionLost: it cannot be reached.
            BrokerkitError: it refuses, or it is no port of brokerkit.
        """
        return self._ask("GET", "/state")

    def change(self, action: Literal["pause", "resume"], source: str | None) -> State:
        """Pause or resume a source, or all of them; return the state after that. Errors are those of `state`."""
        return self._ask("POST", f"/{action}" if source is None else f"/sources/{quote(source, safe='')}/{action}")

    def _ask(self, method: str, path: str) -> State:
        what = f"{self._at.geturl()}{path}"
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        connection = self._connection()
        try:
            connection.request(method, f"{self._at.path}{path}", headers=headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, HTTPException, UnicodeError) as error:
            raise ConnectionLost(f"{what} does not answer: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if status != 200:
            hint = "; --token-file names a file with the token" if status == 401 and self._token is None else ""
            raise _ERRORS.get(status, BrokerkitError)(f"{what} answers {status}: {text.strip()[:_SHOWN]}{hint}")
        return _state(what, text)

    def _connection(self) -> HTTPConnection:
        host = self._at.hostname or ""
        if self._at.scheme == "https":
            return HTTPSConnection(host, self._at.port, timeout=_PATIENCE, context=ssl.create_default_context())
        return HTTPConnection(host, self._at.port, timeout=_PATIENCE)


def read_token(file: Path) -> str:
    """Return the token in a file.

    Raises:
        ConfigError: it cannot be read, or holds no token.
    """
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {file}: {error}") from error
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError(f"--token-file {file} holds no token: one line of ASCII characters")
    return token


def _parts(address: str) -> SplitResult:
    wrong = "--http must be a URL such as http://127.0.0.1:9000, or HOST:PORT, or a port"
    url = address if "://" in address else f"http://{'' if ':' in address else '127.0.0.1:'}{address}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(wrong) from None
    if "@" in parts.netloc:
        raise ConfigError("--http holds a user; give the token with --token-file")
    whole = parts.hostname and (port or (port is None and "://" in address))
    if parts.scheme not in ("http", "https") or not whole or parts.query or parts.fragment:
        raise ConfigError(wrong)
    return parts._replace(path=parts.path.rstrip("/"))


def _state(what: str, text: str) -> State:
    try:
        state: Any = json.loads(text)
    except ValueError:
        state = None
    if not isinstance(state, dict) or not {"sources", "workers"} <= state.keys():  # pyright: ignore[reportUnknownMemberType]
        raise BrokerkitError(f"{what} answers, but not as brokerkit does: is it the port of brokerkit run --http?")
    return state  # pyright: ignore[reportUnknownVariableType]
