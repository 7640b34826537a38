"""One connection: made with a fresh token, and what ended it, in brokerkit's errors and without the token."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, ProtocolError, WebSocketException
from websockets.frames import CloseCode

from brokerkit._errors import AccessDenied, BrokerkitError, ConnectionLost
from brokerkit.adapters.websocket._options import Options

log = logging.getLogger("brokerkit.websocket")

_DENIED_STATUS: Final = (401, 403)
_DENIED_CODES: Final = (4401, 4403, CloseCode.POLICY_VIOLATION)
_CLOSE_TIMEOUT: Final = 2.0
"""Seconds for which the server may answer a close: nothing that we wait for comes after it."""


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """The client library's log without its debug records: they hold the request, and with it the token."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (logging's own name)
        return level > logging.DEBUG and super().isEnabledFor(level)


class _Connect(connect):
    """`connect` that follows no redirect: the token is for the configured server alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Link:
    """One connection at a time to one server.

    Args:
        options: where to and how.
        connect_timeout: seconds in which token and connection must be there.
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
        """Whether the next connection may have another token."""
        return self._options.token.renews

    async def connect(self) -> ClientConnection:
        """Ask for a token and connect.

        Raises:
            AccessDenied: the server answered the upgrade with 401 or 403.
            ConnectionLost: anything else.
            ConfigError: the token function gave no text.
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
                    logger=_Quiet(log, {}),
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
                return ConnectionLost(f"{where}: what answers is no WebSocket: {type(error).__name__}")
            case TimeoutError():
                return ConnectionLost(f"{where}: no connection within {self._connect_timeout:g} s")
            case _:
                return ConnectionLost(f"{where}: no connection: {self._clean(str(error) or type(error).__name__)}")

    def ended(self, error: ConnectionClosed) -> BrokerkitError:
        """What became of a connection: `AccessDenied` where the server closed it for its token's sake."""
        ended = self._ended(error)
        self._chain(ended, error)
        return ended

    def _ended(self, error: ConnectionClosed) -> BrokerkitError:
        cause, received, sent = error.__cause__, error.rcvd, error.sent
        if isinstance(cause, ProtocolError) and str(cause) == "invalid status code":
            # ThrillConnect's documents have the server close with 401, which is no legal close code.
            return AccessDenied(f"{self.where}: the server closed with an illegal code, such as 401; {self._hint}")
        if received is not None and not error.rcvd_then_sent and sent is not None:
            received = None  # we closed first, and say why
        if received is not None:
            said = self._clean(received.reason)
            reason = f"{received.code}{f' ({said})' if said else ''}"
            if received.code in _DENIED_CODES or said.startswith(("401", "403")):
                return AccessDenied(f"{self.where}: the server closed with {reason}; {self._hint}")
            return ConnectionLost(f"{self.where}: the server closed with {reason}")
        if sent is not None and sent.code == CloseCode.MESSAGE_TOO_BIG:
            limit = self._options.max_size
            return ConnectionLost(
                f"{self.where}: a frame is larger than {limit:,} bytes; the option max_size allows it"
            )
        if sent is not None and sent.code == CloseCode.INTERNAL_ERROR:
            return ConnectionLost(f"{self.where}: no answer to a ping for {self._options.ping_timeout:g} s")
        if isinstance(cause, ProtocolError):
            return ConnectionLost(f"{self.where}: what came is no WebSocket frame: {cause}")
        return ConnectionLost(f"{self.where}: the connection broke")

    @property
    def _hint(self) -> str:
        if not self._secrets:
            return "no token was given: set the option token or token_from"
        return "the token is wrong, has run out, or lacks the right"

    def _chain(self, ours: BrokerkitError, theirs: Exception) -> None:
        """Keep the client library's error as the cause, unless it repeats the token: tracebacks show causes."""
        if self._clean(str(theirs)) == str(theirs):
            ours.__cause__ = theirs

    def _clean(self, text: str) -> str:
        """A server may repeat the token in its reason."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"<Link to {self.where}>"


async def hang_up(connection: ClientConnection, reader: asyncio.Task[Any]) -> None:
    """End a connection and the task that reads it; does not raise."""
    await connection.close()
    reader.cancel()
    await asyncio.wait([reader])
