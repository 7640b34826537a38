"""What a handler or a source says about deduplication."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from brokerkit._errors import ConfigError
from brokerkit.dedupe._store import Store

_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Dedupe:
    """Run a handler once for each message, however often the message comes.

    Example::

        @handlers.on("OnGameDone", dedupe=Dedupe(RedisStore("redis://localhost"), key=lambda event: event.game_id))

    Args:
        store: where it is remembered.
        key: what tells two messages apart. By default the message's id, where the broker gives each message one or the
            source has rules for it (``id_from``). ``"id"``: the id that the producer sets, where only the producer
            promises one. A function of the event: its answer, as text. A message without a key is a dead letter.
        keep: seconds for which a message stays done.
        lease: seconds after which another may run the handler if this process is gone; extended while it runs.
        name: stands for the handler in the store, in place of the function's own name, which a renaming changes.

    Raises:
        ConfigError: a duration is not more than 0.
    """

    store: Store
    key: Callable[[Any], object] | Literal["id"] | None = field(default=None, kw_only=True)
    keep: float = field(default=7 * _DAY, kw_only=True)
    lease: float = field(default=60.0, kw_only=True)
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        for what in ("keep", "lease"):
            if getattr(self, what) <= 0:
                raise ConfigError(f"dedupe.{what} must be more than 0 seconds, got {getattr(self, what)}")
        if not (self.key in (None, "id") or callable(self.key)):
            raise ConfigError(f"dedupe.key must be a function of the event or 'id', got {self.key!r}")


def as_dedupe(value: object) -> object:
    """The `Dedupe` of a setting: itself, a store, a URL, or a table with ``url``, ``keep``, ``lease`` and ``key``.

    Raises:
        ConfigError: it is not one of these.
        MissingExtra: the library that the store needs is not installed.
    """
    from brokerkit.dedupe._urls import store_of

    if value is None or isinstance(value, Dedupe):
        return value
    if isinstance(value, str):
        return Dedupe(store_of(value))
    if isinstance(value, Mapping):
        table: dict[str, Any] = dict(cast("Mapping[str, Any]", value))
        if strange := [key for key in table if key not in ("url", "key", "keep", "lease")]:
            raise ConfigError(f"dedupe: {strange[0]!r} is not known; allowed are url, key, keep, lease")
        url = table.pop("url", None)
        if not isinstance(url, str):
            raise ConfigError("dedupe: url is missing")
        return Dedupe(store_of(url), **table)
    if callable(getattr(value, "claim", None)):
        return Dedupe(cast("Store", value))
    raise ConfigError(f"dedupe must be a Dedupe, a store or the URL of one, not a {type(value).__name__}")
