"""Reads a recording message by message, up to an end that a crash may have cut off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from brokerkit._errors import BrokerkitError
from brokerkit._messages._message import Message
from brokerkit.recording._lines import HEAD, VERSION, message_of, parse
from brokerkit.recording._reading import lines


class Recorded(NamedTuple):
    """One message of a recording.

    Attributes:
        number: its number over all files; the first is 1.
        message: the message as received. Its time is that of receipt if the broker told none.
    """

    number: int
    message: Message


class Recording:
    """A recording, in one file or several files in order. Iterating reads from the beginning.

    Attributes:
        format: the wire format of the source.
        name_from: the rules that found event names; empty for those of the format.
        cut: files that a crash has cut off; known after the iteration.

    Args:
        paths: the files, plain or compressed with gzip.

    Raises:
        BrokerkitError: the first file cannot be read, or is not a recording.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self.cut: list[Path] = []
        line = next(lines(paths[0], lambda: None), b"")
        self._check_head(paths[0], line)
        head = parse(line)
        self.format = str(head.get("format", ""))
        self.name_from: tuple[str, ...] = tuple(map(str, cast("Iterable[object]", head.get("name_from", ()))))

    def __iter__(self) -> Iterator[Recorded]:
        return self.messages()

    def messages(self, *, skip: int = 0) -> Iterator[Recorded]:
        """Yield the messages after the first ``skip``.

        Raises:
            BrokerkitError: a file cannot be read, or is not a recording.
        """
        self.cut = []
        number = 0
        for path in self._paths:
            for at, line in enumerate(lines(path, partial(self.cut.append, path)), start=1):
                if at == 1:
                    self._check_head(path, line)
                    continue
                number += 1
                if number > skip:
                    try:
                        yield Recorded(number, message_of(parse(line)))
                    except (ValueError, KeyError, TypeError, AttributeError) as error:
                        raise BrokerkitError(f"{path}, line {at} is not a message of a recording: {error!r}") from error

    @staticmethod
    def _check_head(path: Path, line: bytes) -> None:
        try:
            version = parse(line).get(HEAD)
        except ValueError:
            version = None
        if version != VERSION:
            what = "is not a recording of brokerkit" if version is None else f"is a recording of version {version!r}"
            raise BrokerkitError(f"{path} {what}; this release reads version {VERSION}")
