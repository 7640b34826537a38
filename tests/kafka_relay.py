"""A relay before a real Kafka that changes the error code of some answers: for those that no test can make a broker give.

It tells the clients that it is the broker: in every answer its own port stands in place of the broker's.
https://kafka.apache.org/protocol has the layouts. Only the versions that librdkafka 2.16 speaks with Kafka 4 are known here.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

PRODUCE, FETCH, OFFSET_COMMIT, OFFSET_FETCH, HEARTBEAT, GROUP_HEARTBEAT = 0, 1, 8, 9, 12, 68
INIT_PRODUCER_ID, ADD_OFFSETS, END_TRANSACTION, TRANSACTION_OFFSETS = 22, 25, 26, 28

_HEADER = 5
"""Bytes of the header of a flexible answer: correlation id and no tags."""


@dataclass
class Rule:
    """Change so many answers of one kind."""

    api: int
    code: int
    times: int
    given: asyncio.Event = field(default_factory=asyncio.Event)


class Relay:
    """Forwards the connections of one test to a broker, for the duration of the block."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._rules: list[Rule] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, api: int, code: int, *, times: int = 1) -> Rule:
        """Give the next answers to such requests this error code. The rule's event is set with the last of them."""
        rule = Rule(api, code, times)
        self._rules.append(rule)
        return rule

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        requests: dict[int, tuple[int, int]] = {}
        try:
            there, to = await asyncio.open_connection(self._host, self._port)
            with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                await asyncio.gather(
                    self._pump(reader, to, lambda frame: self._note(frame, requests)),
                    self._pump(there, writer, lambda frame: self._change(frame, requests)),
                )
            to.close()
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, edit: Callable[[bytearray], None]
    ) -> None:
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                frame = bytearray(await reader.readexactly(size))
                edit(frame)
                writer.write(struct.pack(">i", size) + frame)
                await writer.drain()
        finally:
            writer.close()

    def _note(self, frame: bytearray, requests: dict[int, tuple[int, int]]) -> None:
        api, version, correlation = struct.unpack_from(">hhi", frame)
        requests[correlation] = api, version

    def _change(self, frame: bytearray, requests: dict[int, tuple[int, int]]) -> None:
        api, version = requests.pop(struct.unpack_from(">i", frame)[0])
        frame[:] = frame.replace(
            self._host.encode() + struct.pack(">i", self._port), self._host.encode() + struct.pack(">i", self.port)
        )
        for rule in self._rules:
            if rule.api == api and (at := _error_at(frame, api, version)) is not None:
                struct.pack_into(">h", frame, at, rule.code)
                rule.times -= 1
                if not rule.times:
                    self._rules.remove(rule)
                    rule.given.set()
                return


def _error_at(frame: bytearray, api: int, version: int) -> int | None:
    """Where an answer has its first error code; None where it has none."""
    if (api == HEARTBEAT and version < 4) or api in (ADD_OFFSETS, END_TRANSACTION):
        return _HEADER - 1 + 4  # an older layout: its header has no place for tags
    if api in (HEARTBEAT, GROUP_HEARTBEAT, INIT_PRODUCER_ID):
        return _HEADER + 4
    if api == OFFSET_FETCH:
        return len(frame) - (4 if version >= 8 else 3)
    begin = {PRODUCE: _HEADER, FETCH: _HEADER + 10}.get(api, _HEADER + 4)
    if frame[begin] < 2:  # the topics, and one more
        return None
    has_id = (api == FETCH and version >= 13) or (api == PRODUCE and version >= 13)
    topic = 16 if has_id else frame[begin + 1]  # a short name: its length, and one more
    return begin + 1 + topic + 1 + 4
