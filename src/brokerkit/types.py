"""Names for annotations: what the signatures of brokerkit's public functions and classes are written with.

Example::

    from brokerkit import Bus, Notice
    from brokerkit.types import Hook, Publishable, Settings

    def make_bus(**settings: Unpack[Settings]) -> Bus: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brokerkit._config._keywords import Settings
from brokerkit._config._loading import BusSettings
from brokerkit._config._settings import ConnectionSettings, Foreign, SourceSettings, TargetSettings, Unknown
from brokerkit._dead_letters._edits import Edited
from brokerkit._dead_letters._selection import Selected
from brokerkit._handlers._batch import BatchRegistrar, OnBatch
from brokerkit._handlers._handlers import Handler
from brokerkit._handlers._middleware import Attempt, HandlerMiddleware
from brokerkit._handlers._scopes import Lifetime
from brokerkit._messages._headers import Headers
from brokerkit._publishing._arguments import BatchOptions, MessageOptions, Publishable
from brokerkit._publishing._middleware import Publication, PublishMiddleware
from brokerkit._publishing._sync import AsyncPublisher
from brokerkit._runtime import Runtime
from brokerkit._status._health import Condition
from brokerkit._status._hooks import Hook, Kind
from brokerkit._status._source_failure import OnSourceFailure
from brokerkit.adapters.api import Envelope, Order, Provision, Reach, ReadFrom, Start
from brokerkit.events._shapes import EventObject

if TYPE_CHECKING:
    from brokerkit._vendors._on import On

__all__ = [
    "AsyncPublisher",
    "Attempt",
    "BatchOptions",
    "BatchRegistrar",
    "BusSettings",
    "Condition",
    "ConnectionSettings",
    "Edited",
    "Envelope",
    "EventObject",
    "Foreign",
    "Handler",
    "HandlerMiddleware",
    "Headers",
    "Hook",
    "Kind",
    "Lifetime",
    "MessageOptions",
    "On",
    "OnBatch",
    "OnSourceFailure",
    "Order",
    "Provision",
    "Publication",
    "PublishMiddleware",
    "Publishable",
    "Reach",
    "ReadFrom",
    "Runtime",
    "Selected",
    "Settings",
    "SourceSettings",
    "Start",
    "TargetSettings",
    "Unknown",
]


def __getattr__(name: str) -> Any:
    """Import the typed `On`, which names the models of all families, when it is asked for."""
    if name != "On":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from brokerkit._vendors._on import On

    return On
