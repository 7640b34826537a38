"""A message as a handler sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

from brokerkit._errors import ConfigError
from brokerkit._messages._headers import CAUSATION, INTERNAL_PREFIX, Headers, as_text, correlation_of, header_text


class Message:
    """An event with its envelope. Handlers get it, and `Bus.publish` takes it.

    Attributes:
        name: the event name.
        body: the body as it was on the wire; None only for a Kafka message without a value.
        key: the ordering key, as text if it is UTF-8.
        id: the producer's id, or else one from the broker. If there is neither (RabbitMQ, Redis lists), None until a retry
            makes a copy: the copy gets an id.
        time: Unix time in seconds at which it was produced, or None. A time in the wrong unit is corrected. It is None if it
            is outside the years 2000 to 2099 in every unit.
        topic: the topic, queue, stream or channel.
        source: name of the configured source that it came from.
        attempt: which attempt this is, 1 for the first.
        native: what the client library delivered; its type depends on the broker.
    """

    __slots__ = ("_headers", "attempt", "body", "id", "key", "name", "native", "source", "time", "topic")

    def __init__(
        self,
        name: str,
        body: bytes | None,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        id: str | None = None,
        time: float | None = None,
        topic: str = "",
        source: str = "",
        attempt: int = 1,
        native: Any = None,
    ) -> None:
        self.name = name
        self.body = body
        self.key = key if key is None else as_text(key)
        self._headers = headers or {}
        self.id = id
        self.time = time
        self.topic = topic
        self.source = source
        self.attempt = attempt
        self.native = native

    @property
    def headers(self) -> dict[str, str | bytes]:
        """The headers without brokerkit's own; values are text if they are UTF-8."""
        return {
            name: value if value.__class__ is str else as_text(value)
            for name, value in self._headers.items()
            if not name.startswith(INTERNAL_PREFIX)
        }

    @property
    def correlation_id(self) -> str | None:
        """The id of the first message of the chain: the header ``correlation-id``, or else this message's id.

        Without that header, the header ``correlation_id`` of FastStream and Watermill counts, and RabbitMQ's property of
        that name (AMQP 0-9-1, class basic).
        """
        return correlation_of(self._headers) or self.id

    @property
    def causation_id(self) -> str | None:
        """The id of the message whose handler published this one: the header ``causation-id``, or None."""
        return header_text(self._headers, CAUSATION)

    @property
    def session(self) -> AsyncSession:
        """The SQLAlchemy session whose transaction commits when the handler returns, together with its done mark.

        Raises:
            ConfigError: the handler has no ``dedupe=Dedupe(SqlStore(…))``.
        """
        raise ConfigError("this message has no session: its handler needs dedupe=Dedupe(SqlStore(...))")

    def __repr__(self) -> str:
        size = "no" if self.body is None else len(self.body)
        return f"<Message {self.name} {self.id} from {self.topic}, attempt {self.attempt}, {size} bytes>"
