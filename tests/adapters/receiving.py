"""Processes that fetch everything and are killed before any handler begins: run by test_killers.

    python -m tests.adapters.receiving SETTINGS

SETTINGS is JSON: those of a source, and ``kills``, how many processes die, one after another, and ``messages``, how many
there are. Each process dies when it has them all, or when the lease of the first ones is about to end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from brokerkit import adapters
from brokerkit._config._settings import SourceSettings
from brokerkit._messages._delivery import Delivery


def main() -> None:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    kills, messages = settings.pop("kills"), settings.pop("messages")
    for _ in range(kills):
        child = os.fork()
        if not child:
            asyncio.run(_fetch(SourceSettings.model_validate(settings), messages))
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), status


async def _fetch(settings: SourceSettings, messages: int) -> None:
    adapter = adapters.make(settings.connection())
    await adapter.open()
    capabilities = adapter.capabilities(settings.topic[0])
    source = adapter.subscribe(settings.subscription(capabilities, drain_timeout=1.0), _ignore)
    await source.open()
    got = len(await source.receive(messages))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.8 * settings.lease):
            while got < messages:
                got += len(await source.receive(messages - got))
    os.kill(os.getpid(), signal.SIGKILL)


async def _ignore(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
    """What is lost here is lost with the process."""


if __name__ == "__main__":
    main()
