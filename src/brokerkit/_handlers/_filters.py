"""Filters of handlers: which messages of an event they want, decided without reading the event."""

from __future__ import annotations

from collections.abc import Callable

from brokerkit._errors import ConfigError
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import INTERNAL_PREFIX, Headers, as_text
from brokerkit._messages._name_rules import compile_rules

Filter = Callable[[Delivery], bool]


def make_filter(where: str | Callable[[Headers], bool] | None, equals: str | None) -> Filter | None:
    """Make the filter that ``where`` and ``equals`` of `on` describe; None if there is none.

    Raises:
        ConfigError: one of them is missing, or the rule is not a rule.
    """
    if where is None:
        if equals is not None:
            raise ConfigError('equals needs where, which says what to compare: where="field:brand"')
        return None
    if callable(where):
        if equals is not None:
            raise ConfigError("a function in where decides alone: remove equals")
        wants = where
        return lambda delivery: bool(wants(_shown(delivery.headers)))
    if not isinstance(where, str):  # pyright: ignore[reportUnnecessaryIsInstance] (users without a checker)
        raise ConfigError(f"where must be a rule or a function of the headers, not a {type(where).__name__}")
    if equals is None:
        raise ConfigError(f'where={where!r} needs equals, the text to compare with: equals="..."')
    lookup = compile_rules([where], what="where")

    def holds(delivery: Delivery) -> bool:
        found = lookup(delivery)
        return found is not None and as_text(found) == equals

    return holds


def _shown(headers: Headers) -> Headers:
    return {name: as_text(value) for name, value in headers.items() if not name.startswith(INTERNAL_PREFIX)}
