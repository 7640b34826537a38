"""Copies of failed messages: what a retry through the broker publishes, and what becomes a dead letter."""

from __future__ import annotations

import hashlib
import time

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import (
    CONTENT_TYPE,
    INTERNAL_PREFIX,
    NAMED_PROPERTIES,
    PROPERTY_PREFIX,
    TIME_HEADER,
    Headers,
    header_text,
)
from brokerkit._messages._outgoing import Outgoing
from brokerkit._messages._retry_state import EDITS, LAST_FAILURE, seconds_in


def copy_of(delivery: Delivery) -> Outgoing:
    """Return a copy of a failed message with its bytes, key and headers, and its retry state in headers."""
    retry_state = delivery.need_retry_state()
    retry_state.origin = retry_state.origin or delivery.stable_id or f"{id(delivery):x}-{time.time_ns():x}"
    retry_state.topic = retry_state.topic or delivery.topic
    return Outgoing(
        topic=delivery.topic,
        body=delivery.body,
        name=delivery.name,
        id=next_copy_id(delivery),
        key=delivery.key,
        headers=retry_state.copy_headers(
            {
                name: value
                for name, value in delivery.headers.items()
                if not name.startswith(INTERNAL_PREFIX) and name != CONTENT_TYPE
            }
            | kept_headers(delivery)
        ),
        routing_key=delivery.routing_key,
        type=delivery.type,
        content_type=header_text(delivery.headers, CONTENT_TYPE),
        offloaded=delivery.offloaded,
    )


def copy_id(delivery: Delivery, *, origin: str, number: int) -> str:
    """Return the id of a copy: the same each time that this copy is made, and different from copies of other messages.

    Producers may use one id for two messages, or forge our headers. Their copies must still differ: an SQS FIFO queue drops
    a message whose id it saw within five minutes, although its answer says that it was stored.
    """
    parts = [origin, str(number)]
    if (broker_id := delivery.broker_id) is not None and broker_id != origin:
        parts.append(hashlib.blake2s(broker_id.encode(errors="surrogatepass"), digest_size=8).hexdigest())
    return "~".join(parts)


def next_copy_id(delivery: Delivery) -> str:
    """Return the id of the next copy of a failed message."""
    retry_state = delivery.need_retry_state()
    return copy_id(delivery, origin=retry_state.origin, number=retry_state.copies + 1)


def named_property(delivery: Delivery, name: str) -> str | None:
    """Return one of `NAMED_PROPERTIES`, from the message itself or from its original."""
    found: str | None = getattr(delivery, name)
    return header_text(delivery.headers, PROPERTY_PREFIX + name) if found is None else found


def _is_from_us(delivery: Delivery) -> bool:
    """Whether its internal headers count: of a dead letter, which has no retry state, and of a copy that we made."""
    return delivery.retry_state is None or delivery.retry_state.from_us


def produced_at(delivery: Delivery) -> float | None:
    """Return the Unix time in seconds at which a message was produced; for a copy, that of its original."""
    if not _is_from_us(delivery):
        return delivery.time
    return max(seconds_in(delivery.headers.get(TIME_HEADER)), 0.0) or delivery.time


def kept_headers(delivery: Delivery) -> dict[str, str | bytes]:
    """Return what a copy keeps in internal headers: when the original was produced, properties of its broker, and edits."""
    headers: Headers = delivery.headers if _is_from_us(delivery) else {}
    kept = {name: value for name, value in headers.items() if name.startswith(PROPERTY_PREFIX) or name == EDITS}
    kept |= {PROPERTY_PREFIX + name: value for name, value in delivery.properties.items()}
    for name in NAMED_PROPERTIES:
        if (value := getattr(delivery, name)) is not None:
            kept[PROPERTY_PREFIX + name] = value
    # A dead letter of an earlier brokerkit does not say when its original was produced. Its own time is when it was stored.
    is_known = TIME_HEADER in headers or LAST_FAILURE not in headers
    if is_known and (time := produced_at(delivery)) is not None:
        kept[TIME_HEADER] = f"{time:.3f}"
    return kept
