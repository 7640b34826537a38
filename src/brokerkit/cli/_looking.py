"""What ``inspect`` and ``tail`` have in common: where they look, and what they say before they do."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

from brokerkit import BrokerkitError, adapters
from brokerkit._config import from_keywords
from brokerkit._message import Delivery
from brokerkit._settings import SourceSettings
from brokerkit._transport import Adapter, Look
from brokerkit.cli._output import UsageError

T = TypeVar("T")

_ELSEWHERE: Final = ("BROKERKIT_SOURCES__", "BROKERKIT_TARGETS__", "BROKERKIT_QUEUE", "BROKERKIT_TOPIC")
"""Variables that say what a service reads and writes; which broker and how to log in are taken over."""

_TOUCHES: Final = (
    "{broker} shows what is in a queue only by handing it out. Every message that is looked at counts as delivered once "
    "more, for limits of deliveries too (maxReceiveCount of a redrive policy, x-delivery-limit), and consumers do not get "
    "it until the look is over; then all of them go back, and their order may have changed."
)


def settings_for(
    url: str | None, *, topic: Sequence[str] | None, queue: Sequence[str] | None, **given: str | None
) -> SourceSettings:
    """The settings of what shall be looked at: those given, else of the environment, else of the URL's query.

    Raises:
        UsageError: not exactly one of ``topic`` and ``queue`` is given.
        ConfigError: a setting is wrong.
    """
    if bool(topic) == bool(queue):
        raise UsageError("what shall be looked at? Give --topic TOPIC or --queue QUEUE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_ELSEWHERE)}
    keywords = {"url": url, "topic": list(topic or ()) or None, "queue": list(queue or ()) or None, **given}
    return from_keywords(keywords, environ).sources["bus"]


def run_until_interrupted(main: Coroutine[Any, Any, T]) -> T:
    """Run it; Ctrl-C ends it in order, whatever it waits for.

    Raises:
        KeyboardInterrupt: it was ended so.
    """

    async def run() -> T:
        task = asyncio.ensure_future(main)
        try:
            await asyncio.wait([task])
        finally:
            # Client libraries swallow a cancellation now and then: asyncio.wait_for does, before Python 3.12.
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=1)
        return task.result()

    return asyncio.run(run())


@asynccontextmanager
async def connected(settings: SourceSettings) -> AsyncGenerator[Adapter]:
    """The adapter, connected for as long as the block lasts."""
    adapter = adapters.make(settings.connection())
    await adapter.open()
    try:
        yield adapter
    finally:
        await adapter.close()


async def looked_at(
    adapter: Adapter, settings: SourceSettings, *, past: bool, follow: bool
) -> AsyncGenerator[Delivery, None]:
    """What the settings name, message by message."""
    looking = adapter.look(settings.topic or settings.queue, stored=bool(settings.queue), past=past, follow=follow)
    async with aclosing(looking) as found:
        async for delivery in found:
            yield delivery


def what_a_look_does(settings: SourceSettings) -> tuple[Look, str]:
    """What looking does to the messages, and the broker's name; nothing connects."""
    promised = adapters.make(settings.connection()).capabilities((settings.topic or settings.queue)[0])
    kind = promised.look_stored if settings.queue else promised.look
    if kind == "none":
        raise BrokerkitError(f"{promised.broker} does not let anybody look at messages")
    return kind, promised.broker


def agree(broker: str, *, yes: bool) -> None:
    """Say what a look does to the messages, and ask.

    Raises:
        UsageError: there is nobody to answer, or the answer is no.
    """
    if yes:
        return
    about = _TOUCHES.format(broker=broker)
    if not sys.stdin.isatty():
        raise UsageError(f"{about} Say --yes to look all the same")
    print(about, file=sys.stderr)
    print("Look all the same? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was looked at")
