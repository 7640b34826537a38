"""A publisher that writes AMQP frames by hand: values that client libraries refuse to write, or cannot."""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import pamqp.frame
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Connection
from pamqp.header import ContentHeader

CONTENT_TYPE, HEADERS, CORRELATION_ID, MESSAGE_ID, TIMESTAMP = 1 << 15, 1 << 13, 1 << 10, 1 << 7, 1 << 6
_END = b"\xce"


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def field(name: bytes, kind: bytes, value: bytes) -> bytes:
    return short(name) + kind + value


def long_text(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def table(*fields: bytes) -> bytes:
    return long_text(b"".join(fields))


def header(body: bytes, flags: int, *properties: bytes) -> bytes:
    """The payload of a content header; properties in the order of their flags, highest first."""
    return struct.pack(">HHQH", Basic.frame_id, 0, len(body), flags) + b"".join(properties)


class RawPublisher:
    """One connection with one channel in confirm mode."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        self._writer.write(b"AMQP\x00\x00\x09\x01")
        await self._expect(Connection.Start)
        user, password = unquote(self._url.username or ""), unquote(self._url.password or "")
        self._send(
            Connection.StartOk(
                client_properties={}, mechanism="PLAIN", response=f"\0{user}\0{password}", locale="en_US"
            )
        )
        tune = await self._expect(Connection.Tune)
        self._send(Connection.TuneOk(tune["channel_max"], tune["frame_max"], 0))  # type: ignore[arg-type]
        self._send(Connection.Open(virtual_host=unquote(self._url.path[1:]) or "/"))
        await self._expect(Connection.OpenOk)
        self._send(Channel.Open(), channel=1)
        await self._expect(Channel.OpenOk)
        self._send(Confirm.Select(), channel=1)
        await self._expect(Confirm.SelectOk)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send(Connection.Close(200, "done", 0, 0))
        self._writer.close()

    async def publish(self, exchange: str, routing_key: bytes, header: bytes, body: bytes) -> None:
        """Publish one message and wait for its confirmation."""
        method = struct.pack(">IH", Basic.Publish.index, 0) + short(exchange.encode()) + short(routing_key) + b"\0"
        for kind, payload in ((1, method), (2, header), (3, body)):
            if payload:
                self._writer.write(struct.pack(">BHI", kind, 1, len(payload)) + payload + _END)
        await self._expect(Basic.Ack)

    def _send(self, method: Frame, *, channel: int = 0) -> None:
        self._writer.write(pamqp.frame.marshal(method, channel))

    async def _expect(self, kind: type[Frame]) -> Frame:
        head = await self._reader.readexactly(7)
        rest = await self._reader.readexactly(int.from_bytes(head[3:], "big") + 1)
        frame = pamqp.frame.unmarshal(head + rest)[2]
        assert isinstance(frame, kind), f"wanted {kind.name}, got {dict(frame)}"  # type: ignore[call-overload]
        return frame


def plain_header(body: bytes, identity: str, event: str) -> bytes:
    """The header of a message with nothing unusual."""
    properties = Basic.Properties(message_id=identity, headers={"event": event})
    return ContentHeader(body_size=len(body), properties=properties).marshal()
