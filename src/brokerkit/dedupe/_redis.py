"""A store in Redis: one key for each message, each step one script, so that no two processes can both win."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from redis.exceptions import RedisError

from brokerkit import _password
from brokerkit._errors import BrokerkitError, ConfigError, ConnectionLost
from brokerkit._url import Url, mask
from brokerkit.adapters._tls_cause import explained, tls_of, warn_of_missing_check
from brokerkit.adapters.api import Connection
from brokerkit.adapters.redis._client import Client
from brokerkit.adapters.redis._connect import client_of
from brokerkit.dedupe._store import DONE, Claim, Done, Taken

SCHEMES: Final = tuple(f"{redis}{way}" for redis in ("redis", "rediss") for way in ("", "+cluster", "+sentinel"))
"""Of the URLs of a `RedisStore`."""

# A value is the token of who has the claim, or "done". The client may send a script twice when an answer is lost:
# each gives the same answer again.
_CLAIM: Final = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return -1 end
local value = redis.call('GET', KEYS[1])
if value == ARGV[1] then return -1 end
if value == 'done' then return -2 end
return math.max(redis.call('PTTL', KEYS[1]), 0)
"""
_EXTEND: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
# A claim may have ended without another claim after it. The handler has run all the same, so the key is done.
_DONE: Final = """
local value = redis.call('GET', KEYS[1])
if value and value ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'done', 'PX', ARGV[2])
return 1
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisStore:
    """Remembers in Redis, for any number of processes.

    What is done is as durable as the Redis is: with ``appendfsync everysec`` a crash of the server forgets up to a second,
    and a fail-over what was not replicated, unless ``wait_replicas`` says how many replicas must have it. The server must
    not evict keys (``maxmemory-policy noeviction``).

    Args:
        url: ``redis://``, ``redis+cluster://host1,host2`` or ``redis+sentinel://host1,host2/NAME``, or the same with
            ``rediss``; its query has the options of the Redis adapters, and may have ``password_file``.
        prefix: what the names of its keys begin with.
        password: the password of the URL's user, for a URL that has none; also a function that returns it, in a thread: it
            is called for each new connection, so a rotated password is found.
        password_file: a file with the password, which is read for each new connection.

    Raises:
        ConfigError: the URL is not valid, the password is given twice, or its file cannot be read.
    """

    transactional: bool = False

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "brokerkit:dedupe:",
        password: str | Callable[[], str] | None = None,
        password_file: str | Path | None = None,
    ) -> None:
        self._shown = mask(url)
        parsed = Url.parse(url)
        if parsed.scheme not in SCHEMES:
            raise ConfigError(f"{self._shown!r} is not the URL of a Redis; one looks like redis://host:6379/0")
        options = dict(parsed.query)
        file = options.pop("password_file", None) if password_file is None else password_file
        given, path = (
            SecretStr(password) if isinstance(password, str) else password,
            None if file is None else Path(file),
        )
        _password.check(parsed.scheme, parsed.password, given, path)
        self._connection = Connection(
            url=replace(parsed, query=()), password=_password.reader(given, path), options=options
        )
        self._prefix = prefix
        self._client: Client | None = None
        self._users = 0
        client_of(self._connection)  # refuses what is wrong

    def __repr__(self) -> str:
        return f"<RedisStore {self._shown}>"

    async def open(self) -> None:
        """See `Store.open`."""
        self._users += 1
        tls = tls_of(self._connection)
        if self._client is None:
            self._client = client_of(self._connection)
            warn_of_missing_check(self, tls)
        try:
            await self._client.open()
        except BrokerkitError as error:
            await self.close()
            raise await explained(self._lost(error), tls) from error

    async def close(self) -> None:
        """See `Store.close`."""
        self._users -= 1
        if self._users == 0 and self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def claim(self, key: str, *, lease: float, keep: float) -> Claim | Taken | Done:
        """See `Store.claim`."""
        claim = _RedisClaim(self, self._prefix + key, lease=lease, keep=keep)
        answer = await self.run(_CLAIM, claim.key, claim.token, _milliseconds(lease))
        if answer == -1:
            return claim
        return DONE if answer == -2 else Taken(answer / 1000)

    async def run(self, script: str, key: str, *arguments: str | int) -> int:
        """Run a script on a key.

        Raises:
            ConnectionLost: it may have run or not.
        """
        if self._client is None:
            raise ConnectionLost(f"{self} is not open")
        try:
            answer: Any = await self._client.call("EVAL", script, 1, key, *arguments, confirm=True)
        except (RedisError, OSError) as error:
            raise self._lost(error) from error
        return int(answer)

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(f"{self} cannot be asked: {type(error).__name__}: {error}")


class _RedisClaim:
    __slots__ = ("_keep", "_lease", "_store", "key", "token")

    session: None = None

    def __init__(self, store: RedisStore, key: str, *, lease: float, keep: float) -> None:
        self.key = key
        self.token = secrets.token_hex(16)
        self._store = store
        self._lease = lease
        self._keep = keep

    async def extend(self) -> bool:
        return await self._store.run(_EXTEND, self.key, self.token, _milliseconds(self._lease)) == 1

    async def done(self) -> bool:
        return await self._store.run(_DONE, self.key, self.token, _milliseconds(self._keep)) == 1

    async def release(self) -> None:
        await self._store.run(_RELEASE, self.key, self.token)


def _milliseconds(seconds: float) -> int:
    return max(math.ceil(seconds * 1000), 1)
