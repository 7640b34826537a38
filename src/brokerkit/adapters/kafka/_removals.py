"""Removes dead letters from a Kafka topic. A topic is a log, so a later record in the same partition marks them as removed.

The record is in the partition of its dead letters, so retention never deletes it before them. Its key is `KEY`, its id `ID`.
Its body is a JSON list of pairs: the first and last offset of a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, cast

from brokerkit.adapters.api import Delivery

KEY: Final = b"\x00bk-removed"
ID: Final = "bk-removed"
"""No dead letter has this id. Its producer chose its key, but brokerkit makes its id, with a tilde in it."""


def is_removal(delivery: Delivery) -> bool:
    """Whether a record marks dead letters as removed, and is not a dead letter itself."""
    return delivery.key == KEY and delivery.id == ID


def to_body(offsets: Iterable[int]) -> bytes:
    """Encode the body of a record that removes these offsets."""
    runs: list[list[int]] = []
    for offset in sorted(offsets):
        if runs and offset == runs[-1][1] + 1:
            runs[-1][1] = offset
        else:
            runs.append([offset, offset])
    return json.dumps(runs, separators=(",", ":")).encode()


def from_body(body: bytes | None) -> list[range]:
    """Decode the runs of offsets that a record removes. Invalid entries are ignored."""
    try:
        runs: object = json.loads(body or b"[]")
    except (ValueError, RecursionError):
        return []
    found: list[range] = []
    for run in cast("list[object]", runs) if isinstance(runs, list) else ():
        match run:
            case [int(first), int(last)] if 0 <= first <= last:
                found.append(range(first, last + 1))
            case _:
                pass
    return found
