"""Why a broker cannot be reached over TLS: one handshake of our own tells, where a client library tells little.

librdkafka gives every failure one text, aiobotocore none, and a server without TLS often only closes the connection. So
after a failed connect, one handshake is made to the same address with the same settings.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from brokerkit._errors import ConfigError, ConnectionLost
from brokerkit._logging import get_logger
from brokerkit._tls import TlsFiles
from brokerkit.adapters._values import Connection

logger = get_logger(__name__)

_TIMEOUT: Final = 2.0
"""Seconds for the connection, and seconds for the handshake."""
_REFUSAL: Final = 0.5
"""Seconds in which a server says that it wants a certificate. With TLS 1.3 it does so after the handshake."""
_ADDRESSES: Final = 3
"""Hosts of a URL that are asked."""

_EXPIRED: Final = 10
_NOT_YET: Final = 9
_UNTRUSTED: Final = frozenset({2, 7, 18, 19, 20, 21})
_OTHER_NAME: Final = frozenset({62, 64})
"""Codes of OpenSSL (``X509_V_ERR_…``)."""
_OFF: Final = frozenset({"false", "0", "no", "off", "none", "f", "n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a connection uses TLS.

    Attributes:
        addresses: where it leads.
        context: makes what it is secured with; None if it has no TLS.
        authority: the option that names a trusted authority.
        other: what to write for TLS where there is none, and the reverse.
        unverified: the option that switches the check of the server off, or "".
    """

    addresses: tuple[tuple[str, int], ...]
    context: Callable[[], ssl.SSLContext] | None
    authority: str
    other: str
    unverified: str = ""

    async def explain(self) -> str:
        """Say what is wrong with TLS at the first address where something is; "" if nothing is, or nobody answers."""
        found = await asyncio.gather(*(self._explain_at(*address) for address in self.addresses[:_ADDRESSES]))
        return next(filter(None, found), "")

    async def _explain_at(self, host: str, port: int) -> str:
        try:
            why = await self._explain(host, port)
        except (OSError, ConfigError):  # nobody answers, or our own files cannot be used, which has its own error
            return ""
        return why and f"{host}:{port}: {why}"

    async def _explain(self, host: str, port: int) -> str:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
        if self.context is None:
            return f"the server speaks TLS; {self.other}" if await _speaks_tls(host, port) else ""
        context = await asyncio.to_thread(self.context)
        try:
            if await _shake_hands(host, port, context):
                return "the server closes the connection after the handshake, as one that wants a certificate of the client"
        except ssl.SSLCertVerificationError as error:
            return self._certificate(error, host)
        except ssl.SSLError as error:
            return self._refused(error)
        except ConnectionAbortedError:  # asyncio's, at the end of the timeout
            return f"the server answers no TLS handshake within {_TIMEOUT:g} s; if it does not speak TLS, {self.other}"
        except ConnectionError:
            return self._no_tls()
        return ""

    def _no_tls(self) -> str:
        return f"the server does not speak TLS; {self.other}"

    def _certificate(self, error: ssl.SSLCertVerificationError, host: str) -> str:
        code = error.verify_code
        if code == _EXPIRED:
            return "the server's certificate has expired"
        if code == _NOT_YET:
            return "the server's certificate is not valid yet: compare the clocks"
        if code in _OTHER_NAME:
            return f"the server's certificate is not for {host!r}"
        if code in _UNTRUSTED:
            return (
                f"the server's certificate comes from an authority that is not trusted here ({error.verify_message}); name "
                f"its authority in the option {self.authority!r}"
            )
        return f"the server's certificate is refused: {error.verify_message}"

    def _refused(self, error: ssl.SSLError) -> str:
        reason = error.reason or ""
        if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
            return "the server wants a certificate of the client, and got none that it accepts"
        if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason or "CERTIFICATE_EXPIRED" in reason:
            return "the server refuses the certificate of the client"
        if "ALERT" in reason:
            return f"the server refuses the handshake ({reason.lower().replace('_', ' ')})"
        return self._no_tls()


async def _shake_hands(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Make a TLS connection, and wait a moment for the server to refuse it. True if the server closes it without a word.

    Raises:
        OSError: there was no handshake. ConnectionError if the server closed the connection or said nothing.
    """
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=host, ssl_handshake_timeout=_TIMEOUT
    )
    try:
        async with asyncio.timeout(_REFUSAL):
            return not await reader.read(1)
    except TimeoutError:
        return False
    finally:
        writer.transport.abort()


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        await _shake_hands(host, port, context)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    return True


def warn_of_missing_check(where: object, tls: Tls | None) -> None:
    """Log a warning if an option switches the check of the server off. This is for each start."""
    if tls is not None and tls.unverified:
        logger.warning(
            "%s: the option %r switches the check of the server off: anybody in between can read and change messages",
            where,
            tls.unverified,
        )


async def explained(error: ConnectionLost, tls: Tls | None) -> ConnectionLost:
    """Return the error of a failed connect, with what is wrong with TLS if that is the cause."""
    if tls is None or not (why := await tls.explain()):
        return error
    found = ConnectionLost(f"{error}; {why}")
    found.__cause__ = error
    return found


def tls_of(connection: Connection) -> Tls | None:
    """How a connection to one of our brokers uses TLS. None for others, and where a client decides more by itself."""
    scheme = connection.url.scheme
    if scheme in ("amqp", "amqps"):
        return _rabbit(connection)
    if scheme.partition("+")[0] in ("redis", "rediss"):
        return _redis(connection)
    if scheme.partition("+")[0] == "kafka":
        return _kafka(connection)
    if scheme in ("sqs", "sns"):
        return _aws(connection)
    if scheme in ("thrillconnect+ws", "thrillconnect+wss"):
        return _websocket(connection)
    return None


def _text(options: Mapping[str, object], name: str) -> str | None:
    value = options.get(name)
    return None if value in (None, "") else str(value)


def _is_off(options: Mapping[str, object], name: str) -> bool:
    return name in options and str(options[name]).lower() in _OFF


def _believes_anybody(context: ssl.SSLContext) -> bool:
    return context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname


def _rabbit(connection: Connection) -> Tls:
    options, secure = connection.options, connection.url.scheme == "amqps"
    given = options.get("ssl_context")
    own = given if isinstance(given, ssl.SSLContext) else None
    off = own is None and str(options.get("no_verify_ssl", "")).lower() in ("1", "true", "yes", "on")
    unverified = "no_verify_ssl" if off else "ssl_context" if own is not None and _believes_anybody(own) else ""
    files = TlsFiles(
        cafile=_text(options, "cafile"),
        capath=_text(options, "capath"),
        cadata=_text(options, "cadata"),
        certificate=_text(options, "certfile"),
        key=_text(options, "keyfile"),
        password=_text(options, "key_password"),
    )

    def context() -> ssl.SSLContext:
        return files.client(verify=not off) if own is None else own

    return Tls(
        addresses=tuple(connection.url.addresses(5671 if secure else 5672)),
        context=context if secure else None,
        authority="cafile",
        other="write amqp://" if secure else "write amqps://",
        unverified=unverified if secure else "",
    )


def _redis(connection: Connection) -> Tls:
    options, url = connection.options, connection.url
    secure = url.scheme.startswith("rediss")
    unverified = "ssl_cert_reqs" if _is_off(options, "ssl_cert_reqs") else ""
    named = not _is_off(options, "ssl_check_hostname")
    files = TlsFiles(
        cafile=_text(options, "ssl_ca_certs"),
        capath=_text(options, "ssl_ca_path"),
        cadata=_text(options, "ssl_ca_data"),
        certificate=_text(options, "ssl_certfile"),
        key=_text(options, "ssl_keyfile"),
        password=_text(options, "ssl_password"),
    )

    def context() -> ssl.SSLContext:
        made = files.client(verify=not unverified)
        made.check_hostname = made.check_hostname and named
        return made

    port = 26379 if "sentinel" in url.scheme else 6379
    return Tls(
        addresses=tuple(url.addresses(port)) if url.hosts else (),
        context=context if secure else None,
        authority="ssl_ca_certs",
        other=f"write {url.scheme.replace('rediss', 'redis', 1)}://"
        if secure
        else f"write {url.scheme.replace('redis', 'rediss', 1)}://",
        unverified=(unverified or ("" if named else "ssl_check_hostname")) if secure else "",
    )


def _kafka(connection: Connection) -> Tls:
    options, url = connection.options, connection.url
    protocol = str(options.get("security.protocol", "SASL_SSL" if url.user else "PLAINTEXT")).upper()
    secure = protocol.endswith("SSL")
    off = "enable.ssl.certificate.verification"
    unverified = off if _is_off(options, off) else ""
    any_name = "ssl.endpoint.identification.algorithm"
    named = not _is_off(options, any_name)
    files = TlsFiles(
        cafile=None if options.get("ssl.ca.location") == "probe" else _text(options, "ssl.ca.location"),
        cadata=_text(options, "ssl.ca.pem"),
        certificate=_text(options, "ssl.certificate.location"),
        key=_text(options, "ssl.key.location"),
        password=_text(options, "ssl.key.password"),
    )

    def context() -> ssl.SSLContext:
        made = files.client(verify=not unverified)
        made.check_hostname = made.check_hostname and named
        return made

    other = protocol.replace("SSL", "PLAINTEXT") if secure else protocol.replace("PLAINTEXT", "SSL")
    return Tls(
        addresses=tuple(url.addresses(9092)),
        context=context if secure else None,
        authority="ssl.ca.location",
        other=f"it needs the option security.protocol={other}",
        unverified=(unverified or ("" if named else any_name)) if secure else "",
    )


def _aws(connection: Connection) -> Tls:
    given = connection.options.get("verify", True)
    off = _is_off(connection.options, "verify")
    bundle = (
        str(given) if isinstance(given, str) and str(given).lower() not in (*_OFF, "true", "1", "yes", "on") else None
    )
    unverified = "verify" if off else ""
    parts = urlsplit(connection.endpoint or "")
    secure = parts.scheme != "http"
    addresses: tuple[tuple[str, int], ...] = ()
    if parts.hostname:
        addresses = ((parts.hostname, parts.port or (443 if secure else 80)),)
    files = TlsFiles(cafile=bundle)
    return Tls(
        addresses=addresses,
        context=(lambda: files.client(verify=not unverified)) if secure else None,
        authority="verify",
        other="write http:// in endpoint" if secure else "write https:// in endpoint",
        unverified=unverified if secure else "",
    )


def _websocket(connection: Connection) -> Tls:
    given, secure = connection.options.get("ssl"), connection.url.scheme.endswith("wss")
    own = given if isinstance(given, ssl.SSLContext) else None
    files = TlsFiles(cafile=None if own is not None or given is None else str(given))
    return Tls(
        # Through a proxy the server may be out of reach from here. Then nothing is found out.
        addresses=tuple(connection.url.addresses(443 if secure else 80)),
        context=(lambda: files.client(verify=True) if own is None else own) if secure else None,
        authority="ssl",
        other=f"write thrillconnect+{'ws' if secure else 'wss'}://",
        unverified="ssl" if own is not None and _believes_anybody(own) else "",
    )
