"""Settings of a gateway, checked as a whole before anything listens."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypedDict, cast

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from brokerkit._config._settings import Names, Positive, Section
from brokerkit._errors import ConfigError
from brokerkit._messages._name_rules import split_rule
from brokerkit._vendors.gateway._check import Check, HttpCheck

Refuse = Literal["close", "http"]
Limit = Annotated[int, Field(ge=1)]


def _as_secret(value: object) -> object:
    return SecretStr(value) if isinstance(value, str) else value


class Keywords(TypedDict, total=False):
    """Keywords of `Gateway`; see `GatewaySettings` for what they mean."""

    sources: str | Sequence[str]
    check: Check | str
    check_headers: Mapping[str, str]
    check_timeout: float
    refuse: Refuse
    host: str
    port: int
    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str]
    key_password: str
    origins: str | Sequence[str]
    address_header: str
    operator_from: str | Sequence[str]
    brand_from: str | Sequence[str]
    player_from: str | Sequence[str]
    operator_id: str
    brand_id: str
    public: str | Sequence[str]
    source: str
    msg_names: Mapping[str, str]
    data_field: str
    answers: Mapping[str, Callable[..., Any] | str]
    max_connections: int
    max_checks: int
    max_per_player: int
    max_per_address: int
    max_size: int
    max_subscriptions: int
    max_requests: float
    buffer: int
    slow: float
    ping: float
    drain: float


class GatewaySettings(Section):
    """A gateway: where it listens, whom it lets in, who gets an event, and its limits.

    Attributes:
        sources: names of the bus's sources whose events are sent; all sources if none is named.
        check: finds the player of a token: the URL of an HTTP endpoint, ``module:function``, or, in code, a function.
        check_headers: HTTP headers for this endpoint; never shown.
        check_timeout: seconds for one check.
        refuse: ``close``: a refused client is connected first, and closed with a code and a reason, which browsers can
            read; ``http``: the upgrade is answered with an HTTP status, which browsers cannot read.
        host: address to listen on; by default only this machine can connect.
        port: port to listen on; 0 for any free port.
        certificate: file with the certificate chain in PEM form, for ``wss://``; without it, a proxy must provide TLS.
        key: file with its private key. Certificate and key are read again when the files change.
        key_password: pass phrase of the key; never shown.
        origins: origins of web pages that may connect; all origins if none is named.
        address_header: HTTP header in which a proxy gives the address of a client, such as ``X-Forwarded-For``; the
            last address in it counts. Set it only behind a proxy that writes it.
        operator_from: rules for an event's operator, as in ``key_from``.
        brand_from: rules for its brand; a value ``operator:brand`` gives both.
        player_from: rules for its player.
        operator_id: the operator of events that name none.
        brand_id: the brand of events that name none.
        public: names of events that go to everybody of their brand if they name no player, or of their operator if they name
            no brand either; ``*`` for all names. ThrillConnect's messages are public if their ``player_id`` is null.
        source: the value of ``source`` in the envelope around events of other formats, and in errors.
        msg_names: event name → name in the envelope, for events of other formats.
        data_field: field of the body that becomes ``data`` in the envelope around events of other formats; by default
            the whole body.
        answers: request → function (``module:function``) that answers it.
        max_connections: clients at once in total. A client counts once the check has let it in.
        max_checks: tokens that are checked at once; a client that comes meanwhile is refused.
        max_per_player: clients at once of one player.
        max_per_address: clients at once from one address, checks included; of IPv6, from one network of 64 bits. By default
            200. Without ``address_header`` the default is not for loopback and private addresses, where a proxy may be.
        max_size: bytes of the largest frame that a client may send.
        max_subscriptions: kinds of events that one client may subscribe to.
        max_requests: requests a second that one client may send, on average over ten seconds; a client that sends more is
            closed.
        buffer: most bytes that may wait for a slow client; a client with more is closed.
        slow: seconds after which a client is closed if it has read nothing that waits for it.
        ping: seconds between two pings, and seconds within which a ping must be answered.
        drain: seconds that clients have to answer the close when the gateway stops.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    TABLES = frozenset({"answers", "check_headers", "msg_names"})
    SECRETS = frozenset({"check", "check_headers", "key_password"})

    sources: Names = ()
    check: Annotated[Callable[..., Any] | SecretStr, BeforeValidator(_as_secret)] = Field(repr=False)
    check_headers: dict[str, str] = Field(default_factory=dict, repr=False)
    check_timeout: Positive = 5.0
    refuse: Refuse = "close"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    certificate: Path | None = None
    key: Path | None = None
    key_password: SecretStr | None = None
    origins: Names = ()
    address_header: str | None = None
    operator_from: Names = ("field:operator_id",)
    brand_from: Names = ("field:brand_id",)
    player_from: Names = ("field:player_id",)
    operator_id: str | None = None
    brand_id: str | None = None
    public: Names = ()
    source: str = "brokerkit"
    msg_names: dict[str, str] = Field(default_factory=dict)
    data_field: str | None = None
    answers: dict[str, Any] = Field(default_factory=dict)
    max_connections: Limit = 10_000
    max_checks: Limit = 2_000
    max_per_player: Limit | None = None
    max_per_address: Limit | None = None
    max_size: Limit = 65_536
    max_subscriptions: Limit = 100
    max_requests: Positive = 20.0
    buffer: Limit = 262_144
    slow: Positive = 20.0
    ping: Positive = 20.0
    drain: Positive = 5.0

    @model_validator(mode="after")
    def _check_gateway(self) -> Self:
        for what in ("operator_from", "brand_from", "player_from"):
            if not getattr(self, what):
                raise ConfigError(f"{what} needs at least one rule")
            for rule in getattr(self, what):
                split_rule(rule, what=what)
        for what in ("key", "key_password"):
            if getattr(self, what) is not None and self.certificate is None:
                raise ConfigError(f"{what} is set, but certificate is not")
        return self

    def token_check(self) -> Check:
        """Return the check of tokens.

        Raises:
            ConfigError: there is no such function, or the URL is wrong.
            MissingExtra: the check is over HTTP, and httpx is not installed.
        """
        if not isinstance(self.check, SecretStr):
            return self.check
        reference = self.check.get_secret_value()
        if "://" in reference:
            return HttpCheck(reference, headers=self.check_headers, timeout=self.check_timeout)
        return cast("Check", function_at("check", reference))


def function_at(what: str, reference: object) -> Callable[..., Any]:
    """Return the function that ``module:function`` names, or the function itself.

    Raises:
        ConfigError: there is nothing there that can be called.
    """
    if callable(reference):
        return reference
    if not isinstance(reference, str) or ":" not in reference:
        raise ConfigError(f"{what} must be a function, or name one: module:function")
    try:
        found: object = pkgutil.resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{what} = {reference!r} cannot be imported ({error})") from error
    if not callable(found):
        raise ConfigError(f"{what} = {reference!r} is not a function but a {type(found).__name__}")
    return found


def functions(answers: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """Return the functions that answer requests, by request.

    Raises:
        ConfigError: as `function_at` does.
    """
    return {request: function_at(f"answers.{request}", reference) for request, reference in answers.items()}
