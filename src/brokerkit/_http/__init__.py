"""A bus over HTTP: probes, metrics, state and control, as an ASGI application and on a port of its own."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from brokerkit._errors import MissingExtra

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from brokerkit._http._answers import Served


def for_bus(bus: Served, token: str | None, *, control: bool) -> Starlette:
    """Return the application of a bus; see `Bus.http`.

    Raises:
        ConfigError: the bus is open, or the token is too short.
        MissingExtra: Starlette is not installed.
    """
    refuse_missing("starlette")
    from brokerkit._http._access import check_token
    from brokerkit._http._answers import Process
    from brokerkit._http._app import application

    if token is not None:
        check_token(token, "token")
    return application(Process(bus), token=None if token is None else lambda: token, control=control)


def refuse_missing(*names: str) -> None:
    """Refuse what needs packages that are not installed.

    Raises:
        MissingExtra: one is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise MissingExtra(f"HTTP needs {name}, which is not installed: pip install 'brokerkit-sdk[http]'")
