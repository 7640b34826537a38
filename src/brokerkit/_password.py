"""Passwords that change while a bus runs: each new connection reads the one that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import PlainValidator, SecretStr

from brokerkit._errors import ConfigError, ConnectionLost, describe

_BROKERS: Final = ("kafka", "amqp", "amqps", "redis", "rediss")


def as_password(value: object) -> object:
    """Keep a function; text becomes a secret."""
    return value if value is None or callable(value) or isinstance(value, SecretStr) else SecretStr(str(value))


Password = Annotated[SecretStr | Callable[[], str] | None, PlainValidator(as_password)]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Returns the password for a new connection. A value: two connections with one source of passwords share a client."""

    password: SecretStr | Callable[[], str] | None
    file: Path | None

    def __call__(self) -> str:
        if self.file is not None:
            return _read(self.file, ConnectionLost)
        if isinstance(self.password, SecretStr):
            return self.password.get_secret_value()
        assert self.password is not None
        return _called(self.password)


def reader(password: SecretStr | Callable[[], str] | None, file: Path | None) -> Callable[[], str] | None:
    """Return a function that returns the password for a new connection; None if the settings have none beside the URL."""
    return None if password is None and file is None else _Reader(password, file)


def check(scheme: str, in_url: str | None, password: object, file: Path | None) -> None:
    """Refuse a password that cannot be meant.

    Raises:
        ConfigError: there are two passwords, the file cannot be read, or this broker has none.
    """
    given = [name for name, value in (("password", password), ("password_file", file)) if value is not None]
    if not given:
        return
    if scheme.partition("+")[0] not in _BROKERS:
        raise ConfigError(f"{given[0]} is for Kafka, RabbitMQ and Redis, not for {scheme}://")
    if len(given) > 1 or in_url is not None:
        ways = [*given, "part of the URL"] if in_url is not None else given
        raise ConfigError(f"the password is given twice: as {' and '.join(ways)}")
    if file is not None:
        _read(file, ConfigError)


def _read(file: Path, failure: type[ConfigError | ConnectionLost]) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise failure(f"password_file {str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise failure(f"password_file {str(file)!r} is not text in UTF-8") from None


def _called(function: Callable[[], object]) -> str:
    try:
        found = function()
    except Exception as error:
        raise ConnectionLost(
            f"the function for the password failed: {type(error).__name__}: {describe(error)}"
        ) from error
    if isinstance(found, SecretStr):
        found = found.get_secret_value()
    if not isinstance(found, str):
        raise ConnectionLost(f"the function for the password returned a {type(found).__name__} instead of text")
    return found
