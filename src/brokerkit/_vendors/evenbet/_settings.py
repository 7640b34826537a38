"""Events of changed settings. Their names begin with a lower-case "on", unlike all others."""

from __future__ import annotations

from typing import Annotated

from brokerkit._vendors.evenbet._codes import SkinFlag
from brokerkit.events._model import Event, WireObject, wire
from brokerkit.events._types import KnownFirst


class CountryInfo(WireObject):
    """Settings of a country. The wire has one-letter keys. Source: "system-config-events"."""

    id: int | None = wire("country id", name="i")
    code: str | None = wire("ISO two-letter code", name="s")
    title: str | None = wire("name", name="n")
    phone_format: str | None = wire("phone number format with literal dots and brackets, '+...(...)......'", name="f")
    dial_code: int | None = wire("dial code", name="d")
    currency: str | None = wire("ISO code of the main currency", name="c")
    registration: bool | None = wire("registration enabled", name="r")
    login: bool | None = wire("login enabled", name="l")
    min_age: int | None = wire("minimum age", unit="years", name="m")


class StateInfo(WireObject):
    """Settings of a state or region. The wire has short keys. Source: "system-config-events"."""

    id: int | None = wire("state id", name="i")
    code_id: int | None = wire("state code id", name="cdi")
    country_id: int | None = wire("country id", name="cni")
    full_name: str | None = wire("full name", name="nf")
    abbreviation: str | None = wire("abbreviation", name="ns")
    registration: bool | None = wire("registration enabled", name="r")
    login: bool | None = wire("login enabled", name="l")
    min_age: int | None = wire("minimum age", unit="years", name="m")


class SkinInfo(WireObject):
    """Settings of a skin (brand). The wire has short keys. Source: "system-config-events"."""

    id: int | None = wire("skin id; the key is id here, i in country and state")
    key: str | None = wire("skin key", name="k")
    title: str | None = wire("skin name", name="n")
    flags: Annotated[SkinFlag | int, KnownFirst()] | None = wire("flags, added up: 3 is both", name="f")


class OnCountryInfoChanged(Event):
    """Settings of a country changed. Its name on the wire is "onCountryInfoChanged".

    Source: "system-config-events". Written under `params`, as its example is; the field table leaves out the level
    `country`.
    """

    country: CountryInfo | None = wire("the country")


class OnStateInfoChanged(Event):
    """Settings of a state or region changed. Its name on the wire is "onStateInfoChanged".

    Source: "system-config-events". Written under `params`, as its example is.
    """

    state: StateInfo | None = wire("the state")


class OnSkinInfoChanged(Event):
    """Settings of a skin changed. Its name on the wire is "onSkinInfoChanged".

    Source: "system-config-events". Written under `params`, as its example is. `skin` is an object here, and a plain
    key in the login events.
    """

    skin: SkinInfo | None = wire("the skin")
