"""Decides who may see the state of a bus over HTTP, and change it.

With a token, whoever sends it. Without one, programs on this machine: a browser that shows a foreign page is on this machine
too, so what only a foreign page sends is refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from brokerkit._errors import ConfigError

Token = Callable[[], str]
"""Returns the token that counts now."""

SHORTEST: Final = 16
"""Characters of the shortest token."""
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


def check_token(token: str, what: str) -> None:
    """Refuse a token that is easily guessed.

    Raises:
        ConfigError: it is too short.
    """
    if len(token) < SHORTEST:
        raise ConfigError(f"{what} has {len(token)} characters, and needs {SHORTEST} at least")


def refusal(request: Request, token: Token | None) -> tuple[int, str] | None:
    """Return status and reason if this request may not see the state; None if it may."""
    if reason := _foreign_origin(request):
        return 403, reason
    if token is not None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        wanted = token()
        # A file may have become empty.
        right = len(wanted) >= SHORTEST and hmac.compare_digest(given.strip().encode(), wanted.encode())
        if kind.lower() != "bearer" or not right:
            return 401, "this needs the header 'Authorization: Bearer TOKEN' with the right token"
        return None
    if not _is_local(request):
        return 403, "without a token this is for programs on the same machine: give this port a token"
    if not _is_own_name(_host(request.headers.get("host", ""))):
        return 403, "the header Host must be localhost or an IP address; with a token, it may be any name"
    return None


def refusal_of_change(request: Request, token: Token | None) -> tuple[int, str] | None:
    """Return status and reason if this request may not change the state; None if it may.

    A form of a foreign page needs no answer to do harm. So without a token, which no form can send, the request must have
    what a form cannot send either: a browser asks first whether a page may send JSON, and nothing here allows it.
    """
    if (refused := refusal(request, token)) is not None:
        return refused
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if token is None and kind != "application/json":
        return 415, "without a token this needs the header 'Content-Type: application/json', which no form can send"
    return None


def is_loopback(host: str) -> bool:
    """Return whether an address is one of this machine alone."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _foreign_origin(request: Request) -> str:
    """Return why this comes from a page of another origin; "" if it does not."""
    origin = request.headers.get("origin")
    if origin is not None and _place(origin) != request.headers.get("host", "").lower():
        return "the header Origin names another origin than this one"
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "a page of another site may not ask this"
    return ""


def _is_local(request: Request) -> bool:
    """Whether both ends of the connection are on this machine, and no proxy says that it asks for somebody else."""
    server, client = request.scope.get("server"), request.scope.get("client")
    if server is None or client is None or any(name in request.headers for name in _FORWARDED):
        return False
    return is_loopback(server[0]) and is_loopback(client[0])


def _place(origin: str) -> str | None:
    """Return host and port in a header Origin; None if there are none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:  # brackets without an address in them
        return None


def _host(header: str) -> str:
    """Return the name or address in a header Host; "" if there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_own_name(host: str) -> bool:
    """Whether no other name server can have led here: a foreign name can be made to mean this machine, an address cannot."""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
