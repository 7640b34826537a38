"""The seam between the core and a broker: what an adapter is, and who calls what, when.

An adapter translates and never decides. It turns a URL and options into connections, a topic and a group into whatever
the broker has for them, and moves batches. Retrying, attempt limits, dead letters, order, concurrency and shutdown
are the core's. An adapter class is found by URL scheme through the entry-point group ``brokerkit.adapters``.

Everything runs on one event loop; an adapter that needs a thread keeps it to itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from brokerkit._errors import BrokerkitError
from brokerkit._message import Delivery, Outcome, Outgoing, Receipt, Settled
from brokerkit._url import Url

Provision = Literal["group", "all", "check", "off"]
"""What may be created: ``group`` what is ours (queue, group, subscription, retry levels, dead letters); ``all`` the
topic too; ``check`` nothing, but everything must be there; ``off`` nothing, and nothing is looked at."""

Start = Literal["earliest", "latest"]
"""Where a group that the broker does not know yet begins."""

Order = Literal["none", "key", "strict"]
"""``key``: messages of one key are handled in order in this process; a durable retry lets later ones pass.
``strict``: a failing message is held and its key waits. ``none``: no lanes at all."""


Look = Literal["free", "touches", "new", "none"]
"""What it does to messages when somebody looks at them: ``free`` nothing; ``touches`` they count as delivered, and are
hidden from readers while the look lasts; ``new`` only what is published from then on can be seen, through something
of our own that goes away with the look; ``none`` nothing can be seen."""

Reach = Literal["group", "process", "none"]
"""How far order by key reaches: across all members of the ``group``, or among what one ``process`` has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a broker promises through its adapter, as data: checked at start-up, shown in the documentation.

    Attributes:
        broker: its name in errors and documents.
        at_least_once: a message that was not acknowledged comes back.
        confirmed_publish: `send` returns only when the broker has the message.
        publishes: events can be published at all; where not, every `send` is refused.
        groups: ``many`` groups each get every message; ``one``: the topic is its only group; ``none``: no groups,
            every reader gets everything.
        order: how far order by key reaches: across the ``group``, within one ``process``, or ``none``.
        single_reader: with ``order="strict"`` one member of the group reads at a time, so order reaches across it.
        attempts: what `Delivery.count` is: ``deliveries`` (releases and crashes included) or ``none``.
        lease: seconds for which the broker leaves a delivery with us unless it is extended; None where it stays ours as
            long as the connection lives.
        max_hold: seconds for which one delivery can be held at most, extensions included; None for no limit.
        durable_retry: the longest `RetryLater` in seconds that survives a crash; 0 where there is none.
        copies_retries: a `RetryLater` publishes its copy and acknowledges the original; otherwise the original itself
            comes back.
        broadcast: a private group for each process is possible.
        prefix: the broker remembers one number for all deliveries with the same `Delivery.token`, and repeats
            everything behind the first that is not done.
        dead_letters: messages can be stored on the same broker under a derived name.
        stable_id: every delivery has an id that is the same on each redelivery, whoever produced it.
        name_places: where a producer can write the event name, of ``header``, ``key``, ``topic``, ``routing_key``,
            ``type``, ``field``.
        max_in_flight: a good number of unsettled deliveries for one process when the user names none.
        pollers: how many `Source.receive` calls the core keeps under way at once.
        one_process: why no second process can read beside the first, or "" where it can.
        look: what `Adapter.look` does to the messages of a topic.
        look_stored: the same for a ``stored`` queue.
        default_provision: what may be created where the user says nothing about it.
    """

    broker: str
    at_least_once: bool = True
    confirmed_publish: bool = True
    publishes: bool = True
    groups: Literal["many", "one", "none"] = "many"
    order: Reach = "process"
    single_reader: bool = False
    attempts: Literal["deliveries", "none"] = "none"
    lease: float | None = None
    max_hold: float | None = None
    durable_retry: float = 0.0
    copies_retries: bool = True
    prefix: bool = False
    broadcast: bool = True
    dead_letters: bool = True
    stable_id: bool = False
    name_places: frozenset[str] = frozenset({"header", "topic", "field"})
    max_in_flight: int = 500
    pollers: int = 1
    one_process: str = ""
    look: Look = "none"
    look_stored: Look = "none"
    default_provision: Provision = "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach one broker.

    Attributes:
        url: where; its query holds nothing any more, the settings took it apart.
        options: settings for the client library, passed on as they are. Values from a URL or the environment are text.
        connect_timeout: seconds until `Adapter.open` must have succeeded or failed.
        endpoint: URL of an emulator or private endpoint (SQS, SNS), or None.
        body_field: field of a Redis stream entry that holds the body.
    """

    url: Url
    options: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    connect_timeout: float = 10.0
    endpoint: str | None = field(default=None, repr=False)
    body_field: str = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What one source reads.

    Attributes:
        topics: one or more topics; with ``stored`` queues that exist for themselves.
        group: the group, or None where the broker has none.
        stored: read the queues of that name themselves (RabbitMQ ``queue=``, a dead-letter queue).
        remove: what is acknowledged is deleted, at the latest when the source closes, where a topic would keep it for
            other groups. Only for a ``stored`` queue of our own that nobody else reads.
        broadcast: use a private group that begins now and goes away with the process.
        lease: seconds for which a delivery is ours before somebody else may take it over; the core extends it from
            the moment of receipt, at a third of this.
        max_in_flight: the most deliveries that will be unsettled at once.
        drain_timeout: seconds for which `Lost` may be awaited before the broker is told to go on.
        max_deliveries: deliveries after which the core gives a message up. A limit of the broker's own that is lower
            would take messages away before; 0 to say nothing about it.
    """

    topics: tuple[str, ...]
    group: str | None = None
    stored: bool = False
    remove: bool = False
    provision: Provision = "group"
    start: Start = "earliest"
    broadcast: bool = False
    order: Order = "key"
    lease: float = 30.0
    max_in_flight: int = 500
    drain_timeout: float = 20.0
    max_deliveries: int = 0


class Lost(Protocol):
    """The core's answer to deliveries that are no longer ours."""

    def __call__(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> Awaitable[None]:
        """Drop what has not started, and return when the handlers that run are done and their outcomes settled.

        The adapter may give up waiting (`Subscription.drain_timeout`).

        Args:
            deliveries: which.
            gone: they are somebody else's already. Where they are only about to go, and `Capabilities.prefix` is set,
                what waits before a message that has begun is handled too.
        """
        ...


class Source(Protocol):
    """One subscription, being read. Made by `Adapter.subscribe`; nothing happens before `open`."""

    async def open(self) -> None:
        """Provision what is ours and start to consume.

        Raises:
            ConnectionLost: the broker did not answer within the connect timeout.
            AccessDenied: the credentials, or the right to read or to create, were refused.
            NotFound: a topic or queue is missing that must exist.
            UnsupportedFeature: the broker has the object, and it cannot do what was asked.
        """
        ...

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for the first message, then return at once what is there, at most ``limit`` of them.

        Called by up to `Capabilities.pollers` tasks of the core, and never cancelled. Returns an empty list after
        `stop`, and may return one at any time. After a lost connection it raises, and the next call reconnects: the core
        waits in between, longer each time. Once the broker answers again it returns, empty if need be: that is how the
        core knows. A client library that reconnects by itself must not hide that it does.

        Raises:
            ConnectionLost: trying again may help.
            BrokerkitError: anything else ends the source.
        """
        ...

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """Tell the broker what became of deliveries; one answer for each, in order. Does not raise.

        Called by one task at a time, with everything that finished meanwhile, also while `Lost` is awaited.
        """
        ...

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """Renew the lease of deliveries; one answer for each. Called only where `Capabilities.lease` is set."""
        ...

    async def lag(self) -> int | None:
        """How many messages wait at the broker for this group, or None where it cannot be told."""
        ...

    async def stop(self) -> None:
        """Take nothing new: make every `receive` return. Deliveries stay ours until they are settled."""
        ...

    async def close(self) -> None:
        """Leave the group and free everything, after `stop` and the last `settle`. Does not raise; may be called twice."""
        ...


class Adapter(Protocol):
    """One broker behind one URL.

    The constructor checks URL and options, and raises `ConfigError` or `MissingExtra`; it connects to nothing.
    """

    def __init__(self, connection: Connection, /) -> None: ...

    def capabilities(self, topic: str = "") -> Capabilities:
        """What this broker promises; for a topic, where that makes a difference (SQS standard and FIFO queues)."""
        ...

    async def open(self) -> None:
        """Connect, so that `send` and `ensure` work.

        Raises:
            ConnectionLost: nobody answered within ``connection.connect_timeout``.
            AccessDenied: the broker refused the credentials.
        """
        ...

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        """See that topics (queues, with ``stored``) exist, and create the missing ones where ``create`` allows it.

        What exists is never altered.

        Raises:
            NotFound: one is missing and may not be created.
            AccessDenied: the broker refuses to tell or to create.
        """
        ...

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Publish, wait for confirmation, and give one result for each message, in order. Not atomic. Does not raise.

        Messages of one key arrive in the order of the batch. Several calls may be under way at once. A result that is an
        error is `MessageTooLarge`, `InvalidMessage`, `Unroutable`, `NotFound`, `AccessDenied` or, where the broker may
        have the message all the same, `ConnectionLost` or `PublishError`.
        """
        ...

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """A name for something of ours (``role`` is ``"dlq"`` or ``"retry"``) that is legal on this broker.

        Two different arguments never give one name. See `brokerkit._derived`.
        """
        ...

    def subscribe(self, subscription: Subscription, lost: Lost) -> Source:
        """A source for one subscription.

        Raises:
            UnsupportedFeature: the broker cannot do what the subscription asks for.
        """
        ...

    def look(
        self, topics: Sequence[str], *, stored: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """Read messages without taking them from anybody: no group, no acknowledgement, nothing to settle.

        Each message is given once. Closing the generator (``aclose``) frees everything and lets go of what was seen;
        cancelling its ``anext`` ends it too. What the broker does to messages meanwhile is in `Capabilities.look`.

        Args:
            topics: what to look at.
            stored: they are queues, as in `Subscription.stored`.
            past: give what is there when the look begins, oldest first as far as the broker keeps an order. Nothing is
                there where `Capabilities.look` is ``new``.
            follow: then go on with what is new, for ever; without it the look ends.

        Raises:
            NotFound: a topic or queue does not exist.
            AccessDenied: the broker refuses.
            ConnectionLost: the connection broke, which ends the look.
            UnsupportedFeature: this broker cannot be looked at so.
        """
        ...

    async def close(self) -> None:
        """Send what is on its way and free everything. Does not raise; may be called twice."""
        ...
