"""Versions of an event: which one a body is, and the functions that make it the current one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from brokerkit._errors import ConfigError, DecodeError
from brokerkit._paths import MISSING, parse_path, walk

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the body of one version that of the next one."""

_KINDS: Final = ("field", "header")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """How older versions of an event become the current one, before its model reads them.

    Args:
        current: the version that the model describes.
        upcasts: for each older version, the function from its body to that of the next version. They run one after another.
        version_from: where a body says its version: ``field:PATH``, or ``header:NAME``.
        missing: the version of a body that says none.

    A newer version is read with the current model: what it does not know is left out, and what it lacks is a dead letter.

    Raises:
        ConfigError: a version has no function, or the rule has another form.
    """

    current: int
    upcasts: Mapping[int, Upcast] = field(default_factory=dict[int, Upcast])
    version_from: str = "field:version"
    missing: int = 1

    def __post_init__(self) -> None:
        kind, _, argument = self.version_from.partition(":")
        if kind not in _KINDS or not argument:
            raise ConfigError(
                f"version_from: {self.version_from!r} is not a rule; allowed are field:PATH and header:NAME"
            )
        if kind == "field":
            parse_path(argument)
        oldest = min((*self.upcasts, self.current))
        gaps = [version for version in range(oldest, self.current) if version not in self.upcasts]
        later = [version for version in self.upcasts if version >= self.current]
        if gaps or later:
            wrong = f"version {gaps[0]} has none" if gaps else f"version {later[0]} is not older"
            raise ConfigError(f"upcasts must lead from each older version to {self.current}: {wrong}")

    def stated(self, body: Mapping[str, Any], headers: Mapping[str, str | bytes]) -> object:
        """Return the version that a message says; None if it says none."""
        kind, _, argument = self.version_from.partition(":")
        if kind == "field":
            found = walk(body, parse_path(argument))
            return None if found is MISSING else found
        found = headers.get(argument)
        return found.decode(errors="replace") if isinstance(found, bytes) else found

    def upgrade(self, body: dict[str, Any], stated: object) -> dict[str, Any]:
        """Return the body as one of the current version.

        Args:
            body: the payload.
            stated: the version that the message says, a number or its text; None if it says none.

        Raises:
            DecodeError: it is not a number, no function begins at it, or a function failed.
        """
        try:
            version = self.missing if stated is None else int(str(stated))
        except ValueError:
            raise DecodeError(f"the version is {stated!r:.100}, not a whole number", field=self.version_from) from None
        if version < self.current and version not in self.upcasts:
            raise DecodeError(f"no upcast begins at version {version}", field=self.version_from)
        for step in range(version, self.current):
            try:
                body = self.upcasts[step](body)
            except Exception as error:
                raise DecodeError(
                    f"the upcast from version {step} failed: {type(error).__name__}: {error}", field=self.version_from
                ) from error
            if not isinstance(body, dict):  # pyright: ignore[reportUnnecessaryIsInstance] (users without a checker)
                raise DecodeError(f"the upcast from version {step} returned a {type(body).__name__}, not a dict")
        return body
