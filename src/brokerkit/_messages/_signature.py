"""Signatures of copies, for brokers where a reader cannot tell by the queue who has written a message.

On SQS the topic is the group's only queue, so whoever may write to the topic could forge the headers of a replay. With a key
that only the members of the group have, a signature proves that one of them wrote the headers for this message.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from brokerkit._messages._headers import (
    CONTENT_TYPE,
    INTERNAL_PREFIX,
    PROPERTY_PREFIX,
    TIME_HEADER,
    Headers,
    header_text,
)
from brokerkit._messages._retry_state import (
    COPY,
    DONE,
    DUE,
    EDITS,
    FAILURES,
    FIRST_FAILURE,
    ORIGIN,
    SIGNATURE,
    TOPIC,
    WAIT,
)

SHORTEST_KEY: Final = 16
"""Characters that a key must have at least."""

_SIGNED: Final = frozenset({COPY, DONE, DUE, EDITS, FAILURES, FIRST_FAILURE, ORIGIN, TIME_HEADER, TOPIC, WAIT})
"""The internal headers that a reader believes, beside those that begin with `PROPERTY_PREFIX`."""


class Signer:
    """Signs copies for one group, and checks signatures.

    Args:
        keys: the keys of the group. The first one signs; all of them are accepted, so that keys can be changed.
        group: the group; "" if there is none.
    """

    def __init__(self, keys: Sequence[str], group: str) -> None:
        self._keys = [key.encode() for key in keys]
        self._group = group

    def __repr__(self) -> str:
        return f"<Signer for group {self._group!r}, {len(self._keys)} keys>"

    def __bool__(self) -> bool:
        return bool(self._keys)

    def signed(self, headers: Headers, body: bytes | None) -> dict[str, str | bytes]:
        """Return the headers of a copy with a signature; without keys, as they are."""
        if not self._keys:
            return dict(headers)
        return {**headers, SIGNATURE: self._digest(self._keys[0], headers, body)}

    def accepts(self, headers: Headers, body: bytes | None) -> bool:
        """Whether a member of the group has written these headers for this message."""
        found = header_text(headers, SIGNATURE)
        if not found or not found.isascii():
            return False
        return any(hmac.compare_digest(found, self._digest(own, headers, body)) for own in self._keys)

    def _digest(self, own: bytes, headers: Headers, body: bytes | None) -> str:
        digest = hmac.new(own, digestmod=hashlib.sha256)
        internal = sorted(name for name in headers if name in _SIGNED or name.startswith(PROPERTY_PREFIX))
        public = sorted(name for name in headers if not name.startswith(INTERNAL_PREFIX) and name != CONTENT_TYPE)
        parts: list[str | bytes | None] = [self._group, body, str(len(internal))]
        for name in (*internal, *public):
            parts += [name, headers[name]]
        for part in parts:
            raw = part.encode(errors="surrogatepass") if isinstance(part, str) else part
            # With lengths, no two lists of parts have the same bytes.
            digest.update(b"-" if raw is None else b"%d:%b" % (len(raw), raw))
        return digest.hexdigest()
