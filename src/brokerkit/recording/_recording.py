"""A recording as it is read: message after message, up to the end that a crash may have left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from brokerkit._errors import BrokerkitError
from brokerkit._message import Message
from brokerkit.recording._lines import HEAD, VERSION, message_of, parse
from brokerkit.recording._reading import lines


class Recorded(NamedTuple):
    """One message of a recording.

    Attributes:
        number: its place, 1 for the first, counted over all files.
        message: as it was received; its time is the one of receipt where the broker told none.
    """

    number: int
    message: Message


class Recording:
    """One recording, in one or several files that follow each other. Iterating reads from the beginning.

    Attributes:
        format: the wire format that it was read with.
        name_from: the rules by which names were found; empty for the format's.
        cut: files that end in the middle of something, as a crash leaves them; known once iterating is over.

    Args:
        paths: the files, plain or compressed with gzip.

    Raises:
        BrokerkitError: the first file cannot be read, or is no recording.
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
        """The messages behind the first ``skip``.

        Raises:
            BrokerkitError: a file cannot be read, or holds something else.
        """
        self.cut = []
        number = 0
        for path in self._paths:
            for place, line in enumerate(lines(path, partial(self.cut.append, path)), start=1):
                if place == 1:
                    self._check_head(path, line)
                    continue
                number += 1
                if number > skip:
                    try:
                        yield Recorded(number, message_of(parse(line)))
                    except (ValueError, KeyError, TypeError, AttributeError) as error:
                        raise BrokerkitError(f"{path}, line {place} is no message of a recording: {error!r}") from error

    @staticmethod
    def _check_head(path: Path, line: bytes) -> None:
        try:
            version = parse(line).get(HEAD)
        except ValueError:
            version = None
        if version != VERSION:
            what = "is no recording of brokerkit" if version is None else f"is a recording of version {version!r}"
            raise BrokerkitError(f"{path} {what}; this release reads version {VERSION}")
