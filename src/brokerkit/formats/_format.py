"""What a wire format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from brokerkit._message import Delivery, Outgoing

Payload = Callable[[Delivery], Any]
Wrap = Callable[[Outgoing, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One wire format.

    Attributes:
        name: what settings call it.
        name_from: rules for the event name that are tried where a source states none.
        family: the family whose names its messages carry; None where any family's may.
        id_from: rules for the producer's id, tried where a source states none.
        fields_if: whether the ``field`` rules of this format hold for a message, where they do not hold for each: in
            another body, a field of that name is something else.
        payload: takes the event's payload out of a message: bytes, or JSON that is parsed already. None where the body
            is the payload. Raises `DecodeError`.
        wrap: puts an event whose body is the bare payload into the format, at a Unix time in seconds. None where the
            body is all there is.
        writes_name: whether ``wrap`` has written the event name, so that no rule need be.
    """

    name: str
    name_from: tuple[str, ...]
    family: str | None = None
    id_from: tuple[str, ...] = ()
    fields_if: Callable[[Delivery], bool] | None = None
    payload: Payload | None = None
    wrap: Wrap | None = None
    writes_name: bool = False
