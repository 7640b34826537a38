"""A broker that is a folder of files, in the style of a maildir.

URL and options
    ``spool:///path``: an existing folder. There are no options.
What a topic and a group become
    A topic is a folder with ``tmp``, ``new`` and ``taken`` in it. It is its only group: its readers share the messages. A
    message is a JSON file. It is written in ``tmp`` and renamed into ``new``, so no reader sees half of it. Retries and
    replays are in a second folder, ``TOPIC-own``. Do not let producers write to that one.
Delivery
    At least once. A reader claims a message by renaming it into ``taken``, with the reader's name behind ``@``. The file's
    time of modification is the end of the lease; after it, any reader renames the file back.
Order
    By the time of publishing, which is in the file's name. A retry keeps its number and gets the time when it is due.
Limits and escaping
    1 MiB for a message. Bytes that are not UTF-8 are base64 in the JSON. A topic's name is percent-encoded.
Native access
    `Message.native` is the name of the file.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from brokerkit.adapters.api import (
    CONTENT_TYPE,
    RELEASE,
    BrokerkitError,
    Capabilities,
    Closed,
    ConfigError,
    Connection,
    ConnectionLost,
    Delivery,
    InvalidMessage,
    Lost,
    MessageTooLarge,
    NameStyle,
    NotFound,
    Outcome,
    Outgoing,
    OwnDelivery,
    Receipt,
    RetryLater,
    Settled,
    Subscription,
    UnsupportedFeature,
    derived_name,
    strict_json,
)

T = TypeVar("T")

LARGEST: Final = 1024 * 1024
POLL: Final = 0.05
"""Seconds between two looks into a folder in which nothing was new."""
STYLE: Final = NameStyle(limit=80)
"""A file's name has at most 255 bytes, and percent-encoding makes three of one."""
CAPABILITIES: Final = Capabilities(
    broker="a spool folder",
    groups="one",
    broadcast=False,
    lease=30.0,
    durable_retry=30 * 86_400.0,
    own_queues=True,
    stable_id=True,
    name_places=frozenset({"header", "key", "topic", "routing_key", "type", "field"}),
    browse="free",
    browse_queue="free",
)


class SpoolAdapter:
    """One folder. All work on files is done by one thread, so the event loop never waits for the disk."""

    def __init__(self, connection: Connection, /) -> None:
        url = connection.url
        if url.hosts or not url.path:
            raise ConfigError(f"{url}: a spool is a folder of this host; write spool:///path")
        if connection.options:
            raise ConfigError(f"{url}: option {next(iter(connection.options))!r} is not known; there are none")
        self.root = Path("/") / url.path
        self._url = str(url)
        self._name = uuid.uuid4().hex[:12]
        self._last = 0
        self._thread: ThreadPoolExecutor | None = None

    def capabilities(self, topic: str = "") -> Capabilities:
        return CAPABILITIES

    async def open(self) -> None:
        self._thread = ThreadPoolExecutor(1, "spool")
        try:
            await self.run(self._check)
        except BrokerkitError:
            await self.close()
            raise

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something with files in the thread; what the system refuses is an error of ours."""
        if self._thread is None:
            raise Closed(f"{self._url} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except OSError as error:
            raise ConnectionLost(f"{self._url}: {error.strerror}: {error.filename}") from error

    def _check(self) -> None:
        # The folder is not created: it may be a disk that is not mounted yet.
        if not self.root.is_dir():
            raise ConnectionLost(f"{self._url}: the folder does not exist; create it, or mount its disk")

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        await self.run(self._ensure, topics, create)

    def _ensure(self, topics: Iterable[str], create: bool) -> None:
        self._check()
        for topic in topics:
            if not create:
                self.folder(topic)
            else:
                for part in ("tmp", "taken", "new"):
                    (self._path(topic) / part).mkdir(parents=True, exist_ok=True)

    def _path(self, topic: str) -> Path:
        # A dot would be an empty, a hidden or the parent's name.
        return self.root / quote(topic, safe="").replace(".", "%2E")

    def folder(self, topic: str) -> Path:
        """The folder of a topic that exists.

        Raises:
            NotFound: it does not.
        """
        folder = self._path(topic)
        if not (folder / "new").is_dir():
            self._check()
            raise NotFound(f'{self._url} has no topic {topic!r}; create it, or set provision = "all"')
        return folder

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        try:
            return await self.run(lambda: [self._send(outgoing) for outgoing in batch])
        except BrokerkitError as error:
            return [error] * len(batch)

    def _send(self, outgoing: Outgoing) -> Receipt | BrokerkitError:
        try:
            # Numbers rise also when the clock does not.
            self._last = max(self._last + 1, time.time_ns())
            number = f"{self._last:020d}.{self._name}"
            data = _packed(outgoing)
            if len(data) > LARGEST:
                raise MessageTooLarge(size=len(data), limit=LARGEST, what=self._url)
            self.put(data, outgoing.topic, f"{number}.0.json")
        except BrokerkitError as error:
            return error
        except OSError as error:
            return ConnectionLost(f"{self._url}: {error.strerror}: {error.filename}")
        return Receipt(outgoing.topic, outgoing.id, number)

    def put(self, data: bytes, topic: str, name: str) -> None:
        """Write a file, and give it to the readers when it is on the disk."""
        folder = self.folder(topic)
        with (folder / "tmp" / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        (folder / "tmp" / name).rename(folder / "new" / name)
        directory = os.open(folder / "new", os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        queue = topic if is_queue else own(topic)
        await self.ensure([queue], is_queue=True, create=create)
        return queue

    def subscribe(self, subscription: Subscription, lost: Lost) -> SpoolSource:
        if subscription.broadcast:
            raise UnsupportedFeature(
                broker=CAPABILITIES.broker, feature="broadcast", alternative="use a topic for each"
            )
        return SpoolSource(self, subscription)

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        def look() -> list[tuple[str, str, Path]]:
            files = [
                (topic, each) for topic in topics for part in ("new", "taken") for each in _files(self, topic, part)
            ]
            return sorted((_number(file.name), topic, file) for topic, file in files)

        seen = set[str]()
        if not past:
            seen.update(number for number, _, _ in await self.run(look))
        while True:
            for number, topic, file in await self.run(look):
                if number not in seen:
                    seen.add(number)
                    if (delivery := await self.run(_read, file, topic)) is not None:
                        yield delivery
            if not follow:
                return
            await asyncio.sleep(POLL)

    def cursor(self, queue: str) -> SpoolCursor:
        return SpoolCursor(self, queue)

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()


class SpoolSource:
    """Reads topics. Each source has a name of its own, which its claims carry."""

    def __init__(self, adapter: SpoolAdapter, subscription: Subscription) -> None:
        self._adapter = adapter
        self._wanted = subscription
        # Each folder with its topic, and what makes its deliveries: only we write to own folders and dead letters.
        self._folders: list[tuple[str, str, Callable[..., Delivery]]] = []
        for topic in subscription.topics:
            self._folders.append(
                (topic, topic, partial(OwnDelivery, queue=topic) if subscription.is_queue else Delivery)
            )
            if not subscription.is_queue:
                self._folders.append((own(topic), topic, partial(OwnDelivery, queue=own(topic))))
        self._name = uuid.uuid4().hex[:12]
        self._stopped = asyncio.Event()
        self._open = False

    async def open(self) -> None:
        create = self._wanted.provision in ("all", "off")
        await self._adapter.ensure(self._wanted.topics, is_queue=self._wanted.is_queue, create=create)
        await self._adapter.ensure([folder for folder, _, _ in self._folders], is_queue=True, create=True)
        self._open = True

    async def receive(self, limit: int) -> Sequence[Delivery]:
        while not self._stopped.is_set():
            if batch := await self._adapter.run(self._claim, limit):
                return batch
            try:
                async with asyncio.timeout(POLL):
                    await self._stopped.wait()
            except TimeoutError:
                pass
        return []

    def _claim(self, limit: int) -> list[Delivery]:
        batch, now = list[Delivery](), time.time()
        for folder, topic, make in self._folders:
            for file in _files(self._adapter, folder, "taken"):
                self._give_back_late(file, now)
            for file in _files(self._adapter, folder, "new"):
                if len(batch) >= limit:
                    return batch
                if _due(file.name) > now:
                    continue
                taken = file.parent.parent / "taken" / f"{file.name}@{self._name}"
                try:
                    # First the lease: whoever sees the claim must not take it for one that is over.
                    os.utime(file, (now, now + self._wanted.lease))
                    file.rename(taken)
                except FileNotFoundError:
                    continue  # Another reader was faster.
                if (delivery := _read(taken, topic, make)) is not None:
                    batch.append(delivery)
        return batch

    @staticmethod
    def _give_back_late(file: Path, now: float) -> None:
        try:
            if file.stat().st_mtime < now:
                _give_back(file)
        except FileNotFoundError:
            pass  # It was settled, or given back by another reader.

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        return await self._answers(lambda: [self._settle(*pair) for pair in pairs], len(pairs))

    def _settle(self, delivery: Delivery, outcome: Outcome) -> Settled:
        file: Path = delivery.token
        if outcome is RELEASE:
            return self._ours(file, partial(_give_back, file))
        if not isinstance(outcome, RetryLater):
            return self._ours(file, file.unlink)

        def retry() -> None:
            # The copy is written while the original is certainly ours, and the original goes when the copy is there.
            self._extend(file)
            due = int((time.time() + outcome.after) * 1e9)
            queue = delivery.topic if self._wanted.is_queue else own(delivery.topic)
            self._adapter.put(_packed(outcome.copy), queue, f"{_number(file.name)}.{due}.json")
            file.unlink()

        return self._ours(file, retry)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        def extend() -> list[Settled]:
            return [self._ours(each.token, partial(self._extend, each.token)) for each in deliveries]

        return await self._answers(extend, len(deliveries))

    def _extend(self, file: Path) -> None:
        os.utime(file, (time.time(), time.time() + self._wanted.lease))

    def _ours(self, file: Path, work: Callable[[], object]) -> Settled:
        try:
            work()
        except FileNotFoundError:
            # Its folder may be gone for a while, with the message in it.
            return Settled.LOST if file.parent.is_dir() else Settled.FAILED
        except (OSError, BrokerkitError):
            return Settled.FAILED
        return Settled.DONE

    async def _answers(self, work: Callable[[], list[Settled]], count: int) -> list[Settled]:
        try:
            return await self._adapter.run(work)
        except BrokerkitError:
            return [Settled.FAILED] * count

    async def lag(self) -> int | None:
        return await self._adapter.run(
            lambda: sum(len(_files(self._adapter, folder, "new")) for folder in self._existing())
        )

    def _existing(self) -> list[str]:
        """The folders to count: a source that was not opened has made none."""
        return [folder for folder, topic, _ in self._folders if self._open or folder == topic]

    async def stop(self) -> None:
        self._stopped.set()

    async def close(self) -> None:
        await self.stop()
        if not self._open:
            return
        self._open = False
        try:
            await self._adapter.run(self._give_back_all)
        except BrokerkitError:
            pass  # Leases end by themselves.

    def _give_back_all(self) -> None:
        for folder, _, _ in self._folders:
            for file in _files(self._adapter, folder, "taken"):
                if file.name.endswith(f"@{self._name}"):
                    _give_back(file)


class SpoolCursor:
    """A walk through the files that wait in a queue. What a reader has in hand is unseen."""

    def __init__(self, adapter: SpoolAdapter, queue: str) -> None:
        self._adapter = adapter
        self._queue = queue
        self._left: list[Path] = []
        self._taken = 0

    @property
    def unseen(self) -> int:
        return len(self._left) + self._taken

    async def open(self) -> None:
        self._left = await self._adapter.run(_files, self._adapter, self._queue, "new")
        self._taken = len(await self._adapter.run(_files, self._adapter, self._queue, "taken"))

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        found = list[Delivery]()
        while self._left and len(found) < limit:
            delivery = await self._adapter.run(_read, self._left.pop(0), self._queue)
            if delivery is not None:
                found.append(delivery)
        return found

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            file: Path = delivery.token
            await self._adapter.run(file.unlink, True)  # another cursor may have removed it

    async def close(self) -> None:
        self._left = []


def own(topic: str) -> str:
    """The folder of a topic's retries and replays."""
    return derived_name(topic, None, "own", STYLE)


def _files(adapter: SpoolAdapter, topic: str, part: str) -> list[Path]:
    return sorted((adapter.folder(topic) / part).iterdir())


def _give_back(file: Path) -> None:
    file.rename(file.parent.parent / "new" / file.name.partition("@")[0])


def _number(name: str) -> str:
    """What stays the same when a message is claimed, given back or tried again. A plain producer chooses it."""
    return ".".join(name.partition("@")[0].split(".")[:2])


def _due(name: str) -> float:
    parts = name.split(".")
    return int(parts[2]) / 1e9 if len(parts) == 4 and parts[2].isdecimal() else 0.0


def _packed(outgoing: Outgoing) -> bytes:
    headers = dict(outgoing.headers)
    if outgoing.content_type is not None:
        headers[CONTENT_TYPE] = outgoing.content_type
    fields = {
        "id": outgoing.id,
        "key": _text(outgoing.key),
        "routing_key": outgoing.routing_key or outgoing.name,
        "type": outgoing.type,
        "time": int(time.time()),  # whole seconds, so that equal messages have equal sizes
        "headers": {name: _text(value) for name, value in headers.items()},
        "body": _text(outgoing.body),
    }
    try:
        if not all(isinstance(name, str) for name in headers):
            raise InvalidMessage("the name of a header must be text")
        return json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"a header, key or name cannot be written as UTF-8: {error.reason}") from None


def _text(value: object) -> str | dict[str, str] | None:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if value is None or isinstance(value, str):
        return value
    raise InvalidMessage(f"a header must be text or bytes, got {type(value).__name__}")


def _value(packed: Any) -> Any:
    return packed if packed is None or isinstance(packed, str) else base64.b64decode(packed["base64"], validate=True)


def _read(file: Path, topic: str, make: Callable[..., Delivery] = Delivery) -> Delivery | None:
    """The message in a file; None where it is gone, because somebody else has it."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    number = _number(file.name)
    try:
        found = strict_json(data.decode())
        body = _value(found.get("body"))
        return make(
            body=body.encode() if isinstance(body, str) else body,
            topic=topic,
            key=_value(found.get("key")),
            headers={name: _value(value) or "" for name, value in found.get("headers", {}).items()},
            id=found.get("id"),
            position=number,
            time=found.get("time"),
            native=file.name,
            token=file,
            routing_key=found.get("routing_key"),
            type=found.get("type"),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        delivery = Delivery(body=data, topic=topic, position=number, native=file.name, token=file)
        delivery.unreadable(f"the file is not a message: {error}")
        return delivery
