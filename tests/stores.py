"""Every store of `brokerkit.dedupe` as tests see it, on real servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from brokerkit.dedupe import MemoryStore, RedisStore, SqlStore, Store

MakeStore = Callable[[], Store]
"""A store that shares its memory with all others made by the same function, as several processes would."""

STORES = ("memory", "redis", "sqlite", "postgresql")
DATABASES = ("sqlite", "postgresql")


def database_url(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """A database for one test; on PostgreSQL all tests share one."""
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{folder / 'test.db'}"
    url: str = request.getfixturevalue("postgresql_server").engine_url
    return url


async def make_store(kind: str, request: pytest.FixtureRequest, folder: Path) -> MakeStore:
    """What makes stores of a kind that all see the same, and that no other test sees."""
    own = f"t{uuid.uuid4().hex[:10]}"
    if kind == "memory":
        only = MemoryStore()
        return lambda: only
    if kind == "redis":
        url: str = request.getfixturevalue("redis_broker").url
        return lambda: RedisStore(url, prefix=f"{own}:")
    database = database_url(kind, request, folder)
    first = SqlStore(database, table=own)
    await first.create_tables()
    await first.engine.dispose()
    return lambda: SqlStore(database, table=own)
