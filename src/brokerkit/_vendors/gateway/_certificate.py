"""The certificate of a gateway, which is read again when its files change."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final

from brokerkit._errors import ConfigError
from brokerkit._logging import get_logger
from brokerkit._tls import TlsFiles
from brokerkit._vendors.gateway._settings import GatewaySettings

logger = get_logger(__name__)

_CHECK: Final = 30.0
"""Seconds between two looks at the files."""


class Certificate:
    """Certificate and key of a gateway.

    Attributes:
        context: what the gateway listens with. A new certificate counts for the connections that come after it.

    Raises:
        ConfigError: they cannot be used.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._files = TlsFiles(
            certificate=str(settings.certificate),
            key=None if settings.key is None else str(settings.key),
            password=None if settings.key_password is None else settings.key_password.get_secret_value(),
        )
        self._where = f"certificate = {self._files.certificate!r} cannot be used"
        self._files.check(self._where)
        self._seen = self._stamps()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._files.load_own(self.context)

    def __repr__(self) -> str:
        return f"<Certificate {self._files.certificate}>"

    async def watch(self) -> None:
        """Look at the files again and again. Ends when it is cancelled."""
        while True:
            await asyncio.sleep(_CHECK)
            await asyncio.to_thread(self.renew)

    def renew(self) -> None:
        """Read the files if they have changed. What cannot be used is logged, and the old certificate stays."""
        if (stamps := self._stamps()) == self._seen:
            return
        self._seen = stamps
        try:
            # A context that has taken a certificate without its key is of no more use.
            self._files.check(self._where)
            self._files.load_own(self.context)
        except (ConfigError, OSError) as error:
            logger.warning("%s; the gateway goes on with the old one", error)
        else:
            logger.info("the gateway has read a new certificate")

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(file) for file in (self._files.certificate, self._files.key) if file is not None)


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
