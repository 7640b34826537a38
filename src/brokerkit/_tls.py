"""TLS: files that are checked when a bus is made, pass phrases that no terminal is asked for, and what a failure means."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from brokerkit._errors import ConfigError

_ENCRYPTED: Final = "the private key is encrypted, and its pass phrase is not set"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Certificates of one side of a TLS connection.

    Attributes:
        cafile: authorities that are trusted, in PEM form; with none of the three, those of the system.
        capath: a folder of authorities, by their hashes.
        cadata: authorities as text.
        certificate: our own certificate chain.
        key: its private key; None if it is in the same file.
        password: the pass phrase of the key.
    """

    cafile: str | None = None
    capath: str | None = None
    cadata: str | None = None
    certificate: str | None = None
    key: str | None = None
    password: str | None = field(default=None, repr=False)

    def check(self, where: str) -> None:
        """Load the files once.

        Raises:
            ConfigError: a file is missing or cannot be used; the pass phrase is missing or wrong.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for file in filter(None, (self.cafile, self.capath, self.certificate, self.key)):
            if not Path(file).exists():
                raise ConfigError(f"{where}: the file {file!r} does not exist")
        try:
            if self.cafile or self.capath or self.cadata:
                context.load_verify_locations(self.cafile, self.capath, self.cadata)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: the certificate authorities cannot be used: {_reason(error)}") from error
        try:
            self.load_own(context)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: certificate and key cannot be used: {_reason(error)}") from error

    def client(self, *, verify: bool) -> ssl.SSLContext:
        """Make the context of a client. Without ``verify`` any server is believed.

        Raises:
            OSError: a file cannot be used any more.
        """
        context = ssl.create_default_context(
            ssl.Purpose.SERVER_AUTH, cafile=self.cafile, capath=self.capath, cadata=self.cadata
        )
        self.load_own(context)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def load_own(self, context: ssl.SSLContext) -> None:
        """Load our own certificate and key, if there are any.

        Raises:
            OSError: they cannot be used.
        """
        if self.certificate is not None:
            context.load_cert_chain(
                self.certificate, self.key, self.password if self.password is not None else no_prompt
            )


def no_prompt() -> str:
    """Stand where a library takes a pass phrase: without one, OpenSSL would ask for it on the terminal, and wait."""
    raise OSError(_ENCRYPTED)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is not that of the certificate"
        if not error.reason or error.reason in ("BAD_DECRYPT", "BAD_PASSWORD_READ"):  # None too, whatever its type says
            return "they are not in PEM form, or the pass phrase of the key is wrong"
    return str(error)
