"""Publishing for code without an event loop."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from brokerkit._errors import BrokerkitError, Closed
from brokerkit._message import Headers, Message, Receipt
from brokerkit._target import Publishable
from brokerkit.events._shapes import EventObject

if TYPE_CHECKING:
    from brokerkit._bus import Bus

T = TypeVar("T")


class SyncBus:
    """A bus's publishing as plain functions, from any thread.

    The event loop runs in a thread of its own, which starts with the first publish; that is when connections are made.
    It ends with `close`, with the ``with`` block, or when the interpreter exits.

    After a fork the child must make a bus of its own: client libraries do not survive a fork, so using the parent's is
    refused.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process: int | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<SyncBus: {'closed' if self._closed else 'open' if self._loop else 'not started'}>"

    def publish(
        self,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None = None,
        /,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        id: str | None = None,
        to: str | None = None,
    ) -> Receipt:
        """Publish one event; returns when the broker has it. See `Bus.publish`.

        Raises:
            BrokerkitError: as `Bus.publish` does, and at the first call as opening the bus does.
        """
        return self._call(self._bus.publish(what, payload, key=key, headers=headers, id=id, to=to))

    def publish_many(
        self, batch: Iterable[Publishable], /, *, key: str | bytes | None = None, to: str | None = None
    ) -> list[Receipt | BrokerkitError]:
        """Publish many events at once; one result for each. See `Bus.publish_many`."""
        return self._call(self._bus.publish_many(batch, key=key, to=to))

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            loop = self._started()
        except BaseException:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._process not in (None, os.getpid()):
            raise Closed("this publisher was made before a fork: make a new bus in the child process")
        with self._lock:
            if self._closed:
                raise Closed("this publisher is closed")
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name="brokerkit-sync", daemon=True)
                thread.start()
                try:
                    asyncio.run_coroutine_threadsafe(self._bus.__aenter__(), loop).result()
                except BaseException:
                    _end(loop, thread)
                    raise
                self._loop, self._thread, self._process = loop, thread, os.getpid()
                atexit.register(self.close)
            return self._loop

    def close(self) -> None:
        """Send what is on its way and disconnect. May be called twice."""
        if self._process not in (None, os.getpid()):
            return  # a fork's copy: the lock may be held by a thread that is not here
        with self._lock:
            self._closed = True
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        atexit.unregister(self.close)
        try:
            asyncio.run_coroutine_threadsafe(self._bus.__aexit__(), loop).result()
        finally:
            _end(loop, thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
