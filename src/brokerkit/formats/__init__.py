"""Wire formats: how a message holds an event's name, id, time and payload, in addition to the rules of a source.

A format is a value, not a class to inherit from. Most are a few rules. Packages add their own with an entry point in the
group ``brokerkit.formats``, or with `register`; a setting can also name one as ``module:ATTRIBUTE``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from brokerkit._errors import ConfigError
from brokerkit._messages._codecs import Codec, register_codec
from brokerkit.formats._format import Format
from brokerkit.formats._preparation import Preparation
from brokerkit.formats._registry import Registry
from brokerkit.formats._registry_formats import AVRO, JSON_SCHEMA, PROTOBUF
from brokerkit.formats.cloudevents import CLOUDEVENTS, CLOUDEVENTS_AMQP, CLOUDEVENTS_HTTP, CLOUDEVENTS_STRUCTURED

ENTRY_POINTS: Final = "brokerkit.formats"

NAME_IN_HEADER: Final = ("header:event", "header:ce_type")

JSON: Final = Format(name="json", name_from=(*NAME_IN_HEADER, "routing_key"))
"""A JSON object of any model; the name travels where the source's rules say."""

MSGPACK: Final = Format(name="msgpack", name_from=(*NAME_IN_HEADER, "routing_key"), payload_from=("body|msgpack",))
"""The same in MessagePack."""

EVENBET: Final = Format(name="evenbet", family="evenbet", name_from=(*NAME_IN_HEADER, "routing_key"))
"""EvenBet: the payload flat or under ``params``, both accepted for every event; the body does not hold the name."""

ACCELBYTE: Final = Format(name="accelbyte", family="accelbyte", name_from=("header:event", "field:name"))
"""AccelByte: one flat JSON object that holds its name; the vendor sets no headers."""

SESSION: Final = Format(name="session", family="session", name_from=("field:name",), writes_name=True)
"""Session messages: one flat JSON object that holds name and data."""

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

OURS: Final = (
    ACCELBYTE,
    AVRO,
    CLOUDEVENTS,
    CLOUDEVENTS_AMQP,
    CLOUDEVENTS_HTTP,
    CLOUDEVENTS_STRUCTURED,
    EVENBET,
    JSON,
    JSON_SCHEMA,
    MSGPACK,
    PROTOBUF,
    SESSION,
    THRILLCONNECT,
    THRILLPOTS,
)

_FORMATS: Final[dict[str, Format]] = {known.name: known for known in OURS}


def names() -> list[str]:
    """The names of all formats that this process knows already, sorted."""
    return sorted(_of_other_programs() | _FORMATS)


def _of_other_programs() -> dict[str, Format]:
    """The formats of other programs, by name. They are made only where one is asked for: few programs need them."""
    from brokerkit.formats._others import PEERS

    return {peer.format.name: peer.format for peer in PEERS}


def register(format: Format) -> Format:
    """Make a format known in this process under its name, and return it.

    Raises:
        ConfigError: another format has this name.
    """
    if _of_other_programs().get(format.name, format) != format or _FORMATS.setdefault(format.name, format) != format:
        raise ConfigError(f"there is another format {format.name!r} already")
    return format


def get(name: str) -> Format:
    """The format of that name, or at ``module:ATTRIBUTE``.

    Raises:
        ConfigError: there is none, or it cannot be loaded; the message lists them.
    """
    if name in _FORMATS:
        return _FORMATS[name]
    if (other := _of_other_programs().get(name)) is not None:
        return _FORMATS.setdefault(name, other)
    module, colon, attribute = name.partition(":")
    if colon:
        return _loaded(name, module, attribute)
    from importlib.metadata import entry_points  # costs 20 ms, and only foreign formats need it

    for point in entry_points(group=ENTRY_POINTS, name=name):
        return register(_loaded(point.value, point.module, point.attr))
    raise ConfigError(
        f"format: {name!r} is not known; allowed are {', '.join(names())}, and your own as module:ATTRIBUTE"
    )


def _loaded(where: str, module: str, attribute: str) -> Format:
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"format: {where!r} cannot be loaded: {error}") from error
    if not isinstance(found, Format):
        raise ConfigError(f"format: {where!r} is a {type(found).__name__}, not a brokerkit.formats.Format")
    return found


__all__ = ["Codec", "Format", "Preparation", "Registry", "get", "names", "register", "register_codec"]
