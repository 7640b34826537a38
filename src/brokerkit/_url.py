"""Broker URLs: parsed once, and never shown with their password."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, unquote

from brokerkit._errors import ConfigError

_DROPPED: Final = {ord(each): None for each in "\t\r\n"}
"""White space is not part of a URL, but a URL from a file often ends with some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A broker URL such as ``amqp://user:password@host:5672/vhost``, or ``kafka://h1:9092,h2:9092``.

    Attributes:
        hosts: ``host`` or ``host:port``, in order; IPv6 addresses keep their brackets.
        path: what follows the hosts, without the first slash, percent-decoded.
        query: the parameters in order, percent-decoded.
    """

    scheme: str
    hosts: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> Url:
        """Parse a URL.

        Raises:
            ConfigError: it is not a URL. The message does not show a password.
        """
        scheme, separator, rest = text.partition("://")
        if not separator and text.lower().startswith("file:"):
            path = text[len("file:") :].lstrip("/")
            raise ConfigError(f"{text!r}: the URL of a file has three slashes, file:///{path or 'PATH'}")
        if not separator or not scheme:
            raise ConfigError(f"{mask(text)!r} is not a broker URL; one looks like kafka://localhost:9092")
        # urlsplit knows no list of hosts, and newer ones refuse an IPv6 address behind another host.
        rest, _, fragment = rest.translate(_DROPPED).partition("#")
        rest, _, query = rest.partition("?")
        netloc, slash, path = rest.partition("/")
        path = slash + path
        if fragment:
            raise ConfigError(
                f"{mask(text)!r} has a '#' in it; write %23 where a user name, password or path holds one"
            )
        if "@" in path and "@" not in netloc:
            raise ConfigError(f"{mask(text)!r} has a '/' before its '@'; write %2F where a name or password holds one")
        credentials, _, hosts = netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        url = cls(
            scheme=scheme.lower(),
            hosts=tuple(host for host in hosts.split(",") if host),
            user=unquote(user) or None,
            password=unquote(password) or None,
            path=unquote(path.removeprefix("/")),
            query=tuple(parse_qsl(query, keep_blank_values=True)),
        )
        for host in url.hosts:
            if not _is_host(host):
                raise ConfigError(f"{mask(text)!r} is not a broker URL: its host cannot be read")
            _, port = split_host(host)
            if port is not None and not (port.isdecimal() and 0 < int(port) < 65536):
                # Not shown: behind an unescaped "?" it is the beginning of a password.
                raise ConfigError(f"{mask(text)!r}: what follows a host is not a port (1 to 65535)")
        return url

    def host(self, default_port: int) -> tuple[str, int]:
        """The only host and its port.

        Raises:
            ConfigError: there is none, or more than one.
        """
        if len(self.hosts) != 1:
            raise ConfigError(f"{self}: exactly one host is needed here, got {len(self.hosts)}")
        name, port = split_host(self.hosts[0])
        return name, int(port) if port else default_port

    def addresses(self, default_port: int) -> list[tuple[str, int]]:
        """Every host and its port, in order.

        Raises:
            ConfigError: there is none.
        """
        if not self.hosts:
            raise ConfigError(f"{self}: a host is needed here")
        return [(name, int(port) if port else default_port) for name, port in map(split_host, self.hosts)]

    def __str__(self) -> str:
        user = f"{self.user or ''}{':***' if self.password else ''}@" if self.user or self.password else ""
        path = f"/{self.path}" if self.path else ""
        return f"{self.scheme}://{user}{','.join(self.hosts)}{path}"


def _is_host(host: str) -> bool:
    """Whether the host is well-formed: brackets, if any, hold an IPv6 address, and only a port follows them."""
    if "[" not in host and "]" not in host:
        return True
    address, closed, port = host[1:].partition("]")
    try:
        ip_address(address)
    except ValueError:
        return False
    return host.startswith("[") and bool(closed) and (not port or port.startswith(":"))


def split_host(host: str) -> tuple[str, str | None]:
    """Split ``host:port``; the port is None if there is none. The brackets of an IPv6 address are removed."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":") or None
    name, _, port = host.partition(":")
    return name, port or None


def mask(text: str) -> str:
    """Hide everything between ``://`` (or the start) and the last ``@``, and every query value."""
    head, at, tail = text.rpartition("@")
    if at:
        scheme, separator, _ = head.partition("://")
        text = f"{scheme}{separator}***@{tail}" if separator else f"***@{tail}"
    path, question, query = text.partition("?")
    return path + (
        question + "&".join(pair.partition("=")[0] + "=***" for pair in query.split("&")) if question else ""
    )
