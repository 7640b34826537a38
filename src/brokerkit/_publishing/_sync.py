"""Publishing for code without an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from brokerkit._errors import BrokerkitError, Closed
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Receipt
from brokerkit._publishing._arguments import BatchOptions, MessageOptions, Publishable
from brokerkit.events._shapes import EventObject

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")

_OPEN: Final[set[SyncBus]] = set()
"""Publishers with a thread. They are kept until they are closed, even if nothing else refers to them."""
_ALL: Final[weakref.WeakSet[SyncBus]] = weakref.WeakSet()


class AsyncPublisher(Protocol):
    """The part of a bus that `SyncBus` and `PacedPublisher` use."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def publish(
        self,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None = None,
        /,
        *,
        to: str | None = None,
        **options: Unpack[MessageOptions],
    ) -> Receipt:
        """See `Bus.publish`."""
        ...

    async def publish_many(
        self,
        batch: Iterable[Publishable],
        /,
        *,
        key: str | bytes | None = None,
        to: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> list[Receipt | BrokerkitError]:
        """See `Bus.publish_many`."""
        ...


class SyncBus:
    """A bus's publishing as plain functions, from any thread.

    The event loop runs in its own thread, which starts with the first publish; that is when connections are made. It
    ends with `close`, with the ``with`` block, or when the interpreter exits. It then waits for publishes of other
    threads, up to the bus's ``stop_timeout``.

    A publisher that was made before a fork and has not published yet works in every process (gunicorn, Celery: make it in a
    module). One that has already published refuses to publish in the child process, because client libraries do not survive
    a fork. The child must make a new bus.
    """

    def __init__(self, bus: AsyncPublisher) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._forked = False
        self._closed = False
        _ALL.add(self)

    def __repr__(self) -> str:
        return f"<SyncBus: {'closed' if self._closed else 'open' if self._running else 'not started'}>"

    def publish(
        self,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None = None,
        /,
        *,
        to: str | None = None,
        **options: Unpack[MessageOptions],
    ) -> Receipt:
        """Publish one event, and return when the broker has it. See `Bus.publish`.

        Raises:
            BrokerkitError: as `Bus.publish` does; at the first call, also as opening the bus does.
        """
        return self._call(self._bus.publish(what, payload, to=to, **options))

    def publish_many(
        self,
        batch: Iterable[Publishable],
        /,
        *,
        key: str | bytes | None = None,
        to: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> list[Receipt | BrokerkitError]:
        """Publish many events at once. Return one result for each. See `Bus.publish_many`."""
        return self._call(self._bus.publish_many(batch, key=key, to=to, **options))

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            if self._forked:
                raise Closed("this publisher was used before a fork: make a new bus in the child process")
            # Under the lock, so that nothing is started after the loop has ended.
            with self._lock:
                answer = self._started().begin(coroutine)
        except BaseException:
            coroutine.close()
            raise
        return answer.result()

    def _started(self) -> _Running:
        if self._closed:
            raise Closed("this publisher is closed")
        if self._running is None:
            running = _Running()
            try:
                running.begin(self._bus.__aenter__()).result()
            except BaseException:
                running.end()
                raise
            self._running = running
            _OPEN.add(self)
        return self._running

    def close(self) -> None:
        """Send messages that are still being published, and disconnect. May be called twice."""
        if self._forked:
            return
        with self._lock:
            self._closed = True
            running, self._running = self._running, None
        _OPEN.discard(self)
        if running is None:
            return
        try:
            running.begin(self._bus.__aexit__()).result()
        finally:
            running.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def after_fork(self) -> None:
        """Run in the child: forget the thread, which does not exist, and the lock, which another thread may have held."""
        self._lock = threading.Lock()
        self._forked = self._running is not None


class _Running:
    """An event loop in its own thread."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._ending: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="brokerkit-sync", daemon=True)
        self._thread.start()
        self._ready.wait()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def end(self) -> None:
        """End the loop and its thread. Running coroutines are cancelled."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._until_the_end())

    async def _until_the_end(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._ending.wait()


def _close_all() -> None:
    for each in tuple(_OPEN):
        each.close()


def _after_fork() -> None:
    for each in tuple(_ALL):
        each.after_fork()


_ = concurrent.futures.ThreadPoolExecutor  # imported first, so that its exit function runs after `_close_all`
# `atexit` would be too late: no thread can be started then, but closing a broker's client needs threads.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]  # pyright: ignore
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
