"""Idempotency: a message that comes again does not run its handler again.

`Dedupe` says how, a `Store` remembers what is done. `MemoryStore` is for one process and for tests, `RedisStore` for
several, and `SqlStore` puts the mark into the handler's own transaction, where both are committed or neither.
"""

from typing import TYPE_CHECKING, Any

from brokerkit.dedupe._dedupe import Dedupe
from brokerkit.dedupe._memory import MemoryStore
from brokerkit.dedupe._store import DONE, Claim, Done, Store, Taken

if TYPE_CHECKING:
    from brokerkit.dedupe._redis import RedisStore
    from brokerkit.dedupe._sql import SqlStore

__all__ = ["DONE", "Claim", "Dedupe", "Done", "MemoryStore", "RedisStore", "SqlStore", "Store", "Taken"]


def __getattr__(name: str) -> Any:
    """Load a store, and the library that it needs, when it is asked for."""
    if name in ("RedisStore", "SqlStore"):
        from brokerkit.dedupe._urls import load

        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
