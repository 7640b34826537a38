"""ThrillConnect's WebSocket, through websockets: ``ws://`` and ``wss://``.

URL and options
    ``wss://host[:443]/v1/events/OPERATOR/BRAND?currency=EUR``; ``ws://`` is the same without TLS, port 80. What stands
    in the URL's query, and every option that is none of these, goes into the query of the connection:
    ``token``, the token as text or a function (best ``async``) that is asked for one at each connect; ``token_from``,
    the same for files: ``env:NAME`` or ``module:function``; ``headers``, a table of HTTP headers; ``ssl``, an
    ``SSLContext`` or a file of authorities in PEM form; ``proxy``, a URL (none by default, whatever the environment says);
    ``ping_interval`` and ``ping_timeout``, 20 s each: a server that answers no ping for so long counts as lost;
    ``max_size``, bytes of the largest frame that is taken, 1,048,576. Token and query are never shown: not in errors,
    logs, or the client library's log. No redirect is followed. The token must be given in the options, not as the user.

What a topic and a group become
    A topic is what is subscribed to: ``SOURCE/EVENT`` (``thrillpots/JackpotUpdate``), or ``SOURCE`` for all events of a
    source system. `Message.topic` is always ``SOURCE/EVENT``; of a frame that names neither, the source's first topic.
    One request asks for all topics, after each connect anew. There are no groups: every connection gets everything that
    its token may see, and a group in the settings changes nothing. One URL with one token serves one source of a bus at
    a time: give it several topics.

Delivery
    At most once. Nothing is stored and nothing can be asked for again: what happens while the connection is away, or
    faster than the handlers are, is missed. A source reads ahead into a buffer of ``max_in_flight`` messages and at most
    64 MiB, and drops what does not fit. `Client.dropped` and `Client.gaps` count both kinds of loss; both are logged, and
    hooks are told of each gap (``connection_lost``, ``connection_back``).
    A lost connection is made again after a pause that grows to 10 s, with jitter. Answers (``Message``) and errors
    (``Error``) reach handlers like events do; names that ThrillConnect does not document reach handlers of ``"*"``.
    A refused token (HTTP 401 or 403; or a close with 4401, 4403, 1008, a reason that begins with 401 or 403, or an
    illegal code) is `AccessDenied` and ends the source; a function is asked for another token once before that.
    Nothing can be published: a client's requests are calls of `Client`.

Order
    As sent, on one connection. Messages have no key: with ``key_from`` (``field:data.id``, ``field:player_id``) those
    of one key are handled one after another, else up to ``concurrency`` at once.

Limits and escaping
    A frame is the body, text or binary, as it came; one that is no JSON has no event name, and is a dead letter. A frame
    beyond ``max_size`` ends the connection, and a new one is made. Token and parameters are percent-encoded;
    an operator or brand that holds a slash cannot be said.

Native access
    `Message.native` is the source's `Client`: ThrillConnect's requests as calls with their answers. Outside handlers
    `client_of` gives it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from brokerkit._derived import NameStyle, derived_name
from brokerkit._errors import BrokerkitError, ConfigError, InvalidMessage, UnsupportedFeature
from brokerkit._message import Delivery, Outgoing, Receipt
from brokerkit._transport import Capabilities, Connection, Lost, Subscription
from brokerkit.adapters._looking import followed, ignored, listening
from brokerkit.adapters.websocket._client import Client, RequestFailed
from brokerkit.adapters.websocket._link import Link
from brokerkit.adapters.websocket._options import Options
from brokerkit.adapters.websocket._source import WebSocketSource

if TYPE_CHECKING:
    from brokerkit._bus import Bus

__all__ = ["Client", "RequestFailed", "WebSocketAdapter", "client_of"]

CAPABILITIES: Final = Capabilities(
    broker="ThrillConnect's WebSocket",
    at_least_once=False,
    confirmed_publish=False,
    publishes=False,
    groups="none",
    dead_letters=False,
    name_places=frozenset({"field"}),
    max_in_flight=10_000,
    look="new",
)

_STYLE: Final = NameStyle(limit=1024)


def client_of(bus: Bus, source: str | None = None, /) -> Client:
    """The client of a source on ``ws://`` or ``wss://``, for requests beside the running bus.

    It is good for one opening of the bus, and its requests work while the bus consumes.

    Args:
        bus: the bus.
        source: name of the source; needed only where there are several.

    Raises:
        ConfigError: there is no such source, or it is on another kind of broker.
    """
    adapter = bus.adapter(source)
    if not isinstance(adapter, WebSocketAdapter):
        raise ConfigError(f"source {source or 'of this bus'!r} is not on ws:// or wss:// but {type(adapter).__name__}")
    return adapter.client


class WebSocketAdapter:
    """One server, and what one token may see there.

    Attributes:
        client: ThrillConnect's requests over this connection.
    """

    def __init__(self, connection: Connection, /) -> None:
        self._options = Options.of(connection)
        self._connect_timeout = connection.connect_timeout
        self._source: WebSocketSource | None = None
        self.client = Client(self._options.where)

    def capabilities(self, topic: str = "") -> Capabilities:
        return CAPABILITIES

    async def open(self) -> None:
        """Connect to nothing: the connection is the source's, and begins with its subscription."""

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        if stored:
            raise self._cannot("keep dead letters", "name a file or a broker in dead_letter")

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return [
            InvalidMessage(
                f"{self._options.where}: {outgoing.name!r} cannot be published: ThrillConnect takes no events from its "
                "clients; its requests are calls of brokerkit.adapters.websocket.Client"
            )
            for outgoing in batch
        ]

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, _STYLE)

    def subscribe(self, subscription: Subscription, lost: Lost) -> WebSocketSource:
        if subscription.stored:
            raise self._cannot("read a queue", "set topic to SOURCE or SOURCE/EVENT, such as thrillpots/JackpotUpdate")
        if self._source is not None and not self._source.closed:
            raise self._cannot("serve two sources with one URL and token", "give one source several topics")
        link = Link(self._options, self._connect_timeout)
        self._source = WebSocketSource(link, self.client, subscription, proven=self._connect_timeout)
        return self._source

    async def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        await self.ensure(topics, stored=stored, create=False)
        if follow:
            source = self.subscribe(listening(topics), ignored)
            async with aclosing(followed(source)) as found:
                async for delivery in found:
                    yield delivery

    def _cannot(self, feature: str, alternative: str) -> UnsupportedFeature:
        return UnsupportedFeature(broker=CAPABILITIES.broker, feature=feature, alternative=alternative)

    async def close(self) -> None:
        if self._source is not None:
            await self._source.close()

    def __repr__(self) -> str:
        return f"<WebSocketAdapter on {self._options.where}>"
