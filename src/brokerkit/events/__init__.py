"""Typed events: one module for each family, one pydantic model for each event name.

Importing this package imports no family; `parse`, `find` and `get_family` import what they need.
"""

from brokerkit.events._family import Family, Reader
from brokerkit.events._model import Event, WireObject, wire
from brokerkit.events._registry import Found, adopt, event, families, find, get_family, parse, register, suggest
from brokerkit.events._versions import Upcast, Versions

__all__ = [
    "Event",
    "Family",
    "Found",
    "Reader",
    "Upcast",
    "Versions",
    "WireObject",
    "adopt",
    "event",
    "families",
    "find",
    "get_family",
    "parse",
    "register",
    "suggest",
    "wire",
]
