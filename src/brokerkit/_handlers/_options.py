"""Checks of what a handler is registered with, for users without a type checker. The errors say what to write instead."""

from __future__ import annotations

from collections.abc import Sequence

from brokerkit._config._rate import Rate
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._config._settings import SourceSettings
from brokerkit._errors import ConfigError
from brokerkit._handlers._middleware import HandlerMiddleware
from brokerkit._handlers._signatures import name_of
from brokerkit.dedupe._dedupe import Dedupe


def check_options(retry: object, timeout: object, source: object, dedupe: object, rate: object = None) -> None:
    """Refuse options of other types.

    Raises:
        ConfigError: the message says what to write.
    """
    if dedupe and not isinstance(dedupe, Dedupe):
        raise ConfigError(f"dedupe must be Dedupe(store, ...) or False, not a {type(dedupe).__name__}")
    if retry is not None and not isinstance(retry, RetryPolicy):
        hint = f"retry=RetryPolicy(attempts={retry})" if isinstance(retry, int) else "retry=RetryPolicy(...)"
        raise ConfigError(f"retry must be a RetryPolicy, not a {type(retry).__name__}: write {hint}")
    if rate is not None and not isinstance(rate, Rate):
        number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        raise ConfigError(
            f"rate must be a Rate, not a {type(rate).__name__}: write rate=Rate({rate if number else 'MESSAGES_A_SECOND'})"
        )
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
        raise ConfigError(f"timeout must be a number of seconds, not a {type(timeout).__name__}")
    if timeout is not None and timeout <= 0:
        raise ConfigError(f"timeout must be more than 0 seconds, got {timeout}")
    if source is not None and not isinstance(source, str):
        raise ConfigError(f"source must be the name of a source, not a {type(source).__name__}")


def check_batch(size: object, within: object) -> None:
    """Refuse a size or a time of batches that cannot be one.

    Raises:
        ConfigError: the message says what is wrong.
    """
    if not isinstance(size, int) or isinstance(size, bool):
        raise ConfigError(f"size must be a number of messages, not a {type(size).__name__}")
    if size < 1:
        raise ConfigError(f"size must be at least 1 message, got {size}")
    if not isinstance(within, (int, float)) or isinstance(within, bool):
        raise ConfigError(f"within must be a number of seconds, not a {type(within).__name__}")
    if not 0 < within < float("inf"):
        raise ConfigError(f"within must be a finite number of seconds above 0, got {within}")


def refuse_batches(
    handler: str, settings: SourceSettings, middleware: Sequence[HandlerMiddleware], *, source: str
) -> None:
    """Refuse a handler of batches that does not go together with its source.

    Args:
        handler: its name.
        settings: the source's.
        middleware: what would run around it there.
        source: the source's name.

    Raises:
        ConfigError: the message says what to leave out.
    """
    if middleware:
        raise ConfigError(
            f"handler {handler} takes batches, and the middleware {name_of(middleware[0])} runs around single messages of "
            f"source {source!r}: register one of the two for another source, or do the work in a dependency"
        )
    if settings.exactly_once:
        raise ConfigError(
            f"source {source!r}: exactly_once makes each message and its results one transaction, and {handler} takes "
            "batches: use a handler of single messages, or leave exactly_once out"
        )
    if settings.rate is not None:
        raise ConfigError(
            f"source {source!r}: rate counts single messages, and {handler} takes batches: leave rate out, or give the two "
            "sources of their own"
        )
