"""Lines of a dead-letter file: JSON, one for each dead letter, and one for each batch that was removed. Pure functions.

A removed dead letter is named by a later line until the file is rewritten without both. Rewriting it for every batch would
write the whole file each time.
"""

from __future__ import annotations

import hashlib
import json
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final, cast

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import CONTENT_TYPE
from brokerkit._messages._json import from_json, to_json
from brokerkit._messages._outgoing import Outgoing

_REMOVED: Final = b'{"removed": '
_PARTS: Final = struct.Struct(">QI")
"""The digest that names a line, in two parts for arrays."""
_SHARDS: Final = 4_096


class Removed:
    """The lines that were removed, according to later lines.

    A digest of its content names a line, so that the name stays valid when the file is rewritten. Equal lines are
    interchangeable, and counted.
    """

    def __init__(self) -> None:
        # Three arrays of one length: the two parts of each digest, ascending by the first, and the offset of the line that
        # names it. Twenty bytes for each removed line, where objects take two hundred.
        self._shards: dict[int, tuple[array[int], array[int], array[int]]] = {}

    def __len__(self) -> int:
        return sum(len(firsts) for firsts, _, _ in self._shards.values())

    def __repr__(self) -> str:
        return f"<Removed: {len(self)} lines>"

    def note(self, line: bytes, at: int) -> None:
        """Note the removals in the line at this offset. Half a line, left by a process that was killed, is ignored."""
        try:
            names: object = json.loads(line)["removed"]
        except (ValueError, RecursionError):
            return
        for name in cast("list[object]", names) if isinstance(names, list) else ():
            try:
                first, second = _PARTS.unpack(bytes.fromhex(name))  # type: ignore[arg-type]
            except (TypeError, ValueError, struct.error):
                continue
            firsts, seconds, named_at = self._shards.setdefault(first % _SHARDS, (array("Q"), array("I"), array("q")))
            index = bisect_left(firsts, first)
            firsts.insert(index, first)
            seconds.insert(index, second)
            named_at.insert(index, at)

    def takes(self, line: bytes, at: int) -> bool:
        """Whether the line at this offset was removed. Ask once for each line, from the beginning."""
        if not self._shards:
            return False
        first, second = _PARTS.unpack(_digest(line))
        if (shard := self._shards.get(first % _SHARDS)) is None:
            return False
        firsts, seconds, named_at = shard
        here = range(bisect_left(firsts, first), bisect_right(firsts, first))
        same = [index for index in here if seconds[index] == second]
        if not same or max(named_at[index] for index in same) < at:
            return False
        index = min(same, key=named_at.__getitem__)
        del firsts[index], seconds[index], named_at[index]
        if not firsts:
            del self._shards[first % _SHARDS]
        return True


def is_removal(line: bytes) -> bool:
    """Whether a line names removed dead letters, and is not itself a dead letter."""
    return line.startswith(_REMOVED)


def removal(lines: Iterable[bytes]) -> bytes:
    """Return the line that says that these lines were removed."""
    return _REMOVED + json.dumps([_digest(line).hex() for line in lines]).encode() + b"}\n"


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line.rstrip(b"\n"), digest_size=_PARTS.size).digest()


def as_line(letter: Outgoing) -> bytes:
    """Return the line for a dead letter."""
    line = {
        "id": letter.id,
        "event": letter.name,
        "routing_key": letter.routing_key,
        "type": letter.type,
        "content_type": letter.content_type,
        "key": to_json(letter.key),
        "headers": {name: to_json(raw) for name, raw in letter.headers.items()},
        "body": to_json(letter.body),
    }
    return json.dumps(line, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"


def from_line(line: bytes, path: str) -> Delivery | None:
    """Return the dead letter of a line, with the line as `Delivery.token`; None if it is not a dead letter."""
    try:
        found = json.loads(line.decode(errors="surrogatepass"))
        body = None if found["body"] is None else from_json(found["body"])
        key = None if found["key"] is None else from_json(found["key"])
        headers = {str(name): from_json(shown) for name, shown in found["headers"].items()}
        if found["content_type"] is not None:
            headers[CONTENT_TYPE] = found["content_type"]
        body = body.encode(errors="surrogatepass") if isinstance(body, str) else body
        return Delivery(
            body=body,
            topic=path,
            key=key,
            headers=headers,
            id=found["id"],
            token=line,
            routing_key=found["routing_key"],
            type=found["type"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
