"""One publish/subscribe interface over Kafka, RabbitMQ, SQS and Redis, with typed handlers for each event name.

Example::

    from brokerkit import Bus, Handlers
    from brokerkit._vendors.evenbet import OnGameDone

    handlers = Handlers()

    @handlers.on("OnGameDone")
    async def settle(event: OnGameDone) -> None: ...

    bus = Bus("kafka://localhost:9092", topic="evenbet.events", group="wallet", format="evenbet")
    bus.include(handlers)
    bus.run()
"""

from brokerkit._bus import Bus
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._dead_letters._handle import DeadLetters
from brokerkit._dead_letters._letter import DeadLetter
from brokerkit._dead_letters._walk import Progress
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
from brokerkit._handlers._handlers import Handlers
from brokerkit._handlers._registrar import Registrar, UnknownEventName
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Receipt
from brokerkit._publishing._sync import SyncBus
from brokerkit._status._health import Health, SourceHealth, TargetHealth
from brokerkit._status._hooks import Notice
from brokerkit._status._stats import Stats
from brokerkit._vendors import _sections as _sections
from brokerkit._version import __version__

__all__ = [
    "AccessDenied",
    "BrokerkitError",
    "Bus",
    "Closed",
    "ConfigError",
    "ConnectionLost",
    "DeadLetter",
    "DeadLetters",
    "DecodeError",
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
