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

from brokerkit._bus import Bus
from brokerkit._consuming._letter import DeadLetter
from brokerkit._consuming._stats import Stats
from brokerkit._errors import (
    AccessDenied,
    BrokerkitError,
    Closed,
    ConfigError,
    ConnectionLost,
    DecodeError,
    HandlerTimeout,
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
from brokerkit._handlers import Handlers
from brokerkit._health import Health, SourceHealth, TargetHealth
from brokerkit._hooks import Notice
from brokerkit._message import Message, Receipt
from brokerkit._registrar import Registrar
from brokerkit._retry import RetryPolicy
from brokerkit._version import __version__

__all__ = [
    "AccessDenied",
    "BrokerkitError",
    "Bus",
    "Closed",
    "ConfigError",
    "ConnectionLost",
    "DeadLetter",
    "DecodeError",
    "HandlerTimeout",
    "Handlers",
    "Health",
    "InvalidMessage",
    "Message",
    "MessageTooLarge",
    "MissingExtra",
    "NotFound",
    "Notice",
    "PublishError",
    "Receipt",
    "Registrar",
    "Reject",
    "Retry",
    "RetryPolicy",
    "SourceHealth",
    "Stats",
    "TargetHealth",
    "Unroutable",
    "UnsupportedFeature",
    "WrongNameRule",
    "__version__",
]
