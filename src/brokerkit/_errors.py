"""The errors of brokerkit, one small tree.

::

    BrokerkitError
    ├── ConfigError              a setting, URL, option or handler is wrong; found before the first connection
    │   ├── MissingExtra         a package that an extra brings is not installed
    │   └── UnsupportedFeature   the broker cannot do what was asked; names an alternative
    ├── ConnectionLost           the broker cannot be reached, or went away
    ├── AccessDenied             the broker refused the credentials or the operation
    ├── NotFound                 a topic, queue or exchange that must exist does not
    ├── PublishError             the broker does not have the message, or may not have it
    │   ├── MessageTooLarge      larger than the broker takes; nothing was sent
    │   ├── InvalidMessage       cannot be put on the wire; nothing was sent
    │   └── Unroutable           the broker had nowhere to put it
    ├── DecodeError              a body is not what its event name promises
    ├── WrongNameRule            a source's first messages have no name its handlers know
    ├── HandlerTimeout           a handler took longer than its timeout; a failure like any other
    ├── Closed                   the bus was used after it was closed
    ├── Retry                    raised by a handler: try again
    └── Reject                   raised by a handler: dead letter now

Errors of a client library are translated where that library is called, and kept as ``__cause__``.
"""

from __future__ import annotations


class BrokerkitError(Exception):
    """Base of every error that brokerkit raises."""


def describe(error: BaseException | None) -> str:
    """An error's text, whatever its ``__str__`` does: it may be a handler's own class."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (that is the point)
        return "(an error without a readable text)"


class ConfigError(BrokerkitError):
    """A setting, URL, client option or handler is wrong. Raised before anything connects."""


class MissingExtra(ConfigError):
    """What an extra brings (the client library of a URL scheme, say) is not installed; the message holds the pip command."""


class UnsupportedFeature(ConfigError):
    """The broker cannot do what was asked for."""

    def __init__(self, *, broker: str, feature: str, alternative: str) -> None:
        super().__init__(f"{broker} cannot do {feature}; {alternative}")
        self.broker = broker
        self.feature = feature
        self.alternative = alternative


class ConnectionLost(BrokerkitError):
    """The broker cannot be reached, or the connection broke. Trying again may help."""


class AccessDenied(BrokerkitError):
    """The broker refused the credentials, or the right to do this. Trying again does not help."""


class NotFound(BrokerkitError):
    """A topic, queue or exchange that must exist does not."""


class PublishError(BrokerkitError):
    """The broker did not confirm a message: it may or may not have it."""


class MessageTooLarge(PublishError):
    """The message is larger than the broker takes. Nothing was sent."""

    def __init__(self, *, size: int, limit: int, what: str) -> None:
        super().__init__(f"message of {size:,} bytes is larger than {what} takes ({limit:,} bytes)")
        self.size = size
        self.limit = limit


class InvalidMessage(PublishError):
    """The message cannot be put on this broker's wire (a header that is no text, say). Nothing was sent."""


class Unroutable(PublishError):
    """The broker took the message and had nowhere to put it: no queue is bound, or the topic is gone."""


class DecodeError(BrokerkitError):
    """A body is not what its event name promises.

    Attributes:
        family: the family whose model was tried, e.g. ``"evenbet"``.
        event: the event name.
        field: path of the first wrong field in wire names, e.g. ``"participations.0.bet"``; ``""`` for the whole body.
        value: what stood there, as text cut to 200 characters.
    """

    def __init__(
        self, message: str, *, family: str = "", event: str = "", field: str = "", value: object = None
    ) -> None:
        shown = "" if value is None else repr(value)
        self.family = family
        self.event = event
        self.field = field
        self.value = shown if len(shown) <= 200 else shown[:197] + "..."
        where = ".".join(part for part in (f"{family}:{event}" if family else event, field) if part)
        got = f" (got {self.value})" if self.value else ""
        super().__init__(f"{where}: {message}{got}" if where else f"{message}{got}")


class WrongNameRule(BrokerkitError):
    """None of a source's first messages has a name that its handlers know: the name rule is probably wrong."""


class HandlerTimeout(BrokerkitError):
    """A handler took longer than its timeout. Counts as a failure like any other."""


class Closed(BrokerkitError):
    """The bus, or the part of it that was asked, is closed or not open yet."""


class Retry(BrokerkitError):
    """Raised by a handler to have the message again.

    Args:
        reason: why, for the log and the dead letter.
        after: seconds until the next attempt; by default the retry policy decides.
    """

    def __init__(self, reason: str = "the handler asked for a retry", *, after: float | None = None) -> None:
        if after is not None and after < 0:
            raise ValueError(f"after must not be negative, got {after}")
        super().__init__(reason)
        self.after = after


class Reject(BrokerkitError):
    """Raised by a handler to dead-letter the message now, without the remaining attempts."""

    def __init__(self, reason: str = "the handler rejected the message") -> None:
        super().__init__(reason)
