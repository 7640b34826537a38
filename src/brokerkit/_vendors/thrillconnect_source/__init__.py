"""ThrillConnect's WebSocket, through websockets: ``thrillconnect+wss://`` and ``thrillconnect+ws://``.

URL and options
    ``thrillconnect+wss://host[:443]/v1/events/OPERATOR/BRAND?currency=EUR``; ``thrillconnect+ws://`` is the same without
    TLS, on port 80. The options are: ``token``, the token as text, or a function (best ``async``) that is asked for one at
    each connect; ``token_from``, the same for configuration files: ``env:NAME`` or ``module:function``; ``headers``, a
    table of HTTP headers; ``ssl``, an ``SSLContext`` or a file of certificate authorities in PEM form; ``proxy``, a URL
    (no proxy by default: the environment is not asked); ``ping_interval`` and ``ping_timeout``, 20 s each: a server that
    does not answer a ping in this time counts as lost; ``max_size``, the bytes of the largest frame that is accepted,
    1,048,576. The URL's query, and every other option, goes into the query of the connection. The token and the query are
    never shown: not in errors, not in logs, not in the client library's log. Redirects are not followed. The token
    belongs in the options; a user or password in the URL is refused.

What a topic and a group become
    A topic is what the source subscribes to: ``SOURCE/EVENT`` (``thrillpots/JackpotUpdate``), or ``SOURCE`` for all events
    of a source system. `Message.topic` is always ``SOURCE/EVENT``; for a frame that does not name both, it is the source's
    first topic. One request subscribes to all topics, again after each connect. There are no groups: every connection gets
    everything that its token may see, and a group in the settings changes nothing. One URL with one token serves one source
    of a bus at a time. Give that source several topics.

Delivery
    At most once. The server stores nothing, and nothing can be asked for again. Events are missed while the connection is
    away, and when they come faster than the handlers work. A source reads ahead into a buffer of ``max_in_flight``
    messages and at most 64 MiB. It drops what does not fit. `Client.dropped` and `Client.gaps` count these two losses; both
    are logged, and hooks are told of each gap (``connection_lost``, ``connection_back``).
    After a lost connection the source connects again, with a backoff that grows to 10 s, with jitter. Answers
    (``Message``) and errors (``Error``) reach handlers as events do. Names that ThrillConnect does not document reach
    handlers of ``"*"``.
    A refused token is `AccessDenied`, and ends the source. A token is refused by HTTP 401 or 403, or by a close with 4401,
    4403, 1008, a reason that begins with 401 or 403, or an illegal code. Before that, a token function is asked once for
    another token.
    Nothing can be published. A client's requests are calls of `Client`.

Order
    As sent, on one connection. Messages have no key. With ``key_from`` (``field:data.id``, ``field:player_id``) the
    messages of one key are handled one after another; without it, up to ``concurrency`` messages are handled at once.

Limits and escaping
    The frame, text or binary, is the body, unchanged. A frame that is not JSON has no event name, and becomes a dead
    letter. A frame larger than ``max_size`` ends the connection; the source then connects again. The token and the
    parameters are percent-encoded. An operator or brand that contains a slash cannot be addressed.

Native access
    `Message.native` is the source's `Client`: ThrillConnect's requests as calls with their answers. Outside handlers,
    `client_of` returns it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from brokerkit._vendors.thrillconnect_source._client import Client, RequestFailed
from brokerkit._vendors.thrillconnect_source._link import Link
from brokerkit._vendors.thrillconnect_source._options import Options
from brokerkit._vendors.thrillconnect_source._source import ThrillConnectSource
from brokerkit.adapters.api import (
    BrokerkitError,
    Capabilities,
    Connection,
    Cursor,
    Delivery,
    InvalidMessage,
    Lost,
    NameStyle,
    Outgoing,
    Receipt,
    Subscription,
    UnsupportedFeature,
    browse_source,
    browse_subscription,
    derived_name,
    ignore_lost,
)

__all__ = ["Client", "RequestFailed", "ThrillConnectAdapter"]

CAPABILITIES: Final = Capabilities(
    broker="ThrillConnect's WebSocket",
    at_least_once=False,
    confirmed_publish=False,
    publishes=False,
    groups="none",
    dead_letters=False,
    name_places=frozenset({"field"}),
    max_in_flight=10_000,
    browse="new",
)

_STYLE: Final = NameStyle(limit=1024)


class ThrillConnectAdapter:
    """A connection to one server with one token.

    Attributes:
        client: ThrillConnect's requests over this connection.
    """

    def __init__(self, connection: Connection, /) -> None:
        self._options = Options.of(connection)
        self._connect_timeout = connection.connect_timeout
        self._source: ThrillConnectSource | None = None
        self.client = Client(self._options.where)

    def capabilities(self, topic: str = "") -> Capabilities:
        return CAPABILITIES

    async def open(self) -> None:
        """Do nothing: the source connects when it opens."""

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        if is_queue:
            raise self._cannot("storing dead letters", "name a file or a broker in dead_letter")

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return [
            InvalidMessage(
                f"{self._options.where}: {outgoing.name!r} cannot be published: ThrillConnect accepts no events from "
                "clients; its requests are calls of brokerkit.thrillconnect.Client"
            )
            for outgoing in batch
        ]

    def derived(self, topic: str, group: str | None, role: str) -> str:
        return derived_name(topic, group, role, _STYLE)

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        raise self._cannot("replays", "handle the message of the dead letter in a program of your own")

    def subscribe(self, subscription: Subscription, lost: Lost) -> ThrillConnectSource:
        if subscription.is_queue:
            raise self._cannot(
                "reading a queue", "set topic to SOURCE or SOURCE/EVENT, such as thrillpots/JackpotUpdate"
            )
        if self._source is not None and not self._source.closed:
            raise self._cannot("two sources with one URL and token", "give one source several topics")
        link = Link(self._options, self._connect_timeout)
        self._source = ThrillConnectSource(link, self.client, subscription, proven=self._connect_timeout)
        return self._source

    async def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        await self.ensure(topics, is_queue=is_queue, create=False)
        if follow:
            source = self.subscribe(browse_subscription(topics), ignore_lost)
            async with aclosing(browse_source(source)) as found:
                async for delivery in found:
                    yield delivery

    def cursor(self, queue: str) -> Cursor:
        raise self._cannot("storing dead letters", "name a file or a broker in dead_letter")

    def _cannot(self, feature: str, alternative: str) -> UnsupportedFeature:
        return UnsupportedFeature(broker=CAPABILITIES.broker, feature=feature, alternative=alternative)

    async def close(self) -> None:
        if self._source is not None:
            await self._source.close()

    def __repr__(self) -> str:
        return f"<ThrillConnectAdapter on {self._options.where}>"
