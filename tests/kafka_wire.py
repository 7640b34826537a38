"""Messages that no client library would write: a Produce request made by hand, sent to the only node of a test's Kafka.

https://kafka.apache.org/protocol (Produce, version 7) and https://kafka.apache.org/documentation/#recordbatch.
"""

import asyncio
import struct
import time
from collections.abc import Sequence

_CASTAGNOLI = 0x82F63B78
_LEADERLESS = (3, 5, 6)
"""Errors of a topic that has just been made."""


async def produce(
    address: str,
    topic: str,
    body: bytes,
    *,
    headers: Sequence[tuple[bytes, bytes]],
    partition: int = 0,
    key: bytes | None = None,
) -> None:
    """Write one message whose header names are any bytes; returns when the broker has it."""
    batch = _batch(_record(key, body, headers))
    request = b"".join(
        [
            struct.pack(">hhi", 0, 7, 1),  # Produce, version, correlation id
            _string(b"test"),
            struct.pack(">hhi", -1, -1, 10_000),  # no transaction, all replicas, milliseconds
            struct.pack(">i", 1),
            _string(topic.encode()),
            struct.pack(">ii", 1, partition),
            struct.pack(">i", len(batch)),
            batch,
        ]
    )
    async with asyncio.timeout(10):
        while (error := await _ask(address, topic, request)) in _LEADERLESS:
            await asyncio.sleep(0.05)
    assert not error, f"the broker refused the message with error {error}"


async def _ask(address: str, topic: str, request: bytes) -> int:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        answer = await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()
    # Correlation id, one topic with its name, one partition with its number, then the error.
    error: int = struct.unpack_from(">h", answer, 4 + 4 + 2 + len(topic.encode()) + 4 + 4)[0]
    return error


def _batch(record: bytes) -> bytes:
    now = int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    tail = struct.pack(">ibI", -1, 2, _crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(tail)) + tail


def _record(key: bytes | None, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    content = b"".join(
        [
            b"\0",  # attributes
            _varint(0),  # since the first of the batch, in milliseconds and in number
            _varint(0),
            _varint(-1) if key is None else _varint(len(key)) + key,
            _varint(len(body)),
            body,
            _varint(len(headers)),
            *(_varint(len(name)) + name + _varint(len(value)) + value for name, value in headers),
        ]
    )
    return _varint(len(content)) + content


def _varint(number: int) -> bytes:
    left = number << 1 if number >= 0 else (-number << 1) - 1
    written = bytearray()
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    written.append(left)
    return bytes(written)


def _string(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
