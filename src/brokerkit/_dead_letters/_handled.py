"""What a walk remembers of the dead letters that it has worked on: eight bytes for each, so that a million take eight MB."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right, insort
from typing import Final

_SHARDS: Final = 4_096
_MOST_COPIES: Final = 255


class Handled:
    """The messages that were worked on, each with the number of its copy.

    A digest of 56 bits stands for the id of a message. In one of 100,000 walks through a million messages two have the same:
    the second could be taken for one that has come again, and would stay for the next walk.
    """

    def __init__(self) -> None:
        # Ascending numbers, each a digest and a number of copies. One array of a million would have to move half of itself
        # for each new number.
        self._shards: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._shards.values()))

    def __repr__(self) -> str:
        return f"<Handled: {len(self)} messages>"

    def note(self, origin: str, copies: int) -> None:
        """Note that this copy of a message was worked on."""
        number = _digest(origin)
        shard = self._shards.setdefault(number % _SHARDS, array("Q"))
        insort(shard, number << 8 | min(copies, _MOST_COPIES))

    def copies(self, origin: str) -> int | None:
        """Return the number of the latest copy of a message that was worked on, at most 255; None if there was none."""
        number = _digest(origin)
        shard = self._shards.get(number % _SHARDS, ())
        end = bisect_right(shard, number << 8 | _MOST_COPIES)
        return shard[end - 1] & _MOST_COPIES if end > bisect_left(shard, number << 8) else None


def _digest(origin: str) -> int:
    return int.from_bytes(hashlib.blake2b(origin.encode(errors="surrogatepass"), digest_size=7).digest(), "big")
