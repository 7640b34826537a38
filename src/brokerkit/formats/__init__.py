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

ACCELBYTE: Final = Format(name="accelbyte", family="accelbyte", name_from=("header:event", "field:name"))
"""AccelByte: one flat JSON object that holds its name; the vendor sets no headers."""

SESSION: Final = Format(name="session", family="session", name_from=("field:name",), writes_name=True)
"""Session messages: one flat JSON object with its name beside the data."""

THRILLCONNECT: Final = Format(
    name="thrillconnect", family="thrillconnect", name_from=("field:msg_name",), writes_name=True
)
"""ThrillConnect: an envelope with the body under ``data``; there is no id. The event is the whole envelope."""

THRILLPOTS: Final = Format(
    name="thrillpots",
    family="thrillpots",
    name_from=("field:event_type",),
    id_from=("field:event_id",),
    writes_name=True,
)
"""ThrillPots' gateway: an envelope of type, id and ``data``. The event is the whole envelope."""

_FORMATS: Final = {
    known.name: known
    for known in (
        ACCELBYTE,
        CLOUDEVENTS,
        CLOUDEVENTS_STRUCTURED,
        EVENBET,
        JSON,
        SESSION,
        THRILLCONNECT,
        THRILLPOTS,
    )
}


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
