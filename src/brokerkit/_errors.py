"""The errors of brokerkit, one small tree.

::

    BrokerkitError
    ├── ConfigError              a setting, URL, option or handler is wrong; raised before anything connects
    │   ├── MissingExtra         a package of an extra is not installed
    │   └── UnsupportedFeature   the broker cannot do what you asked for; names an alternative
    ├── ConnectionLost           the broker cannot be reached, or the connection broke
    ├── AccessDenied             the broker refused the credentials or the operation
    ├── NotFound                 a topic, queue or exchange that must exist does not
    ├── PublishError             the broker does not have the message, or this is unknown
    │   ├── MessageTooLarge      larger than the broker takes; nothing was sent
    │   ├── InvalidMessage       the message cannot be sent to this broker; nothing was sent
    │   └── Unroutable           the broker has no queue for the message
    ├── DecodeError              a body does not fit the model of its event
    ├── WrongNameRule            the first messages of a source have no known name
    │   └── ForeignBody          their names are known, but no field of their models is set
    ├── HandlerTimeout           a handler took longer than its timeout; counts as any failure
    ├── Incomplete               a walk did not look at all dead letters
    └── Closed                   the bus was used after it was closed
    Retry                        raised by a handler: try again
    Reject                       raised by a handler: make it a dead letter now

`Retry` and `Reject` are answers of a handler, not errors of brokerkit: ``except BrokerkitError`` around a publish does not
catch them.

Errors of a client library are translated where that library is called. The original is ``__cause__``.
"""

from __future__ import annotations


class BrokerkitError(Exception):
    """Base of every error that brokerkit raises. `Retry` and `Reject`, which handlers raise, are not among them."""


def describe(error: BaseException | None) -> str:
    """Return an error's text, even if its ``__str__`` fails: the class may be a user's."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (that is the point)
        return "(the error has no readable text)"


class ConfigError(BrokerkitError):
    """A setting, URL, client option or handler is wrong. Raised before anything connects."""


class MissingExtra(ConfigError):
    """A package of an extra is not installed (such as a client library); the message holds the pip command."""


class UnsupportedFeature(ConfigError):
    """The broker cannot do what was asked for."""

    def __init__(self, *, broker: str, feature: str, alternative: str) -> None:
        super().__init__(f"{broker} does not support {feature}; {alternative}")
        self.broker = broker
        self.feature = feature
        self.alternative = alternative


class ConnectionLost(BrokerkitError):
    """The broker cannot be reached, or the connection broke. Trying again may help."""


class AccessDenied(BrokerkitError):
    """The broker refused the credentials or the operation. Trying again does not help."""


class NotFound(BrokerkitError):
    """A topic, queue or exchange that must exist does not exist."""


class PublishError(BrokerkitError):
    """The broker did not confirm a message: it may or may not have it."""


class MessageTooLarge(PublishError):
    """The message is larger than the broker takes. Nothing was sent.

    Attributes:
        size: size of the message in bytes, counted as the broker counts where possible.
        limit: the most bytes that the broker takes; None if it is unknown.
    """

    def __init__(self, *, size: int, limit: int | None, what: str) -> None:
        most = "the limit is unknown" if limit is None else f"{limit:,} bytes"
        super().__init__(f"message of {size:,} bytes is larger than {what} takes ({most})")
        self.size = size
        self.limit = limit


class InvalidMessage(PublishError):
    """The message cannot be sent to this broker, for example because a header is not text. Nothing was sent."""


class Unroutable(PublishError):
    """The broker has no queue for the message: none is bound, or the topic is gone."""


class DecodeError(BrokerkitError):
    """A body does not fit the model of its event.

    Attributes:
        family: the family whose model was tried, e.g. ``"evenbet"``.
        event: the event name.
        field: path of the first wrong field, with wire names, e.g. ``"participations.0.bet"``; ``""`` for the whole body.
        value: the wrong value, as text cut to 200 characters.
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
    """None of the first messages of a source has a known name: the name rule is probably wrong."""


class ForeignBody(WrongNameRule):
    """The first messages of a source have known names, but set no field that their models declare.

    The events are inside an envelope, or the names belong to other events: the name rule or the format is wrong.
    """


class HandlerTimeout(BrokerkitError):
    """A handler took longer than its timeout. Counts as a failure like any other."""


class Incomplete(BrokerkitError):
    """A walk through dead letters ended before it looked at all of them. Run it again to continue.

    Attributes:
        done: how many were replayed, purged or listed.
        unseen: how many were not looked at.
    """

    def __init__(self, message: str, *, done: int, unseen: int) -> None:
        super().__init__(message)
        self.done = done
        self.unseen = unseen


class Closed(BrokerkitError):
    """The bus, or the part of it that was used, is closed or not open yet."""


class Retry(Exception):
    """Raised by a handler to get the message again later. It is not a `BrokerkitError`.

    Args:
        reason: why, for the log and the dead letter.
        after: seconds until the next attempt; by default the retry policy decides.
    """

    def __init__(self, reason: str = "the handler asked for a retry", *, after: float | None = None) -> None:
        if after is not None and after < 0:
            raise ValueError(f"after must not be negative, got {after}")
        super().__init__(reason)
        self.after = after


class Reject(Exception):
    """Raised by a handler to make the message a dead letter now, without further attempts. It is not a `BrokerkitError`."""

    def __init__(self, reason: str = "the handler rejected the message") -> None:
        super().__init__(reason)
