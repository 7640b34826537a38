"""The settings of a schema registry that speaks Confluent's API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from brokerkit._errors import ConfigError


class Registry(BaseModel):
    """A schema registry that speaks Confluent's API, and how schemas are found in it.

    Attributes:
        url: where it answers, with ``http://`` or ``https://``; several with commas between.
        user: for basic authentication.
        password: for basic authentication.
        token: a bearer token, instead of user and password.
        ca: file with the certificates of the authorities that the registry's certificate may be from; by default those of
            the package certifi.
        subject: under which name the schema of a published event is: ``topic`` (``TOPIC-value``), ``record`` (the full name
            of the record) or ``topic-record`` (``TOPIC-RECORD``).
        auto_register: whether schemas of published events are registered. Otherwise they must be there already.
        schemas: event name → its schema: a file with an Avro or JSON schema, or ``module:CLASS`` of a class that protoc
            generated. Published events are written with it; Avro records of that name are read with it, whichever version
            they were written with. An event without one is published with the newest version of its subject.
        timeout: seconds within which the registry must answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: SecretStr
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    ca: str | None = None
    subject: Literal["topic", "record", "topic-record"] = "topic"
    auto_register: bool = False
    schemas: Mapping[str, str] = Field(default_factory=dict[str, str])
    timeout: float = Field(default=10.0, gt=0)

    def __str__(self) -> str:
        """The hosts, without credentials."""
        return ",".join(url.rpartition("@")[2].partition("//")[2] or url.rpartition("@")[2] for url in self.urls)

    @property
    def urls(self) -> list[str]:
        """Where it answers, the one that is asked first at the front."""
        return [url.strip() for url in self.url.get_secret_value().split(",")]


def as_registry(value: object) -> Registry | None:
    """The `Registry` of a setting: itself, a URL, or a table.

    Raises:
        ConfigError: it is not one of these.
    """
    if value is None or isinstance(value, Registry):
        return value
    table: dict[str, Any] = {"url": value} if isinstance(value, str) else {}
    if isinstance(value, Mapping):
        table = dict(cast("Mapping[str, Any]", value))
    try:
        registry = Registry.model_validate(table)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
        key = ".".join(str(step) for step in detail["loc"])
        allowed = f"; allowed are {', '.join(Registry.model_fields)}" if detail["type"] == "extra_forbidden" else ""
        raise ConfigError(f"registry.{key}: {detail['msg']}{allowed}") from None
    if strange := [url for url in registry.urls if not url.startswith(("http://", "https://"))]:
        raise ConfigError(
            f"registry.url must begin with http:// or https://, not with {strange[0].partition(':')[0]!r}"
        )
    if registry.ca is not None and not Path(registry.ca).exists():
        raise ConfigError(f"registry.ca: there is no {registry.ca!r}")
    if (registry.user is None) != (registry.password is None):
        raise ConfigError("registry: user and password belong together: set both, or a token")
    if registry.user is not None and registry.token is not None:
        raise ConfigError("registry: set user and password, or a token, not both")
    return registry
