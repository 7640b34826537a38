"""Converts a message of the client library to a delivery."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from enum import Enum
from operator import methodcaller
from typing import Any, Final

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from brokerkit.adapters.api import ID_HEADER, Delivery, Headers, State, plausible_time
from brokerkit.adapters.kafka._wire import lost_in_mapping

UNREADABLE: Final = "unreadable-header-"
"""Prefix of the names of headers whose own names are not UTF-8. A number follows."""

Pairs = Sequence[tuple[str, str | bytes | None]]
"""Headers as the client gives them."""


class _Unread(Enum):
    """Instead of an id that nobody has asked for."""

    ID = 1


_UNREAD: Final = _Unread.ID
_WAITING: Final = State.WAITING

_headers: Final = methodcaller("headers")
"""If the library cannot decode a name, it returns a list all the same: the name is missing, and the error is still set. A
call from Python code checks for the error at first. Once the interpreter has specialised the call, it no longer does, and
the list ends the process (CPython 3.11, confluent-kafka 2.16). A call from C always checks."""


class KafkaDelivery(Delivery):
    """A `Delivery` that is built in one step. Its headers become a mapping when somebody asks for all of them: most are only
    asked for the event name. Rarely used values are read from the message.
    """

    __slots__ = ("_found", "_headers", "_id")

    def __init__(self, message: Message[Any, Any], topic: str, token: object) -> None:
        unreadable = 0
        try:
            found = _headers(message)
        except Exception:  # noqa: BLE001 (confluent-kafka 2.16 raises UnicodeDecodeError inside a SystemError)
            found, unreadable = _readable_headers(message)
        self._found: Pairs = found or ()
        self._headers: Headers | None = None
        self._id: str | _Unread | None = _UNREAD
        self.body = message.value()
        self.topic = topic
        self.key = message.key()
        self.count = 0
        self.native = message
        self.token = token
        self.routing_key = None
        self.type = None
        # `_begin`, without a call
        self.state = _WAITING
        self.parsed = None
        self.route = None
        self.lane = None
        self.retry_state = None
        if unreadable:
            self.unreadable(
                f"the names of {unreadable} headers are not UTF-8; their values are kept as {UNREADABLE}1 and so on"
            )

    def header(self, name: str) -> str | bytes | None:
        if self._headers is not None:
            return self._headers.get(name)
        found: str | bytes | None = None
        for other, value in self._found:  # The last of several counts, as in `headers`.
            if other == name:
                found = b"" if value is None else value
        return found

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = {name: b"" if value is None else value for name, value in self._found}
        return self._headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._headers = headers

    @property
    def id(self) -> str | None:
        if isinstance(self._id, _Unread):
            given = self.header(ID_HEADER)
            self._id = given.decode(errors="replace") if isinstance(given, bytes) else given
        return self._id

    @id.setter  # noqa: A003 (it is the property above)
    def id(self, id: str | None) -> None:
        self._id = id

    @property
    def position(self) -> tuple[int, int]:
        message: Any = self.native
        return message.partition(), message.offset()

    @property
    def properties(self) -> Mapping[str, str]:
        """See `Delivery.properties`. `headers` has the last of several headers of one name; a copy has them all."""
        return lost_in_mapping(_headers(self.native))

    @property
    def time(self) -> float | None:
        kind, stamp = self.native.timestamp()
        return None if kind == TIMESTAMP_NOT_AVAILABLE else plausible_time(stamp / 1000)


class OwnKafkaDelivery(KafkaDelivery):
    """A delivery from a retry topic, or from a topic of dead letters: see `Delivery.is_ours`."""

    __slots__ = ()

    @property
    def is_ours(self) -> bool:
        return True

    @property
    def broker_id(self) -> str | None:
        # Offsets of a retry topic are not offsets of the topic that the delivery names.
        message: Any = self.native
        return self._broker_id(message.topic())


def _readable_headers(message: Message[Any, Any]) -> tuple[list[tuple[str, Any]], int]:
    """Read the headers after the client library could not decode a name. Also return the number of such names.

    The library keeps a list in which such a name is missing (confluent-kafka 2.16). Not even None is in its place, so
    unpacking the pair would end the process. The garbage collector's view of a pair skips the missing name.
    """
    try:
        pairs, unreadable = message.headers() or [], 0
    except Exception:  # noqa: BLE001 (another version may raise again: then there are no headers at all)
        pairs, unreadable = [], 1
    found: list[tuple[str, Any]] = []
    for pair in pairs:
        value = pair[1]
        name = next((part for part in gc.get_referents(pair) if isinstance(part, str)), None)
        if name is None:
            unreadable += 1
            name = f"{UNREADABLE}{unreadable}"
        found.append((name, value))
    message.set_headers(found)  # A user who reads `Message.native` gets these too.
    return found, unreadable
