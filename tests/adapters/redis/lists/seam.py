"""What the tests of Redis lists at the seam share."""

from __future__ import annotations

from typing import Any

SCHEME = "redis+list"


async def keys_of(raw: Any, topic: str) -> set[bytes]:
    return {key async for key in raw.scan_iter(f"*{topic}*")}
