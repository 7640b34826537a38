"""Walks through streams and lists of dead letters. Reading changes nothing; only finished messages are deleted."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

from brokerkit.adapters.api import BrokerkitError, Delivery, NotFound, ReadFrom
from brokerkit.adapters.redis import _scripts as scripts
from brokerkit.adapters.redis._client import Client
from brokerkit.adapters.redis._errors import translated
from brokerkit.adapters.redis._wire import Entries, EntryDelivery, ValueDelivery

_ANCHORS: Final = 100
"""Values before the present index that are remembered, to find it again where others have taken something out."""


class StreamCursor:
    """A `brokerkit.adapters.api.Cursor` of a stream. Entries have ids that stay, so nothing else is needed."""

    def __init__(self, client: Client, entries: Entries, stream: str) -> None:
        self._client = client
        self._entries = entries
        self._stream = stream
        self._from = b"-"
        self._end: bytes | None = None
        self.unseen = 0

    def __repr__(self) -> str:
        return f"<StreamCursor of {self._stream}: {self.unseen} unseen>"

    async def open(self) -> None:
        """See `Cursor.open`."""
        with translated(self._client.where, f"browsing the stream {self._stream!r}"):
            kind = await self._client.call("TYPE", self._stream)
            if kind == b"none":
                raise NotFound(f"{self._client.where}: there is no stream {self._stream!r}")
            last = await self._client.call("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
            self.unseen = await self._client.call("XLEN", self._stream)
        self._end = last[0][0] if last else None

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """See `Cursor.fetch`."""
        if self._end is None:
            return []
        with translated(self._client.where, f"browsing the stream {self._stream!r}"):
            page = await self._client.call("XRANGE", self._stream, self._from, self._end, "COUNT", limit)
        if page:
            self._from = b"(" + page[-1][0]
        self.unseen = max(self.unseen - len(page), 0) if page else 0
        key = self._stream.encode()
        return [EntryDelivery(self._entries, self._stream, key, id, flat, 0, id) for id, flat in page]

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """See `Cursor.remove`."""
        with translated(self._client.where, f"taking out of the stream {self._stream!r}"):
            await self._client.call("XDEL", self._stream, *(delivery.token for delivery in deliveries))

    async def close(self) -> None:
        """See `Cursor.close`."""
        self._end = None


class MemberKeys(Protocol):
    """The keys of those who take from a list."""

    members: str

    def taken(self, member: str) -> str:
        """What a member has taken and not settled."""
        ...

    def heartbeat(self, member: str) -> str:
        """Exists as long as a member lives."""
        ...


class ListCursor:
    """A `brokerkit.adapters.api.Cursor` of a list.

    A value has no address but its distance from the head, which shrinks when something before it is taken out. So the value
    before the present index is read again with each page, and looked for where it is not there.
    """

    def __init__(self, client: Client, name: str, keys: MemberKeys, end: ReadFrom) -> None:
        self._client = client
        self._name = name
        self._keys = keys
        self._end: ReadFrom = end
        self._at = 0
        # The values of the page at hand, in order; None for those that are taken out.
        self._page: list[bytes | None] = []
        self._anchors: deque[bytes] = deque(maxlen=_ANCHORS)
        self._left = 0
        self._elsewhere = 0

    def __repr__(self) -> str:
        return f"<ListCursor of {self._name}: {self.unseen} unseen>"

    @property
    def unseen(self) -> int:
        """See `Cursor.unseen`: what living members have taken out of the list cannot be seen."""
        return self._left + self._elsewhere

    async def open(self) -> None:
        """See `Cursor.open`; a list that does not exist is empty."""
        with translated(self._client.where, f"browsing the list {self._name!r}"):
            for raw in await self._client.call("SMEMBERS", self._keys.members):
                member = raw.decode()
                taken = self._keys.taken(member)
                keys = (4, self._name, taken, self._keys.heartbeat(member), self._keys.members)
                await self._client.call("EVAL", scripts.TAKE_OVER[self._end], *keys, member)
                self._elsewhere += await self._client.call("LLEN", taken)
            self._left = await self._client.call("LLEN", self._name)

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """See `Cursor.fetch`."""
        stayed = [value for value in self._page if value is not None]
        self._at += len(stayed)
        self._anchors.extend(stayed)
        self._page = []
        if self._left == 0:
            return []
        with translated(self._client.where, f"browsing the list {self._name!r}"):
            values = await self._read(min(limit, self._left))
        self._left = self._left - len(values) if values else 0
        self._page = [*values]
        return [ValueDelivery(value, self._name, value, (self._page, number)) for number, value in enumerate(values)]

    async def _read(self, count: int) -> list[bytes]:
        if not self._anchors:
            return list(await self._client.call("LRANGE", self._name, 0, count - 1))
        values = await self._client.call("LRANGE", self._name, self._at - 1, self._at + count - 1)
        if values and values[0] == self._anchors[-1]:
            return list(values[1:])
        for back, anchor in enumerate(reversed(self._anchors)):
            if (index := await self._client.call("LPOS", self._name, anchor)) is not None:
                # Those behind the anchor that were looked at already were taken out by others.
                self._at = index + 1
                for _ in range(back):
                    self._anchors.pop()
                return list(await self._client.call("LRANGE", self._name, index + 1, index + count))
        raise BrokerkitError(
            f"{self._client.where}: another reader took messages out of the list {self._name!r} during this walk; try again"
        )

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """See `Cursor.remove`."""
        indexes = {number: self._at + before for before, number in enumerate(self._present())}
        arguments: list[Any] = []
        for delivery in deliveries:
            page, number = delivery.token
            current = page is self._page and number in indexes
            arguments += [indexes[number] if current else -1, delivery.native]
            if current:
                self._page[number] = None
        with translated(self._client.where, f"taking out of the list {self._name!r}"):
            await self._client.call("EVAL", scripts.TAKE_OUT, 1, self._name, secrets.token_bytes(16), *arguments)

    def _present(self) -> list[int]:
        return [number for number, value in enumerate(self._page) if value is not None]

    async def close(self) -> None:
        """See `Cursor.close`."""
        self._left = 0
