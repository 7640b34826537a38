"""Makes connections with a fresh token, and turns their ends into brokerkit's errors, without the token."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, ProtocolError, WebSocketException
from websockets.frames import CloseCode

from brokerkit._vendors.thrillconnect_source._options import Options
from brokerkit.adapters.api import AccessDenied, BrokerkitError, ConnectionLost, get_logger

logger = get_logger(__name__)

_DENIED_STATUS: Final = (401, 403)
_DENIED_CODES: Final = (4401, 4403, CloseCode.POLICY_VIOLATION)
_CLOSE_TIMEOUT: Final = 2.0
"""Seconds that the server has to answer a close. Nothing of interest comes after it."""


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """The client library's log without debug records, which hold the request and with it the token."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (logging's own name)
        return level > logging.DEBUG and super().isEnabledFor(level)


class _Connect(connect):
    """`connect` without redirects: the token is only for the configured server."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Link:
    """One connection at a time to one server.

    Args:
        options: the URL and its options.
        connect_timeout: seconds for getting a token and connecting.
    """

    def __init__(self, options: Options, connect_timeout: float) -> None:
        self._options = options
        self._connect_timeout = connect_timeout
        self._secrets: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The URL as errors and logs show it."""
        return self._options.where

    @property
    def renews(self) -> bool:
        """Whether the next connection may use another token."""
        return self._options.token.renews

    async def connect(self) -> ClientConnection:
        """Get a token and connect.

        Raises:
            AccessDenied: the server answered the upgrade with 401 or 403.
            ConnectionLost: any other failure.
            ConfigError: the token function did not return text.
        """
        options = self._options
        try:
            async with asyncio.timeout(self._connect_timeout):
                token = await options.token.get()
                self._secrets = (token, quote(token, safe="")) if token else ()
                return await _Connect(
                    options.uri(token),
                    additional_headers=options.headers,
                    proxy=options.proxy,
                    open_timeout=None,
                    close_timeout=_CLOSE_TIMEOUT,
                    ping_interval=options.ping_interval,
                    ping_timeout=options.ping_timeout,
                    max_size=options.max_size,
                    logger=_Quiet(logger, {}),
                    ssl=options.ssl,
                )
        except (OSError, WebSocketException, ValueError, EOFError) as error:
            failed = self._not_opened(error)
            self._chain(failed, error)
        raise failed

    def _not_opened(self, error: Exception) -> BrokerkitError:
        where = self.where
        match error:
            case InvalidStatus() if error.response.status_code in _DENIED_STATUS:
                status = error.response.status_code
                return AccessDenied(f"{where}: the server refused the connection: HTTP {status}; {self._hint}")
            case InvalidStatus():
                status = error.response.status_code
                return ConnectionLost(f"{where}: HTTP {status} instead of a WebSocket; check host and path")
            case InvalidHandshake() | EOFError():
                return ConnectionLost(f"{where}: the server does not speak WebSocket: {type(error).__name__}")
            case TimeoutError():
                return ConnectionLost(f"{where}: no connection within {self._connect_timeout:g} s")
            case _:
                return ConnectionLost(f"{where}: no connection: {self._clean(str(error) or type(error).__name__)}")

    def ended(self, error: ConnectionClosed) -> BrokerkitError:
        """Return the error for the end of a connection: `AccessDenied` if the server closed it because of the token."""
        ended = self._ended(error)
        self._chain(ended, error)
        return ended

    def _ended(self, error: ConnectionClosed) -> BrokerkitError:
        cause, received, sent = error.__cause__, error.rcvd, error.sent
        if isinstance(cause, ProtocolError) and str(cause) == "invalid status code":
            # According to ThrillConnect's documents, the server closes with 401, which is not a legal close code.
            return AccessDenied(f"{self.where}: the server closed with an illegal code, such as 401; {self._hint}")
        if received is not None and not error.rcvd_then_sent and sent is not None:
            received = None  # this side closed first, and knows why
        if received is not None:
            said = self._clean(received.reason)
            reason = f"{received.code}{f' ({said})' if said else ''}"
            if received.code in _DENIED_CODES or said.startswith(("401", "403")):
                return AccessDenied(f"{self.where}: the server closed with {reason}; {self._hint}")
            return ConnectionLost(f"{self.where}: the server closed with {reason}")
        if sent is not None and sent.code == CloseCode.MESSAGE_TOO_BIG:
            limit = self._options.max_size
            return ConnectionLost(f"{self.where}: a frame is larger than {limit:,} bytes; raise the option max_size")
        if sent is not None and sent.code == CloseCode.INTERNAL_ERROR:
            return ConnectionLost(f"{self.where}: no answer to a ping for {self._options.ping_timeout:g} s")
        if isinstance(cause, ProtocolError):
            return ConnectionLost(f"{self.where}: received something that is not a WebSocket frame: {cause}")
        return ConnectionLost(f"{self.where}: the connection broke")

    @property
    def _hint(self) -> str:
        if not self._secrets:
            return "no token was given: set the option token or token_from"
        return "the token is wrong, has expired, or lacks the right"

    def _chain(self, ours: BrokerkitError, theirs: Exception) -> None:
        """Keep the client library's error as the cause, unless it contains the token: tracebacks show causes."""
        if self._clean(str(theirs)) == str(theirs):
            ours.__cause__ = theirs

    def _clean(self, text: str) -> str:
        """Remove the token from a text: a server may repeat it in its reason."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"<Link to {self.where}>"


async def hang_up(connection: ClientConnection, reader: asyncio.Task[Any]) -> None:
    """End a connection and the task that reads it. Does not raise."""
    await connection.close()
    reader.cancel()
    await asyncio.wait([reader])
