"""One publish/subscribe interface over Kafka, RabbitMQ, SQS and Redis, with typed handlers for each event name.

Example::

    from brokerkit import Bus, Handlers
    from brokerkit.events.evenbet import OnGameDone

    handlers = Handlers()

    @handlers.on("OnGameDone")
    async def settle(event: OnGameDone) -> None: ...

    bus = Bus("kafka://localhost:9092", topic="evenbet.events", group="wallet", format="evenbet")
    bus.include(handlers)
    bus.run()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from brokerkit._errors import (
    AccessDenied,
    BrokerkitError,
    Closed,
    ConfigError,
    ConnectionLost,
    DecodeError,
    ForeignBody,
    HandlerTimeout,
    Incomplete,
    InvalidMessage,
    MessageTooLarge,
    MissingExtra,
    NotFound,
    PublishError,
    Reject,
    Retry,
    Unroutable,
    UnsupportedFeature,
    WrongNameRule,
)
from brokerkit._version import __version__

if TYPE_CHECKING:
    from brokerkit._bus import Bus
    from brokerkit._config._breaker import Breaker
    from brokerkit._config._rate import Rate
    from brokerkit._config._retry_policy import RetryPolicy
    from brokerkit._dead_letters._handle import DeadLetters
    from brokerkit._dead_letters._letter import DeadLetter
    from brokerkit._dead_letters._walk import Progress
    from brokerkit._handlers._batch import FailedItems
    from brokerkit._handlers._handlers import Handlers
    from brokerkit._handlers._registrar import Registrar, UnknownEventName
    from brokerkit._messages._message import Message
    from brokerkit._messages._outgoing import Receipt
    from brokerkit._publishing._sync import SyncBus
    from brokerkit._status._health import Health, SourceHealth, TargetHealth
    from brokerkit._status._hooks import Notice
    from brokerkit._status._stats import Stats

__all__ = [
    "AccessDenied",
    "Breaker",
    "BrokerkitError",
    "Bus",
    "Closed",
    "ConfigError",
    "ConnectionLost",
    "DeadLetter",
    "DeadLetters",
    "DecodeError",
    "FailedItems",
    "ForeignBody",
    "HandlerTimeout",
    "Handlers",
    "Health",
    "Incomplete",
    "InvalidMessage",
    "Message",
    "MessageTooLarge",
    "MissingExtra",
    "NotFound",
    "Notice",
    "Progress",
    "PublishError",
    "Rate",
    "Receipt",
    "Registrar",
    "Reject",
    "Retry",
    "RetryPolicy",
    "SourceHealth",
    "Stats",
    "SyncBus",
    "TargetHealth",
    "UnknownEventName",
    "Unroutable",
    "UnsupportedFeature",
    "WrongNameRule",
    "__version__",
]

_WHERE: Final = {
    "Bus": "brokerkit._bus",
    "DeadLetter": "brokerkit._dead_letters._letter",
    "DeadLetters": "brokerkit._dead_letters._handle",
    "FailedItems": "brokerkit._handlers._batch",
    "Handlers": "brokerkit._handlers._handlers",
    "Health": "brokerkit._status._health",
    "Message": "brokerkit._messages._message",
    "Notice": "brokerkit._status._hooks",
    "Progress": "brokerkit._dead_letters._walk",
    "Receipt": "brokerkit._messages._outgoing",
    "Registrar": "brokerkit._handlers._registrar",
    "Breaker": "brokerkit._config._breaker",
    "Rate": "brokerkit._config._rate",
    "RetryPolicy": "brokerkit._config._retry_policy",
    "SourceHealth": "brokerkit._status._health",
    "Stats": "brokerkit._status._stats",
    "SyncBus": "brokerkit._publishing._sync",
    "TargetHealth": "brokerkit._status._health",
    "UnknownEventName": "brokerkit._handlers._registrar",
}
"""The modules of public names that are loaded when they are first used."""

_PACKAGES: Final = frozenset({"adapters", "dedupe", "events", "formats"})


def __getattr__(name: str) -> Any:
    """Load a public name, so that ``brokerkit --help`` and programs that only need models load no more than they use."""
    if name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
    elif name in _PACKAGES:
        value = import_module(f"brokerkit.{name}")
    else:
        raise AttributeError(f"module 'brokerkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
