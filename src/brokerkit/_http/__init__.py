"""A bus over HTTP: probes, metrics, state and control, as an ASGI application and on a port of its own."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

from brokerkit._errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from brokerkit._http._answers import Served


def for_bus(bus: Served, token: str | None, *, control: bool, console: bool, mask: Iterable[str]) -> Starlette:
    """Return the application of a bus; see `Bus.http`.

    Raises:
        ConfigError: the bus is open, the token is too short, or fields are hidden where no console is.
        MissingExtra: Starlette is not installed.
    """
    refuse_missing("starlette")
    from brokerkit._http._access import check_token
    from brokerkit._http._answers import Process
    from brokerkit._http._app import application
    from brokerkit._http._letters import Letters
    from brokerkit._http._masking import Masking
    from brokerkit._http._opening import Opening

    if token is not None:
        check_token(token, "token")
    names = [mask] if isinstance(mask, str) else list(mask)
    if names and not console:
        raise ConfigError("mask goes with console=True")
    letters = Letters(Opening(lambda: nullcontext(bus)), Masking(names)) if console else None
    return application(Process(bus), token=None if token is None else lambda: token, control=control, letters=letters)


def refuse_missing(*names: str) -> None:
    """Refuse what needs packages that are not installed.

    Raises:
        MissingExtra: one is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise MissingExtra(f"HTTP needs {name}, which is not installed: pip install 'brokerkit-sdk[http]'")
