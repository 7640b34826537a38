"""What ``inspect``, ``tail`` and ``dlq`` share: their settings, the question before browsing, the interruption."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from brokerkit import BrokerkitError, adapters
from brokerkit._config._loading import from_keywords
from brokerkit._config._settings import SourceSettings
from brokerkit._messages._delivery import Delivery
from brokerkit.adapters.api import Adapter, Browse
from brokerkit.cli._output import UsageError, agreed, say_aside
from brokerkit.cli._target import find_bus

T = TypeVar("T")

_ELSEWHERE: Final = ("BROKERKIT_SOURCES__", "BROKERKIT_TARGETS__", "BROKERKIT_QUEUE", "BROKERKIT_TOPIC")
"""Variables that say what a service reads and writes. They are ignored; those of broker and login are used."""

_HEEDED: Final = 6.0
"""Seconds after which a cancellation counts as swallowed, and is repeated. Clean-up needs less."""
_TERMINATED: Final = 143
"""128 plus the number of SIGTERM, as in shells."""

_TOUCHES: Final = (
    "{broker} can show the messages of a queue only by delivering them. Each browsed message counts as one more delivery, "
    "also for delivery limits (maxReceiveCount of a redrive policy, x-delivery-limit). Consumers do not get it until the "
    "browsing ends; then all messages are given back, and their order may have changed."
)


def settings_for(
    url: str | None, *, topic: Sequence[str] | None, queue: Sequence[str] | None, **given: str | None
) -> SourceSettings:
    """Return the settings of what is browsed: the given ones, else those of the environment, else those of the URL's query.

    Args:
        url: the URL of a broker, or MODULE:BUS, whose source is browsed.
        topic: topics to browse.
        queue: queues to browse.
        **given: other settings; None if they were not given.

    Raises:
        UsageError: not exactly one of ``topic`` and ``queue`` is given with a URL; or there is no such bus or source.
        ConfigError: a setting is wrong.
    """
    if url is not None and "://" not in url and ":" in url:
        return _of_bus(url, topic=topic or (), queue=queue or (), **given)
    if bool(topic) == bool(queue):
        raise UsageError("nothing to browse: give --topic TOPIC or --queue QUEUE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_ELSEWHERE)}
    keywords = {"url": url, "topic": list(topic or ()) or None, "queue": list(queue or ()) or None, **given}
    return from_keywords(keywords, environ).sources["bus"]


def _of_bus(target: str, *, topic: Sequence[str], queue: Sequence[str], **given: str | None) -> SourceSettings:
    """Return the settings of the source of a bus that reads these topics or queues, or of its only source."""
    if said := [name for name, value in given.items() if value is not None]:
        raise UsageError(f"--{said[0].replace('_', '-')} goes with a URL; {target} has its own settings")
    sources = find_bus(target, None).runtime.settings.sources
    fitting = [each for each in sources.values() if {*topic} <= {*each.topic} and {*queue} <= {*each.queue}]
    if len(fitting) != 1:
        there = "; ".join(f"{name} reads {', '.join(each.topic or each.queue)}" for name, each in sources.items())
        raise UsageError(f"choose one source of {target} with --topic or --queue: {there or 'it has none'}")
    narrowed = {"topic": tuple(topic)} if topic else {"queue": tuple(queue)} if queue else {}
    return fitting[0].model_copy(update=narrowed)


def run_until_interrupted(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine. Ctrl-C and SIGTERM cancel it, whatever it waits for.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it.
        SystemExit: SIGTERM ended it.
    """
    terminated = False

    async def run() -> T:
        task = asyncio.ensure_future(main)

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        with suppress(NotImplementedError):  # Windows has no such signal
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        try:
            await asyncio.wait([task])
        finally:
            # Client libraries swallow a cancellation now and then: asyncio.wait_for does, before Python 3.12.
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=_HEEDED)
        return task.result()

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if terminated:
            raise SystemExit(_TERMINATED) from None
        raise


@asynccontextmanager
async def connected(settings: SourceSettings) -> AsyncGenerator[Adapter]:
    """Connect an adapter for the block."""
    adapter = adapters.make(settings.connection())
    await adapter.open()
    try:
        yield adapter
    finally:
        await adapter.close()


async def browse(
    adapter: Adapter, settings: SourceSettings, *, past: bool, follow: bool
) -> AsyncGenerator[Delivery, None]:
    """Yield the messages of what the settings name."""
    browsing = adapter.browse(settings.topic or settings.queue, is_queue=bool(settings.queue), past=past, follow=follow)
    async with aclosing(browsing) as found:
        async for delivery in found:
            yield delivery


def browse_effect(settings: SourceSettings) -> tuple[Browse, str]:
    """Return what browsing does to the messages, and the broker's name. Nothing connects."""
    promised = adapters.make(settings.connection()).capabilities((settings.topic or settings.queue)[0])
    kind = promised.browse_queue if settings.queue else promised.browse
    if kind == "none":
        raise BrokerkitError(f"{promised.broker} cannot show messages")
    return kind, promised.broker


def agree(broker: str, *, yes: bool) -> None:
    """Say what browsing does to the messages, and ask.

    Raises:
        UsageError: nobody can answer, or the answer is no.
    """
    if yes:
        return
    about = _TOUCHES.format(broker=broker)
    if not sys.stdin.isatty():
        raise UsageError(f"{about} To browse them, pass --yes")
    say_aside(about)
    if not agreed("Browse them?"):
        raise UsageError("nothing was browsed")
