"""Asks RabbitMQ's management API what policies do to a queue. AMQP 0-9-1 tells only what a queue was declared with."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

from brokerkit.adapters.api import BrokerkitError, ConfigError
from brokerkit.adapters.rabbitmq._queue_facts import Argument, QueueFacts

_LIMIT: Final = "x-delivery-limit"
_POLICY: Final = "effective_policy_definition"
_AGAIN: Final = 0.5
"""Seconds until the API is asked again."""


class Management:
    """The management API of one broker, for one virtual host.

    Args:
        url: ``http://host:15672`` or ``https://…``; it may have a user and a password.
        user: for a URL that has none.
        password: returns the user's that counts now; it is called in a thread.
        vhost: the virtual host.
        cafile: certificates of authorities, for ``https``; "" for those of the system.
        timeout: seconds for an answer.

    Raises:
        ConfigError: it is not such a URL.
    """

    def __init__(
        self, url: str, *, user: str, password: Callable[[], str], vhost: str, cafile: str, timeout: float
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("RabbitMQ: option 'management' is not a URL such as http://host:15672")
        self._where = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._user = parts.username or user
        own = parts.password
        self._password: Callable[[], str] = (lambda: own) if own else password
        self._vhost = vhost
        self._cafile = cafile
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<Management {self._where}>"

    async def describe(self, queue: str) -> QueueFacts:
        """Find what a queue is, with what policies and operator policies add. Of a new queue the API tells that only after
        some seconds.

        Raises:
            BrokerkitError: the API does not answer, or does not tell in time.
        """
        path = f"/api/queues/{quote(self._vhost, '')}/{quote(queue, '')}"
        try:
            async with asyncio.timeout(self._timeout):
                while _POLICY not in (found := await asyncio.to_thread(self._get, path)):
                    await asyncio.sleep(_AGAIN)
        except (OSError, ValueError) as error:
            why = str(error) or f"it has told no policy within {self._timeout:g} s"
            raise BrokerkitError(f"{self._where}: cannot find out about queue {queue!r}: {why}") from error
        arguments = cast("Mapping[str, Argument]", found.get("arguments") or {})
        policy = cast("Mapping[str, Argument]", found[_POLICY] or {})
        return QueueFacts(str(found.get("type", "")), _merged(arguments, policy), found.get("auto_delete") is True)

    def _get(self, path: str) -> Mapping[str, Any]:
        login = b64encode(f"{self._user}:{self._password()}".encode()).decode()
        headers = {"authorization": f"Basic {login}"}
        request = urllib.request.Request(self._where + path, headers=headers)  # noqa: S310 (the scheme is checked)
        secure = self._where.startswith("https:")
        context = ssl.create_default_context(cafile=self._cafile or None) if secure else None
        with urllib.request.urlopen(request, timeout=self._timeout, context=context) as answer:  # noqa: S310
            found: Mapping[str, Any] = json.load(answer)
        return found


def _merged(arguments: Mapping[str, Argument], policy: Mapping[str, Argument]) -> dict[str, Argument]:
    """Arguments with what a policy adds. The broker takes the smaller number of both, and for anything else the argument.

    Of two delivery limits it takes the larger one if one is negative, which RabbitMQ 4 reads as none.
    """
    merged = dict(arguments)
    for name, value in policy.items():
        name = f"x-{name}"
        mine = merged.setdefault(name, value)
        if type(mine) is int and type(value) is int:
            merged[name] = max(mine, value) if name == _LIMIT and min(mine, value) < 0 else min(mine, value)
    return merged
