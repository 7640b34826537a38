"""Dead letters: where messages end that cannot be handled, with the reason beside them and their bytes untouched."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, cast

from brokerkit._errors import BrokerkitError, MessageTooLarge
from brokerkit._message import Headers, Outgoing, Receipt, text
from brokerkit._transport import Adapter

ORIGIN: Final = "bk-origin"
"""Id of the message that a copy was made of."""
COPY: Final = "bk-copy"
"""Number of the copy, so that each has an id of its own: SQS FIFO drops equal ids for five minutes."""
TOPIC: Final = "bk-topic"
"""Topic that the message was read from first."""
FAILURES: Final = "bk-failures"
"""How many attempts have failed."""
DONE: Final = "bk-done"
"""JSON list of the handlers that are done with the message and do not run again."""
DUE: Final = "bk-due"
"""Unix time in seconds before which a retry is not handled."""
GROUP: Final = "bk-group"
EVENT: Final = "bk-event"
HANDLER: Final = "bk-handler"
ERROR_TYPE: Final = "bk-error-type"
ERROR: Final = "bk-error"
FIRST_FAILURE: Final = "bk-first-failure"
LAST_FAILURE: Final = "bk-last-failure"

FAILURE_HEADERS: Final = (GROUP, EVENT, HANDLER, ERROR_TYPE, ERROR, FIRST_FAILURE, LAST_FAILURE, FAILURES, DONE)

_LONGEST_ERROR: Final = 1024


@dataclass(slots=True)
class Trouble:
    """What is known of a message that failed, or that is a copy of one that did.

    Attributes:
        failures: attempts that failed.
        done: handlers that are done with it.
        copies: how many copies led here.
        origin: id of the first of them.
        topic: topic that the first of them was read from.
        error: the last failure; ``handler`` is whose, or "" where no handler ran.
        first_failure: Unix time in seconds; 0 where nothing failed yet.
        timer: set while the core holds the message back.
        settling: how often settling it did not work.
    """

    failures: int = 0
    done: tuple[str, ...] = ()
    copies: int = 0
    origin: str = ""
    topic: str = ""
    error: BaseException | None = None
    handler: str = ""
    first_failure: float = 0.0
    timer: asyncio.TimerHandle | None = None
    settling: int = 0

    @classmethod
    def from_headers(cls, headers: Headers) -> Trouble:
        """Read back what `copy_headers` wrote. Headers that make no sense count as absent.

        A dead letter that is read again starts anew: its failures are history, its handlers that are done stay done.
        """
        return cls(
            failures=0 if ERROR_TYPE in headers else _number(headers.get(FAILURES)),
            done=_names(headers.get(DONE)),
            copies=_number(headers.get(COPY)),
            origin=_string(headers.get(ORIGIN)),
            topic=_string(headers.get(TOPIC)),
            first_failure=float(_number(headers.get(FIRST_FAILURE))),
        )

    def copy_headers(self, headers: Headers) -> dict[str, str | bytes]:
        """The headers of a copy: those of the message, and what must be known where the copy is read."""
        return {
            **headers,
            ORIGIN: self.origin,
            COPY: str(self.copies + 1),
            TOPIC: self.topic,
            FAILURES: str(self.failures),
            DONE: json.dumps(self.done),
            FIRST_FAILURE: str(int(self.first_failure)),
        }

    @property
    def copy_id(self) -> str:
        """The id of the next copy."""
        return f"{self.origin}~{self.copies + 1}"


def dead_letter(letter: Outgoing, trouble: Trouble, *, group: str | None) -> Outgoing:
    """Add to a copy why it is a dead letter. The same headers on every broker."""
    error = trouble.error
    return replace(
        letter,
        headers={
            **{name: value for name, value in letter.headers.items() if name != DUE},
            GROUP: group or "",
            EVENT: letter.name,
            HANDLER: trouble.handler,
            ERROR_TYPE: type(error).__name__,
            ERROR: str(error).encode(errors="replace")[:_LONGEST_ERROR].decode(errors="ignore"),
            LAST_FAILURE: str(int(time.time())),
        },
    )


class DeadLetters(Protocol):
    """A place for dead letters."""

    async def open(self) -> None:
        """See that dead letters can be put there."""
        ...

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Store them; for each None, or why it is not stored. Does not raise."""
        ...


class QueueOfDeadLetters:
    """Dead letters on a broker: this source's own or another.

    Args:
        overflow: takes what the broker cannot: larger than it takes even without the failure headers.
    """

    def __init__(self, adapter: Adapter, topic: str, *, create: bool | None, overflow: FileOfDeadLetters) -> None:
        self._adapter = adapter
        self._topic = topic
        self._create = create
        self._overflow = overflow

    async def open(self) -> None:
        """Provision the queue; with ``create`` None it is not even looked at."""
        if self._create is not None:
            await self._adapter.ensure([self._topic], stored=True, create=self._create)

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Publish and wait for confirmation."""
        addressed = [replace(letter, topic=self._topic, stored=True) for letter in letters]
        results = await self._adapter.send(addressed)
        return [
            await self._squeeze(letter, result) if isinstance(result, MessageTooLarge) else _failure(result)
            for letter, result in zip(addressed, results, strict=True)
        ]

    async def _squeeze(self, letter: Outgoing, error: BrokerkitError) -> BrokerkitError | None:
        """Leave away the error's text, then every failure header; what does not fit then goes to the overflow file."""
        for dropped in ((ERROR,), FAILURE_HEADERS):
            headers = {name: value for name, value in letter.headers.items() if name not in dropped}
            [result] = await self._adapter.send([replace(letter, headers=headers)])
            if not isinstance(result, MessageTooLarge):
                return _failure(result)
        [stored] = await self._overflow.put([letter])
        return stored

    def __repr__(self) -> str:
        return f"<dead letters to {self._topic}>"


class FileOfDeadLetters:
    """Dead letters in a file of JSON lines, each written through to the disk before the original is settled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self) -> None:
        """See that the file can be written.

        Raises:
            BrokerkitError: it cannot.
        """
        [failure] = await asyncio.to_thread(self._append, [b""])
        if failure is not None:
            raise failure

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Append one line for each."""
        return await asyncio.to_thread(self._append, [_as_line(letter) for letter in letters])

    def _append(self, lines: list[bytes]) -> list[BrokerkitError | None]:
        try:
            # Readable by the owner alone: letters hold whatever the messages held.
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            failure = BrokerkitError(f"dead letters cannot be written to {self._path}: {error.strerror}")
            failure.__cause__ = error
            return [failure] * len(lines)
        return [None] * len(lines)

    def __repr__(self) -> str:
        return f"<dead letters to {self._path}>"


class NoDeadLetters:
    """For brokers that can store nothing, where no other place was named: dead letters are counted and logged."""

    async def open(self) -> None:
        """Nothing to do."""

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Drop them; the consumer has logged each."""
        return [None] * len(letters)

    def __repr__(self) -> str:
        return "<dead letters nowhere>"


def _failure(result: Receipt | BrokerkitError) -> BrokerkitError | None:
    return result if isinstance(result, BrokerkitError) else None


def _as_line(letter: Outgoing) -> bytes:
    def value(raw: str | bytes | None) -> Any:
        shown = None if raw is None else text(raw)
        return {"base64": base64.b64encode(shown).decode()} if isinstance(shown, bytes) else shown

    line = {
        "id": letter.id,
        "event": letter.name,
        "key": value(letter.key),
        "headers": {name: value(raw) for name, raw in letter.headers.items()},
        "body": value(letter.body),
    }
    return json.dumps(line, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"


def _string(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _number(value: str | bytes | None) -> int:
    digits = _string(value)
    return int(digits) if digits.isdecimal() and len(digits) < 16 else 0


def _names(value: str | bytes | None) -> tuple[str, ...]:
    try:
        names: Any = json.loads(value or "[]")
    except (ValueError, RecursionError):
        return ()
    return tuple(map(str, cast("list[object]", names))) if isinstance(names, list) else ()
