"""Makes the event for clients from a delivery: who gets it, and its frame, made once for all clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from brokerkit import _clock
from brokerkit._errors import DecodeError
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit._messages._name_rules import Lookup, compile_rules, parsed
from brokerkit._vendors.gateway._settings import GatewaySettings
from brokerkit.formats import Format

logger = get_logger(__name__)

ENVELOPED: Final = "thrillconnect"
"""The format whose messages are sent unchanged."""
_BOM: Final = b"\xef\xbb\xbf"
ALL: Final = "*"


@dataclass(frozen=True, slots=True)
class Event:
    """One event on its way to clients.

    Attributes:
        brand_id: None for everybody of the operator.
        player_id: None for everybody of the brand.
        source: the source system; clients subscribe to source and name.
        body: the text frame.
    """

    operator_id: str
    brand_id: str | None
    player_id: str | None
    source: str
    name: str
    body: bytes


class Unaddressed(Exception):
    """An event names too little to be sent to anybody, or cannot be sent."""


class Addressing:
    """Makes the events of one source.

    Args:
        source: the source's name, for the log.
        wire: the source's format.
    """

    def __init__(self, source: str, wire: Format, settings: GatewaySettings) -> None:
        self._source = source
        self._operator = _lookup(settings.operator_from, "operator_from")
        self._brand = _lookup(settings.brand_from, "brand_from")
        self._player = _lookup(settings.player_from, "player_from")
        self._settings = settings
        self._public = frozenset(settings.public)
        self._enveloped = wire.name == ENVELOPED
        self._payload = wire.payload
        self._complained: set[str] = set()

    def __call__(self, delivery: Delivery) -> Event | None:
        """Return the event of a delivery. If nobody can get it, log each reason once, and return None."""
        try:
            return self._event(delivery)
        except Unaddressed as error:
            if str(error) not in self._complained:
                self._complained.add(str(error))
                logger.warning(
                    "source %s: %s goes to nobody: %s; further ones are only counted",
                    self._source,
                    delivery.name,
                    error,
                )
            return None

    def _event(self, delivery: Delivery) -> Event:
        settings = self._settings
        name = delivery.name
        operator = self._operator(delivery) or settings.operator_id
        brand = self._brand(delivery) or settings.brand_id
        if brand is not None and ":" in brand:
            said, _, brand = brand.partition(":")
            operator = operator or said
            if operator != said:
                raise Unaddressed("its brand belongs to an operator other than its operator")
        player = self._player(delivery)
        if operator is None:
            raise Unaddressed("no rule of operator_from finds an operator")
        if player is None and not self._is_public(name, delivery):
            raise Unaddressed("no rule of player_from finds a player, and public does not name it")
        if player is not None and brand is None:
            raise Unaddressed("no rule of brand_from finds the brand of its player")
        if self._enveloped:
            envelope, body = _object(delivery, delivery.body)
            # Source and name come from the envelope, whatever the bus calls the event: clients see and subscribe to these.
            source, name = str(envelope.get("source", "")), str(envelope.get("msg_name", name))
            return Event(operator, brand, player, source, name, body)
        name = settings.msg_names.get(name, name)
        body = self._wrapped(delivery, name, operator, brand, player)
        return Event(operator, brand, player, settings.source, name, body)

    def _is_public(self, name: str, delivery: Delivery) -> bool:
        if name in self._public or ALL in self._public:
            return True
        # Only null in the envelope means public. A missing or empty field does not: private events must not leak.
        return self._enveloped and _is_null(parsed(delivery), "player_id")

    def _wrapped(self, delivery: Delivery, name: str, operator: str, brand: str | None, player: str | None) -> bytes:
        try:
            found = self._payload(delivery) if self._payload else delivery.body
        except DecodeError as error:
            raise Unaddressed("its payload cannot be read") from error
        value, data = _object(delivery, found)
        if self._settings.data_field is not None:
            inner = value.get(self._settings.data_field)
            if not isinstance(inner, dict):
                raise Unaddressed("its data_field does not hold a JSON object")
            data = json.dumps(inner, ensure_ascii=False).encode()
        envelope = {
            "msg_type": "Event",
            "source": self._settings.source,
            "msg_name": name,
            "operator_id": operator,
            "brand_id": brand,
            "player_id": player,
            "timestamp": int((_clock.wall_time() if delivery.time is None else delivery.time) * 1000),
        }
        # Spliced as text, so that the numbers of the body stay as they were written.
        return json.dumps(envelope, ensure_ascii=False).encode()[:-1] + b',"data":' + data + b"}"


def _object(delivery: Delivery, found: Any) -> tuple[dict[str, Any], bytes]:
    """Return a JSON object and its text. A text frame that is not UTF-8 would end the clients' connections.

    Raises:
        Unaddressed: it is not a JSON object in UTF-8.
    """
    try:
        if found is delivery.body:
            value = parsed(delivery)
        elif isinstance(found, (bytes, str)):
            value = json.loads(found)
        else:
            value = found
            found = json.dumps(value, ensure_ascii=False)
        body = found.encode() if isinstance(found, str) else cast("bytes", found).removeprefix(_BOM)
        if not body.isascii():
            body.decode()
    except (ValueError, RecursionError) as error:
        raise Unaddressed("it is not JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise Unaddressed("it is not a JSON object")
    return cast("dict[str, Any]", value), body


def _is_null(value: Any, name: str) -> bool:
    return isinstance(value, dict) and name in value and value[name] is None


def _lookup(rules: tuple[str, ...], what: str) -> Callable[[Delivery], str | None]:
    look_up: Lookup = compile_rules(rules, what=what)

    def lookup(delivery: Delivery) -> str | None:
        found = look_up(delivery)
        if isinstance(found, bytes):
            found = as_text(found)
        return found if isinstance(found, str) and found else None

    return lookup
