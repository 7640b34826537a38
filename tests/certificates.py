"""Certificates for servers and clients of tests on 127.0.0.1, and a TLS front for a broker that speaks none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOUR = timedelta(hours=1)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Files with a certificate that is its own authority, and with its private key, both in PEM form."""
    made = Authority.make(folder)
    return made.file, made.key_file


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority. Its own certificate serves 127.0.0.1 too."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path, *, name: str = "test") -> Authority:
        """Make one, with its files in this folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = cls(folder, _certificate(name, key, "127.0.0.1", until=HOUR), key)
        made.file.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
        made.key_file.write_bytes(_private(key))
        return made

    @property
    def file(self) -> Path:
        """Its certificate, which those who trust it need."""
        return self.folder / "ca.pem"

    @property
    def key_file(self) -> Path:
        return self.folder / "key.pem"

    def issue(
        self, name: str, *, address: str = "127.0.0.1", until: timedelta = HOUR, password: str | None = None
    ) -> tuple[Path, Path]:
        """Files with a certificate for an address, and with its private key.

        Args:
            until: how long it is valid from now on; it has expired if this is below zero.
            password: the pass phrase of the private key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(name, key, address, until=until, issuer=self)
        file, private = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(_private(key, password))
        return file, private


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, address: str, *, until: timedelta, issuer: Authority | None = None
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 48 * HOUR)
        .not_valid_after(now + until)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    return built.sign(issuer.key if issuer else key, hashes.SHA256())


def _private(key: ec.EllipticCurvePrivateKey, password: str | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


@asynccontextmanager
async def tls_front(
    address: str, certificate: Path, key: Path, *, clients: Path | None = None, port: int = 0
) -> AsyncGenerator[int]:
    """Speak TLS for a server that does not; yields the port on 127.0.0.1.

    Args:
        address: ``host:port`` of the server.
        clients: the authority of the certificates that clients must have.
        port: where it listens; 0 for any.
    """
    host, _, behind_port = address.rpartition(":")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
    context.load_cert_chain(certificate, key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    running: set[asyncio.Task[None]] = set()
    transports: set[asyncio.Transport] = set()

    def run(way: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(way)
        running.add(task)
        task.add_done_callback(running.discard)

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the client turns the certificate down, speaks no TLS, or goes
            await writer.start_tls(context)
            behind, out = await asyncio.open_connection(host, int(behind_port))
            transports.add(out.transport)
            run(copy(reader, out))
            run(copy(behind, writer))

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A server with a context of its own tells nobody of a connection whose handshake has not ended.
        transports.add(writer.transport)
        run(join(reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for transport in transports:
            transport.abort()  # a close waits for the other side to say goodbye
        await asyncio.sleep(0)  # the sockets are closed in the next turn
