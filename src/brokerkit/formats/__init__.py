"""Wire formats: how an event's name, id, time and payload sit in a message, beside the rules that a source states.

A format is a value, not a class to inherit from. Most families are JSON objects whose name travels outside the body, so
most formats are three lines in this module; CloudEvents has a module of its own.
"""

from __future__ import annotations

from typing import Final

from brokerkit._errors import ConfigError
from brokerkit.formats._format import Format
from brokerkit.formats.cloudevents import CLOUDEVENTS, CLOUDEVENTS_STRUCTURED

NAME_IN_HEADER: Final = ("header:event", "header:ce_type")

JSON: Final = Format(name="json", name_from=(*NAME_IN_HEADER, "routing_key"))
"""A JSON object of any model; the name travels where the source's rules say."""

EVENBET: Final = Format(name="evenbet", family="evenbet", name_from=(*NAME_IN_HEADER, "routing_key"))
"""EvenBet: the payload flat or under ``params``, both accepted for every event; the body holds no name."""

_FORMATS: Final = {known.name: known for known in (CLOUDEVENTS, CLOUDEVENTS_STRUCTURED, EVENBET, JSON)}


def names() -> list[str]:
    """The names of all formats, sorted."""
    return sorted(_FORMATS)


def get(name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigError: there is none; the message lists them.
    """
    if name not in _FORMATS:
        raise ConfigError(f"format: {name!r} is not known; allowed are {', '.join(names())}")
    return _FORMATS[name]


__all__ = ["Format", "get", "names"]
